"""Processes that work on shards, one machine's worth."""

import ctypes
import errno
import os
import pickle
import re
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, get_context, parent_process
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any

from curate.cache import brought
from curate.engine import MapShards, Result, TaskT, WorkerDied, looking_seldom, supervised
from curate.errors import AssayError
from curate.mirror import mirror_of, placed
from curate.progress import Progress

MEMORY = "ASSAY_WORKER_MEMORY"
"""The environment's bound of a worker's memory, e.g. 4GiB or 1500MiB. It is the machine's, and so not in a recipe."""
DEFAULT_MEMORY = 2 << 30
LEAST_MEMORY = 512 << 20
"""Bytes. Workers take 200 MiB before their first row, and models up to as much again."""
LEFT_MEMORY = 256 << 20
"""Bytes that a worker may hold when its stage is over; one with more is not kept for the next, for which another takes
half a second to get ready."""
UNITS = {"MiB": 20, "GiB": 30}
LEAST_ADDRESSES = 1200 << 20
"""Bytes of addresses (`ulimit -v`) that the libraries take beside the rows, in the process that starts the others."""
M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3
"""Of glibc's mallopt."""
OUT_OF_MEMORY = 97
"""Exit status of a worker that got no more memory; no library's."""
FROM_OUTSIDE = {signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM}
"""Signals that a process gets from others: from a person, or from the system when all its memory is taken."""


def available_cores() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def worker_memory() -> int:
    """Bytes of memory that a worker may take, by the environment's ASSAY_WORKER_MEMORY.

    Raises:
        AssayError: it is no size, or less than a worker needs.
    """
    stated = os.environ.get(MEMORY)
    if stated is None:
        return DEFAULT_MEMORY
    found = re.fullmatch(r"([0-9]{1,9}) ?(MiB|GiB)", stated)
    if found is None or (size := int(found[1]) << UNITS[found[2]]) < LEAST_MEMORY:
        raise AssayError(
            f"{MEMORY}={stated!r:.80} is no size of a worker, which takes {_as_text(LEAST_MEMORY)} or more.",
            remedy=f"State it in MiB or GiB, e.g. {MEMORY}=4GiB; without it a worker may take 2 GiB.",
        )
    return size


def _as_text(size: int) -> str:
    return f"{size >> 20:,} MiB" if size % (1 << 30) else f"{size >> 30} GiB"


def spare_addresses() -> None:
    """Where this process may have so many addresses and no more (`ulimit -v`), keep glibc from reserving 64 MiB of them
    for every thread, here and in the processes that it starts, and have it give back what large arrays took.

    Raises:
        AssayError: there are fewer than the libraries take, which would end the run by a crash in one of them.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return
    if most < LEAST_ADDRESSES:
        raise AssayError(
            f"This process may use {_as_text(most)} of addresses (ulimit -v); "
            f"to curate takes {_as_text(LEAST_ADDRESSES)} and what the rows take.",
            remedy=f"Run `ulimit -v unlimited` first, or allow more; what workers take is bounded by {MEMORY}.",
        )
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    _mallopt(M_ARENA_MAX, 2)
    give_back(1 << 20)


def give_back(least: int) -> None:
    """Have glibc give back at once what arrays of `least` bytes or more took. It would keep it, in pieces that others
    do not fit into; to take it anew each time costs time."""
    _mallopt(M_MMAP_THRESHOLD, least)


def _mallopt(parameter: int, value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # there is glibc
        libc.mallopt(parameter, value)


def set_up(workers: int, memory: int) -> None:
    """Set up this process as one of so many workers, with `memory` bytes each: the tokenizer, which has threads of its
    own, gets its share of the cores; a worker that dies leaves no image of its memory behind; ^C is left to the parent;
    and when the parent ends, even by SIGKILL, so does the worker."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(max(1, available_cores() // workers)))
    # Of data, not of addresses: the cache's files are mapped, and libraries reserve more than they take.
    _lower(resource.RLIMIT_DATA, memory)
    _lower(resource.RLIMIT_CORE, 0)
    end_with_parent()


