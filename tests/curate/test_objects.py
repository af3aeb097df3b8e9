"""A store in a bucket: what a store that is a folder promises, with faults of storage, network and processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from assay.cli import app
from assay.web import find_file, index_page
from curate import lease, mirror
from curate.arrival import look
from curate.bucket import Bucket
from curate.cache import cache_text, entries, intact, is_kept, keyed_folder, mended
from curate.engine import map_in_process
from curate.errors import AssayError, RotError
from curate.garbage import find_waste, remove_waste
from curate.lease import LostError, leased
from curate.pipeline import curate
from curate.publish.check import check_version
from curate.publish.refused import RefusedError, candidate
from curate.publish.version import Curated
from curate.store import Store, store_at, verified, verified_whole
from evaluation.ask.kept import kept_in
from evaluation.judge.answer import Generated
from evaluation.settings import FullRecipe
from tests.buckets import Fault, Request, Served, served
from tests.clouds import Cloud
from tests.curate.test_unharmed import lighten
from tests.project import Project, make_rows
from train.checkpoints import Checkpoints, step_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture
def bucket(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The bucket, in which this process works below a name of its own."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(lease.SECONDS, "60")  # however busy this machine is
    monkeypatch.setattr(mirror, "_mirrors", {})
    server.heal()
    server.begin()
    yield server
    server.heal()


def machine(bucket: Served | Cloud, folder: Path) -> Store:
    """The store as a machine sees it that keeps its mirror in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(mirror.PLACE, str(folder))
        return store_at(bucket.store)


def publish(store: Store, text: str, name: str = "demo") -> Path:
    """Publish a version of three files, one of which only tells of it, as any code does."""
    with store.publishing("datasets", name, unhashed=frozenset({"note.txt"})) as draft:
        (draft.folder / "a.txt").write_text(text)
        (draft.folder / "data_docs").mkdir()
        (draft.folder / "data_docs/b.txt").write_text(text * 2)
        folder = draft.publish({"name": name}, lambda folder, _: (folder / "note.txt").write_text("told") and None)
    store.record({"event": "datasets", "name": name, "version": folder.name})
    store.promote("datasets", name, folder.name)
    return folder


def whole(store: Store, folder: Path) -> bool:
    """Whether a version is there for a store's readers; and is so whole, or this fails."""
    found = store.versions("datasets", folder.parent.name)
    for each in found:
        verified_whole(each)
        assert (each / "a.txt").read_text() * 2 == (each / "data_docs/b.txt").read_text()
    return folder.name in [each.name for each in found]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("objects") / "project")
    project.add("0.jsonl", make_rows(40))
    return project


