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
from curate.store import Store, manifest_bytes, read_manifest, store_at, verified, verified_whole, version_of


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


def test_a_line_that_a_full_disk_cuts_is_taken_back(tmp_path: Path) -> None:
    """A limit on a file's size cuts a write as a full disk does."""
    code = """
        import resource, signal, sys
        from pathlib import Path
        from curate.store import Store
        store = Store(Path(sys.argv[1]))
        store.record({"event": "x", "number": 0})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (store.ledger / "events.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 9, resource.RLIM_INFINITY))
        try:
            store.record({"event": "x", "number": 1})
        except OSError as error:
            assert (store.ledger / "events.jsonl").stat().st_size == size, error
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            store.record({"event": "x", "number": 2})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True, env=dict(os.environ))
    assert [event["number"] for event in Store(tmp_path).events()] == [0, 2]


def test_a_line_that_is_not_as_it_was_written_is_told(tmp_path: Path) -> None:
    store, ledger = Store(tmp_path), tmp_path / "ledger/events.jsonl"
    folders = [publish(store, text) for text in "ab"]
    for folder in folders:
        store.record({"event": "datasets", "name": "demo", "version": folder.name})
    first, second = ledger.read_bytes().splitlines(keepends=True)
    for damage in (
        first + second.replace(folders[1].name.encode(), folders[0].name.encode()),
        first + second[:-9],
        first + second[:-1] + b"J",
        first[:-1] + b"J" + second,
        first + b"[" * 9999 + b"\n" + second,
    ):
        ledger.write_bytes(damage)
        with pytest.raises(AssayError, match=rf"{ledger}, line [12]: not as it was written") as told:
            store.resolve("datasets", "demo")
        assert "delete the line" in told.value.remedy
        assert store.resolve("datasets", f"demo/{folders[1].name}") == folders[1]
    ledger.write_bytes(first + second[:-9])
    store.record({"event": "x"})
    assert len(list(store.ledger_lines())) == 3, "the cut line costs no other"


def test_a_ledger_without_check_values_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = publish(store, "a")
    store.ledger.mkdir()
    line = {"time": "2026-01-01T00:00:00+00:00", "event": "datasets", "name": "demo", "version": folder.name}
    (store.ledger / "events.jsonl").write_text(json.dumps(line) + "\n")
    assert store.resolve("datasets", "demo") == folder
    store.record({"event": "x"})
    assert [event["event"] for event in store.events()] == ["datasets", "x"]


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_is_read_is_what_was_published(tmp_path: Path) -> None:
    folder = publish(Store(tmp_path), "a" * 99, note="n" * 99)
    sound = {name: (folder / name).read_bytes() for name in ("deep/data.txt", "note.txt", "README.md")}
    for name, content in sound.items():
        assert verified(folder, name) == folder / name
        flipped(folder / name, len(content) // 2)
        for reads in (lambda name=name: verified(folder, name), lambda: verified_whole(folder)):
            with pytest.raises(AssayError, match=rf"{folder / name}: changed since it was published: its SHA-256 is"):
                reads()
        (folder / name).unlink()
        with pytest.raises(AssayError, match=rf"{folder / name}: not there, though it was published") as told:
            verified(folder, name)
        index = tmp_path / "index/demo"
        assert f"remove {folder} and {index}, which is made again, and run `assay curate RECIPE`" in told.value.remedy
        (folder / name).write_bytes(content)
    with pytest.raises(AssayError, match=r"other\.txt: neither manifest\.json nor SHA256SUMS names it"):
        verified(folder, "other.txt")
    assert verified_whole(folder) == folder
    done = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False)
    assert done.returncode == 0, "it is what sha256sum reads"


def test_a_manifest_of_which_any_byte_has_changed_is_told(tmp_path: Path) -> None:
    """Where the bytes say the same, nothing has changed: a space for another."""
    store = Store(tmp_path)
    folder = publish(store, "a")
    path, sound = folder / "manifest.json", read_manifest(folder)
    for at in range(path.stat().st_size):
        flipped(path, at)
        try:
            same = read_manifest(folder) == sound
        except AssayError as error:
            same = str(path) in error.message and str(folder) in error.remedy
        assert same, at
        flipped(path, at)
    for content in (b"", b"null", b"[]", b"{", b"[" * 9999, b"\xff", b'{"version": "\\ud800"}', b'{"version": 1}'):
        path.write_bytes(content)
        with pytest.raises(AssayError, match=rf"{path}: (not readable|changed)"):
            read_manifest(folder)


def test_what_is_found_again_is_read_again(tmp_path: Path) -> None:
    """Neither publishing the same nor looking for what was made from the same gives a version that is damaged."""
    store = Store(tmp_path)
    with store.publishing("adapters", "demo") as draft:
        (draft.folder / "data.txt").write_text("a")
        folder = draft.publish({"inputs": {"from": "x"}})
    assert store.made_from("adapters", "demo", {"from": "x"}) == folder
    flipped(folder / "data.txt", 0)
    with pytest.raises(AssayError, match=rf"{folder / 'data.txt'}: changed") as told:
        store.made_from("adapters", "demo", {"from": "x"})
    assert f"remove {folder}, and run `assay train RECIPE` again" in told.value.remedy
    with store.publishing("adapters", "demo") as draft:
        (draft.folder / "data.txt").write_text("a")
        with pytest.raises(AssayError, match="changed since"):
            draft.publish({"inputs": {"from": "x"}})


@pytest.mark.parametrize("name", ["../out.txt", "/etc/hostname", "deep/../../out.txt"])
def test_a_manifest_from_elsewhere_names_no_file_outside_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "version").mkdir()
    manifest = {"files": {name: "0" * 64}}
    (tmp_path / "version/manifest.json").write_text(json.dumps(manifest | {"version": version_of(manifest)}))
    with pytest.raises(AssayError, match=r"it names '.*', which is not in its folder"):
        verified(tmp_path / "version", name)


def test_a_draft_that_another_process_publishes_meanwhile_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "datasets/demo").mkdir(parents=True)
    (tmp_path / "datasets/demo/.draft-listed").symlink_to("gone")  # is listed, and cannot be opened
    assert publish(Store(tmp_path), "a").is_dir()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file:///store", "a store is a folder, or lies on s3://"),
        (Path("https://host/store"), "https://host/store: a store is a folder, or lies on s3://"),
        ("memory://store", "a store is a folder, or lies on s3://"),
        ("s3://user:secret@bucket", "what may be a key"),
        ("s3://bucket/store?versionId=secret", "what may be a key"),
    ],
)
def test_a_url_at_which_no_store_can_lie(place: str | Path, said: str) -> None:
    with pytest.raises(AssayError, match=said) as error:
        store_at(place)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("place", ["store", "a:b/store", "/shared/s3:/store", "C:/store"])
def test_a_folder_is_one(place: str) -> None:
    assert store_at(place).root == Path(place).absolute()


def test_canonical_json_sorts_keys() -> None:
    assert (
        canonical_json({"b": [1, {"d": None, "c": "é"}], "a": True}) == '{"a":true,"b":[1,{"c":"é","d":null}]}'.encode()
    )