def end_with_parent() -> None:
    """Leave ^C to the process that started this one, and end when it does, even by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _lower(limit: int, size: int) -> None:
    """Lower a limit of this process, unless it is as low already."""
    now, most = resource.getrlimit(limit)
    if now == resource.RLIM_INFINITY or now > size:
        resource.setrlimit(limit, (size, most))


def serve(pipe: "connection.Connection[Any, Any]", workers: int, memory: int) -> None:
    """A worker's life: tasks come by the pipe, with what is to be done with them, and results go."""
    import pyarrow as pa

    set_up(workers, memory)
    pool = pa.default_memory_pool()
    with looking_seldom(), suppress(EOFError, ConnectionError):  # the parent wants no more
        while True:
            result = _done(pipe.recv_bytes())
            pool.release_unused()  # else Arrow keeps, in every worker, the most that a shard has ever taken
            pipe.send(_held())
            pipe.send_bytes(result)


def _done(work: bytes) -> bytes:
    """What has become of a task, of which nothing else stays."""
    try:
        function, task = pickle.loads(work)  # noqa: S301 -- of a process of our own
        done = True, function(task)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            os._exit(OUT_OF_MEMORY)
        done = False, _portable(error)
    return bytes(_Back.dumps(done))


def _held() -> int:
    """Bytes of memory that this process holds and no file backs."""
    _, resident, backed, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - backed) * resource.getpagesize()


def _portable(error: Exception) -> Exception:
    """An error that the parent can be sent, with what its traceback says: some libraries' cannot be made again."""
    sent = error
    if not isinstance(error, AssayError) and type(error).__module__ != "builtins":
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent


