"""Leases: locks in a bucket, which end some time after their owner does.

The states of a lock are objects that are numbered. Who creates the next number has the lock, and proves to be alive by
putting that object anew every few seconds. Whoever waits sees it change; once it has stayed as it is for as long as it
says itself, by the clock of who waits, the owner is dead, and the next number may be created. No two machines' clocks
are compared. An owner that was stopped and goes on later finds a higher number, and does no more in its name.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from curate.bucket import Bucket
from curate.errors import AssayError

SECONDS = "ASSAY_LEASE_SECONDS"
DEFAULT = 30.0
"""After so many seconds without a sign of life an owner has lost its lease."""
SIGNS = 3
"""Signs of life in that time."""
LOOK = 0.5
"""Seconds between two looks of who waits, at first; more and more, up to a sign's."""


class LostError(AssayError):
    """A lease was lost: another process may be at what it was for."""


class Lease:
    """A lock that this process has.

    Args:
        bucket: where it lies.
        name: of the lock, below which its states are.
        number: of the state that this process has created.
        owner: what it says of the owner.
        seconds: after which it is lost without a sign of life.
        since: when it was asked for, see `now`.
    """

    def __init__(self, bucket: Bucket, name: str, number: int, owner: str, seconds: float, since: float) -> None:
        self._bucket, self._name, self._number, self._owner = bucket, name, number, owner
        self._seconds = seconds
        self._sure = since
        self._beat = 0
        self._lost = False
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def require(self) -> None:
        """See to it that this process has the lock still, and for half its time yet.

        Raises:
            LostError: it does not.
        """
        if not self._lost and now() - self._sure > self._seconds / 2:
            self._sign()
        if self._lost or now() - self._sure > self._seconds / 2:
            raise LostError(
                f"{self._bucket.url}: this process has lost its turn ({self._name}), as it gave no sign of life for "
                f"{self._seconds:g} s. Nothing half-made was published.",
                remedy="Run the same command again: what was done is kept.",
            )

    def end(self) -> None:
        """Give it back."""
        self._ended.set()
        self._thread.join()
        if not self._lost:
            with suppress(AssayError):  # it ends by itself then
                self._bucket.put(_state(self._name, self._number), b"")

    def _live(self) -> None:
        while not self._ended.wait(self._seconds / SIGNS / 2):
            try:
                self._sign()
            except AssayError:  # the storage does not answer: it is tried again, and `require` tells if it is too late
                continue
            if self._lost:
                return

    def _sign(self) -> None:
        """Give a sign of life, and see whether another has the lock."""
        with self._turn:
            if self._lost:
                return
            begun = now()
            self._beat += 1
            self._bucket.put(_state(self._name, self._number), said(self._owner, self._seconds, self._beat))
            if max(_numbers(self._bucket, self._name), default=0) == self._number:
                self._sure = begun
            else:
                self._lost = True


@contextmanager
def leased(bucket: Bucket, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[Lease]:
    """Hold a lock of a bucket.

    Args:
        bucket: where it lies.
        name: of the lock.
        waiting: called once, if another process has it.

    Raises:
        AssayError: the storage cannot be used.
    """
    lease = _taken(bucket, f"locks/{name}", waiting)
    try:
        yield lease
    finally:
        lease.end()


def now() -> float:
    """Seconds since this machine was started, those that it slept too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def seconds() -> float:
    """How long a lease of this process lasts without a sign of life, by the environment's ASSAY_LEASE_SECONDS.

    Raises:
        AssayError: it is no number of seconds.
    """
    stated = os.environ.get(SECONDS)
    try:
        found = DEFAULT if stated is None else float(stated)
    except ValueError:
        found = 0
    if not 1 <= found <= 3600:
        raise AssayError(f"{SECONDS}={stated!r:.80}: expected 1 to 3600.", remedy=f"Without it, it is {DEFAULT:g}.")
    return found


def said(owner: str, lasts: float, beat: int) -> bytes:
    """What the state of a lock says; that of one which was given back is empty."""
    return json.dumps({"owner": owner, "seconds": lasts, "beat": beat}).encode()


def _taken(bucket: Bucket, name: str, waiting: Callable[[], None]) -> Lease:
    owner, lasts = f"{os.uname().nodename} {os.getpid()} {uuid4().hex}", seconds()
    seen: tuple[int, bytes] | None = None
    since, told, pause = now(), False, LOOK
    while True:
        last = max(_numbers(bucket, name), default=0)
        state = bucket.get(_state(name, last)) if last else b""
        if (last, state) != seen:
            seen, since = (last, state or b""), now()
        begun = now()
        if (not state or now() - since > _lasts(state)) and bucket.create(
            _state(name, last + 1), said(owner, lasts, 0)
        ):
            numbers = _numbers(bucket, name)
            if max(numbers) == last + 1:
                bucket.remove(_state(name, number) for number in numbers if number <= last)
                return Lease(bucket, name, last + 1, owner, lasts, begun)
            bucket.remove([_state(name, last + 1)])  # of a number that had been removed: others have come since
            continue
        if state and not told:
            waiting()
            told = True
        time.sleep(pause if state else 0)
        pause = min(pause * 1.5, lasts / SIGNS)


def _lasts(state: bytes) -> float:
    """How long a state of a lock is good for without another; what cannot be read is as good as the longest."""
    try:
        return float(json.loads(state)["seconds"])
    except (ValueError, KeyError, TypeError):
        return 3600


def _state(name: str, number: int) -> str:
    return f"{name}/{number:010d}"


def _numbers(bucket: Bucket, name: str) -> list[int]:
    return [int(each.rpartition("/")[2]) for each in bucket.listed(name)]
