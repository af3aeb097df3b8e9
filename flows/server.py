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
        AssayError: the server does not come up.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_API_URL.value():
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
