"""Machines that share a store in a bucket: what one does, each other knows with its next command."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import assay
from curate import mirror
from curate.bucket import Bucket, _says_exists
from curate.cache import cache_text, entries, keyed_folder
from curate.changing import Changing
from curate.drafts import drafted
from curate.errors import AssayError
from curate.forgotten import Forgotten, ForgottenMeanwhileError, forget_again, read_forgotten, require_as_known
from curate.garbage import find_waste
from curate.pointers import Pointer
from curate.publish.version import Curated
from curate.shared import move_version, remove_folder, replace_folder
from curate.store import Store
from tests.buckets import Request, Served
from tests.curate.test_objects import bucket, curated, machine, publish, server
from tests.project import Project, make_rows

__all__ = ["bucket", "server"]
NAMED = "Jane Doe"


def forgotten_elsewhere(bucket: Served, folder: Path) -> None:
    """Another machine forgets a row."""
    forget_again(machine(bucket, folder).root, Forgotten(frozenset(["f" * 32])), "asked")


def test_copies_go_though_a_run_has_looked_at_the_list_before(bucket: Served, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path / "one")
    entry = keyed_folder(store.cache / "stages", "ab" * 16)
    cache_text(entry, "rows", NAMED)
    known = read_forgotten(store.root)
    forgotten_elsewhere(bucket, tmp_path / "other")
    with pytest.raises(ForgottenMeanwhileError):
        require_as_known(store.root, known)
    assert entry.is_dir()
    machine(bucket, tmp_path / "one").refresh()
    assert not entry.exists()
    cache_text(entry, "rows", "made again")
    machine(bucket, tmp_path / "one").refresh()
    assert entry.is_dir(), "it is done once"


def test_what_was_refused_and_segments_that_are_gone_go_too(bucket: Served, tmp_path: Path) -> None:
    store, other = machine(bucket, tmp_path / "one"), machine(bucket, tmp_path / "other")
    with drafted(store.failed) as draft:
        (draft / "made").mkdir()
        (draft / "made/quarantine.parquet").write_text(NAMED)
        replace_folder(draft / "made", store.failed / "demo")
    other.fetch_refused()
    (other.index / "demo/segments").mkdir(parents=True)
    (other.index / "demo/segments/a.rows.arrow").write_text(NAMED)
    remove_folder(store.failed / "demo")
    forget_again(store.root, Forgotten(frozenset(["f" * 32])), "asked")
    machine(bucket, tmp_path / "other").refresh()
    assert not [path for path in other.root.rglob("*") if path.is_file() and NAMED.encode() in path.read_bytes()]


def test_a_version_of_which_anew_is_told_is_taken_again(bucket: Served, tmp_path: Path) -> None:
    """Of a later version the report compares with the earlier one, of which a label or folder went with its row."""
    project = Project(tmp_path / "project")
    project.add("sub.jsonl", make_rows(40))
    (project.drop / "jane").mkdir()
    (project.drop / "jane/1.jsonl").write_text(json.dumps(make_rows(60, 7)[45]) + "\n")
    recipe = yaml.safe_load(project.recipe_path.read_text())
    project.recipe_path.write_text(yaml.safe_dump(recipe | {"sources": [{"files": ["**/*.jsonl"]}]}))
    one = machine(bucket, tmp_path / "one")
    first: Curated = curated(project, one)
    tables = [pq.read_table(first.folder / f"{name}.parquet") for name in ("train", "validation", "test")]
    [id_] = [row["id"] for table in tables for row in table.to_pylist() if row["source"]["file"].startswith("jane")]
    project.drop = project.folder / "later"
    project.add("2.jsonl", make_rows(40, 3))
    second = f"demo/{curated(project, one).folder.name}"
    before = (machine(bucket, tmp_path / "other").resolve("datasets", second) / "report.html").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(mirror.PLACE, str(tmp_path / "one"))
        assert assay.forget([id_], remove=True, store=bucket.store).left == []
    other = machine(bucket, tmp_path / "other")
    report = other.resolve("datasets", second) / "report.html"
    assert before != report.read_bytes() == (one.resolve("datasets", second) / "report.html").read_bytes()
    assert (report.parent / "train.parquet").is_file()


def test_lines_are_told_anew_by_who_comes_after_a_killed_process(
    bucket: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machine(bucket, tmp_path / "one"), machine(bucket, tmp_path / "other")
    one.record({"event": "refused", "name": "demo", "message": NAMED})
    assert other.events()[0]["message"] == NAMED
    with monkeypatch.context() as patch:
        patch.setattr(Changing, "_put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            one.reword(lambda text: text.replace(NAMED, "(forgotten)"))
    one.reword(lambda text: text.replace(NAMED, "(forgotten)"))
    assert [store.events()[0]["message"] for store in (one, other)] == ["(forgotten)"] * 2


def test_no_change_of_a_pointer_is_undone(bucket: Served, tmp_path: Path) -> None:
    one, other = machine(bucket, tmp_path / "one"), machine(bucket, tmp_path / "other")

    def add() -> None:
        with other.pointers.changed("datasets", "demo") as write:
            write((other.pointers.read("datasets", "demo") or Pointer(None)).at("b" * 16))

    with ThreadPoolExecutor(1) as thread:
        with one.pointers.changed("datasets", "demo") as write:
            adding = thread.submit(add)
            read = one.pointers.read("datasets", "demo") or Pointer(None)
            machine(bucket, tmp_path / "one").refresh()  # another command of this machine
            write(read.at("a" * 16))
        adding.result()
    pointer = one.pointers.read("datasets", "demo")
    assert pointer is not None
    assert (pointer.before, pointer.version) == (("a" * 16,), "b" * 16)


@pytest.mark.parametrize("what", ["move", "remove"])
def test_another_command_may_look_while_a_version_goes(bucket: Served, what: str, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path / "one")
    folder = publish(store, "1")

    def look(request: Request) -> None:
        if request.method in ("POST", "DELETE"):
            bucket.answered = lambda _: None
            store.refresh("datasets/demo")

    bucket.answered = look
    if what == "move":
        move_version(folder, store.retracted / "datasets/demo" / folder.name)
    else:
        remove_folder(folder)
    assert not folder.exists()
    assert machine(bucket, tmp_path / "other").versions("datasets", "demo") == []


def test_what_another_machine_has_used_stays(bucket: Served, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path / "one")
    entry = keyed_folder(store.cache / "stages", "ab" * 16)
    cache_text(entry, "rows", "text")
    os.utime(entry / "checksums", (0, 0))
    assert entries(store.cache)[0].used > 0
    assert [each for each in find_waste(store, 30.0) if each.kind == "cache"] == []


def test_a_refused_candidate_that_cannot_be_read_is_named(bucket: Served, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path / "one")
    bucket.write("failed/demo", b"garbage" * 500)
    with pytest.raises(AssayError, match=f"{bucket.store}/failed/demo: not readable") as caught:
        store.fetch_refused()
    assert "Remove that object" in caught.value.remedy
    assert bucket.read("failed/demo") == b"garbage" * 500


@pytest.mark.parametrize("sign", ["*", "[2026]"])
def test_a_prefix_that_is_a_pattern_is_refused(sign: str, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="takes for a pattern"):
        mirror.mirrored(f"s3://bucket/team{sign}")


def test_where_a_mirror_is_of_is_written_once(bucket: Served, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path / "one")
    before = (store.root / mirror.ADDRESS).stat()
    mirror._mirrors.clear()  # as in a new process
    machine(bucket, tmp_path / "one")
    after = (store.root / mirror.ADDRESS).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    ("code", "message", "exists"),
    [
        ("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", True),
        ("PreconditionFailed", "At least one of the preconditions you specified did not hold.", True),
        ("PreconditionFailed", "", True),
        ("412", "Precondition Failed", True),
        ("AccessDenied", "Access Denied", False),
        ("SlowDown", "Please reduce your request rate.", False),
        ("AccessDenied", "Access Denied (request 412)", False),
    ],
)
def test_whichever_way_a_storage_says_that_an_object_is_there(code: str, message: str, exists: bool) -> None:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    answer = ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")
    assert _says_exists(translate_boto_error(answer)) == exists


def test_who_is_told_of_a_conflict_tries_again(bucket: Served) -> None:
    from botocore.exceptions import ClientError

    storage, calls = Bucket(bucket.store), list[int]()

    def put(*_: object, **__: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": "conflict"}}, "PutObject")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_require_conditional", lambda: None)
        patch.setattr(storage._storage, "pipe_file", put)
        assert storage.create("x", b"1")
    assert len(calls) == 2


def test_a_run_during_which_rows_were_forgotten_leaves_none(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("0.jsonl", make_rows(40))
    store = Store(tmp_path / "store")

    def forgetting(name: str, function, tasks, /):  # type: ignore[no-untyped-def]
        if " to " in name:
            forget_again(store.root, Forgotten(frozenset(["f" * 32])), "asked")
        return [function(task) for task in tasks]

    with pytest.raises(ForgottenMeanwhileError):
        project.curate(map_shards=forgetting)
    assert [
        each.folder for each in entries(store.cache) if each.folder.relative_to(store.cache).parts[0] != "models"
    ] == []
