"""`assay gc`: what no run needs goes, what is published stays, and whatever went is made again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.cache import SEAL, entries
from curate.drafts import locked
from curate.engines import host
from curate.errors import AssayError
from curate.garbage import DAY, freed
from tests.project import Project, make_rows

KEPT = ("datasets", "index", "ledger", "pointers")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def size(folder: Path) -> int:
    """Bytes on the disk, each file once however many names it has."""
    return sum({(stat := path.stat()).st_ino: stat.st_size for path in folder.rglob("*") if path.is_file()}.values())


def aged(folder: Path, days: float) -> None:
    """Let everything below have been asked for that long ago."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() - days * DAY,) * 2)


def test_nothing_goes_that_was_asked_for_lately(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(20))
    project.curate()
    found = assay.gc(store=tmp_path / "store")
    assert (found.items, found.bytes, found.removed) == ([], 0, False)


def test_what_is_old_goes_and_comes_again(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    curated = project.curate()
    store = tmp_path / "store"
    kept = {name: contents(store / name) for name in KEPT}
    cache = size(store / "cache")
    aged(store / "cache", 31)
    told = assay.gc(store=store)
    assert {each.kind for each in told.items} == {"cache"}
    assert len(told.items) == len(entries(store / "cache"))
    assert told.bytes == cache == size(store / "cache")
    done = assay.gc(store=store, remove=True)
    assert done.bytes == told.bytes
    assert entries(store / "cache") == []
    assert size(store / "cache") == 0
    assert {name: contents(store / name) for name in KEPT} == kept
    again = project.curate()
    assert again.folder == curated.folder
    assert {stage for stage, (cached, _) in again.cached.items() if cached} == {"publish"}, "the version is there"


def test_what_a_run_asks_for_again_is_young_again(tmp_path: Path) -> None:
    """After a change, what was superseded goes and what the last run took stays: it comes from the cache again."""
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    project.curate()
    store = tmp_path / "store"
    before = {each.folder for each in entries(store / "cache")}
    aged(store / "cache", 31)
    text = project.recipe_path.read_text()
    project.recipe_path.write_text(text.replace("max_chars: 400", "max_chars: 300"))
    project.curate()
    gone = {each.path for each in assay.gc(store=store, remove=True).items}
    assert gone
    assert gone < before
    again = project.curate()
    assert all(cached == shards for cached, shards in again.cached.values())


def test_a_cache_is_made_as_small_as_it_may_be(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    project.curate()
    store = tmp_path / "store"
    known = entries(store / "cache")
    needed = {each.base for each in known}
    assert needed - {None}, "some entries cannot be read without another"
    for number, each in enumerate(sorted(known, key=lambda each: each.folder)):
        os.utime(each.folder / SEAL, (time.time() - 1000 * (len(known) - number),) * 2)
    bound = size(store / "cache") // 2
    found = assay.gc(max_bytes=bound, store=store, remove=True)
    assert {each.why for each in found.items} == {"the cache is larger than it may be"}
    assert size(store / "cache") <= bound
    left = entries(store / "cache")
    assert left
    assert all(each.base is None or each.base.is_dir() for each in left), "what an entry needs stays with it"
    alone = [each.folder for each in known if each.folder not in needed and each.base is None]
    gone = [each.path for each in found.items if each.path in alone]
    assert gone == sorted(alone)[: len(gone)], "the one that nobody has asked for longest goes first"


def test_what_was_refused_and_taken_back_goes_by_its_days(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(20))
    store = tmp_path / "store"
    assay.retract(f"demo/{project.curate().folder.name}", store=store)
    (project.drop / "rows.jsonl").write_text("{}\n")
    with pytest.raises(AssayError):
        project.curate()
    assert assay.gc(store=store).items == []
    for place in ("failed/demo", "retracted/datasets/demo"):
        aged(store / place, 8)
    found = assay.gc(keep_days=7, store=store, remove=True)
    assert [each.kind for each in found.items] == ["candidate", "retracted"]
    assert list((store / "failed").iterdir()) == list((store / "retracted/datasets/demo").iterdir()) == []


def test_drafts_of_killed_processes_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    store = tmp_path / "store"
    dead, alive = store / "datasets/demo/.draft-dead", store / "datasets/demo/.draft-alive"
    for each in (dead, alive):
        each.mkdir(parents=True)
        (each / "half").write_bytes(b"0123456789")
    files = [store / place for place in ("pointers/datasets", "arrivals/demo", "monitor")]
    for folder in files:
        folder.mkdir(parents=True)
        (folder / ".draft-x").write_bytes(b"01234")
    with locked(alive):
        done = CliRunner().invoke(app, ["gc", "--yes", "--store", str(store), "--json"])
    told = json.loads(done.stdout)
    assert (told["removed"], told["bytes"], len(told["items"])) == (True, 25, 4)
    assert not dead.exists()
    assert (alive / "half").is_file()
    assert [path for folder in files for path in folder.iterdir()] == []


CLUSTERED = """
import os, signal, sys
from pathlib import Path
from curate.engines import host
with host.terms(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_on_a_cluster_leaves_goes_and_that_of_a_live_one_stays(tmp_path: Path) -> None:
    cache = tmp_path / "store/cache"
    with host.terms(cache) as terms:
        done = subprocess.run([sys.executable, "-c", CLUSTERED, str(cache)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(list(cache.iterdir())) == 2
        assert assay.check_store(store=tmp_path / "store").passed
        (waste,) = assay.gc(store=tmp_path / "store", remove=True).items
        assert waste.kind == "draft"
        assert list(cache.iterdir()) == [terms.mark]
        host.agree(terms)
    assert list(cache.iterdir()) == []


def test_notes_of_an_older_release_go(tmp_path: Path) -> None:
    old, new = tmp_path / "arrivals/demo.json", tmp_path / "arrivals/demo/notes.json"
    new.parent.mkdir(parents=True)
    for notes in (old, new):
        notes.write_text("{}")
    found = assay.gc(store=tmp_path, remove=True)
    assert [(each.kind, each.path) for each in found.items] == [("notes", old)]
    assert (found.bytes, old.exists(), new.exists()) == (2, False, True)


def test_links_are_counted_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/one").write_bytes(b"0" * 100)
    os.link(tmp_path / "a/one", tmp_path / "b/one")
    (tmp_path / "b/two").write_bytes(b"0" * 7)
    assert freed([tmp_path / "a"]) == 0
    assert freed([tmp_path / "b"]) == 7
    assert freed([tmp_path / "a", tmp_path / "b"]) == 107


def test_a_number_that_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="Keep -1"):
        assay.gc(keep_days=-1, store=tmp_path)
