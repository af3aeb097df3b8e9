"""What a recipe may reach, asked of the functions that say it; tests/attacks/test_reach.py asks the command."""

from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.reach import DEEPEST, LONGEST, Below
from curate.read.files import Files, find_files
from evaluation.settings import FullRecipe
from tests.project import Project


@pytest.mark.parametrize(
    "change",
    [
        {"contract": "a\0b"},
        {"contract": "a" * (LONGEST + 1)},
        {"contract": "é" * LONGEST},
        {"contract": "a/" * DEEPEST},
        {"render": {"task": "a" * 5000 + ".jinja", "chat": "chatml"}},
        {"fit": {"model": "a" * 5000, "max_tokens": 150}},
        {"fit": {"model": "a\0", "max_tokens": 150}},
        {"drop": "a\0"},
    ],
)
def test_what_no_file_can_be_called_is_told_by_its_key(tmp_path: Path, change: dict[str, object]) -> None:
    told = r"recipe\.yaml: ((contract|render\.task|fit\.model|drop) '.*' can be no path|.*: a NUL character, on line)"
    with pytest.raises(AssayError, match=told):
        FullRecipe.load(Project(tmp_path / "project", **change).recipe_path)


@pytest.mark.parametrize("name", ["a" * 300, "a\0*", "**/" * 500 + "*", "*/" * 200])
@pytest.mark.parametrize("key", ["files", "dataset"])
def test_no_source_has_such_a_name(tmp_path: Path, key: str, name: str) -> None:
    source = Files.model_validate({key: [name] if key == "files" else name})
    with pytest.raises(AssayError, match=r"'.*' can be no path"):
        find_files(source, tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("name", ["", ".", "./"])
def test_the_folder_itself_does_not_leave_it(tmp_path: Path, name: str) -> None:
    assert Below(tmp_path).way_out(tmp_path / name) is None
    project = Project(tmp_path / "project", contract=name)
    assert Path(project.recipe.contract) == project.folder
