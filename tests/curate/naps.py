"""What workers are given to do by the tests of them. They import this, and no more than it takes."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import AssayError


@dataclass(frozen=True)
class Sleep:
    """A task that lasts a while; its size is its number."""

    size: int
    seconds: float
    unit: str = "naps"


def nap(task: Sleep) -> tuple[int, int]:
    time.sleep(task.seconds)
    return task.size, os.getpid()


def die(task: Sleep) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Trap:
    """A task at which only the first worker dies; its number is its size."""

    size: int
    sprung: Path
    unit: str = "traps"


def spring(task: Trap) -> int:
    if task.size == 2 and not task.sprung.exists():
        task.sprung.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task.size


def end_host(task: Trap) -> int:
    """Kill the cluster's worker that this process works for; but once."""
    if task.size == 2 and not task.sprung.exists():
        task.sprung.touch()
        server = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
        os.kill(int(server[1]), signal.SIGKILL)
        time.sleep(60)
    return task.size


def linger(task: Trap) -> None:
    time.sleep(5)
    task.sprung.touch()


def fill(task: Sleep) -> int:
    """Take so many bytes."""
    return len(bytearray(task.size))


hoarded: list[bytes] = []


def hoard(task: Sleep) -> int:
    """Take so many bytes and keep them, as a model that is loaded once does."""
    hoarded.append(b"x" * task.size)
    return os.getpid()


def overflow(task: Sleep) -> int:
    """The same of a library in C, which has another word for want of memory."""
    return int(np.ones(task.size, np.uint8).size)


def refuse(task: Sleep) -> None:
    raise AssayError(f"nap {task.size} is refused", remedy="Do not nap.")
