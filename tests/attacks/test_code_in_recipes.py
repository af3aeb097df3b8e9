"""Recipes, contracts and templates from elsewhere: looked at or curated, nothing of them runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from assay.cli import app
from tests.project import CONTRACT, Project, make_rows

SHELL = "@pd.io.common.os.system('touch pwned')"


def in_yaml(project: Project) -> None:
    text = project.recipe_path.read_text()
    project.recipe_path.write_text(text + "\nextra: !!python/object/apply:os.system ['touch pwned']\n")


def in_the_contracts_yaml(project: Project) -> None:
    path = project.folder / "contract/contract.yaml"
    path.write_text(path.read_text() + "\nextra: !!python/object/apply:os.system ['touch pwned']\n")


def in_an_expression(project: Project) -> None:
    recipe = yaml.safe_load(project.recipe_path.read_text())
    recipe["record"]["label"] = "lipsum.__globals__['os'].popen('touch pwned').read()"
    project.recipe_path.write_text(yaml.safe_dump(recipe))


def in_a_template(project: Project) -> None:
    recipe = yaml.safe_load(project.recipe_path.read_text())
    path = project.folder / "task.jinja"
    path.write_text("{% block user %}{{ cycler.__init__.__globals__.os.system('touch pwned') }}{% endblock %}")
    recipe["render"]["task"] = "task.jinja"
    project.recipe_path.write_text(yaml.safe_dump(recipe))


def in_an_expectation(project: Project) -> None:
    contract: dict[str, Any] = yaml.safe_load(yaml.safe_dump(CONTRACT))
    whole = next(item for item in contract["schema"] if item["name"] == "set")
    kwargs = {"column": "tokens", "row_condition": f"tokens > {SHELL}", "condition_parser": "pandas"}
    rule = {"type": "expect_column_values_to_not_be_null", "kwargs": kwargs}
    whole["quality"] = [*whole.get("quality", []), {"name": "theirs", "implementation": rule}]
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))


ATTACKS = {
    in_yaml: "could not determine a constructor for the tag",
    in_the_contracts_yaml: "could not determine a constructor for the tag",
    in_an_expression: "No method named 'read' may be used",
    in_a_template: "No method named 'system' may be used",
    in_an_expectation: "row_condition",
}


@pytest.mark.parametrize("command", ["preview", "curate"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_of_a_recipe_runs(
    attack: Any,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = Project(tmp_path / "made")
    project.add("rows.jsonl", make_rows(20))
    attack(project)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_STORE", str(tmp_path / "store"))
    done = CliRunner().invoke(app, [command, str(project.recipe_path), "--drop", str(project.drop)])
    assert done.exit_code == 1
    assert ATTACKS[attack] in " ".join(done.stderr.split())
    assert "Remedy: " in done.stderr
    assert not list(tmp_path.rglob("pwned"))
    assert not (tmp_path / "store/datasets").exists()
