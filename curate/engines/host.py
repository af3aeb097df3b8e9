"""What a worker of a cluster does: it has a process at the work, as on one machine, and tells how that ended.

So the bounds of memory, what is told of a death and what is quarantined for it are those of `curate.workers`, and no
row ends a worker of the cluster, which may be at the work of others too.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from multiprocessing import current_process
from pathlib import Path
from uuid import uuid4

from curate.drafts import drafted
from curate.engine import WorkerDied
from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.mirror import mirror_of, mirrored
from curate.stage import installed
from curate.workers import Worker, available_cores, start_server, worker_memory

MARKS = "marks"
"""Below it lie marks in a bucket."""
IDLE = 120.0
"""Seconds that a process is kept without work, for the next stage."""


@dataclass(frozen=True)
class Terms:
    """What a run asks of the workers of a cluster."""

    run: str
    """Tells it from others, of any user."""
    memory: int
    """Bytes that a process may take."""
    mark: Path
    """A folder of the store, which they are to see: a draft, and so one that is known for left behind if it is."""
    versions: dict[str, str]
    """Of what decides what a stage gives: Python, Assay's code, libraries."""
    url: str = ""
    """Of the store, if it is in a bucket, of which the mark is an object then."""

    def __hash__(self) -> int:
        return hash(self.run)


@contextmanager
def terms(folder: Path) -> Iterator[Terms]:
    """The terms of a run by this process.

    Args:
        folder: that workers must see too, as it is here or, of a store in a bucket, there.
    """
    if (mirror := mirror_of(folder)) is not None:
        run = uuid4().hex
        mirror.bucket.put(f"{MARKS}/{run}", b"")
        try:
            yield Terms(run, worker_memory(), Path(MARKS, run), versions(), mirror.url)
        finally:
            mirror.bucket.remove([f"{MARKS}/{run}"])
        return
    with drafted(folder.absolute()) as mark:
        yield Terms(mark.name, worker_memory(), mark, versions())


def versions() -> dict[str, str]:
    """Of what decides, in this process, what a stage gives."""
    home = Path(__file__).resolve().parents[1]
    code = {file.relative_to(home).as_posix(): file_digest(file) for file in sorted(home.rglob("*.py"))}
    try:
        all_needed = [each for each in requires("assay-curation") or [] if "extra ==" not in each]
        needed = [re.split("[^A-Za-z0-9._-]", each)[0] for each in all_needed]
    except PackageNotFoundError:  # it lies there as source
        needed = ["pyarrow", "numpy"]
    python = "{}.{}".format(*sys.version_info)
    return {"Python": python, "Assay's code": digest(code)[:16], **installed(needed)}


def agree(terms: Terms) -> None:
    """Whether this worker of a cluster can do the work of a run.

    Raises:
        AssayError: it does not see the store, or has another version of what decides what a stage gives.
    """
    where = f"The worker {os.getpid()} on {os.uname().nodename}"
    if terms.url:
        _require_bucket(terms, where)
    elif not terms.mark.exists():
        raise AssayError(
            f"{where} does not see {terms.mark.parent}.",
            remedy="Workers of a cluster take store and drop from storage that all share, at the same paths; name "
            "both by absolute paths there.",
        )
    here = versions()
    for name in sorted(here.keys() | terms.versions.keys()):
        if here.get(name) != terms.versions.get(name):
            raise AssayError(
                f"{where} has {name} {here.get(name)}; the run was started with {terms.versions.get(name)}.",
                remedy="Install the same on all machines: pip install -c constraints.txt assay-curation.",
            )


def _require_bucket(terms: Terms, where: str) -> None:
    """See to it that this worker can use the store's bucket, and has a place for its mirror.

    Raises:
        AssayError: it cannot, or has none.
    """
    try:
        there = mirrored(terms.url).bucket.get(terms.mark.as_posix()) is not None
    except AssayError as error:
        raise AssayError(f"{where}: {error.message}", remedy=error.remedy) from None
    if not there:
        raise AssayError(
            f"{where} finds another store at {terms.url}.",
            remedy="Give its environment the storage that the run has (AWS_ENDPOINT_URL and such), and keys for it.",
        )


class _Processes:
    """The processes of this worker of a cluster: each task that it is at, at a time, has one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._agreed: set[Terms] = set()
        self._busy: dict[Worker, Terms] = {}
        self._idle: list[tuple[Worker, Terms, float]] = []

    def run(self, terms: Terms, work: bytes) -> bytes | WorkerDied:
        worker = self._taken(terms)
        worker.begin(work)
        try:
            result = worker.result()
        except WorkerDied as died:
            with self._lock:
                del self._busy[worker]
            worker.close()
            return died
        with self._lock:
            del self._busy[worker]
            self._idle.append((worker, terms, time.monotonic()))
        return result

    def _taken(self, terms: Terms) -> Worker:
        with self._lock:
            if not self._agreed:
                threading.Thread(target=self._forget, daemon=True).start()
            if terms not in self._agreed:
                agree(terms)
                start_server()
                self._agreed.add(terms)
            own = [each for each in self._idle if each[1] == terms]
            if own:
                worker = own[0][0]
                self._idle.remove(own[0])
            else:
                with _may_start_processes():
                    worker = Worker(available_cores(), terms.memory)
            self._busy[worker] = terms
        return worker

    def _forget(self) -> None:
        """End those that are without work: their run was killed, perhaps."""
        while True:
            time.sleep(IDLE / 4)
            with self._lock:
                old = [each for each in self._idle if time.monotonic() - each[2] > IDLE]
                self._idle = [each for each in self._idle if each not in old]
            for worker, *_ in old:
                worker.close()

    def end(self, run: str) -> None:
        with self._lock:
            for worker, own, _ in self._idle:
                if own.run == run:
                    worker.close()
            self._idle = [each for each in self._idle if each[1].run != run]
            for worker, own in self._busy.items():
                if own.run == run:
                    worker.process.kill()


@contextmanager
def _may_start_processes() -> Iterator[None]:
    """Dask's workers are daemons, which multiprocessing lets start no processes, as these would outlive them; ours end
    with the one that started them."""
    config = vars(current_process())["_config"]
    before = config.pop("daemon", None)
    try:
        yield
    finally:
        if before is not None:
            config["daemon"] = before


_processes = _Processes()


def run(terms: Terms, work: bytes) -> bytes | WorkerDied:
    """Do what is `workers.packed`, in a process of its own.

    Raises:
        AssayError: this worker cannot do it.
    """
    return _processes.run(terms, work)


def end(run: str) -> None:
    """End the processes of a run, whatever they are at; nothing of it is half-made in the cache."""
    _processes.end(run)


def lost(how: str) -> WorkerDied:
    """What is told of a task at which the cluster has lost its workers themselves, each time that it was tried."""
    return WorkerDied(
        f"the cluster lost each worker that was at it ({how})",
        "Its own log tells how they ended. They need memory beside what their processes take (ASSAY_WORKER_MEMORY). "
        "What was finished is kept.",
        True,
    )
