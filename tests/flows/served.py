"""A real Prefect server, a worker of a process work pool, deployments of the flows: each is a process to kill."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import automations
from flows.curation import curation
from flows.notifications import TAG
from flows.pipeline import pipeline
from flows.serve import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
Found = TypeVar("Found")

POOL = "assay"
PATIENCE = 280
"""Seconds that a busy machine may take to what takes a few."""


class Served:
    """The server and the worker, with a folder of their own.

    Args:
        folder: an empty folder.
        environment: of the processes, beside what they need.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        self._environment = inherited | {
            **SETTINGS,
            "OMP_NUM_THREADS": "1",  # threads that wait for each other are slow on a busy machine
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
            **environment,
        }

    def start_server(self) -> None:
        """Start the server, and wait until it answers."""
        # What `prefect server start` starts: killed by its own id, that one would live on.
        app = ["--factory", "prefect.server.api.server:create_app"]
        self._start("server", "uvicorn", *app, "--host", "127.0.0.1", "--port", str(self.port))
        wait(self._answers)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        return False

    def start_worker(self) -> None:
        self._start("worker", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "worker")

    def _start(self, name: str, *command: str) -> None:
        place = self.folder / "work"
        place.mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=place, env=self._environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Kill the server or the worker, by SIGKILL, which finds it alive."""
        process = self._processes.pop(name)
        assert process.poll() is None, f"the {name} has ended by itself"
        process.kill()
        assert process.wait() == -signal.SIGKILL

    def restart(self) -> None:
        """Start what was killed."""
        if "server" not in self._processes:
            self.start_server()
        if "worker" not in self._processes:
            self.start_worker()

    def end(self) -> None:
        for process in reversed([*self._processes.values()]):  # a worker that ends asks its server
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with temporary_settings({PREFECT_API_URL: self.url}), SyncPrefectClient(self.url) as client:
            yield client

    def set_up(self) -> None:
        """The work pool, the automations, and a deployment of each flow, with one slot, as `prefect.yaml` has them."""
        with self.client() as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"), overwrite=True)
            automations.apply()

    def deploy(self, flow: str) -> UUID:
        """A new deployment of a flow, with a slot of its own."""
        made = {"curation": curation, "pipeline": pipeline}[flow]
        with self.client() as client:
            return client.create_deployment(
                flow_id=client.create_flow(made),
                name=f"{flow} {time.time_ns()}",
                entrypoint=f"flows.{flow}.{flow}",
                work_pool_name=POOL,
                concurrency_limit=1,
                concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
                tags=[TAG],
                job_variables={"env": automations.HEARTBEATS},
            )

    def run(self, deployment: UUID, **parameters: Any) -> UUID:
        """Have a deployment run; gives the run's id at once."""
        with self.client() as client:
            return client.create_flow_run_from_deployment(deployment, parameters=parameters).id

    def read(self, run: UUID) -> FlowRun:
        with self.client() as client:
            return client.read_flow_run(run)

    def ended(self, run: UUID, patience: float = PATIENCE) -> FlowRun:
        """The run once its state is final."""
        with self.client() as client:

            def final() -> FlowRun | None:
                read = client.read_flow_run(run)
                return read if read.state is not None and read.state.is_final() else None

            return wait(final, patience, pause=0.5)

    def slots(self, deployment: UUID) -> int:
        """How many of a deployment's slots are taken."""
        with self.client() as client:
            limit = client.read_deployment(deployment).global_concurrency_limit
            assert limit is not None
            return client.read_global_concurrency_limit_by_name(limit.name).active_slots

    def said(self, run: UUID) -> list[str]:
        """The lines of a run's log."""
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        with self.client() as client:
            return [line.message for line in client.read_logs(of_run)]

    def shards_from_cache(self, run: UUID) -> dict[str, str]:
        """By stage what a curation tells of where its shards came from, e.g. "1 of 2"."""
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        with self.client() as client:
            (table,) = (kept for kept in client.read_artifacts(artifact_filter=of_run) if kept.key == "demo-stages")
        return {row["stage"]: row["shards from cache"] for row in json.loads(str(table.data))}


def kill_living(process: int) -> None:
    """Kill a process by SIGKILL, which finds it alive, and wait until it has ended."""
    descriptor = os.pidfd_open(process)
    try:
        assert _stat(process)[0] not in "ZX", "it has ended already"
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def process_of(run: UUID) -> int:
    """The process in which a run is at work; 0 where there is none."""
    return next(iter(_processes_of(run)), 0)


def shard_process_of(run: UUID) -> int:
    """A process for a run's shards: a child of the server that forks them; 0 where there is none."""

    def forked(process: int) -> bool:
        parent = _stat(process)[1]
        return b"multiprocessing.forkserver" in Path(f"/proc/{parent}/cmdline").read_bytes()

    for process in _processes_of(run):
        with suppress(OSError):  # it has just ended
            if forked(process):
                return process
    return 0


def _stat(process: int) -> list[str]:
    """State, parent and so on, as proc(5) has them from its third field."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _processes_of(run: UUID) -> list[int]:
    """Oldest first."""
    mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return sorted(found)


def wait(what: Callable[[], Found], patience: float = PATIENCE, pause: float = 0.1) -> Found:
    """What a function gives as soon as that is something; it is asked anew after each pause, in seconds."""
    deadline = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited for {patience} seconds"
        time.sleep(pause)
    return found


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """A server and a worker at work, ended by their own ids.

    Args:
        folder: an empty folder.
        environment: of the processes, beside what they need.
    """
    made = Served(folder, environment)
    try:
        made.start_server()
        made.set_up()
        made.start_worker()
        yield made
    finally:
        made.end()
