"""Drops that arrive: whole or not, known or new, and four of them from the first look to the ledger."""

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

from assay.retraction import retract
from curate import arrival
from curate.arrival import Arrival, look, overdue
from curate.engine import map_in_process
from curate.errors import AssayError
from curate.pipeline import curate
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.attacks.test_environment import as_a_mere_user
from tests.project import Project
from tests.sets import questions


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(arrival, "_steady", clock)
    return clock


Make = Callable[..., FullRecipe]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    Project(tmp_path)

    def recipe(**sections: Any) -> FullRecipe:
        said = {
            "name": "set",
            "drop": "inbox",
            "sources": [{"files": ["*.jsonl"]}],
            "contract": "contract",
            "render": {"task": "conversation", "chat": "chatml"},
            "fit": {"model": "tokenizer", "max_tokens": 4000},
        }
        document = yaml.safe_load((tmp_path / "contract/contract.yaml").read_text())
        document["schema"][0]["properties"] = document["schema"][0]["properties"][:1]
        (tmp_path / "contract/contract.yaml").write_text(yaml.safe_dump(document))
        (tmp_path / "contract/target.schema.json").unlink(missing_ok=True)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(said | sections))
        (tmp_path / "inbox").mkdir(exist_ok=True)
        return FullRecipe.load(tmp_path / "recipe.yaml")

    return recipe


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(folder: Path, rows: list[dict[str, Any]], name: str = "a.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def test_files_that_are_still(make: Make, store: Store, tmp_path: Path, clock: Clock) -> None:
    recipe = make(arrival={"still_seconds": 60})
    assert [(each.state, each.why) for each in look(recipe, store)] == [("waiting", "no file is there")]
    write(tmp_path / "inbox", questions(10))
    assert look(recipe, store)[0].why == "its files changed less than 60 s ago"
    clock.now += 59
    assert look(recipe, store)[0].state == "waiting"
    write(tmp_path / "inbox", questions(20))  # it is still being copied
    clock.now += 59
    assert look(recipe, store)[0].state == "waiting"
    clock.now += 61
    (found,) = look(recipe, store)
    assert (found.state, found.due) == ("arrived", True)
    (again,) = look(recipe, store)
    assert (again.state, again.due, again.drop) == ("arrived", False, found.drop)
    assert [event["event"] for event in store.events()] == ["arrived"]


def test_what_nothing_has_become_of_is_due_again_each_hour(
    make: Make, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(arrival={"still_seconds": 0})
    write(tmp_path / "inbox", questions(10))
    (first,) = look(recipe, store)
    begun = datetime.fromisoformat(store.events()[0]["time"])

    def later(**passed: int) -> bool:
        monkeypatch.setattr(arrival, "_now", lambda: begun + timedelta(**passed))
        (found,) = look(recipe, store)
        assert (found.state, found.drop) == ("arrived", first.drop)
        assert found.why == f"whole since {store.events()[0]['time']}"
        return found.due

    assert first.due
    assert not later(minutes=59)
    assert later(minutes=60)
    assert later(days=-1), "the clock was set back"
    monkeypatch.undo()
    assert not look(recipe, store)[0].due, "an hour counts from when it was last told"
    assert [event["event"] for event in store.events()] == ["arrived"] * 3
    store.record({"event": "refused", "name": "set", "drop": first.drop, "why": "columns"})
    monkeypatch.setattr(arrival, "_now", lambda: begun + timedelta(days=1))
    assert [(each.state, each.due) for each in look(recipe, store)] == [("known", False)]


def test_another_start_of_the_machine_begins_the_wait_anew(
    make: Make, store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make()
    write(tmp_path / "inbox", questions(10))
    look(recipe, store)
    clock.now = 5.0
    monkeypatch.setattr(arrival, "_boot", lambda: "another")
    assert look(recipe, store)[0].state == "waiting"
    clock.now += 60
    assert look(recipe, store)[0].state == "arrived"


def test_a_marker(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(arrival={"marker": "_SUCCESS"})
    write(tmp_path / "inbox", questions(10))
    assert look(recipe, store)[0].why == "its marker _SUCCESS is not there"
    (tmp_path / "inbox/_SUCCESS").touch()
    assert look(recipe, store)[0].state == "arrived"


@pytest.mark.parametrize("form", ["sha256sum", "json", "sizes"])
def test_a_manifest_of_sizes_and_hashes(make: Make, store: Store, tmp_path: Path, form: str) -> None:
    recipe = make(arrival={"manifest": "MANIFEST"})
    path = write(tmp_path / "inbox", questions(10))
    whole = path.read_bytes()
    assert look(recipe, store)[0].why == "its manifest MANIFEST is not there"
    sha256 = hashlib.sha256(whole).hexdigest()
    told = {"a.jsonl": {"bytes": len(whole)} | ({"sha256": sha256} if form == "json" else {})}
    text = f"{sha256}  ./a.jsonl\n" if form == "sha256sum" else json.dumps({"files": told})
    (tmp_path / "inbox/MANIFEST").write_text(text)
    path.write_bytes(whole[:100])
    why = "is not what its manifest says" if form == "sha256sum" else f"has 100 of {len(whole):,} bytes"
    assert look(recipe, store)[0].why == f"a.jsonl {why}"
    path.write_bytes(whole)
    assert look(recipe, store)[0].state == "arrived"
    path.unlink()
    assert look(recipe, store)[0].why.startswith("a.jsonl ")


@pytest.mark.parametrize("text", ["", "nothing of the kind", '{"files": [1]}', '{"other": {}}', "abc  a.jsonl"])
def test_a_manifest_of_no_known_form(make: Make, store: Store, tmp_path: Path, text: str) -> None:
    recipe = make(arrival={"manifest": "MANIFEST"})
    write(tmp_path / "inbox", questions(10))
    (tmp_path / "inbox/MANIFEST").write_text(text)
    (found,) = look(recipe, store)
    assert found.state == "unreadable"
    assert "MANIFEST: not readable as a manifest" in found.why
    assert "sha256sum" in found.why


def test_one_bad_delivery_stops_no_other(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(drop_is="delivery", arrival={"manifest": "MANIFEST"})
    whole: dict[str, Any] = {"files": {"a.jsonl": {}}}
    for name, told in (("1", whole), ("2", "no manifest"), ("3", {"files": {"b.csv": {}}}), ("4", whole)):
        path = write(tmp_path / "inbox" / name, questions(20)[int(name) :])
        (path.parent / "MANIFEST").write_text(json.dumps(told))
    (tmp_path / "inbox/3/a.jsonl").rename(tmp_path / "inbox/3/b.csv")
    write(tmp_path / "inbox/.uploads", questions(10))
    found = look(recipe, store)
    assert [Path(each.place).name for each in found] == ["1", "2", "3", "4"], "hidden folders are no deliveries"
    assert [(each.state, each.due) for each in found] == [
        ("arrived", True),
        ("unreadable", True),
        ("unreadable", True),
        ("arrived", True),
    ]
    assert "No file matches '*.jsonl'" in found[2].why
    assert [each.due for each in look(recipe, store)] == [False] * 4
    set_aside = [event for event in store.events() if event["event"] == "refused"]
    assert [(event["where"], event["why"], event["drop"], event["message"]) for event in set_aside] == [
        (each.place, "unreadable", each.drop, each.why) for each in found[1:3]
    ]
    (tmp_path / "inbox/2/MANIFEST").write_text(json.dumps(whole))
    assert [each.due for each in look(recipe, store)] == [False, True, False, False]
    (tmp_path / "inbox/2/MANIFEST").write_text("no manifest")
    assert [each.due for each in look(recipe, store)] == [False, True, False, False]


def test_a_drop_that_may_not_be_read_is_set_aside_until_it_may(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(drop_is="delivery", arrival={"still_seconds": 0})
    for name in ("1", "2", "3"):
        write(tmp_path / "inbox" / name, questions(30)[int(name) :])
    locked = [tmp_path / "inbox/1", tmp_path / "inbox/2/a.jsonl"]
    modes = [path.stat().st_mode for path in locked]

    def looked(*expected: tuple[str, bool]) -> None:
        found = look(recipe, store)
        assert [(each.state, each.due) for each in found] == [*expected]
        assert all("Permission denied" in each.why for each in found if each.state == "unreadable")

    def locked_out() -> None:
        looked(("unreadable", True), ("unreadable", True), ("arrived", True))
        looked(("unreadable", False), ("unreadable", False), ("arrived", False))

    for path in locked:
        path.chmod(0)
    as_a_mere_user(locked_out)
    set_aside = [event for event in store.events() if event["event"] == "refused"]
    assert [(Path(event["where"]).name, event["why"]) for event in set_aside] == [
        ("1", "unreadable"),
        ("2", "unreadable"),
    ]
    for path, mode in zip(locked, modes, strict=True):
        path.chmod(mode)
    as_a_mere_user(lambda: looked(("arrived", True), ("arrived", True), ("arrived", False)))


def test_what_does_not_change_is_tried_again_each_hour(
    make: Make, store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage was away, say."""
    recipe = make(arrival={"still_seconds": 0})
    write(tmp_path / "inbox", questions(10))
    tried: list[int] = []

    def away(*_: Any) -> None:
        tried.append(1)
        raise AssayError(f"The storage is away, for the {len(tried)}. time.")

    with monkeypatch.context() as patch:
        patch.setattr(arrival, "find_files", away)
        assert [look(recipe, store)[0].due for _ in range(3)] == [True, False, False]
        clock.now += 3600
        (found,) = look(recipe, store)
    assert (found.state, found.due, len(tried)) == ("unreadable", False, 2)
    assert look(recipe, store) == [found]
    clock.now += 3600
    (found,) = look(recipe, store)
    assert (found.state, found.due) == ("arrived", True)


def test_the_ledger_is_read_once_however_many_deliveries_there_are(
    make: Make, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(drop_is="delivery", arrival={"still_seconds": 0})
    for name in "abc":
        write(tmp_path / "inbox" / name, questions(10))
    reads: list[int] = []
    monkeypatch.setattr(store, "events", lambda: reads.append(1) or Store.events(store))
    assert [each.due for each in look(recipe, store)] == [True, False, False], "the same drop thrice"
    assert len(reads) == 1


def test_the_marker_of_the_first_delivery_passes_no_later_one(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(arrival={"marker": "_SUCCESS"})
    inbox = tmp_path / "inbox"
    write(inbox, questions(10))
    (inbox / "_SUCCESS").touch()
    (first,) = look(recipe, store)
    assert first.due
    write(inbox, questions(20)[10:15], "b.jsonl")
    (found,) = look(recipe, store)
    assert (found.state, found.why.partition(":")[0]) == ("waiting", "its marker _SUCCESS is that of the files before")
    write(inbox, questions(20)[10:], "b.jsonl")
    assert look(recipe, store)[0].state == "waiting"
    (inbox / "_SUCCESS").touch()
    (second,) = look(recipe, store)
    assert (second.state, second.due) == ("arrived", True)
    assert second.drop != first.drop


@pytest.mark.parametrize("rule", ["marker", "manifest"])
def test_a_hidden_marker_or_manifest(make: Make, store: Store, tmp_path: Path, rule: str) -> None:
    recipe = make(arrival={rule: ".done"})
    write(tmp_path / "inbox", questions(10))
    write(tmp_path / "inbox", questions(1), ".hidden.jsonl")
    assert look(recipe, store)[0].state == "waiting"
    (tmp_path / "inbox/.done").write_text(json.dumps({"files": {"a.jsonl": {}, ".hidden.jsonl": {"bytes": 7}}}))
    (found,) = look(recipe, store)
    assert (found.state, found.why.partition(" ")[0]) == (
        ("arrived", "whole") if rule == "marker" else ("waiting", ".hidden.jsonl")
    )
    size = (tmp_path / "inbox/.hidden.jsonl").stat().st_size
    (tmp_path / "inbox/.done").write_text(json.dumps({"files": {"a.jsonl": {}, ".hidden.jsonl": {"bytes": size}}}))
    assert look(recipe, store)[0].state == "arrived"


def test_a_secret_of_the_drops_url_is_not_told(make: Make, store: Store, tmp_path: Path) -> None:
    make(arrival={"still_seconds": 60})
    recipe = FullRecipe.load(tmp_path / "recipe.yaml", drop="memory://us:pass@/nowhere?token=secret")
    (found,) = look(recipe, store)
    notes = "".join(path.read_text() for path in (store.root / "arrivals").rglob("*.json"))
    for secret in ("pass", "secret"):
        assert secret not in found.place + found.why + notes


def test_two_machines_that_look_in_turn(
    make: Make, store: Store, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make()
    write(tmp_path / "inbox", questions(10))
    clocks = {"one": 1000.0, "two": 5.0}

    def seen_by(machine: str) -> tuple[str, bool]:
        monkeypatch.setattr(arrival, "_boot", lambda: machine)
        clock.now = clocks[machine]
        (found,) = look(recipe, store)
        return found.state, found.due

    for _ in range(6):
        assert (seen_by("one"), seen_by("two")) == (("waiting", False),) * 2
        clocks = {machine: at + 10 for machine, at in clocks.items()}
    assert seen_by("one") == ("arrived", True)
    monkeypatch.setattr(arrival, "find_files", None)  # what is known is not hashed again
    assert seen_by("two") == ("arrived", False)


def test_a_place_that_is_not_there(make: Make, store: Store) -> None:
    (found,) = look(make(drop="nowhere"), store)
    assert found.state == "unreadable"
    assert "nowhere: no such folder" in found.why
    with pytest.raises(AssayError, match="no such folder"):
        look(make(drop="nowhere", drop_is="delivery"), store)


def test_two_who_look_at_once(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(arrival={"still_seconds": 0})
    write(tmp_path / "inbox", questions(10))
    with ThreadPoolExecutor(8) as threads:
        found = [each for (each,) in threads.map(lambda _: look(recipe, store), range(8))]
    assert {each.state for each in found} == {"arrived"}
    assert sum(each.due for each in found) == 1
    assert [event["event"] for event in store.events()] == ["arrived"]


def test_a_prefix_of_object_storage(make: Make, store: Store, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/arrivals/one/a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in questions(10)))
    make(drop_is="delivery", arrival={"marker": "_SUCCESS"})
    recipe = FullRecipe.load(tmp_path / "recipe.yaml", drop="memory://arrivals")
    assert [each.why for each in look(recipe, store)] == ["its marker _SUCCESS is not there"]
    memory.pipe_file("/arrivals/one/_SUCCESS", b"")
    (found,) = look(recipe, store)
    assert (found.state, found.place) == ("arrived", "memory://arrivals/one")
    memory.rm("/arrivals", recursive=True)


def test_no_drop_for_longer_than_the_contract_allows(
    make: Make, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(arrival={"still_seconds": 0})
    now = datetime.now(UTC)
    said: list[str] = []

    def late(**passed: int) -> int:
        overdue(recipe, store, now + timedelta(**passed), said.append)
        return len(said)

    assert late(days=999) == 0, "the contract says nothing"
    path = tmp_path / "contract/contract.yaml"
    level = {"slaProperties": [{"property": "freshness", "value": 36, "unit": "h"}]}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | level))
    assert late(days=999) == 0, "none has come yet"
    write(tmp_path / "inbox", questions(10))
    (found,) = look(recipe, store)
    assert late(hours=35) == 0
    monkeypatch.setattr(arrival, "_now", lambda: now + timedelta(hours=2))
    assert look(recipe, store)[0].due
    monkeypatch.setattr(
        store, "record", lambda event: Store.record(store, event) if event["event"] == "arrived" else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):  # killed before the ledger knows
        late(hours=37)
    monkeypatch.undo()
    assert late(hours=37) == 2
    assert late(hours=38) == 2
    assert said[0] == said[1]
    assert "37 hours ago; the contract asks for one within 36 h" in said[0]
    store.record({"event": "arrived", "name": "set", "drop": found.drop})
    assert late(hours=39) == 2, "a drop that is told of again is no new one"
    with ThreadPoolExecutor(8) as threads:
        came = (now + timedelta(hours=40)).isoformat(timespec="seconds")
        store.record({"event": "arrived", "name": "set", "drop": "another", "time": came})
        [*threads.map(lambda _: late(hours=90), range(8))]
    assert len(said) == 3


def test_an_installed_package_does_not_arrive(make: Make, store: Store) -> None:
    package = {"package": "numpy", "files": ["numpy/*.jsonl"]}
    assert look(make(sources=[package], arrival={"still_seconds": 0}), store) == []
    assert store.events() == []
    (found,) = look(make(sources=[package, {"files": ["*.jsonl"]}], arrival={"still_seconds": 0}), store)
    assert (found.state, found.why) == ("waiting", "no file is there")


def curated(recipe: FullRecipe, store: Store, tmp_path: Path, found: Arrival) -> None:
    """What a watcher starts for a drop."""
    whole = FullRecipe.load(tmp_path / "recipe.yaml", drop=found.place)
    curate(whole, store, tokenizer_folder=tmp_path / "tokenizer", map_shards=map_in_process)


def test_a_drop_whose_version_was_retracted_was_never_seen(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(drop_is="delivery", arrival={"still_seconds": 0})
    write(tmp_path / "inbox/one", questions(20))
    write(tmp_path / "inbox/two", questions(40)[20:])

    def watch() -> list[tuple[str, bool]]:
        found = look(recipe, store)
        for each in found:
            if each.due:
                curated(recipe, store, tmp_path, each)
        return [(each.state, each.due) for each in found]

    assert watch() == [("arrived", True)] * 2
    assert watch() == [("known", False)] * 2
    first, second = (event["version"] for event in store.events() if event["event"] == "datasets")
    retract(f"set/{second}", store=store.root)
    assert watch() == [("known", False), ("arrived", True)]
    assert watch() == [("known", False)] * 2
    assert [path.name for path in store.versions("datasets", "set")] == sorted([first, second])
    retract(f"set/{first}", with_later=True, store=store.root)
    assert [each.due for each in look(recipe, store)] == [True, True]
    assert [(each.state, each.due) for each in look(recipe, store)] == [("arrived", False)] * 2, "told once"


def test_what_else_has_become_of_the_drop_still_stands(make: Make, store: Store, tmp_path: Path) -> None:
    recipe = make(arrival={"still_seconds": 0})
    write(tmp_path / "inbox", questions(20))
    (found,) = look(recipe, store)
    told = {"name": "set", "drop": found.drop}
    for version in ("one", "two"):
        store.record(told | {"event": "datasets", "version": version})
    for kind, name, version in (
        ("datasets", "set", "two"),
        ("adapters", "set", "one"),
        ("datasets", "other", "one"),
        ("datasets", "set", "three"),
    ):
        store.record({"event": "retracted", "kind": kind, "name": name, "version": version})
        assert look(recipe, store)[0].why == "published as version one"
    store.record(told | {"event": "refused", "why": "gate"})
    store.record({"event": "retracted", "kind": "datasets", "name": "set", "version": "one"})
    assert look(recipe, store)[0].why == "refused: gate"


def test_four_drops(make: Make, store: Store, tmp_path: Path, clock: Clock) -> None:
    """A good one; the same again under other names; one half-copied and then completed; one broken; one good."""
    recipe = make(drop_is="delivery", arrival={"still_seconds": 60})
    inbox = tmp_path / "inbox"

    def watch() -> dict[str, Arrival]:
        found = look(recipe, store)
        for each in found:
            if each.due:
                try:
                    curated(recipe, store, tmp_path, each)
                except AssayError:
                    assert store.events()[-1]["event"] == "refused"
        return {Path(each.place).name: each for each in look(recipe, store)}

    write(inbox / "1-good", questions(20))
    watch()
    clock.now += 61
    assert watch()["1-good"].state == "known"
    shutil.copytree(inbox / "1-good", inbox / "2-repeat")
    (inbox / "2-repeat/a.jsonl").rename(inbox / "2-repeat/renamed.jsonl")
    half = write(inbox / "3-half", questions(30)[20:]).read_bytes()
    (inbox / "3-half/a.jsonl").write_bytes(half[: len(half) // 2])
    watch()
    clock.now += 30
    (inbox / "3-half/a.jsonl").write_bytes(half)
    watch()
    clock.now += 31
    now = watch()
    assert (now["2-repeat"].state, now["3-half"].state) == ("known", "waiting")
    clock.now += 30
    assert watch()["3-half"].state == "known"
    write(inbox / "4-broken", [{"frage": row["prompt"], "antwort": row["answer"]} for row in questions(50)[30:]])
    write(inbox / "5-good", questions(60)[50:])
    watch()
    clock.now += 61
    now = watch()
    assert now["4-broken"].why == "refused: empty"
    assert {each.state for each in now.values()} == {"known"}
    first = now["1-good"]
    assert (now["2-repeat"].drop, now["2-repeat"].why) == (first.drop, first.why)
    told: dict[str, list[str]] = {}
    for event in store.events():
        if "where" in event:
            told.setdefault(Path(event["where"]).name, []).append(event["event"])
    good, refused = ["arrived", "datasets"], ["arrived", "refused"]
    assert told == {"1-good": good, "3-half": good, "4-broken": refused, "5-good": good}
    kept = [event["counts"]["kept"] for event in store.events() if event["event"] == "datasets"]
    assert kept == [20, 10, 10]
    assert store.resolve("datasets", "set").name == store.told("datasets", "set")[-1]["version"]
