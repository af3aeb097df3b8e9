"""Files: which a source names, on this machine, in a package, in a storage, of a data set."""

import gzip
import hashlib
import json
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.registry import _registry

from curate.errors import AssayError
from curate.read.raw import Files, InputFile, drop_digest, find_files, form_of, read_rows


def test_files_of_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # of a server that is no more
        storage = s3fs.S3FileSystem(skip_instance_cache=True)
        storage.mkdir("drop")
        storage.pipe("drop/in/a.jsonl", b'{"a": 1}\n')
        storage.pipe("drop/in/b.csv.gz", gzip.compress(b"a\n2\n"))
        for source, drop in (("s3://drop/in/*", str(tmp_path)), ("in/*", "s3://drop")):
            found = find_files(Files(files=[source]), drop, tmp_path / "cache")
            assert [file.name for file in found] == ["s3://drop/in/a.jsonl", "s3://drop/in/b.csv.gz"]
            assert [row for file in found for row in read_rows(file)] == [{"a": 1}, {"a": "2"}]
        storage.pipe("drop/in/c.csv", b"a\n3\n")
        found = find_files(Files(files=["s3://drop/in/*"]), tmp_path, tmp_path / "cache")
        assert [row for file in found for row in read_rows(file)] == [{"a": 1}, {"a": "2"}, {"a": "3"}], "listed anew"
        with pytest.raises(AssayError, match=r"s3://drop/none\.jsonl"):
            find_files(Files(files=["s3://drop/none.jsonl"]), tmp_path, tmp_path / "cache")
    finally:
        server.stop()


def test_a_drop_may_be_the_root_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    name = (tmp_path / "rows.jsonl").as_posix().lstrip("/")
    assert [file.name for file in find_files(Files(files=[name]), Path("/"), tmp_path)] == [name]


