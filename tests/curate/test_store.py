"""The store publishes whole things or nothing."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.hashing import canonical_json, digest, file_digest
from curate.store import Store, manifest_bytes


def publish(store: Store, text: str, note: str = "") -> Path:
    with store.publishing("datasets", "demo", unhashed=frozenset({"note.txt"})) as draft:
        (draft.folder / "deep").mkdir()
        (draft.folder / "deep/data.txt").write_text(text)
        (draft.folder / "note.txt").write_text(note)
        return draft.publish({"made_from": "x"}, lambda folder, manifest: _describe(folder, manifest["version"]))


def _describe(folder: Path, version: str) -> None:
    (folder / "README.md").write_text(version)


def test_a_version_is_named_by_its_content(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first, again, other = publish(store, "a"), publish(store, "a", note="told apart by nothing"), publish(store, "b")
    assert first == again != other
    manifest = json.loads(manifest_bytes(first))
    assert manifest["files"] == {"deep/data.txt": file_digest(first / "deep/data.txt")}
    assert manifest["version"] == first.name == digest({k: v for k, v in manifest.items() if k != "version"})[:16]
    assert (first / "README.md").read_text() == first.name
    assert sorted(path.name for path in (tmp_path / "store/datasets/demo").iterdir()) == sorted(
        [first.name, other.name]
    )


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail() -> None:
        with store.publishing("datasets", "demo") as draft:
            (draft.folder / "half.txt").write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail()
    assert list((tmp_path / "datasets/demo").iterdir()) == []


def test_a_kill_leaves_no_version_behind(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from curate.store import Store, manifest_bytes
        with Store(Path(sys.argv[1])).publishing("datasets", "demo") as draft:
            (draft.folder / "half.txt").write_text("half")
            draft.publish({}, lambda folder, manifest: os.kill(os.getpid(), signal.SIGKILL))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=False, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.versions("datasets", "demo") == []
    with pytest.raises(AssayError, match="no such version"):
        store.resolve("datasets", "demo")
    assert publish(store, "a").is_dir()


def test_resolve(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folders = [publish(store, text) for text in "ab"]
    for folder in (*folders, folders[0]):
        store.record({"event": "datasets", "name": "demo", "version": folder.name})
    assert store.resolve("datasets", "demo") == folders[0]
    assert store.resolve("datasets", f"demo/{folders[1].name}") == folders[1]
    assert store.resolve("datasets", str(folders[1])) == folders[1]
    with pytest.raises(AssayError, match=r"(?s)no such version.*Published there: demo"):
        store.resolve("datasets", "nothing")
    with pytest.raises(AssayError, match=r"no manifest\.json"):
        manifest_bytes(tmp_path)


def test_the_ledger_keeps_events_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.events() == []
    for number in range(3):
        store.record({"event": "x", "number": number})
    assert [event["number"] for event in store.events()] == [0, 1, 2]
    assert all(event["time"].endswith("+00:00") for event in store.events())


def test_a_line_that_a_full_disk_cut_costs_no_other(tmp_path: Path) -> None:
    store, ledger = Store(tmp_path), tmp_path / "ledger/events.jsonl"
    for number in range(2):
        store.record({"event": "x", "number": number})
    os.truncate(ledger, ledger.stat().st_size - 9)
    assert [event["number"] for event in store.events()] == [0]
    store.record({"event": "x", "number": 2})
    assert [event["number"] for event in store.events()] == [0, 2]


def test_a_draft_that_another_process_publishes_meanwhile_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "datasets/demo").mkdir(parents=True)
    (tmp_path / "datasets/demo/.draft-listed").symlink_to("gone")  # is listed, and cannot be opened
    assert publish(Store(tmp_path), "a").is_dir()


def test_canonical_json_sorts_keys() -> None:
    assert (
        canonical_json({"b": [1, {"d": None, "c": "é"}], "a": True}) == '{"a":true,"b":[1,{"c":"é","d":null}]}'.encode()
    )
