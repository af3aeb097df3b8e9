"""A Prefect server for one run: on loopback, without its pages, and gone when the run is gone."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from curate.errors import AssayError
from curate.progress import Progress

START_SECONDS = 120
"""The first start on a machine creates the database and takes longest: 20 s were seen on an idle one."""

SERVE = "from flows.server import serve; serve(int(sys.argv[1]))"

TRIES = 3
"""It ends at once where another process took its port, or holds the lock of Prefect's database."""


@contextmanager
def prefect_api(progress: Progress) -> Iterator[None]:
    """Flows called inside have an API to talk to: the user's, where PREFECT_API_URL names one, else one of our own.

    Prefect would start one by itself, but another one in each worker process, and ^C would reach it before the flow.
    Ours serves to the end of the process: Prefect sends its last log lines when the interpreter exits.

    Raises:
        AssayError: at the user's URL no API answers that Prefect can work with, or our server does not come up.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if url := PREFECT_API_URL.value():
        _check(url)
        yield
        return
    progress("start Prefect", 0, 1, "server")
    # Not by temporary_settings: Prefect's own threads do not see those, and would start a server each.
    os.environ["PREFECT_API_URL"] = _start()
    refresh_global_settings_context()
    progress("start Prefect", 1, 1, "server")
    # Nobody watches this server for heartbeats, and ending them takes a second of each flow.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _check(url: str) -> None:
    """See to it that an API answers, and takes what Prefect is told to identify itself with."""
    from httpx import HTTPStatusError
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        try:
            client.raise_for_api_version_mismatch()
            failure = client.api_healthcheck()
        except Exception as error:
            failure = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if failure is None:
        return
    status = failure.response.status_code if isinstance(failure, HTTPStatusError) else None
    why = f"it answers {status}" if status else str(failure) or type(failure).__name__
    parts = urlsplit(url)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    key = "Set PREFECT_API_KEY or PREFECT_API_AUTH_STRING to what the server expects" if status in (401, 403) else None
    raise AssayError(
        f"PREFECT_API_URL names {place}, and no Prefect API answers there: {why}.",
        remedy=f"{key or 'Start that server (`prefect server start`), or mend the URL (it ends in /api)'}; or unset "
        "PREFECT_API_URL (`prefect config unset PREFECT_API_URL`, where a profile sets it), and a temporary server is "
        "started for the run.",
    )


def _start() -> str:
    """Start the server and wait until it answers; gives its API's URL."""
    for _ in range(TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = subprocess.Popen(  # noqa: S603
            # It finds modules where this process does: by -m it would look into the working directory first.
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {SERVE}", str(port)],
            # The other end of this pipe closes with our process, however it ends; `serve` waits for that.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ
            | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"},
        )
        import flows.pipeline  # noqa: F401  # what comes next, while the server starts

        url = f"http://127.0.0.1:{port}/api"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310
                    return url
            except OSError:
                time.sleep(0.1)
        server.kill()
    raise AssayError(
        "Prefect's temporary server does not start.",
        remedy="Try `prefect server start --host 127.0.0.1` to see why; `assay curate`, `train` and `evaluate` do "
        "without it.",
    )


def serve(port: int) -> None:
    """Serve Prefect's API on loopback until standard input is closed."""
    import uvicorn

    def follow_run() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=follow_run, daemon=True).start()
    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error")
