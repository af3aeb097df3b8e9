"""Earlier versions that have changed since they were published: a run that reads one says so and publishes nothing."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.recipe import find_recipe
from curate.store import Store
from evaluation.promotion import adapter_for
from evaluation.settings import FullRecipe
from tests.project import Project, make_rows

Attack = Callable[[Path], Path]


def flipped(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def another_split(path: Path) -> Path:
    """A sound Parquet file, and not the one."""
    shutil.copy(path.parent / "test.parquet", path)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A project with one version, and a second drop that has rows in conflict with it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("a.jsonl", make_rows(80))
    first = project.curate().folder
    project.drop = project.folder / "second"
    contrary = [row | {"count": (row["count"] + 1) % 10} for row in make_rows(20)]
    project.add("b.jsonl", [*contrary, *make_rows(80, seed=5)])
    return project, first


@pytest.mark.parametrize("attack", [flipped, another_split, cut, lambda path: path.unlink() or path])
@pytest.mark.parametrize("name", ["train.parquet", "quarantine.parquet"])
def test_rows_of_earlier_conflicts_are_those_that_were_published(
    attack: Attack, name: str, made: tuple[Project, Path]
) -> None:
    project, first = made
    sound = (first / name).read_bytes()
    path = attack(first / name)
    try:
        with pytest.raises(
            AssayError, match=rf"{re.escape(str(path))}: (changed since it was|not there, though it was)"
        ) as told:
            project.curate()
    finally:
        (first / name).write_bytes(sound)
    assert f"Restore it from a copy. Without one, remove {first}" in told.value.remedy
    assert [each for each in first.parent.iterdir() if not each.name.startswith(".")] == [first]


def test_the_manifest_of_an_earlier_version(made: tuple[Project, Path]) -> None:
    project, first = made
    sound = (first / "manifest.json").read_bytes()
    (first / "manifest.json").write_bytes(re.sub(rb'"rows_in": \d+', b'"rows_in": 99', sound))
    with pytest.raises(AssayError, match=r"manifest\.json: changed since it was published: it says version"):
        project.curate()
    (first / "manifest.json").write_bytes(sound)


def test_a_manifest_that_is_gone_is_no_version_less(made: tuple[Project, Path]) -> None:
    project, first = made
    gone = (first / "manifest.json").rename(first.parent / "kept")
    try:
        with pytest.raises(AssayError, match=r"manifest\.json: not there, though it was published") as told:
            project.curate()
    finally:
        gone.rename(first / "manifest.json")
    assert f"Without one, remove {first}" in told.value.remedy
    assert [each for each in first.parent.iterdir() if not each.name.startswith(".")] == [first]


def test_an_adapter_without_its_manifest_is_not_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "adapters/licences" / ("0" * 16)
    folder.mkdir(parents=True)
    recipe = FullRecipe.load(find_recipe("licences"))
    with pytest.raises(AssayError, match=r"manifest\.json: not there, though it was published") as told:
        adapter_for(recipe, Store(tmp_path), None)
    assert "run `assay train RECIPE` again" in told.value.remedy


def test_the_test_split_that_is_kept_out_of_another_data_set(made: tuple[Project, Path]) -> None:
    project, first = made
    sound = (first / "test.parquet").read_bytes()
    other = Project(
        project.folder / "other", name="other", decontaminate={"references": [{"published": f"demo/{first.name}"}]}
    )
    other.add("c.jsonl", make_rows(40, seed=1))
    (other.folder / "store").symlink_to(project.folder / "store")
    path = flipped(first / "test.parquet")
    with pytest.raises(AssayError, match=rf"{re.escape(str(path.name))}: changed since it was published"):
        other.curate()
    path.write_bytes(sound)
    assert other.curate().manifest.counts.kept
