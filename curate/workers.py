"""Processes that work on shards, one machine's worth."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, forkserver, get_context, parent_process
from types import ModuleType

from curate.engine import MapShards, Result, TaskT
from curate.errors import AssayError
from curate.progress import Progress


def available_cores() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def follow_parent() -> None:
    """Set up a worker process: leave ^C to the parent, and end when the parent ends, even by SIGKILL."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            connection.wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _set_up(workers: int) -> None:
    """Set up one of so many workers: the tokenizer, which has threads of its own, gets its share of the cores."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(max(1, available_cores() // workers)))
    follow_parent()


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


@contextmanager
def _caller_unknown() -> Iterator[None]:
    """Processes started meanwhile do not import the script that called: nothing of it is their work, and one that does
    its own under no `if __name__ == "__main__":` would begin all over again in each of them."""
    caller = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = caller


@contextmanager
def process_pool(workers: int, progress: Progress) -> Iterator[MapShards]:
    """A MapShards that runs tasks in up to `workers` processes, kept from one stage to the next.

    They are started when a stage has more than one task; with one worker everything runs here.

    Raises:
        AssayError: a worker was killed, most often for want of memory.
    """
    # Not by a fork of this process: it has threads (progress bars, Arrow's pool) whose locks a fork copies. A server
    # without any imports what workers need once for all of them, while this process finds out what there is to do.
    context = get_context("forkserver")
    context.set_forkserver_preload(["curate.preload"])
    if workers > 1:
        with _safe_path():
            forkserver.ensure_running()
    pool = ProcessPoolExecutor(workers, context, initializer=_set_up, initargs=(workers,))

    def map_shards(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
        total = sum(task.size for task in tasks)
        done = 0
        if total:
            progress(stage, 0, total, tasks[0].unit)
        results: dict[int, Result] = {}
        if workers == 1 or len(tasks) < 2:
            for index, task in enumerate(tasks):
                results[index] = function(task)
                done += task.size
                progress(stage, done, total, task.unit)
        else:
            with _caller_unknown():
                futures = {pool.submit(function, task): index for index, task in enumerate(tasks)}
            for future in as_completed(futures):
                index = futures[future]
                results[index] = future.result()
                done += tasks[index].size
                progress(stage, done, total, tasks[index].unit)
        return [results[index] for index in range(len(tasks))]

    try:
        yield map_shards
    except BrokenProcessPool:
        raise AssayError(
            "A worker process was killed, most often for want of memory; nothing was published.",
            remedy="Run it again with fewer --workers: what was finished is kept.",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