def curated(project: Project, store: Store, recipe: FullRecipe | None = None) -> Curated:
    return curate(
        recipe or project.recipe, store, tokenizer_folder=project.tokenizer, map_shards=map_in_process, shard_bytes=5000
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_curation_publishes_the_bytes_that_it_publishes_into_a_folder(
    bucket: Served, project: Project, tmp_path: Path
) -> None:
    local = curated(project, Store(tmp_path / "local"))
    there = curated(project, machine(bucket, tmp_path / "one"))
    assert files(there.folder) == files(local.folder)
    other = machine(bucket, tmp_path / "other")
    assert other.versions("datasets", "demo") == [other.root / "datasets/demo" / local.folder.name]
    assert not (other.root / f"datasets/demo/{local.folder.name}/train.parquet").exists(), "it is not read yet"
    assert files(other.resolve("datasets", "demo")) == files(local.folder)
    assert not any(check.failures for check in check_version(other.resolve("datasets", "demo")))
    assert [event["event"] for event in other.events()] == ["datasets", "promoted"]
    bucket.requests.clear()
    again = curated(project, other)
    assert again.folder.name == local.folder.name
    assert {name: done for name, (done, of) in again.cached.items() if done < of} == {}, "nothing is done again"
    assert not [request.key for request in bucket.requests if request.method == "PUT" and "/cache/" in request.key]


def test_the_next_drop_is_compared_on_another_machine_with_what_is_there(
    bucket: Served, project: Project, tmp_path: Path
) -> None:
    more = Project(tmp_path / "project")
    for number in range(2):
        more.add(f"{number}.jsonl", make_rows(40, number))
    folders = []
    for stores in (
        [Store(tmp_path / "local")] * 2,
        [machine(bucket, tmp_path / "one"), machine(bucket, tmp_path / "other")],
    ):
        curated(project, stores[0])
        folders.append(curated(more, stores[1]).folder)
    assert files(folders[0]) == files(folders[1])
    assert json.loads((folders[1] / "manifest.json").read_bytes())["index"]["compared_with"]


def after(server: Served, number: int, fault: Fault, method: str = "PUT") -> None:
    """Let the nth request of a method go wrong, and all after it if they are to be refused or dropped."""
    count = iter(range(1, 10**6))

    def rule(request: Request) -> Fault | None:
        if request.method != method:
            return None
        at = next(count)
        return fault if at == number or (fault != "answer lost" and at > number) else None

    server.fault = rule


def every(some: int, faults: list[Fault]) -> list[Any]:
    """Faults of one in so many requests, by turns; of every request where there is time for it."""
    quick = [pytest.param(fault, begin + 1, some, id=f"some {fault}") for begin, fault in enumerate(faults)]
    return quick + [pytest.param(fault, 1, 1, id=fault, marks=pytest.mark.slow) for fault in faults]


@pytest.mark.parametrize(("fault", "begin", "step"), every(8, ["answer lost", "dropped", "refused"]))
def test_whichever_put_fails_there_is_no_version_or_a_whole_one(
    bucket: Served, fault: Fault, begin: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(machine(bucket, tmp_path / "count"), "0", "count")
    puts = sum(request.method == "PUT" for request in bucket.requests)
    assert puts >= 15
    told: set[str] = set()
    wanted = publish(Store(tmp_path / "local"), "1")
    for number in range(begin, puts + 2, step):
        bucket.begin()
        reader, store = machine(bucket, tmp_path / "reader"), machine(bucket, tmp_path / "writer")
        after(bucket, number, fault)
        monkeypatch.setenv(lease.SECONDS, "1")  # of what it leaves behind
        try:
            assert publish(store, "1").name == wanted.name
        except AssayError as error:
            told.add(str(error))
        bucket.heal()
        monkeypatch.setenv(lease.SECONDS, "60")
        whole(reader, wanted)
        publish(machine(bucket, tmp_path / "next"), "1")
        assert whole(reader, wanted)
        assert reader.resolve("datasets", "demo").name == wanted.name
    assert all("un the same command again" in each for each in told)
    assert not any("hush" in each for each in told), "no secret is told"


@pytest.mark.parametrize(("fault", "begin", "step"), every(9, ["refused", "cut", "dropped"]))
def test_what_is_read_through_a_connection_that_breaks_is_right_or_an_error(
    bucket: Served, fault: Fault, begin: int, step: int, tmp_path: Path
) -> None:
    folder = publish(machine(bucket, tmp_path / "writer"), "text" * 9999)
    gets = len(bucket.requests)
    read = 0
    for number in range(begin, gets, step):
        after(bucket, number, fault, "GET")
        try:
            found = machine(bucket, tmp_path / f"reader {number}").resolve("datasets", "demo")
        except AssayError as error:
            assert "same command again" in error.remedy  # noqa: PT017
            continue
        read += 1
        assert files(found) == files(folder)
    bucket.heal()
    assert read, "fewer requests are made than are broken"
    assert whole(machine(bucket, tmp_path / f"reader {begin}"), folder), (
        "what had been fetched in part is as it is to be"
    )


def test_a_reader_sees_a_version_whole_or_not_at_all_whenever_it_looks(bucket: Served, tmp_path: Path) -> None:
    writer, reader = machine(bucket, tmp_path / "writer"), machine(bucket, tmp_path / "reader")
    wanted = publish(Store(tmp_path / "local"), "1")
    seen = []

    def look(request: Request) -> None:
        if request.method == "PUT":
            bucket.answered = lambda _: None
            seen.append(whole(reader, wanted))
            bucket.answered = look

    bucket.answered = look
    publish(writer, "1")
    assert seen == sorted(seen), "once it is there it stays"
    assert {*seen} == {False, True}


WRITER = """
import sys
from pathlib import Path
from curate.store import store_at
from tests.curate.test_objects import publish
store = store_at(sys.argv[1])
for text in sys.argv[2:]:
    publish(store, text)
"""


def started(bucket: Served | Cloud, folder: Path, *texts: str, lasts: str = "60") -> "subprocess.Popen[str]":
    """A process of another machine that publishes texts."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, bucket.store, *texts],
        cwd=ROOT,
        env=os.environ | {mirror.PLACE: str(folder), lease.SECONDS: lasts},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_machines_that_publish_at_once_do_not_undo_what_the_other_does(bucket: Served, tmp_path: Path) -> None:
    both = [started(bucket, tmp_path / f"writer {number}", "same", f"only {number}", "again") for number in range(2)]
    for each in both:
        _, told = each.communicate(timeout=100)
        assert each.returncode == 0, told
    reader = machine(bucket, tmp_path / "reader")
    published = {path.name: (verified(path, "a.txt")).read_text() for path in reader.versions("datasets", "demo")}
    assert sorted(published.values()) == ["again", "only 0", "only 1", "same"]
    for folder in reader.versions("datasets", "demo"):
        verified_whole(folder)
    told = [event["version"] for event in reader.events() if event["event"] == "datasets"]
    assert sorted(map(published.get, told)) == ["again", "again", "only 0", "only 1", "same", "same"]
    pointer = reader.pointed("datasets", "demo")
    promoted = [event["version"] for event in reader.events() if event["event"] == "promoted"]
    assert [*pointer.before, pointer.version] == promoted, "each saw what the one before had made"


@pytest.mark.parametrize("at", [1, 7, 13, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 5, 9, 11, 15))])
def test_a_machine_that_dies_at_any_put_leaves_nothing_half_published(bucket: Served, at: int, tmp_path: Path) -> None:
    count = iter(range(1, 10**6))
    wanted = publish(Store(tmp_path / "local"), "1")

    def kill(request: Request) -> None:
        if request.method == "PUT" and next(count) == at:
            process.send_signal(signal.SIGKILL)

    reader = machine(bucket, tmp_path / "reader")
    bucket.answered = kill
    process = started(bucket, tmp_path / "writer", "1", lasts="1")
    _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, told
    bucket.heal()
    there = whole(reader, wanted)
    publish(machine(bucket, tmp_path / "writer"), "1")
    assert whole(reader, wanted)
    assert reader.pointed("datasets", "demo").version == wanted.name
    assert reader.pointed("datasets", "demo").before == ()
    assert not there or "locks/store" in " ".join(bucket.names()), "a lock that a dead machine left was taken over"


def test_a_curation_goes_on_where_a_machine_died(
    bucket: Served, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, which has nothing of it but what lies in the bucket."""
    puts = iter(range(1, 10**6))
    monkeypatch.setenv(lease.SECONDS, "1")
    bucket.fault = lambda request: "refused" if request.method == "PUT" and next(puts) > 30 else None
    with pytest.raises(AssayError, match="could not"):
        curated(project, machine(bucket, tmp_path / "one"))
    bucket.heal()
    monkeypatch.setenv(lease.SECONDS, "60")
    done = curated(project, machine(bucket, tmp_path / "other"))
    found, shards = done.cached["read"]
    assert found == shards > 1
    assert files(done.folder) == files(curated(project, Store(tmp_path / "local")).folder)


def test_the_lock_of_a_dead_owner_is_taken_over_and_it_publishes_nothing_more(
    bucket: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = machine(bucket, tmp_path / "first"), machine(bucket, tmp_path / "second")
    monkeypatch.setattr(lease.Lease, "_live", lambda self: self._ended.wait())  # it gives no sign of life
    monkeypatch.setenv(lease.SECONDS, "1")

    def overtaken() -> None:
        with pytest.MonkeyPatch.context() as alive:
            alive.setattr(lease.Lease, "_live", _live)
            alive.setenv(lease.SECONDS, "60")
            publish(second, "2")

    with first.publishing("datasets", "demo") as draft:
        (draft.folder / "a.txt").write_text("1")
        with pytest.raises(LostError, match="lost its turn"):
            draft.publish({"name": "demo"}, ready=overtaken)
    (only,) = machine(bucket, tmp_path / "reader").versions("datasets", "demo")
    assert verified(only, "a.txt").read_text() == "2"


_live = lease.Lease._live


WAITER = """
import sys
from curate.bucket import Bucket
from curate.lease import leased
with leased(Bucket(sys.argv[1]), "x", lambda: print("waits", flush=True)):
    print("has it")
"""


def test_who_waits_for_a_lock_is_told_and_gets_it(bucket: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setenv(lease.SECONDS, "4")
    with leased(Bucket(bucket.store), "x") as held:
        command = [sys.executable, "-c", WAITER, bucket.store]
        waiting = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        told.append(waiting.stdout.readline())
        time.sleep(6)  # longer than it would take to take over that of a dead one
        held.require()
    told.append(waiting.communicate(timeout=20)[0])
    assert told == ["waits\n", "has it\n"]


def test_a_storage_that_keeps_no_object_is_refused(bucket: Served, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path)
    bucket.ignores_conditions = True
    with pytest.raises(AssayError, match="in the place of one that it was to keep"):
        publish(store, "1")
    assert not [name for name in bucket.names() if name.startswith(("published", "ledger"))]


def test_of_two_who_create_an_object_one_has(bucket: Served) -> None:
    one, other = Bucket(bucket.store), Bucket(bucket.store)
    assert one.create("x", b"1")
    assert not other.create("x", b"2")
    assert bucket.read("x") == b"1"


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_rot_of_the_bucket_is_told(bucket: Served, tmp_path: Path) -> None:
    folder = publish(machine(bucket, tmp_path / "writer"), "1")
    name = f"datasets/demo/{folder.name}/a.txt"
    bucket.write(name, flip(bucket.read(name)))
    reader = machine(bucket, tmp_path / "reader")
    with pytest.raises(
        AssayError, match=rf"{bucket.store}/{name}: changed since it was published: its SHA-256 is"
    ) as caught:
        reader.resolve("datasets", "demo")
    assert "Restore it from a copy" in caught.value.remedy
    bucket.client().delete_object(Bucket="store", Key=f"{bucket.number}/{name}")
    with pytest.raises(AssayError, match=rf"{bucket.store}/{name}: not there, though it was published"):
        verified(reader.root / "datasets/demo" / folder.name, "a.txt")


def test_rot_of_the_copy_is_told_and_it_is_fetched_again(bucket: Served, tmp_path: Path) -> None:
    folder = publish(machine(bucket, tmp_path / "writer"), "1")
    (folder / "a.txt").write_text("2")
    store = machine(bucket, tmp_path / "writer")
    there = f"{bucket.store}/datasets/demo/{folder.name}/a.txt"
    told = f"{there} (its copy {folder / 'a.txt'}): changed since it was published: its SHA-256 is "
    with pytest.raises(AssayError, match=re.escape(told)) as caught:
        verified_whole(folder)
    assert f"Remove {folder}: it is a copy" in caught.value.remedy
    (folder / "a.txt").unlink()
    assert verified(store.resolve("datasets", "demo"), "a.txt").read_text() == "1"


def test_an_entry_that_is_damaged_in_the_bucket_is_told_and_made_anew(bucket: Served, tmp_path: Path) -> None:
    entry, told = "cache/stages/ab/abcd", []

    def text(store: Store) -> str:
        folder = store.root / entry

        def run() -> str:
            if not is_kept(folder):
                cache_text(folder, "x", "text")
            return intact(folder, "x").read_text()

        return mended(run, tmp_path, lambda *call: told.append(call[0]))

    assert keyed_folder(Path("cache/stages"), "abcd") == Path(entry)
    assert text(machine(bucket, tmp_path / "one")) == "text"
    content = bucket.read(entry)
    assert text(machine(bucket, tmp_path / "two")) == "text"
    assert told == []
    for number, damaged in enumerate((content.replace(b"text", b"tent"), content[:700], b"")):
        bucket.write(entry, damaged)
        reader = machine(bucket, tmp_path / f"reader {number}")
        with pytest.raises(RotError):
            is_kept(reader.root / entry)
        bucket.write(entry, damaged)
        assert text(reader) == "text"
        assert "its object in the bucket" in told.pop()
        assert bucket.read(entry) == content, "the same bytes again"


def asked(store: str, *command: object, status: int = 0) -> dict[str, Any]:
    """The JSON that a command gives."""
    done = CliRunner().invoke(app, [*map(str, command), "--json", "--store", store])
    assert done.exit_code == status, (command, done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_commands_know_the_store_of_a_bucket(
    bucket: Served, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = Project(tmp_path / "project")
    more.add("0.jsonl", make_rows(30, 1))
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "one"))
    first, second = (curated(each, store_at(bucket.store)).folder.name for each in (project, more))
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "two"))

    def ask(*command: object, status: int = 0) -> dict[str, Any]:
        return asked(bucket.store, *command, status=status)

    assert [each["version"] for each in ask("versions", "demo")["versions"]] == [first, second]
    shown = ask("show", "demo")
    assert shown["version"] == second
    assert Path(shown["quarantine"]).is_file(), "what is named is there to be read"
    assert ask("diff", f"demo/{first}", "demo")["rows"]["before"] > 0
    assert ask("check", "demo")["passed"]
    assert ask("promote", f"demo/{first}")["before"] == [first, second]
    assert ask("rollback", "demo")["version"] == second
    checked = ask("check", "--all")
    assert (checked["passed"], checked["read"]["datasets"], checked["read"]["index"]) == (True, 2, 1)
    assert len(ask("lineage")["events"]) == 2
    assert ask("index", "check", "demo")["problems"] == []
    [shingles] = [name for name in bucket.names() if name.endswith("shingles.npy")]
    content = bucket.read(shingles)
    bucket.write(shingles, flip(content))
    done = CliRunner().invoke(app, ["index", "check", "demo", "--store", bucket.store])
    assert (done.exit_code, f"{shingles}: changed since" in done.stderr) == (1, True), "the copy here is sound"
    ask("index", "rebuild", "demo")
    assert bucket.read(shingles) == content
    [copy] = tmp_path.glob(f"two/*/{shingles}")
    copy.write_bytes(flip(content))
    [told] = ask("index", "check", "demo", status=1)["problems"]
    assert told == f"{bucket.store}/{shingles} (its copy {copy}): its bytes are not those that were written."
    copy.unlink()
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "three"))
    assert ask("retract", f"demo/{second}")["latest"] == first
    assert [each["version"] for each in ask("versions", "demo")["versions"]] == [first]
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "two"))
    assert [each["version"] for each in ask("versions", "demo")["versions"]] == [first], "nor does any other know it"
    assert ask("check", "--all")["passed"]
    assert [name for name in bucket.names() if name.startswith(f"retracted/datasets/demo/{second}/")]
    assert not [name for name in bucket.names() if name.startswith(f"datasets/demo/{second}")]


