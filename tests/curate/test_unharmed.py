"""Runs that are killed, starved of space, locked out or crossed by others: nothing is half-published or half-indexed,
the message says what to do, and the next run gives the bytes of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from assay.cli import app
from assay.errors import explain
from curate.contract import Contract
from curate.errors import AssayError
from curate.hashing import file_digest
from curate.manifest import DatasetManifest
from curate.publish.gate import GateResult
from curate.publish.version import Curated
from curate.read.raw import InputFile, read_rows
from curate.sets.index import Index
from curate.store import Store
from tests.disks import disk, fill
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def two_drops(folder: Path) -> Project:
    """A project with the drops `first` and `second`: the second has rows equal, similar and contrary to the first's and
    of the same groups."""
    project = Project(folder)
    rows = make_rows(60)
    project.drop = folder / "first"
    project.add("a.jsonl", rows[:30])
    project.add("b.jsonl", rows[30:])
    project.drop = folder / "second"
    similar = [row | {"text": row["text"] + " now"} for row in rows[8:20]]
    contrary = [row | {"count": 10} for row in rows[20:26]]
    project.add("c.jsonl", rows[:8] + similar + contrary + make_rows(20, seed=1))
    return project


def run(project: Project, drop: str, store: str, **how: Any) -> Curated:
    project.drop = project.folder / drop
    return project.curate(store, **how)


def result(store: Path) -> dict[str, bytes]:
    """All that is published and indexed."""
    paths = [path for kind in ("datasets", "index") for path in (store / kind).rglob("*")]
    files = [path for path in paths if path.is_file() and path.name != "lock"]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def assert_whole(project: Project, store: str) -> None:
    """Every version is whole, and the index sound; at most it lacks a version that is published."""
    for folder in (project.folder / store / "datasets/demo").glob("[!.]*"):
        manifest = DatasetManifest.read(folder)
        assert {name: file_digest(folder / name) for name in manifest.files} == manifest.files
    index = Index(Store(project.folder / store), "demo", project.recipe.duplicates)
    index.segments()
    problems = index.check()
    assert all("published, but not indexed" in problem for problem in problems), problems


def light_gate(tables: Any, contract: Contract, docs_folder: Path, before: Path | None) -> GateResult:
    """Passes without Great Expectations, which takes longer than all the rest."""
    docs_folder.mkdir()
    rows = sum(table.num_rows for table in tables)
    (docs_folder / "index.html").write_text(f"{rows} rows held to {contract.name}")
    return GateResult(())


def lighten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("curate.publish.gate.check_set", light_gate)
    patch.setattr("curate.publish.gate.get_ready", lambda: None)
    write = "curate.publish.report.write_report"
    patch.setattr(write, lambda folder, *_: (folder / "report.html").write_text("report"))


def in_fresh_process(work: Callable[[Path], None], folder: Path) -> None:
    """Call a function of a module of tests in a process of its own, which may fork: nothing else runs in it."""
    code = f"import sys, pathlib, {work.__module__} as tests; tests.{work.__name__}(pathlib.Path(sys.argv[1]))"
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | threads, timeout=300)
    assert done.returncode == 0, done.stderr


def fork(work: Callable[[], object]) -> int:
    """Do something in a child; gives back its process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(child: int) -> int:
    """How a child ended: its exit status, or the signal that killed it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Killed.


def killed_at(place: int) -> None:
    """Kill this process just before its place-th step that changes what is on the disk for good.

    A file that was not yet told to be written is cut in half first, as a power failure may leave it.
    """
    steps = count(1)

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            if next(steps) == place:
                if real is fsync and (path := Path(f"/proc/self/fd/{arguments[0]}").readlink()).is_file():
                    os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return step

    fsync = os.fsync
    for name in ("rename", "replace", "unlink", "fsync"):
        setattr(os, name, before(getattr(os, name)))
    pq.write_table = before(pq.write_table)
    Store.record = before(Store.record)  # type: ignore[method-assign]
    Path.write_text = before(Path.write_text)  # type: ignore[method-assign]


def kill_at_some_steps(folder: Path) -> None:
    kill_at_steps(folder, 1, 12)


def kill_at_odd_steps(folder: Path) -> None:
    kill_at_steps(folder, 1, 2)


def kill_at_even_steps(folder: Path) -> None:
    kill_at_steps(folder, 2, 2)


def kill_at_steps(folder: Path, first: int, stride: int) -> None:
    """Of the second drop's run: each stage's outcome, each file published, the ledger, each file of the index."""
    lighten(pytest.MonkeyPatch())
    os.fsync = lambda _: None  # the disk's part is played by `killed_at`
    project = two_drops(folder)
    run(project, "first", "template")
    shutil.copytree(folder / "template", folder / "undisturbed")
    second = run(project, "second", "undisturbed")
    assert {"near_duplicate", "exact_duplicate", "conflict"} <= second.manifest.stages[-2].reasons.keys()
    expected = result(folder / "undisturbed")
    held: list[tuple[int, int]] = []
    place = first - stride
    while True:
        place += stride if held.count((2, 1)) < 5 else 2 * stride  # test_index.py takes every step of writing the index
        store = f"store-{place}"
        shutil.copytree(folder / "template", folder / store)

        def work(place: int = place, store: str = store) -> None:
            killed_at(place)
            run(project, "second", store)

        status = ended(fork(work))
        if status == -signal.SIGKILL:
            assert_whole(project, store)
            indexed = len(Index(Store(folder / store), "demo", project.recipe.duplicates).versions())
            held.append((len(Store(folder / store).versions("datasets", "demo")), indexed))
            run(project, "second", store)
        else:
            assert status == 0
        assert result(folder / store) == expected, place
        shutil.rmtree(folder / store)
        if status == 0:
            break
    # Published, then indexed, and never the other way; and it was killed in every part of the run.
    assert held == sorted(held)
    assert held.count((1, 1)) > (len(second.manifest.stages) + 8) // stride
    assert held.count((2, 1)) > 10 // stride
    assert (2, 2) in held or stride > 2


ALL_STEPS = [pytest.param(steps, marks=pytest.mark.slow) for steps in (kill_at_odd_steps, kill_at_even_steps)]


@pytest.mark.parametrize("steps", [kill_at_some_steps, *ALL_STEPS])
def test_killed_at_any_step_and_run_again_gives_the_same_bytes(steps: Callable[[Path], None], tmp_path: Path) -> None:
    in_fresh_process(steps, tmp_path)


# Two at once.


def at_once(folder: Path) -> None:
    lighten(pytest.MonkeyPatch())
    project = two_drops(folder)
    for store, drops in {"12": ["first", "second"], "21": ["second", "first"], "1": ["first"]}.items():
        for drop in drops:
            run(project, drop, store)
    expected = {name: result(folder / name) for name in ("12", "21", "1")}
    for number, pause in enumerate((0.0, 0.1, 0.3)):
        for pair in (("first", "second"), ("second", "first"), ("first", "first")):
            store = f"{number} {pair}"
            children = []
            for drop in pair:
                children.append(fork(partial(run, project, drop, store, shard_bytes=4000)))
                time.sleep(pause)
            assert [ended(child) for child in children] == [0, 0]
            found = result(folder / store)
            assert found in ([expected["1"]] if pair[0] == pair[1] else [expected["12"], expected["21"]]), store
            shutil.rmtree(folder / store)


@pytest.mark.slow
def test_two_runs_at_once_are_as_one_after_the_other(tmp_path: Path) -> None:
    in_fresh_process(at_once, tmp_path)


def one_is_killed(folder: Path) -> None:
    """One run waits for another, which is killed while it holds the lock."""
    patch = pytest.MonkeyPatch()
    lighten(patch)
    project = two_drops(folder)
    run(project, "second", "alone")
    read, write = os.pipe()

    def gate(*_: Any) -> GateResult:
        os.write(write, b"locked")
        signal.pause()
        raise AssertionError

    def first() -> None:
        patch.setattr("curate.publish.gate.check_set", gate)
        run(project, "first", "store")

    holder = fork(first)
    os.read(read, 6)

    def progress(what: str, done: int, *_: Any) -> None:
        if what == f"wait for process {holder}" and not done:
            os.kill(holder, signal.SIGKILL)

    assert ended(fork(lambda: run(project, "second", "store", progress=progress))) == 0
    assert ended(holder) == -signal.SIGKILL
    assert result(folder / "store") == result(folder / "alone")


def test_a_run_that_is_killed_holds_up_no_other(tmp_path: Path) -> None:
    in_fresh_process(one_is_killed, tmp_path)


# A full disk.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    with disk(tmp_path / "disk", 16) as folder:
        yield folder


@pytest.mark.slow
def test_a_full_disk_is_a_message_and_nothing_half_made(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lighten(monkeypatch)
    project = two_drops(tmp_path / "project")

    def free() -> int:
        return shutil.disk_usage(small_disk).free

    def curate_second() -> Any:
        command = ["curate", str(project.recipe_path), "--drop", str(project.folder / "second"), "--workers", "1"]
        return CliRunner().invoke(app, [*command, "--store", str(small_disk / "store")])

    template, store = project.folder / "template", small_disk / "store"
    run(project, "first", "template")
    shutil.copytree(template, store)
    before, before_it = free(), result(store)
    assert curate_second().exit_code == 0
    needed, expected = before - free(), result(store)
    got_to = set()
    for share in (0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97):
        shutil.rmtree(store)
        shutil.copytree(template, store)
        fill(small_disk, int(share * needed))
        done = curate_second()
        assert done.exit_code == 1, share
        assert "No space left on device" in done.output
        assert "Remedy: " in done.output
        assert "run the same command again" in done.output
        got_to.add(len(done.output.splitlines()))
        (small_disk / "ballast").unlink()
        if "The index of demo" not in done.output:
            assert result(store) == before_it, share
        assert curate_second().exit_code == 0
        assert result(store) == expected, share
    assert len(got_to) > 4, "each stage that ends leaves a line: it was full in different ones"


# Locked out.


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; those of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def locked_out(folder: Path) -> None:
    lighten(pytest.MonkeyPatch())
    project = two_drops(folder)
    project.recipe_path.write_text(project.recipe_path.read_text().replace("'*.jsonl'", "'**/*.jsonl'"))
    (folder / "second/deep").mkdir()
    shutil.move(folder / "second/c.jsonl", folder / "second/deep/c.jsonl")
    shutil.copy(folder / "first/a.jsonl", folder / "second/a.jsonl")
    run(project, "first", "store")
    shutil.copytree(folder / "store", folder / "undisturbed")
    run(project, "second", "undisturbed")
    before = result(folder / "store")

    def as_nobody() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        try:
            run(project, "second", "store")
        except (AssayError, OSError) as error:
            message, remedy = explain(error)
            assert f"{locked}" in message, message
            assert "Permission denied" in message, message
            assert remedy
        else:
            raise AssertionError(f"{locked} is no obstacle")

    modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
    own = [path for path in folder.rglob("*") if path.is_relative_to(folder / "store")]
    read, written = ["second/deep/c.jsonl", "second/deep"], ["", "/cache/stages", "/index/demo", "/datasets/demo"]
    for place in [*read, *(f"store{name}" for name in written)]:
        locked = folder / place
        for path in [folder / "store", *own]:
            if path.exists():
                path.chmod(0o777)
        for path in [locked, *locked.rglob("*")] if place.startswith("store") else [locked]:
            path.chmod(0o555 if place.startswith("store") else 0)
        assert ended(fork(as_nobody)) == 0, place
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)
        assert result(folder / "store") == before, place
    run(project, "second", "store")
    assert result(folder / "store") == result(folder / "undisturbed")


def test_what_may_not_be_read_or_written_is_named(open_folder: Path) -> None:
    in_fresh_process(locked_out, open_folder)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    lighten(monkeypatch)
    return two_drops(tmp_path)


def test_a_link_to_nothing_is_not_passed_over(project: Project) -> None:
    before = project.curate("before").manifest.counts
    (project.drop / "gone.jsonl").symlink_to(project.drop / "nowhere")
    version = project.curate("after")
    assert (version.manifest.counts.rows_in, version.manifest.counts.kept) == (before.rows_in + 1, before.kept)
    [row] = [
        row
        for row in pq.read_table(version.folder / "quarantine.parquet").to_pylist()
        if row["source"]["file"] == "gone.jsonl"
    ]
    assert row["reason"] == "unreadable"
    assert "a link that leads to no file" in row["evidence"]


def test_a_folder_that_is_called_like_a_file_is_none(project: Project) -> None:
    expected = project.curate("one").manifest.drop
    (project.drop / "folder.jsonl").mkdir()
    assert project.curate("two").manifest.drop == expected


@pytest.mark.parametrize("change", ["gone", "longer", "as long"])
def test_what_is_read_is_what_was_hashed(project: Project, change: str) -> None:
    path = project.drop / "c.jsonl"
    original = path.read_bytes()

    def changing(stage: str, function: Callable[[Any], Any], tasks: list[Any], /) -> list[Any]:
        if stage == "read":
            path.unlink()
            if change != "gone":
                path.write_bytes(original.replace(b"red", b"RED") if change == "as long" else original * 2)
        return [function(task) for task in tasks]

    long_enough = {"shard_bytes": len(original) - 1}  # for its hash to be taken before it is read
    if change == "longer":  # what was hashed is still there, and nothing else is read
        project.curate("store", changing, **long_enough)
    else:
        with pytest.raises(AssayError, match=r"c\.jsonl: "):
            project.curate("store", changing, **long_enough)
    path.write_bytes(original)
    again = project.curate("store")
    undisturbed = project.curate("undisturbed")
    assert result(project.folder / "store") == result(project.folder / "undisturbed")
    assert again.folder.name == undisturbed.folder.name


def test_rows_of_a_changed_file_are_read_to_the_end_only_if_it_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a")
    file = InputFile(path, "a.txt", file_digest(path), 1, "text")
    assert len(list(read_rows(file))) == 1
    path.write_text("b")
    with pytest.raises(AssayError, match=r"a\.txt: changed"):
        list(read_rows(file))
