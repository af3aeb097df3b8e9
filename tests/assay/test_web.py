"""`assay serve`: what of a store is served, and how it is refused what is not."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

import assay
from assay.web import find_file, index_page, server
from curate.errors import AssayError
from curate.store import Store
from tests.documented import missing

VERSION = "0123456789abcdef"
SERVED = {
    f"datasets/set/{VERSION}/report.html": "text/html; charset=utf-8",
    f"datasets/set/{VERSION}/train.jsonl": "application/x-ndjson",
    f"datasets/set/{VERSION}/train.parquet": "application/vnd.apache.parquet",
    f"datasets/set/{VERSION}/manifest.json": "application/json",
    f"datasets/set/{VERSION}/README.md": "text/markdown; charset=utf-8",
    f"datasets/set/{VERSION}/SHA256SUMS": "application/octet-stream",
    f"datasets/set/{VERSION}/data_docs/index.html": "text/html; charset=utf-8",
    f"scorecards/set/{VERSION}/report.html": "text/html; charset=utf-8",
    f"experiments/set/{VERSION}/report.html": "text/html; charset=utf-8",
    f"studies/set/{VERSION}/report.html": "text/html; charset=utf-8",
    f"adapters/set/{VERSION}/report.html": "text/html; charset=utf-8",
    "failed/set/report.html": "text/html; charset=utf-8",
    "monitor/set.html": "text/html; charset=utf-8",
}
KEPT = [
    f"adapters/set/{VERSION}/adapter_model.safetensors",
    "cache/endpoints/replies.json",
    "index/set/index.parquet",
    "ledger/events.jsonl",
    "pointers/datasets/set.json",
    "retracted/datasets/set/report.html",
    f"datasets/set/{VERSION}/.hidden",
    "datasets/set/.draft-1/report.html",
    "monitor/set.jsonl",
    "report.html",
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = tmp_path / "store"
    for name in [*SERVED, *KEPT]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}" if name.endswith(".json") else f"<b>{name}</b>")
    for kind in ("scorecards", "experiments", "studies", "adapters"):
        (root / kind / "set" / VERSION / "manifest.json").write_text("{}")
    (root / "ledger/events.jsonl").unlink()
    (tmp_path / "secret.html").write_text("secret")
    return Store(root)


@pytest.fixture
def serving(store: Store) -> Iterator[ThreadingHTTPServer]:
    with server(store, 0) as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def ask(
    serving: ThreadingHTTPServer, path: str, method: str = "GET", host: str = "127.0.0.1"
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", serving.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host)
    connection.putheader("Connection", "close")
    connection.endheaders()
    return connection.getresponse()


@pytest.mark.parametrize(("path", "kind"), SERVED.items())
def test_reports_and_files_of_versions_are_served(
    serving: ThreadingHTTPServer, store: Store, path: str, kind: str
) -> None:
    got = ask(serving, f"/{path}")
    assert (got.status, got.headers["Content-Type"]) == (200, kind)
    assert got.read() == (store.root / path).read_bytes()
    head = ask(serving, f"/{path}", "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str((store.root / path).stat().st_size))
    assert head.read() == b""


@pytest.mark.parametrize(
    "path",
    [
        *(f"/{name}" for name in KEPT),
        "/../secret.html",
        "/datasets/../../secret.html",
        "/datasets/%2e%2e/%2e%2e/secret.html",
        "/datasets/..%2f..%2fsecret.html",
        "/datasets/%252e%252e/secret.html",
        "//etc/passwd",
        "/etc/passwd",
        "/datasets//etc/passwd",
        "/datasets/%2fetc/passwd",
        "/datasets/..\\..\\secret.html",
        "/datasets/set%00.html",
        "/datasets/" + "a" * 3000,
        "/datasets",
        "/datasets/set/",
        f"/datasets/set/{VERSION}/",
        f"/datasets/set/{VERSION}/nothing.html",
        "/%ff%fe",
        "/adapters/report.html/../ledger/events.jsonl",
        "http://127.0.0.1/datasets/",
        "*",
    ],
)
def test_nothing_else_is_served(serving: ThreadingHTTPServer, path: str) -> None:
    got = ask(serving, path)
    assert got.status == 404
    assert b"secret" not in got.read()


def test_no_link_leads_out(store: Store, tmp_path: Path) -> None:
    version = store.root / "datasets/set" / VERSION
    (version / "out.html").symlink_to(tmp_path / "secret.html")
    (version / "ledger.json").symlink_to(store.root / "pointers/datasets/set.json")
    (version / "folder").symlink_to(tmp_path)
    (version / "loop").symlink_to("loop")
    (version / "same.html").symlink_to("report.html")
    os.mkfifo(version / "pipe")
    for name in ("out.html", "ledger.json", "folder/secret.html", "loop", "pipe"):
        assert find_file(store.root, f"datasets/set/{VERSION}/{name}") is None, name
    assert find_file(store.root, f"datasets/set/{VERSION}/same.html") == (version / "report.html").resolve()
    (store.root / "failed/other").mkdir()
    (store.root / "failed/other/report.html").symlink_to(tmp_path / "secret.html")
    assert "failed/other" not in index_page(store)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(serving: ThreadingHTTPServer, store: Store, method: str) -> None:
    before = (store.root / "failed/set/report.html").read_bytes()
    assert ask(serving, "/failed/set/report.html", method).status == 501
    assert (store.root / "failed/set/report.html").read_bytes() == before


@pytest.mark.parametrize("path", ["/", "/failed/set/report.html", "/nothing"])
def test_every_answer_forbids_what_a_page_need_not_do(serving: ThreadingHTTPServer, path: str) -> None:
    headers = ask(serving, path).headers
    policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "connect-src" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Python" not in headers["Server"]


def test_another_name_for_this_address_is_answered_nothing(serving: ThreadingHTTPServer) -> None:
    for host in ("evil.example.org", f"evil.example.org:{serving.server_port}", "", "[::1]", "127.0.0.1.example.org"):
        assert ask(serving, "/", host=host).status == 421, host
    assert ask(serving, "/", host=f"localhost:{serving.server_port}").status == 200


def test_it_listens_on_loopback_alone(serving: ThreadingHTTPServer) -> None:
    assert serving.server_address[0] == "127.0.0.1"


def test_the_index_links_to_every_report_the_newest_first(serving: ThreadingHTTPServer, store: Store) -> None:
    newer = "f" * 16
    folder = store.root / "datasets/set" / newer
    folder.mkdir()
    for name in ("report.html", "manifest.json"):
        (folder / name).write_text("{}")
    for version in (VERSION, newer):
        store.record({"event": "datasets", "name": "set", "version": version})
    page = ask(serving, "/").read().decode()
    reports = [name for name in SERVED if name.endswith(("report.html", "set.html"))]
    assert [name for name in reports if f'href="/{name}"' not in page] == []
    assert page.index(newer) < page.index(VERSION) or store.events()[0]["time"] == store.events()[1]["time"]
    assert store.events()[0]["time"][:16].replace("T", " ") in page
    for kept in ("ledger", ".draft", "retracted", "safetensors"):
        assert kept not in page


def test_hostile_names_are_text(store: Store) -> None:
    for name in ("<script>alert(1)</script>", '"><img src=x>', "a b?c#d", "\u202egnp.exe", "\udcff"):
        folder = store.root / "failed" / name
        folder.mkdir(parents=True)
        (folder / "report.html").touch()
    page = index_page(store)
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert 'href="/failed/a%20b%3Fc%23d/report.html"' in page
    assert 'href="/failed/%FF/report.html"' in page
    page.encode()


def test_a_store_that_is_empty_or_damaged_has_a_page(tmp_path: Path, store: Store) -> None:
    assert "Nothing has a report yet" in index_page(Store(tmp_path / "nothing"))
    store.ledger.mkdir(exist_ok=True)
    (store.ledger / "events.jsonl").write_text('{"event": "datasets", "name": 1}\nnothing\n')
    assert VERSION in index_page(store)


def test_a_port_that_is_taken_and_a_store_that_is_not_there(tmp_path: Path, store: Store) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AssayError, match="cannot be had") as error:
            server(store, other.getsockname()[1])
    assert "--port" in error.value.remedy
    with pytest.raises(AssayError, match="no store is there"):
        assay.serve(store=tmp_path / "nowhere")


def test_the_command_serves_until_it_is_interrupted(store: Store) -> None:
    code = "from assay.cli import app; app()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--store", str(store.root), "--json"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    said = run.stderr.readline()
    port = int(said.partition("http://127.0.0.1:")[2].partition("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/failed/set/report.html")
    assert connection.getresponse().status == 200
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    document = json.loads(output)
    assert document == {"url": f"http://127.0.0.1:{port}/", "store": str(store.root)}
    assert missing("serve", document) == []