def test_what_a_bucket_does_not_need_is_found_and_removed(
    bucket: Served, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine(bucket, tmp_path / "one")
    curated(project, store)
    for name in ("a.txt", "manifest.json"):
        bucket.write(f"datasets/demo/{'0' * 16}/{name}", b"half")
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "other"))
    assert asked(bucket.store, "gc")["items"] == [], "all is of today"
    in_two_months = time.time() + 60 * 24 * 60 * 60
    monkeypatch.setattr(time, "time", lambda: in_two_months)
    found = asked(bucket.store, "gc", "--yes")
    assert {each["kind"] for each in found["items"]} == {"cache", "upload"}
    assert found["bytes"] > 10_000
    assert not [name for name in bucket.names() if name.startswith(("cache/", f"datasets/demo/{'0' * 16}"))]
    assert asked(bucket.store, "check", "--all")["passed"]
    assert len(asked(bucket.store, "versions", "demo")["versions"]) == 1


def test_what_is_forgotten_goes_from_the_bucket_and_from_every_mirror(
    bucket: Served, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = machine(bucket, tmp_path / "other")
    version = curated(project, other).folder
    row = pq.read_table(version / "train.parquet", columns=["id", "turns"]).to_pylist()[0]
    said = row["turns"][0]["content"].encode()
    assert len(said) > 20
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "one"))
    told = asked(bucket.store, "forget", row["id"], "--reason", "asked for", "--yes")
    assert (told["removed"], told["left"]) == (True, [])
    (now,) = asked(bucket.store, "versions", "demo")["versions"]
    assert now["version"] != version.name
    names = bucket.names()
    assert not [name for name in names if name.startswith("cache/stages/") or version.name in name]
    assert [name for name in names if said in bucket.read(name)] == []
    monkeypatch.setenv(mirror.PLACE, str(tmp_path / "other"))
    assert asked(bucket.store, "check", "--all")["passed"]
    assert [path for path in (tmp_path / "other").rglob("*") if path.is_file() and said in path.read_bytes()] == []
    assert not list(other.cache.rglob("kept.arrow")), "nor is the row there in packed form"
    with pytest.raises(AssayError, match="rows that were forgotten"):
        curated(project, machine(bucket, tmp_path / "third"))