class CloudStorage(BaseHTTPRequestHandler):
    """As much of Google's storage as is asked of it: a bucket's list, an object's description and its bytes."""

    objects = {"in/a.jsonl": b'{"a": 1}\n', "in/b.csv.gz": gzip.compress(b"a\n2\n", mtime=0)}

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query, name = parse_qs(url.query), unquote(url.path.partition("/o/")[2])
        told = {
            key: {"name": key, "bucket": "drop", "size": str(len(value)), "generation": "1", "etag": key, "md5Hash": ""}
            | dict.fromkeys(("updated", "timeCreated"), "2026-01-01T00:00:00Z")
            for key, value in self.objects.items()
        }
        status, body = 404, json.dumps({"error": {"code": 404, "message": "none"}}).encode()
        if url.path.endswith("/o"):
            listed = [each for key, each in told.items() if key.startswith(query.get("prefix", [""])[0])]
            status, body = 200, json.dumps({"items": listed}).encode()
        elif name in told:
            media = query.get("alt") == ["media"]
            status, body = 200, self.objects[name] if media else json.dumps(told[name]).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No line for each request."""


def test_files_of_a_bucket_of_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks what kind a bucket is, of another server
    pytest.importorskip("gcsfs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), CloudStorage)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon", "skip_instance_cache": True})
        for source, drop in (("gs://drop/in/*", str(tmp_path)), ("in/*", "gs://drop")):
            found = find_files(Files(files=[source]), drop, tmp_path / "cache")
            assert [file.name for file in found] == ["gs://drop/in/a.jsonl", "gs://drop/in/b.csv.gz"]
            assert [row for file in found for row in read_rows(file)] == [{"a": 1}, {"a": "2"}]
        with pytest.raises(AssayError, match=r"gs://drop/none\.jsonl: FileNotFoundError"):
            find_files(Files(files=["gs://drop/none.jsonl"]), tmp_path, tmp_path / "cache")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("scheme", "package", "extra"), [("gs", "gcsfs", "gs"), ("s3", "s3fs", "s3")])
def test_a_storage_without_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, scheme, raising=False)
    with pytest.raises(AssayError) as error:
        find_files(Files(files=[f"{scheme}://drop/a.jsonl"]), tmp_path, tmp_path / "cache")
    assert error.value.message.startswith(f"{scheme}://drop/a.jsonl: ImportError")
    assert error.value.remedy == f"pip install 'assay-curation[{extra}]'"


def test_secrets_of_urls_are_not_told(tmp_path: Path) -> None:
    source = Files(files=["http://user:pass@127.0.0.1:9/a.jsonl?key=hidden"])
    assert source.model_dump(mode="json")["files"] == ["http://127.0.0.1:9/a.jsonl"]
    with pytest.raises(AssayError) as error:
        find_files(source, tmp_path, tmp_path / "cache")
    assert "http://127.0.0.1:9/a.jsonl" in str(error.value)
    assert not {"user", "pass", "hidden"} & set(str(error.value).replace(":", " ").replace("=", " ").split())


def test_files_by_glob_are_sorted_and_known_by_their_content(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/1.jsonl", "a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = find_files(Files(files=["**/*.jsonl", "b/1.*", "a.csv"]), tmp_path, tmp_path)
    assert [(file.name, file.format, file.size) for file in found] == [
        ("a.csv", None, 5),
        ("b/1.jsonl", None, 9),
        ("b/2.jsonl", None, 9),
    ]
    assert [form_of(file) for file in found] == [(None, "csv"), (None, "jsonl"), (None, "jsonl")]
    assert [file.sha256 for file in found] == [hashlib.sha256(file.name.encode()).hexdigest() for file in found]
    assert drop_digest(found, False) == drop_digest(found[::-1], False)
    assert drop_digest(found[:2], False) != drop_digest(found, False)
    (tmp_path / "c.csv").write_text("a.csv")
    renamed = find_files(Files(files=["c.csv"]), tmp_path, tmp_path)
    assert drop_digest(renamed, False) == drop_digest(found[:1], False)
    assert drop_digest(renamed, True) != drop_digest(found[:1], True)
    (tmp_path / "a.csv").write_text("other")
    assert drop_digest(find_files(Files(files=["a.csv"]), tmp_path, tmp_path), False) != drop_digest(found[:1], False)


@pytest.mark.parametrize(
    ("pattern", "message", "remedy"),
    [
        ("**", "No file matches '**' below", "--drop"),
        ("none-*.jsonl", "No file matches 'none-*.jsonl' below", "--drop"),
        ("../x.jsonl", "'../x.jsonl' leaves the drop", "relative to the drop"),
        ("a/../../x.jsonl", "leaves the drop", "relative to the drop"),
        ("/etc/passwd", "'/etc/passwd' leaves the drop", "--drop"),
        ("", "'' is no glob", "Mend it in the recipe"),
    ],
)
def test_files_that_cannot_be_found(tmp_path: Path, pattern: str, message: str, remedy: str) -> None:
    with pytest.raises(AssayError) as error:
        find_files(Files(files=[pattern]), tmp_path, tmp_path)
    assert message in error.value.message
    assert remedy in error.value.remedy


@pytest.mark.parametrize(
    ("name", "content"), [("f.dat", b""), ("f.dat.gz", gzip.compress(b"words", mtime=0)), ("f", b"a b\n")]
)
def test_a_format_that_nothing_tells_is_asked_for(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    [file] = find_files(Files(files=[name]), tmp_path, tmp_path)
    assert form_of(file)[1] is None
    with pytest.raises(AssayError, match=rf"{name}: cannot tell the format by its content.*\nSet `format`"):
        list(read_rows(file))


def test_a_folder_named_by_a_url_is_the_same_drop(tmp_path: Path) -> None:
    (tmp_path / "in a").mkdir()
    (tmp_path / "in a" / "f.jsonl").write_text("{}\n")
    source = Files(files=["in a/*"])
    assert find_files(source, tmp_path.as_uri(), tmp_path) == find_files(source, tmp_path, tmp_path)
    assert find_files(Files(files=["*"]), (tmp_path / "in a").as_uri(), tmp_path)[0].name == "f.jsonl"


def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    told = r"Package 'no-such-package' is not installed\.\nIf you trust it: pip install no-such-package"
    with pytest.raises(AssayError, match=told):
        find_files(Files(files=["*"], package="no-such-package"), tmp_path, tmp_path)


def test_files_of_an_installed_package(tmp_path: Path) -> None:
    [found] = find_files(Files(files=["orjson/__init__.py"], package="orjson", format="text"), tmp_path, tmp_path)
    [row] = read_rows(found)
    assert isinstance(row, dict)
    assert "orjson" in row["text"]


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    for name in ("gone.jsonl", "gone.zip", "gone.tar.gz", "gone.parquet"):
        with pytest.raises(AssayError, match=r"gone.*: No such file or directory\.\nMake the file readable\."):
            list(read_rows(InputFile(tmp_path / name, name, "", 0, "jsonl")))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_datasets_folder(tmp_path: Path, kind: str) -> None:
    drop, cache = tmp_path / "drop", tmp_path / "cache"
    rows: dict[str, list[Any]] = {
        "train": [{"q": "a", "n": 1, "turns": [{"role": "user", "content": "é"}]}, {"q": None, "n": 2, "turns": []}],
        "test": [{"q": "t", "n": 3, "turns": []}],
    }
    (drop / "mine/data").mkdir(parents=True)
    for split, content in rows.items():
        path = drop / f"mine/data/{split}-00000.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(content), path)
        else:
            path.write_text("\n".join(json.dumps(row) for row in content))
    (drop / "mine/README.md").write_text("---\nconfigs: [{config_name: default, data_files: ../other.jsonl}]\n---\n")
    (drop / "other.jsonl").write_text('{"other": 1}\n')
    for split, content in rows.items():
        [file] = find_files(Files(dataset="mine", split=split), drop, cache)
        assert file.name == f"mine/data/{split}-00000.{kind}"
        assert list(read_rows(file)) == content
    with pytest.raises(AssayError, match="mine: no files of a split 'validation'"):
        find_files(Files(dataset="mine", split="validation"), drop, cache)


def test_what_save_to_disk_left(tmp_path: Path) -> None:
    import datasets

    rows = {"train": [{"q": "é", "n": 1}, {"q": None, "n": 2}], "test": [{"q": "t", "n": 3}]}
    whole = datasets.DatasetDict({split: datasets.Dataset.from_list(content) for split, content in rows.items()})
    whole.save_to_disk(tmp_path / "whole")
    whole["test"].save_to_disk(tmp_path / "one")
    for name, split in (("whole", "train"), ("whole", "test"), ("one", "test")):
        [file] = find_files(Files(dataset=name, split=split), tmp_path, tmp_path / "cache")
        assert list(read_rows(file)) == rows[split]


def test_a_dataset_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, of what `datasets` keeps of an earlier download; here it is made by hand."""
    import datasets

    rows = [{"q": "é", "n": 1}, {"q": "b", "n": 2}]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    files = {"train": [str(tmp_path / "train.jsonl")]}
    builder = datasets.load_dataset_builder("json", data_files=files, cache_dir=str(tmp_path / "made"))
    builder.download_and_prepare()
    kept = tmp_path / "hub/me___mine/default/0.0.0" / ("0" * 64)
    shutil.copytree(builder.cache_dir, kept)
    (kept / "json-train.arrow").rename(kept / "mine-train.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    [file] = find_files(Files(dataset="me/mine"), tmp_path / "drop", tmp_path / "cache")
    assert (file.name, file.format) == ("me/mine/train", "parquet")
    assert list(read_rows(file)) == rows


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssayError) as error:
        find_files(Files(dataset="nobody/no-such-dataset"), tmp_path, tmp_path / "cache")
    assert "datasets.load_dataset('nobody/no-such-dataset', split='train') failed" in error.value.message
    assert "Check the name, the split and the network" in error.value.remedy
    assert not list(tmp_path.rglob("*.parquet"))
