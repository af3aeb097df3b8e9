"""The recipe that a study gives: what it is told apart by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.settings import FullRecipe
from evaluation.tune.recipe import Found, found_recipe
from tests.project import Project
from train.settings import TrainingSettings

Change = Callable[[Project], None]
SECTIONS: dict[str, Any] = {
    "training": {"rows": 8},
    "tune": {"search": {"rank": [2, 4]}},
    "variants": {"small": {"training": {"rows": 4}}},
}


def found(project: Project, **training: Any) -> Found:
    loaded = FullRecipe.load(project.recipe_path)
    return found_recipe(project.recipe_path, None, loaded, TrainingSettings(rows=8, **training))


def with_sections(**sections: Any) -> Change:
    def change(project: Project) -> None:
        own = yaml.safe_load(project.recipe_path.read_text())
        project.recipe_path.write_text(yaml.safe_dump(own | sections, sort_keys=False))

    return change


def drop_moved(project: Project) -> None:
    (project.folder / "drop").rename(project.folder / "raw")
    with_sections(drop="raw")(project)


def contract_changed(project: Project) -> None:
    file = project.folder / "contract/contract.yaml"
    file.write_text(file.read_text().replace("version: 1.0.0", "version: 1.0.1"))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (with_sections(tune={"search": {"rank": [8]}}), True),
        (with_sections(evaluation={"rows": 9}), False),
        (with_sections(variants={}), False),
        (drop_moved, False),
        (contract_changed, False),
    ],
    ids=["tune", "evaluation", "variants", "drop", "contract"],
)
def test_it_is_another_where_it_would_be_written_otherwise(change: Change, same: bool, tmp_path: Path) -> None:
    project = Project(tmp_path / "made", **SECTIONS)
    before = found(project).sha256
    assert found(project).sha256 == before
    assert found(project, rank=4).sha256 != before
    change(project)
    assert (found(project).sha256 == before) is same


def test_it_names_what_it_needs_by_whole_paths_and_takes_the_rest_along(tmp_path: Path) -> None:
    project = Project(tmp_path / "made", **SECTIONS)
    (tmp_path / "study").mkdir()
    found(project, rank=4).write(tmp_path / "study", "The best.")
    text = (tmp_path / "study/recipe.yaml").read_text()
    assert text.startswith("# The best.\n")
    raw = yaml.safe_load(text)
    assert raw["drop"] == str(project.folder / "drop")
    assert raw["training"] == {"rows": 8, "rank": 4}
    assert "tune" not in raw
    contract = tmp_path / "study/contract/contract.yaml"
    assert contract.read_bytes() == (project.folder / "contract/contract.yaml").read_bytes()


def test_decisions_go_with_it(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", **SECTIONS, decisions=["anna.jsonl", "ben.jsonl"])
    for name in ("anna.jsonl", "ben.jsonl"):
        (project.folder / name).touch()
    project.add("rows.jsonl", [{"text": "a", "colour": "red", "count": 1}])
    (tmp_path / "out").mkdir()
    found(project).write(tmp_path / "out", "of a study")
    assert {"anna.jsonl", "ben.jsonl"} <= {path.name for path in (tmp_path / "out").iterdir()}
    again = FullRecipe.load(tmp_path / "out/recipe.yaml")
    assert again.decisions.files == [str(tmp_path / "out" / name) for name in ("anna.jsonl", "ben.jsonl")]