def test_a_process_that_is_given_a_mirrors_path_knows_what_it_is(bucket: Served, tmp_path: Path) -> None:
    store = machine(bucket, tmp_path / "one")
    code = (
        "import sys; from pathlib import Path; from curate.store import Store; from tests.curate.test_objects import "
    )
    code += "publish; publish(Store(Path(sys.argv[1])), '1')"
    subprocess.run([sys.executable, "-c", code, store.root], cwd=ROOT, check=True)
    (folder,) = machine(bucket, tmp_path / "reader").versions("datasets", "demo")
    assert verified(folder, "a.txt").read_text() == "1"


def test_the_last_checkpoint_of_a_machine_that_is_gone_is_found(bucket: Served, tmp_path: Path) -> None:
    def written(folder: Path) -> None:
        (folder / "state").write_text(folder.name)

    first = Checkpoints(machine(bucket, tmp_path / "one").cache / "training/abcd", 2)
    for step in (1, 5, 20):
        first.add(step, written)
    assert sum(name.startswith("cache/training/abcd/checkpoint-") for name in bucket.names()) == 2, "the oldest goes"
    second = Checkpoints(machine(bucket, tmp_path / "two").cache / "training/abcd", 2)
    found = second.last()
    assert found is not None
    assert step_of(found) == 20
    assert (found / "state").is_file()
    second.clear()
    assert not [name for name in bucket.names() if name.startswith("cache/training")]


