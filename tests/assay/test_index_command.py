"""`assay index`: what it prints, its exit status, and that it says what to do about a damaged index."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from assay.cli import app
from curate.sets.index import Index, recorded_settings
from curate.store import Store
from tests.project import Project, make_rows


def assay(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["index", *map(str, arguments)])


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one version, indexed."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("rows.jsonl", make_rows(80))
    project.curate()
    return project


@pytest.fixture
def project(curated: Project, tmp_path: Path) -> Project:
    """A copy of it, to change."""
    shutil.copytree(curated.folder, tmp_path, dirs_exist_ok=True)
    copy = Project.__new__(Project)
    copy.folder, copy.recipe_path = tmp_path, tmp_path / "recipe.yaml"
    return copy


def store_of(project: Project) -> Path:
    return project.folder / "store"


@pytest.mark.parametrize("command", ["check", "rebuild"])
def test_every_help_shows_an_example(command: str) -> None:
    shown = assay(command, "--help")
    assert shown.exit_code == 0
    assert f"assay index {command} licences" in shown.output


def test_help_names_the_commands() -> None:
    assert "index" in CliRunner().invoke(app, ["--help"]).output
    shown = assay("--help").output
    assert "check" in shown
    assert "rebuild" in shown


def test_check_shows_a_sound_index(curated: Project) -> None:
    done = assay("check", "demo", "--store", store_of(curated))
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.replace("│", " ").split())
    assert "Index of demo" in shown
    assert "versions 1 " in shown
    assert "threshold 0.6 " in shown


def test_check_names_what_is_damaged_and_rebuild_mends_it(project: Project) -> None:
    store = store_of(project)
    files = sorted((store / "index/demo/segments").iterdir())
    before = {path.name: path.read_bytes() for path in files}
    content = bytearray(files[0].read_bytes())
    content[-1] ^= 1
    files[0].write_bytes(content)
    os.truncate(files[1], 3)
    done = assay("check", "demo", "--store", store)
    assert done.exit_code == 1
    for path in files[:2]:
        assert str(path) in done.stderr
    assert "assay index rebuild demo" in done.stderr
    assert "Traceback" not in done.stderr
    mended = assay("rebuild", "demo", "--store", store)
    assert mended.exit_code == 0, mended.stderr
    assert "Index of demo" in mended.stdout
    assert assay("check", "demo", "--store", store).exit_code == 0
    assert {path.name: path.read_bytes() for path in (store / "index/demo/segments").iterdir()} == before


def test_a_recipe_of_other_parameters_says_to_rebuild_with_it(project: Project) -> None:
    store = store_of(project)
    recipe = yaml.safe_load(project.recipe_path.read_text())
    recipe["duplicates"] |= {"threshold": 0.7}
    recipe["fit"]["model"] = str(project.folder / "tokenizer")
    project.recipe_path.write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(app, ["curate", str(project.recipe_path), "--store", str(store), "--workers", "1"])
    assert done.exit_code == 1
    assert "threshold is 0.6 there and 0.7 here" in done.stderr
    assert "assay index rebuild demo --recipe" in done.stderr
    done = assay("rebuild", "demo", "--store", store, "--recipe", project.recipe_path)
    assert done.exit_code == 0, done.stderr
    assert recorded_settings(Store(store), "demo").threshold == 0.7
    assert Index(Store(store), "demo", recorded_settings(Store(store), "demo")).check() == []
    done = CliRunner().invoke(app, ["curate", str(project.recipe_path), "--store", str(store), "--workers", "1"])
    assert done.exit_code == 0, done.stderr


def test_another_data_set_s_recipe_is_refused(project: Project) -> None:
    done = assay("rebuild", "other", "--store", store_of(project), "--recipe", project.recipe_path)
    assert done.exit_code == 1
    assert "is the recipe of demo, not of other" in done.stderr


@pytest.mark.parametrize("command", ["check", "rebuild"])
def test_an_unknown_name_says_which_there_are(curated: Project, command: str) -> None:
    done = assay(command, "demos", "--store", store_of(curated))
    assert done.exit_code == 1
    assert "demos: no version in" in done.stderr
    assert "demo" in done.stderr.split("Remedy:")[1]
    assert not (store_of(curated) / "index/demos").exists()


def test_nothing_is_rebuilt_where_nothing_is_published(curated: Project, tmp_path: Path) -> None:
    done = assay("rebuild", "demo", "--store", tmp_path / "typo", "--recipe", curated.recipe_path)
    assert done.exit_code == 1
    assert "demo: no version in" in done.stderr
    assert not (tmp_path / "typo").exists()
