"""The temporary server: on loopback only, and gone with the run."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.progress import silent
from flows.server import prefect_api

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def api(status: int, body: str) -> Iterator[str]:
    """A server that gives every request this answer; its URL."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_of_the_user_is_used_as_it_is() -> None:
    from prefect import __version__
    from prefect.settings import PREFECT_API_URL, temporary_settings

    told: list[str] = []
    with (
        api(200, json.dumps(__version__)) as url,
        temporary_settings({PREFECT_API_URL: url}),
        prefect_api(lambda what, done, total, unit: told.append(what)),
    ):
        assert PREFECT_API_URL.value() == url
    assert told == []


@pytest.mark.parametrize(
    ("status", "body", "why", "remedy"),
    [
        (500, "{}", "it answers 500", "prefect server start"),
        (503, "{}", "it answers 503", "prefect server start"),
        (401, "{}", "it answers 401", "PREFECT_API_AUTH_STRING"),
        (404, "{}", "it answers 404", "ends in /api"),
        (200, "<html>", "no Prefect API answers there", "ends in /api"),
        (200, '"1.0.0"', "incompatible versions", "unset PREFECT_API_URL"),
    ],
)
def test_what_answers_otherwise_than_prefects_api_is_told(status: int, body: str, why: str, remedy: str) -> None:
    with api(status, body) as url:
        message = refused(url.replace("//", "//somebody:secret@"))
    assert why in message
    assert remedy in message
    assert url in message
    assert "secret" not in message


def test_a_server_that_is_not_up_is_told() -> None:
    message = refused("http://127.0.0.1:9/api")
    assert "PREFECT_API_URL names http://127.0.0.1:9/api" in message
    assert "refused" in message
    assert "unset PREFECT_API_URL" in message


def refused(url: str) -> str:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(AssayError) as error, prefect_api(silent):
        pass
    return str(error.value)


def test_the_temporary_server_listens_on_loopback_and_ends_with_its_run(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from curate.progress import silent\n"
        "from flows.server import prefect_api\n"
        "from prefect.settings import PREFECT_API_URL\n"
        "with prefect_api(silent):\n"
        "    print(PREFECT_API_URL.value(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment["PYTHONPATH"] = str(ROOT)
    # The server is not to import what is called `flows` in the working directory, which is not on this program's path.
    (tmp_path / "work/flows").mkdir(parents=True)
    (tmp_path / "work/flows/__init__.py").write_text("raise SystemExit('another flows')")
    (tmp_path / "program").mkdir()
    (tmp_path / "program/main.py").write_text(code)
    run = subprocess.Popen(
        [sys.executable, tmp_path / "program/main.py"],
        cwd=tmp_path / "work",
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert run.stdout is not None
    url = run.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    port = int(url.removeprefix("http://127.0.0.1:").removesuffix("/api"))
    assert listeners(port) == {"0100007F"}, "127.0.0.1, little-endian"
    run.kill()
    run.wait()
    deadline = time.monotonic() + 60
    while listeners(port):
        assert time.monotonic() < deadline, "the server outlives its run"
        time.sleep(0.1)


def listeners(port: int) -> set[str]:
    """Addresses (as the kernel writes them, hex) on which something listens at `port`."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    found = {line[1] for line in lines if line[3] == "0A"}
    return {address.split(":")[0] for address in found if int(address.split(":")[1], 16) == port}


def test_a_server_that_does_not_start_is_a_readable_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(AssayError, match="temporary server does not start"),
        prefect_api(silent),
    ):
        pass