def test_what_an_endpoint_answered_one_machine_no_other_asks_again(bucket: Served, tmp_path: Path) -> None:
    one, two = (machine(bucket, tmp_path / name).cache / "endpoints/ab/abcd" for name in ("one", "two"))
    for folder, keys in ((one, "ab"), (two, "bc"), (one, "")):
        folder.mkdir(parents=True, exist_ok=True)
        with kept_in(folder) as kept:
            for key in keys:
                kept.add(key, Generated("text"), [])
    for folder in (one, two):
        with kept_in(folder) as kept:
            assert all(key in kept for key in "abc")


def test_what_was_refused_on_one_machine_is_looked_at_on_every_other(
    bucket: Served, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lighten(monkeypatch)
    quality = project.recipe.quality.model_copy(update={"min_chars": 300})
    one, other = machine(bucket, tmp_path / "one"), machine(bucket, tmp_path / "other")
    with pytest.raises(
        RefusedError, match=rf"is kept in {bucket.store}/failed/demo \(its copy {one.root}/failed/demo\)"
    ):
        curated(project, one, project.recipe.model_copy(update={"quality": quality}))
    for store in (one, other):
        store.fetch_refused()
        assert json.loads((candidate(store, "demo") / "refused.json").read_bytes())["why"] == "empty"
    in_two_months = time.time() + 60 * 24 * 60 * 60
    monkeypatch.setattr(time, "time", lambda: in_two_months)
    wasted = [each for each in find_waste(machine(bucket, tmp_path / "third")) if each.kind == "candidate"]
    assert [round(each.days) for each in wasted] == [60]
    remove_waste(wasted)
    other.fetch_refused()
    assert not candidate(other, "demo").is_dir()


def test_copies_of_a_drop_in_a_bucket_are_kept_as_the_machine_is_told(
    bucket: Served, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lighten(monkeypatch)
    for path in project.drop.iterdir():
        bucket.client().put_object(Bucket="drop", Key=f"in/{path.name}", Body=path.read_bytes())
    recipe = FullRecipe.load(project.recipe_path, drop="s3://drop/in")
    there = {}
    for keep in ("stages", "nothing"):
        monkeypatch.setenv("ASSAY_KEEP", keep)
        store = Store(tmp_path / keep)
        curated(project, store, recipe)
        there[keep] = [
            entry.folder for entry in entries(store.cache) if entry.folder.is_relative_to(store.cache / "remote")
        ]
    assert (len(there["stages"]), there["nothing"]) == (1, [])
    curated(project, Store(tmp_path / "stages"), recipe)
    assert there["stages"][0].is_dir(), "another run has made it"
    monkeypatch.setenv("ASSAY_KEEP", "stages")
    bucket.requests.clear()
    curated(project, Store(tmp_path / "stages"), recipe)
    assert not [request for request in bucket.requests if request.method == "GET" and request.key], (
        "it is not got again"
    )
    in_two_months = time.time() + 60 * 24 * 60 * 60
    monkeypatch.setattr(time, "time", lambda: in_two_months)
    assert there["stages"][0] in [each.path for each in find_waste(Store(tmp_path / "stages"))]


def test_reports_are_served_from_a_bucket(bucket: Served, project: Project, tmp_path: Path) -> None:
    version = curated(project, machine(bucket, tmp_path / "one")).folder
    reader = machine(bucket, tmp_path / "two")
    page = index_page(reader)
    assert f"datasets/demo/{version.name}/report.html" in page
    assert bucket.store in page
    docs = find_file(reader.root, f"/datasets/demo/{version.name}/data_docs/index.html")
    assert docs is not None
    assert docs.read_bytes() == (version / "data_docs/index.html").read_bytes()
    assert find_file(reader.root, f"/datasets/demo/{version.name}/no.html") is None


def test_who_looks_for_drops_on_two_machines_is_told_once(bucket: Served, project: Project, tmp_path: Path) -> None:
    recipe = project.recipe.model_copy(
        update={"arrival": project.recipe.arrival.model_copy(update={"still_seconds": 0})}
    )
    told = [look(recipe, machine(bucket, tmp_path / name))[0].due for name in ("one", "two", "one", "two")]
    assert told.count(True) == 1
