"""Places that are not as a program likes them: a user who may write nothing, a store that is only read, a clock that is
set back, a kill at any moment of training and evaluation."""

import ctypes
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assay.cli import app
from curate.hashing import file_digest
from curate.store import Store
from tests.curate.test_unharmed import ended, fork, in_fresh_process, killed_at, lighten, result, run, two_drops


def as_a_mere_user(work: Callable[[], object]) -> None:
    """Do something in a child that files' permissions hold for, and whose home cannot be written to.

    Of root the power over permissions is taken, and not its name: another user might not be let to the interpreter.
    """

    def child() -> None:
        if os.geteuid() == 0:
            libc = ctypes.CDLL(None, use_errno=True)
            assert (
                libc.prctl(28, 1, 0, 0, 0) == 0
            )  # PR_SET_SECUREBITS, SECBIT_NOROOT: nor has a process begun by it any
            version_3, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
            assert libc.capset(version_3, none) == 0, os.strerror(ctypes.get_errno())  # capset(2): no capability
        work()

    assert ended(fork(child)) == 0


def assay(*arguments: str | Path, status: int = 0) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    assert "defect" not in done.output
    return done.output


@contextmanager
def only_read(*folders: Path) -> Iterator[None]:
    """Folders, and all that is in them, that nobody may write to."""
    modes = {path: path.stat().st_mode for folder in folders for path in [folder, *folder.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def a_home_that_cannot_be_written(folder: Path) -> None:
    patch = pytest.MonkeyPatch()
    lighten(patch)
    home = folder / "home"
    home.mkdir()
    patch.setenv("HOME", str(home))
    for name in ("HF_HOME", "XDG_CACHE_HOME", "PREFECT_HOME"):
        patch.delenv(name, raising=False)
    project = two_drops(folder)
    run(project, "first", "expected")

    def work() -> None:
        with pytest.raises(PermissionError):
            (home / "x").touch()
        assay("curate", project.recipe_path, "--drop", folder / "first", "--store", folder / "store", "--workers", "1")
        assay("check", "demo", "--store", folder / "store")
        assay("inspect", folder / "first/a.jsonl")

    with only_read(home, folder / "first", folder / "contract"):
        as_a_mere_user(work)
    assert result(folder / "store") == result(folder / "expected")
    assert list(home.iterdir()) == []


def test_a_user_whose_home_cannot_be_written_to(tmp_path: Path) -> None:
    in_fresh_process(a_home_that_cannot_be_written, tmp_path)


def a_store_that_is_only_read(folder: Path) -> None:
    lighten(pytest.MonkeyPatch())
    project = two_drops(folder)
    run(project, "first", "store")
    store = folder / "store"
    before = everything(store)
    asked = ["--drop", folder / "second", "--store", store, "--workers", "1"]

    def work() -> None:
        import assay as door

        told = assay("curate", project.recipe_path, *asked, status=1)
        assert f"{store}" in told
        assert "Permission denied" in told
        assert "Remedy: " in told
        assert "Permission denied. The index of demo is as it was" in assay(
            "index", "rebuild", "demo", "--store", store, status=1
        )
        assert "every message" in assay("check", "demo", "--store", store)
        assert "Index of demo" in assay("index", "check", "demo", "--store", store)
        version = door.load("demo", store=store)
        assert version.train.num_rows > 0
        assert "<|im_start|>" in assay("preview", project.recipe_path, "--drop", folder / "first", "--store", store)

    with only_read(store):
        as_a_mere_user(work)
    assert everything(store) == before


def test_a_store_that_is_only_read_is_read(tmp_path: Path) -> None:
    in_fresh_process(a_store_that_is_only_read, tmp_path)


# A clock that is set back.


class Clock(datetime):
    """Goes backwards, an hour a look."""

    looks = 0

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        cls.looks += 1
        return datetime(2001, 1, 1, tzinfo=UTC) - timedelta(hours=cls.looks)


def test_the_latest_is_what_was_recorded_last_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.ledger.datetime", Clock)
    store = Store(tmp_path)
    folders = []
    for number in range(3):
        with store.publishing("datasets", "tiny") as draft:
            folders.append(draft.publish({"number": number}))
        store.record({"event": "datasets", "name": "tiny", "version": folders[-1].name})
        assert store.resolve("datasets", "tiny") == folders[-1]
    times = [event["time"] for event in store.events()]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 3


def with_the_clock_set_back(folder: Path) -> None:
    patch = pytest.MonkeyPatch()
    lighten(patch)
    project = two_drops(folder)
    for drop in ("first", "second"):
        run(project, drop, "expected")
    run(project, "first", "store")
    draft = folder / "store/datasets/demo/.draft-of-tomorrow"
    draft.mkdir()
    for path in (folder / "store").rglob("*"):
        os.utime(path, (4e9, 4e9))  # the year 2096
    patch.setattr("curate.ledger.datetime", Clock)
    second = run(project, "second", "store")
    assert result(folder / "store") == result(folder / "expected")
    assert Store(folder / "store").resolve("datasets", "demo") == second.folder
    assert not draft.exists()


def test_a_run_after_the_clock_was_set_back_gives_the_same_bytes(tmp_path: Path) -> None:
    in_fresh_process(with_the_clock_set_back, tmp_path)


# Killed while training, and while evaluating. What these import takes seconds: the other processes do without.


TIMED = {"scorecard.json", "report.html", "steps.parquet", "SHA256SUMS"}


def published(store: Store, kind: str) -> dict[str, str]:
    """Every file of what is published of a kind, by its hash; what a clock measured is left out."""
    found = {}
    for path in sorted((store.root / kind).rglob("*")):
        if path.is_file() and path.name not in TIMED and "summary" not in path.name:
            found[str(path.relative_to(store.root))] = file_digest(path)
    return found


def killed_at_every_step(folder: Path, kind: str, work: Callable[[Store], Path], every: int) -> list[int]:
    """Do it undisturbed, then killed at each `every`-th step and once more: the same is published, nothing halfway."""
    template = folder / "template"
    shutil.copytree(template, folder / "undisturbed")
    expected = work(Store(folder / "undisturbed")).name
    files = published(Store(folder / "undisturbed"), kind)
    assert files
    held = []
    place = 1 - every
    while True:
        place += every
        store = Store(folder / f"store-{place}")
        shutil.copytree(template, store.root)

        def die(place: int = place, store: Store = store) -> None:
            killed_at(place)
            work(store)

        status = ended(fork(die))
        if status == -signal.SIGKILL:
            versions = store.versions(kind, "tiny")  # type: ignore[arg-type]
            for version in versions:
                manifest = json.loads((version / "manifest.json").read_bytes())
                assert {name: file_digest(version / name) for name in manifest["files"]} == manifest["files"]
            held.append(len(versions))
        else:
            assert status == 0
        assert work(store).name == expected
        assert published(store, kind) == files, place
        assert store.resolve(kind, "tiny").name == expected  # type: ignore[arg-type]
        shutil.rmtree(store.root)
        if status == 0:
            return held


def evaluations(folder: Path) -> None:
    from evaluation.evaluate import evaluate
    from evaluation.settings import EvaluationSettings
    from tests.tiny import recipe_for, write_model, write_version
    from train.base_model import load_model, prepare

    os.fsync = lambda _: None
    model = write_model(folder / "model")
    version = write_version(Store(folder / "template"), model)
    recipe = recipe_for(model)
    systems = {name: {"model": name} for name in ("majority", "tfidf")} | {"small": {"model": "base"}}
    settings = {"rows": 4, "max_new_tokens": 4, "batch_size": 4, "resamples": 100, "systems": systems}
    recipe = recipe.model_copy(update={"evaluation": EvaluationSettings.model_validate(settings)})
    load_model(prepare(str(model), folder), "none")  # what is imported here is not imported by each child

    def work(store: Store) -> Path:
        return evaluate(store.root / version.relative_to(folder / "template"), None, recipe, store)

    held = killed_at_every_step(folder, "scorecards", work, 2)
    assert held == sorted(held)
    assert held.count(0) >= 3


@pytest.mark.slow
def test_an_evaluation_that_is_killed_and_run_again_gives_the_same_scorecard(tmp_path: Path) -> None:
    in_fresh_process(evaluations, tmp_path)


def trainings(folder: Path) -> None:
    from tests.tiny import recipe_for, write_model, write_version
    from train.base_model import load_model, prepare
    from train.qlora import train

    os.fsync = lambda _: None
    model = write_model(folder / "model")
    version = write_version(Store(folder / "template"), model, rows=16)
    recipe = recipe_for(model, rows=4)
    load_model(prepare(str(model), folder), "none")

    def work(store: Store) -> Path:
        return train(store.root / version.relative_to(folder / "template"), recipe, store)

    held = killed_at_every_step(folder, "adapters", work, 3)
    assert held == sorted(held)
    assert held.count(0) >= 2


@pytest.mark.slow
def test_a_training_that_is_killed_and_run_again_gives_the_same_adapter(tmp_path: Path) -> None:
    in_fresh_process(trainings, tmp_path)
