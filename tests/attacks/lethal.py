"""Work that ends its worker where it comes to lethal words. Workers import this, and no more than it takes."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from curate.read.ingest import ReadTask
from curate.shards import PassTask, StageTask

LETHAL = "the words that no library survives"
BOUND = 512 << 20


def end_by(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def leave() -> None:
    os._exit(3)


def fill_memory() -> None:
    bytearray(BOUND)


ENDS: dict[str, tuple[Callable[[], None], str]] = {
    "segfault": (partial(end_by, signal.SIGSEGV), "its worker process ended: signal 11 (Segmentation fault)"),
    "abort": (
        partial(end_by, signal.SIGABRT),
        "its worker process ended: signal 6 (Aborted), as libraries end that get no memory; it has 512 MiB",
    ),
    "exit": (leave, "its worker process ended with exit status 3"),
    "memory": (fill_memory, "its worker process ran out of memory, of which it has 512 MiB"),
}


def harmed(at: str, end: Callable[[], None], stage: str, function: Callable[[Any], Any], task: Any) -> Any:
    """`function`, in a worker that ends where a stage comes to lethal words."""
    if isinstance(task, PassTask):
        return _passed(at, end, function, task)
    if stage == at and LETHAL in words_of(task):
        end()
    return function(task)


def _passed(at: str, end: Callable[[], None], function: Callable[[Any], Any], task: PassTask) -> Any:
    """The same of stages that run one after the other."""
    before = list(takewhile(lambda stage: stage.name != at, task.stages))
    done = function(replace(task, stages=before))
    if len(before) == len(task.stages):
        return done
    rest = replace(task, stages=task.stages[len(before) :], shard=done[-1][0] if done else task.shard)
    if LETHAL in words_of(rest):
        end()
    return done + function(rest)


def words_of(task: Any) -> str:
    """What a task is given to read, or to judge."""
    if isinstance(task, ReadTask):
        data = [file.path.read_bytes() for file in task.files]
        if task.part is not None:
            data = [data[0][task.part.begin : task.part.end]]
        return b"".join([*data, *(file.path.read_bytes() for side in task.lookups for file in side.files)]).decode()
    if isinstance(task, StageTask | PassTask):
        return json.dumps(task.shard.kept()["turns"].to_pylist())
    return ""


def kill_once(trace: Path) -> None:
    if not trace.exists():
        trace.touch()
        end_by(signal.SIGKILL)


def leave_for(task: Any) -> None:
    leave()
