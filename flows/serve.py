"""Serve: all that deployments need, on one machine: `python -m flows.serve start`, `status`, `stop`.

A Prefect server on loopback, a work pool of processes, a worker, the deployments that prefect.yaml declares in the
working directory, and the automations. What runs is known by the process ids in `.assay` there, beside the logs.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from curate.drafts import replace_file, turn
from curate.errors import AssayError
from curate.progress import silent
from flows.server import START_SECONDS

STATE = Path(".assay")
DECLARED = Path("prefect.yaml")
POOL = "assay"
PORT = 4200
PATIENCE = 30
"""Seconds until a process that was asked to end is killed: a worker waits for none of its runs."""
PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # By default a server holds them in memory, and once it was started anew ends the runs that cannot renew theirs.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
"""Of server and worker: nothing is told to Prefect's makers, and the leases of slots are files."""


@dataclass(frozen=True)
class Process:
    """One that was started, and is known from others that later get its id."""

    pid: int
    begun: str
    """Clock ticks after the machine's start."""
    port: int
    """Of the server."""

    def alive(self) -> bool:
        return _begun(self.pid) == self.begun


def start(port: int) -> None:
    """Start what does not run yet, and declare the deployments anew. What cannot be finished is ended again.

    Raises:
        AssayError: another process has the port, there is no prefect.yaml, or something does not start.
    """
    if not DECLARED.is_file():
        raise AssayError(
            f"{DECLARED.absolute()}: not there, so there are no deployments.",
            remedy="Start it where prefect.yaml lies, or copy it from Assay's repository.",
        )
    with turn(STATE, "serve", silent):
        running = {name: known for name in ("server", "worker") if (known := _known(name)) is not None}
        if (server := running.get("server")) is not None and server.port != port:
            raise AssayError(
                f"The server runs already, at port {server.port}.", remedy=f"`--port {server.port}`, or stop it first."
            )
        try:
            if server is None:
                _start_server(port)
            _declare(port)
            if "worker" not in running:
                _launch("worker", [*PREFECT, "worker", "start", "--pool", POOL, "--name", POOL], port)
            _wait_for_worker(port)
        except BaseException:
            for name in ("worker", "server"):
                if name not in running:
                    _end(name)
            raise
    _say(f"Prefect's pages: http://127.0.0.1:{port}\nLogs: {STATE.absolute()}\n")
    _say(f"For the command prefect: export PREFECT_API_URL={_api(port)}\n")


def stop() -> None:
    """End what runs, the worker first, and with it the runs that it has begun."""
    STATE.mkdir(exist_ok=True)
    with turn(STATE, "serve", silent):
        ended = [name for name in ("worker", "server") if _end(name)]
    _say(f"Ended: {' and '.join(ended)}.\n" if ended else "Nothing runs.\n")


def status() -> bool:
    """Say what runs; gives whether all does."""
    known = {name: _known(name) for name in ("server", "worker")}
    for name, process in known.items():
        _say(f"{name}: " + (f"runs, pid {process.pid}, port {process.port}\n" if process else "does not run\n"))
    return all(known.values())


def _start_server(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise AssayError(
                f"Port {port} of 127.0.0.1 cannot be had: {error.strerror}.",
                remedy="Name another: `make serve PORT=4201`, `python -m flows.serve start --port 4201`.",
            ) from None
    process = _launch("server", [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)], port)
    deadline = time.monotonic() + START_SECONDS
    while process.alive() and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{_api(port)}/health", timeout=5):  # noqa: S310
                return
        except OSError:
            time.sleep(0.2)
    raise _failed("server")


def _declare(port: int) -> None:
    """Make the work pool, the deployments and the automations as they are declared."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.workers.process import ProcessWorker

    from flows.automations import apply

    with temporary_settings({PREFECT_API_URL: _api(port)}):
        with get_client(sync_client=True) as client:
            try:
                client.read_work_pool(POOL)
            except ObjectNotFound:
                template = ProcessWorker.get_default_base_job_template()
                client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        with (STATE / "deploy.log").open("wb") as log:
            done = subprocess.run(  # noqa: S603
                [*PREFECT, "deploy", "--all"], stdout=log, stderr=log, env=_environment(port), check=False
            )
        if done.returncode:
            raise _failed("deploy")
        apply()


def _wait_for_worker(port: int) -> None:
    """Until the server knows of it, or it ends."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    deadline = time.monotonic() + START_SECONDS
    with temporary_settings({PREFECT_API_URL: _api(port)}), get_client(sync_client=True) as client:
        while _known("worker") is not None and time.monotonic() < deadline:
            if any(worker.status == "ONLINE" for worker in client.read_workers_for_work_pool(POOL)):
                return
            time.sleep(0.2)
    raise _failed("worker")


def _launch(name: str, command: list[str], port: int) -> Process:
    """Start a process that outlives this one, and note which it is."""
    with (STATE / f"{name}.log").open("ab") as log:
        started = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(port),
        )
    process = Process(started.pid, _begun(started.pid), port)
    replace_file(STATE / f"{name}.json", json.dumps(asdict(process)).encode())
    return process


def _known(name: str) -> Process | None:
    """The process of a name, where it runs."""
    path = STATE / f"{name}.json"
    process = Process(**json.loads(path.read_bytes())) if path.is_file() else None
    return process if process is not None and process.alive() else None


def _end(name: str) -> bool:
    """Have a process end, and all that it has begun; gives whether it ran."""
    process = _known(name)
    if process is not None:
        these = {process, *_below(process)}
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while left := [each for each in these if each.alive()]:
            these |= {*_below(process)}
            if time.monotonic() > deadline:
                for each in left:
                    with suppress(ProcessLookupError):
                        os.kill(each.pid, signal.SIGKILL)
            time.sleep(0.1)
    (STATE / f"{name}.json").unlink(missing_ok=True)
    return process is not None


def _below(process: Process) -> list[Process]:
    """The processes that one has begun, and those that these have."""
    begun_by: dict[str, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if told := _told(int(path.name)):
            begun_by.setdefault(told[1], []).append(int(path.name))
    found, pids = list[Process](), [process.pid]
    for pid in pids:
        children = begun_by.get(str(pid), [])
        found += [Process(child, begun, process.port) for child in children if (begun := _begun(child))]
        pids += children
    return found


def _begun(pid: int) -> str:
    """When a process began; "" where there is none, or it has ended and nobody has asked how."""
    told = _told(pid)
    return told[19] if told and told[0] != "Z" else ""


def _told(pid: int) -> list[str]:
    """What the system tells of a process, from its state on (proc_pid_stat(5)); nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _environment(port: int) -> dict[str, str]:
    return os.environ | SETTINGS | {"PREFECT_API_URL": _api(port), "PREFECT_UI_API_URL": _api(port)}


def _api(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _failed(name: str) -> AssayError:
    log = STATE / f"{name}.log"
    last = log.read_text(errors="replace").strip().splitlines()[-5:]
    return AssayError(f"Prefect's {name} does not start.", remedy="\n".join([f"{log.absolute()} says why:", *last]))


def _say(text: str) -> None:
    sys.stdout.write(text)


def main() -> int:
    """Of the command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("what", choices=["start", "stop", "status"])
    parser.add_argument("--port", type=int, default=PORT, help="of the server, on 127.0.0.1 (%(default)s)")
    given = parser.parse_args()
    try:
        if given.what == "start":
            start(given.port)
        elif given.what == "stop":
            stop()
        else:
            return 0 if status() else 1
    except AssayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
