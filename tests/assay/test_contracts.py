"""`assay contract`: the whole of a contract, as YAML that a program can read."""

from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from assay.cli import app
from assay.contracts import whole_contract
from curate.contract import Contract
from tests.project import Project


def assay_contract(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["contract", *map(str, arguments)])


@pytest.mark.parametrize("name", ["licences", "guanaco"])
def test_it_shows_what_is_said_and_what_follows(name: str) -> None:
    done = assay_contract(name)
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(done.stdout) == whole_contract(name).data()
    contract = Contract.load(name)
    shown = yaml.safe_load(done.stdout)
    assert shown["contract"] == contract.document
    assert shown["target_schema"] == contract.target_schema
    assert shown["row_schema"] == contract.row_schema
    assert shown["suite"] == list(contract.expectations)
    headings = [line for line in done.stdout.splitlines() if line.startswith("# ")]
    assert len(headings) == len(shown)


def test_a_folder_or_the_recipe_that_names_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    of_folder = whole_contract(str(project.folder / "contract")).data()
    assert of_folder["contract"]["name"] == "demo"
    assert whole_contract(str(project.recipe_path)).data() == of_folder


def test_what_a_contract_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text(
        'name: "[red]r[/red]\\u202e\\e[2J"\nversion: "1"\ndescription: {purpose: "a\\tb [link=http://example.org]l[/link]"}\n'
    )
    done = assay_contract(tmp_path)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    shown = yaml.safe_load(done.stdout)["contract"]
    assert shown["description"]["purpose"] == "a\tb [link=http://example.org]l[/link]"


def test_a_name_that_is_none_says_which_there_are() -> None:
    done = assay_contract("nonsense")
    assert done.exit_code == 1
    assert "guanaco, instructions, licences" in " ".join(done.output.split())