@contextmanager
def _safe_path() -> Iterator[None]:
    """Python processes started inside do not look for modules in the working directory, where another `curate` may lie:
    the server is told where this process finds them only after it has imported what it begins with."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


_main = threading.Lock()
_hidden: list[ModuleType] = []
"""What was `__main__` when each of the threads, or coroutines, began that hide it: the last to end brings the first."""


@contextmanager
def caller_unknown() -> Iterator[None]:
    """Processes started meanwhile do not import the script that called: nothing of it is their work, and one that does
    its own under no `if __name__ == "__main__":` would begin all over again in each of them."""
    with _main:
        _hidden.append(sys.modules["__main__"])
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        with _main:
            sys.modules["__main__"] = _hidden.pop()


def start_server() -> None:
    """Start what workers are forked from, a process without threads: it imports what they need, once for all of them,
    while this one finds out what there is to do.

    Raises:
        AssayError: the machine's bounds are too narrow.
    """
    spare_addresses()
    get_context("forkserver").set_forkserver_preload(["curate.preload"])
    with _safe_path():
        forkserver.ensure_running()


class _Back(ForkingPickler):
    """What goes between processes, also of other machines: a path below the mirror of a store that is in a bucket comes
    out as that below theirs."""

    arrives = staticmethod(placed)

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Path) and (mirror := mirror_of(value)) is not None:
            return self.arrives, (mirror.url, mirror.name(value))
        return NotImplemented


class _Out(_Back):
    """What a worker is sent: of the cache what is named is fetched there."""

    arrives = staticmethod(brought)


def packed(function: Callable[[TaskT], Result], task: TaskT) -> bytes:
    """What a worker is sent to do."""
    return bytes(_Out.dumps((function, task)))


def opened(result: bytes) -> Any:
    """What has become of it, by what the worker sent.

    Raises:
        Exception: the task has failed.
    """
    well, content = pickle.loads(result)  # noqa: S301 -- of a process of our own
    if not well:
        raise content
    return content


class Worker:
    """A process that works on one task at a time, so that it is known at which one it dies.

    Args:
        workers: how many there are beside it, itself too.
        memory: bytes that it may take.
    """

    def __init__(self, workers: int, memory: int) -> None:
        # Not by a fork of this process: it has threads (progress bars, Arrow's pool) whose locks a fork copies.
        context = get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.memory = memory
        self.held = 0
        """Bytes that it held after its last task."""
        self.process = context.Process(target=serve, args=(theirs, workers, memory))
        with caller_unknown():
            self.process.start()
        theirs.close()

    def begin(self, work: bytes) -> None:
        """Have it do what is `packed`."""
        with suppress(ConnectionError):  # it has died; `result` says so
            self.pipe.send_bytes(work)

    def result(self) -> bytes:
        """What has become of the task, to be `opened`.

        Raises:
            WorkerDied: this process has ended.
        """
        try:
            self.held = self.pipe.recv()
            return self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.process.join()
            raise self._died() from None

    def _died(self) -> WorkerDied:
        code, bound = self.process.exitcode or 0, _as_text(self.memory)
        more = f"Give workers more memory, e.g. {MEMORY}=4GiB, with fewer --workers where there is no more."
        if code == OUT_OF_MEMORY:
            return WorkerDied(f"its worker process ran out of memory, of which it has {bound}", more, False)
        out = "Take it out of the drop. What was finished is kept."
        if code >= 0:
            return WorkerDied(f"its worker process ended with exit status {code}", out, False)
        how = f"signal {-code} ({signal.strsignal(-code)})"
        if -code in FROM_OUTSIDE:
            fewer = f"If it was for want of memory: fewer --workers, or a lower {MEMORY}. What was finished is kept."
            return WorkerDied(f"its worker process was killed: {how}", fewer, True)
        if -code == signal.SIGABRT:
            how, out = f"{how}, as libraries end that get no memory; it has {bound}", more
        return WorkerDied(f"its worker process ended: {how}", out, False)

    def close(self) -> None:
        """End it once it has done what it is at."""
        self.pipe.close()


def apart(function: Callable[[Any], Result], task: Any, remedy: str) -> Result:
    """What a function gives in a process of its own: the memory that its libraries take goes with it.

    Args:
        function: what is run.
        task: its argument; as text it says what it is at.
        remedy: what the user may do if that process dies.

    Raises:
        AssayError: that process has died.
        Exception: the function's own.
    """
    with _safe_path():
        worker = Worker(1, worker_memory())
    try:
        worker.begin(packed(function, task))
        return opened(worker.result())  # type: ignore[no-any-return]
    except WorkerDied as died:
        raise AssayError(f"{task}: {died.how}.", remedy=remedy) from None
    finally:
        worker.process.kill()  # it has nothing more to do, or the user waits no longer
        worker.close()
        worker.process.join()


class _Workers:
    """Worker processes, each started when there is a task for it, and kept from one stage to the next, unless it holds
    much: models and what libraries remember are each of one stage."""

    def __init__(self, number: int, memory: int) -> None:
        self._number = number
        self._memory = memory
        self._all: list[Worker] = []
        self._idle: list[Worker] = []

    def each(
        self, function: Callable[[TaskT], Result], tasks: Sequence[TaskT]
    ) -> Iterator[tuple[int, Result | WorkerDied]]:
        """The result of each task, with its place, as they come; or how its worker died.

        Raises:
            Exception: a task has failed.
        """
        self._let_go()
        waiting = list(range(len(tasks)))[::-1]
        busy: dict[Any, tuple[int, Worker]] = {}
        while waiting or busy:
            while waiting and len(busy) < self._number:
                worker = self._idle.pop() if self._idle else self._started()
                busy[worker.pipe] = waiting[-1], worker
                worker.begin(packed(function, tasks[waiting.pop()]))
            for pipe in connection.wait(list(busy)):
                index, worker = busy.pop(pipe)
                try:
                    result = opened(worker.result())
                except WorkerDied as died:
                    self._all.remove(worker)
                    worker.close()
                    yield index, died
                else:
                    self._idle.append(worker)
                    yield index, result

    def _started(self) -> Worker:
        self._all.append(Worker(self._number, self._memory))
        return self._all[-1]

    def _let_go(self) -> None:
        for worker in [worker for worker in self._idle if worker.held > LEFT_MEMORY]:
            self._idle.remove(worker)
            self._all.remove(worker)
            worker.process.kill()  # it has nothing more to do
            worker.close()

    def kill(self) -> None:
        """End what they are at, which may take long; nothing of it is half-made in the cache."""
        for worker in self._all:
            worker.process.kill()

    def close(self) -> None:
        """Wait for what they are at, and end them."""
        for worker in self._all:
            worker.close()
        for worker in self._all:
            worker.process.join()


@contextmanager
def process_pool(workers: int, progress: Progress, memory: int | None = None) -> Iterator[MapShards]:
    """A MapShards that runs tasks in up to `workers` processes, kept from one stage to the next: nothing is read or
    judged in this one, which what kills a worker does not harm. A task at which one died is run again, and part by part
    (`engine.narrowed`).

    Args:
        workers: processes.
        progress: told of the tasks that are done.
        memory: bytes that each may take; by default `worker_memory`.

    Raises:
        AssayError: a worker dies each time at what cannot be left out; or the machine's bounds are too narrow.
    """
    memory = worker_memory() if memory is None else memory
    start_server()
    pool = _Workers(workers, memory)
    try:
        yield supervised(pool.each, progress)
    except Exception:
        raise
    except BaseException:  # ^C, or the signal of who cancels the run: nobody waits for what they are at
        pool.kill()
        raise
    finally:
        pool.close()
