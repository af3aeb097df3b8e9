"""A half-copied drop is taken back, and everything is as though it had never been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.pointers import Pointer
from curate.sets.index import Index, recorded_settings
from curate.shared import move_version
from curate.store import Store
from curate.taken_back import TakenBackError
from tests.assay.conftest import Finished
from tests.documented import missing
from tests.project import Project, make_rows

ROWS = make_rows(120)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def drop(project: Project, name: str, rows: list[dict[str, Any]]) -> Any:
    """Curate a drop of its own folder."""
    project.drop = project.folder / name
    project.add("rows.jsonl", rows)
    return project.curate().folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "one")


def store_of(project: Project) -> Path:
    return project.folder / "store"


def command(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_after_a_retraction_the_whole_file_gives_what_it_would_have_given(project: Project, tmp_path: Path) -> None:
    half = drop(project, "half", ROWS[:60])
    eaten = drop(project, "whole", ROWS)
    never = Project(tmp_path / "never")
    expected = drop(never, "whole", ROWS)
    assert eaten.name != expected.name
    store = store_of(project)
    taken = assay.retract(f"demo/{half.name}", with_later=True, store=store)
    assert [each.version for each in taken.members] == [eaten.name, half.name]
    assert taken.latest is None
    found = drop(project, "whole", ROWS)
    assert found.name == expected.name
    assert contents(found) == contents(expected)
    assert Store(store).resolve("datasets", "demo") == found
    index = Index(Store(store), "demo", recorded_settings(Store(store), "demo"))
    assert index.versions() == [found.name]
    assert index.check() == []
    later = [drop(each, "more", make_rows(80, seed=3)) for each in (project, never)]
    assert contents(later[0]) == contents(later[1])
    assert assay.check_store(store=store).problems == []


def test_the_first_version_of_all_stays_while_a_later_one_is_taken_back(project: Project, tmp_path: Path) -> None:
    first = drop(project, "first", make_rows(60, seed=5))
    half = drop(project, "half", ROWS[:60])
    before = contents(half)
    store = store_of(project)
    taken = assay.retract(f"demo/{half.name}", store=store)
    assert taken.latest == first.name
    assert not half.exists()
    assert contents(store / "retracted/datasets/demo" / half.name) == before
    never = Project(tmp_path / "never")
    drop(never, "first", make_rows(60, seed=5))
    ours, theirs = (drop(each, "whole", ROWS) for each in (project, never))
    assert contents(ours) == contents(theirs)
    assert contents(store / "index/demo/segments") == contents(never.folder / "store/index/demo/segments")


def test_a_version_that_a_later_one_was_compared_with_is_not_taken_back_alone(project: Project) -> None:
    half, whole = drop(project, "half", ROWS[:60]), drop(project, "whole", ROWS)
    before = contents(store_of(project))
    status, told = command("retract", f"demo/{half.name}", "--store", store_of(project))
    assert status == 1
    assert f"data set demo/{whole.name}" in told["error"]["message"]
    assert "--with-later" in told["error"]["remedy"]
    after = contents(store_of(project))
    assert {name for name in before if before[name] != after.get(name)} <= {"index/demo/lock"}


def test_the_same_drop_curated_again_is_there_again(project: Project) -> None:
    half = drop(project, "half", ROWS[:60])
    store = store_of(project)
    before = contents(half)
    status, told = command("retract", f"demo/{half.name}", "--store", store)
    assert status == 0
    assert missing("retract", told) == []
    assert told["latest"] is None
    listed = assay.versions("demo", store=store)
    assert (listed.versions, listed.retracted) == ([], [half.name])
    with pytest.raises(assay.AssayError, match="demo: no such version"):
        assay.load("demo", store=store)
    again = project.curate().folder
    assert contents(again) == before
    listed = assay.versions("demo", store=store)
    assert ([each.version for each in listed.versions], listed.retracted) == ([half.name], [])
    assay.retract(f"demo/{half.name}", store=store)  # twice
    assert contents(store / "retracted/datasets/demo" / half.name) == before


def test_an_adapter_and_a_scorecard_go_with_the_data_set_that_they_were_made_from(
    finished: Finished, tmp_path: Path
) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    version = f"demo/{finished.version.id}"
    with pytest.raises(assay.AssayError, match="cannot be taken back alone") as refused:
        assay.retract(version, store=place)
    assert f"adapter demo/{finished.adapter.id}" in refused.value.message
    assert f"scorecard demo/{finished.scorecard.id}" in refused.value.message
    taken = assay.retract(version, with_later=True, store=place)
    kinds = [each.kind for each in taken.members]
    assert kinds[-2:] == ["adapters", "datasets"]
    assert set(kinds[:-2]) == {"scorecards"}
    assert Store(place).pointed("adapters", "demo") == Pointer(None)
    assert not [path for path in (place / "adapters/demo").iterdir() if not path.name.startswith(".")]
    assert assay.check_store(store=place).problems == []


def test_a_scorecard_is_taken_back_by_itself(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    taken = assay.retract(f"demo/{finished.scorecard.id}", kind="scorecards", store=place)
    assert [each.kind for each in taken.members] == ["scorecards"]
    assert assay.load("demo", store=place).id == finished.version.id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo"], "demo: expected NAME/VERSION"),
        (["demo/0123456789abcdef"], "data set demo/0123456789abcdef: not published"),
        (["demo/0123456789abcdef", "--kind", "adapter"], "There is no kind 'adapter'"),
    ],
)
def test_what_cannot_be_taken_back_is_told(arguments: list[str], message: str, tmp_path: Path) -> None:
    status, told = command("retract", *arguments, "--store", tmp_path)
    assert status == 1
    assert message in told["error"]["message"]


def test_a_retraction_that_is_killed_loses_nothing_and_is_ended_by_the_same_command(project: Project) -> None:
    half, whole = drop(project, "half", ROWS[:60]), drop(project, "whole", ROWS)
    store = store_of(project)
    code = """
        import os, signal, sys
        import assay.retraction, curate.store
        moved = []
        real = assay.retraction.move_version
        def move_version(*given):
            if moved:
                os.kill(os.getpid(), signal.SIGKILL)
            moved.append(real(*given))
        assay.retraction.move_version = move_version
        import assay
        assay.retract(sys.argv[1], with_later=True, store=sys.argv[2])
    """
    command_line = [sys.executable, "-c", textwrap.dedent(code), f"demo/{half.name}", str(store)]
    assert subprocess.run(command_line, check=False, env=dict(os.environ)).returncode == -signal.SIGKILL
    assert half.is_dir()  # the later one went first
    assert not whole.exists()
    taken = assay.retract(f"demo/{half.name}", with_later=True, store=store)
    assert [each.version for each in taken.members] == [half.name]
    index = Index(Store(store), "demo", project.recipe.duplicates)
    assert index.versions() == []
    assert assay.check_store(store=store).problems == []


def test_a_retraction_that_ends_after_a_move_has_told_of_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    version, store = drop(project, "half", ROWS[:60]), store_of(project)

    def moved_and_killed(*given: Path) -> None:
        move_version(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("assay.retraction.move_version", moved_and_killed)
        with pytest.raises(KeyboardInterrupt):
            assay.retract(f"demo/{version.name}", store=store)
    assert not version.exists()
    assert Store(store).told("datasets", "demo") == []
    assert assay.versions("demo", store=store).retracted == [version.name]


def test_what_is_made_from_a_version_while_it_is_taken_back_is_not_published(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, store = drop(project, "half", ROWS[:60]), Store(store_of(project))
    filled = Event()

    def made() -> Path:
        with store.publishing("adapters", "demo", [version]) as draft:
            filled.set()
            return draft.publish({"name": "demo"})

    with ThreadPoolExecutor(1) as pool:
        publication: list[Future[Path]] = []

        def meanwhile(*given: Path) -> None:
            publication.append(pool.submit(made))
            assert filled.wait(10)
            assert not wait(publication, 0.2).done, "it waits for its turn"
            move_version(*given)

        monkeypatch.setattr("assay.retraction.move_version", meanwhile)
        assay.retract(f"demo/{version.name}", store=store.root)
        with pytest.raises(TakenBackError, match="so nothing that was made from it is published"):
            publication[0].result(10)
    assert store.versions("adapters", "demo") == []


def test_what_another_data_set_keeps_out_is_there_when_that_is_published(project: Project, tmp_path: Path) -> None:
    version, store = drop(project, "half", ROWS[:60]), store_of(project)
    kept_out_of = {"references": [{"published": f"demo/{version.name}", "split": "train"}]}
    other = Project(tmp_path / "other", name="other", decontaminate=kept_out_of)
    other.add("rows.jsonl", make_rows(60, seed=9))

    def while_it_is_curated(what: str, done: int, of: int, unit: str) -> None:
        if what == "gate" and version.is_dir():
            assay.retract(f"demo/{version.name}", store=store)

    with pytest.raises(TakenBackError, match=str(version)):
        other.curate(str(store), progress=while_it_is_curated)
    assert Store(store).versions("datasets", "other") == []
