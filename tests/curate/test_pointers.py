"""Pointers: what a NAME means is what was promoted last; it survives kills, rot is noticed, and older stores work."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.pointers import Pointer
from curate.store import Store
from curate.taken_back import TakenBackError
from tests.project import Project, make_rows


def publish(store: Store, text: str, kind: Any = "datasets") -> str:
    """A version, and its line in the ledger."""
    with store.publishing(kind, "demo") as draft:
        (draft.folder / "file.txt").write_text(text)
        version = draft.publish({"name": "demo"}).name
    store.record({"event": kind, "name": "demo", "version": version})
    return version


def latest(store: Store, kind: Any = "datasets") -> str:
    return store.resolve(kind, "demo").name


def test_a_name_means_what_was_promoted_last(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = (publish(store, text) for text in "ab")
    assert latest(store) == b  # by the ledger
    store.promote("datasets", "demo", a)
    assert latest(store) == a
    c = publish(store, "c")
    assert latest(store) == a
    store.promote("datasets", "demo", c)
    assert latest(store) == c
    assert store.pointers.read("datasets", "demo") == Pointer(c, (a, b, a))
    assert json.loads((tmp_path / "pointers/datasets/demo.json").read_text()).keys() == {
        "version", "before", "candidate", "check",
    }  # fmt: skip
    assert [each.name for each in (tmp_path / "pointers/datasets").iterdir()] == ["demo.json"]
    events = [event for event in store.events() if event["event"] == "promoted"]
    assert [(event["kind"], event["version"], event["before"]) for event in events] == [
        ("datasets", a, b),
        ("datasets", c, a),
    ]


def test_the_first_version_that_is_promoted_has_none_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a = publish(store, "a")
    store.promote("datasets", "demo", a)
    store.promote("datasets", "demo", a)
    assert store.pointers.read("datasets", "demo") == Pointer(a)
    with pytest.raises(AssayError, match=f"demo: no version before {a}"):
        store.roll_back("datasets", "demo")


def test_rolling_back_goes_to_the_one_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b, c = (publish(store, text) for text in "abc")
    for each in (b, a, c):
        store.promote("datasets", "demo", each)
    assert store.roll_back("datasets", "demo").version == latest(store) == a
    assert store.roll_back("datasets", "demo").version == latest(store) == b
    store.promote("datasets", "demo", c)
    assert latest(store) == c


def test_a_store_without_pointers_is_rolled_back_by_its_ledger(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, _b = (publish(store, text) for text in "ab")
    store.roll_back("datasets", "demo")
    assert latest(store) == a


def test_what_is_proposed_waits(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a = publish(store, "a", "adapters")
    store.propose("adapters", "demo", a)
    with pytest.raises(AssayError, match=f"none of its adapters is promoted; demo/{a} has not passed") as error:
        store.resolve("adapters", "demo")
    assert f"assay promote demo/{a}" in error.value.remedy
    store.promote("adapters", "demo", a)
    b = publish(store, "b", "adapters")
    store.propose("adapters", "demo", b)
    store.propose("adapters", "demo", a)  # found again: it is promoted already
    assert store.pointed("adapters", "demo") == Pointer(a, (), b)
    assert latest(store, "adapters") == a
    store.promote("adapters", "demo", b)
    assert store.pointed("adapters", "demo") == Pointer(b, (a,))


def test_a_candidate_waits_on_while_another_is_promoted_or_rolled_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a = publish(store, "a", "adapters")
    store.promote("adapters", "demo", a)
    b, c = (publish(store, text, "adapters") for text in "bc")
    store.promote("adapters", "demo", b)
    store.propose("adapters", "demo", c)
    assert store.roll_back("adapters", "demo") == store.pointed("adapters", "demo") == Pointer(a, (), c)
    store.promote("adapters", "demo", b)
    assert store.pointed("adapters", "demo") == Pointer(b, (a,), c)
    store.propose("adapters", "demo", a)
    assert store.roll_back("adapters", "demo") == Pointer(a)  # what is promoted waits no more


def test_an_older_stores_latest_stays_while_another_waits(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = (publish(store, text, "adapters") for text in "ab")
    store.propose("adapters", "demo", b)
    assert latest(store, "adapters") == a


def test_what_was_taken_back_is_not_promoted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = (publish(store, text, "adapters") for text in "ab")
    store.promote("adapters", "demo", a)
    before = store.pointers.read("adapters", "demo")
    (tmp_path / "adapters/demo" / b).rename(tmp_path / "elsewhere")
    for each in (store.promote, store.propose):
        with pytest.raises(
            TakenBackError,
            match=f"demo/{b}: taken back meanwhile, or rows of it were forgotten, so demo does not come to mean it",
        ):
            each("adapters", "demo", b)
    assert store.pointers.read("adapters", "demo") == before


def test_a_version_that_was_removed_by_hand_is_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = (publish(store, text) for text in "ab")
    for each in (a, b):
        store.promote("datasets", "demo", each)
    (tmp_path / "datasets/demo" / b).rename(tmp_path / "elsewhere")
    assert latest(store) == a


@pytest.mark.parametrize(
    "change", [lambda text: text.replace('"before"', '"behind"'), lambda text: text[:-9], lambda _: "[]"]
)
def test_a_pointer_that_has_changed_is_told(change: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.promote("datasets", "demo", publish(store, "a"))
    path = tmp_path / "pointers/datasets/demo.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(AssayError, match=r"demo\.json: not as it was written"):
        store.resolve("datasets", "demo")


def test_a_killed_change_leaves_the_pointer_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a, b = (publish(store, text) for text in "ab")
    store.promote("datasets", "demo", a)
    code = """
        import os, signal, sys
        from pathlib import Path
        from curate.store import Store
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        Store(Path(sys.argv[1])).promote("datasets", "demo", sys.argv[2])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), b]
    assert subprocess.run(command, check=False, env=dict(os.environ)).returncode == -signal.SIGKILL
    assert latest(store) == a
    store.promote("datasets", "demo", b)
    assert latest(store) == b


@given(st.lists(st.sampled_from("abc")), st.sets(st.sampled_from("abc")))
def test_without_is_as_though_it_had_never_been(promoted: list[str], gone: set[str]) -> None:
    pointer, never = Pointer(None), Pointer(None)
    for each in promoted:
        pointer = pointer.at(each)
        never = never if each in gone else never.at(each)
    assert pointer.without(sorted(gone)) == never


def test_the_last_run_is_what_a_name_means(tmp_path: Path) -> None:
    """Curating an earlier drop again finds its version, and a later command takes that one."""
    project = Project(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    found = []
    for number, drop in enumerate((first, second)):
        project.drop = drop
        project.add("rows.jsonl", make_rows(40, seed=number))
        found.append(project.curate().folder)
        assert Store(tmp_path / "store").resolve("datasets", "demo") == found[-1]
    project.drop = first
    assert project.curate().folder == found[0]
    assert Store(tmp_path / "store").resolve("datasets", "demo") == found[0]
