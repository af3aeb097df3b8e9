"""How long work tells its caller how far it is, and the lines that a log is told of it."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

Progress = Callable[[str, int, int, str], None]
"""Called as ``progress(what, done, total, unit)``, e.g. ``progress("clean", 5000, 34873, "rows")``."""


@runtime_checkable
class Noting(Protocol):
    """A progress that can also show a word about what is at work, such as the loss of what is being trained."""

    def note(self, what: str, text: str) -> None: ...


def note(progress: object, what: str, text: str) -> None:
    """Have a word about what is at work shown, by a progress that can."""
    if isinstance(progress, Noting):
        progress.note(what, text)


def silent(what: str, done: int, total: int, unit: str) -> None:
    """The progress that tells nobody."""


def rate(done: float, seconds: float, unit: str) -> str:
    """`1,234 rows/s`; nothing where there is not more than one to count."""
    if done <= 1 or seconds <= 0:
        return ""
    pace = done / seconds
    return f"{pace:,.0f} {unit}/s" if pace >= 10 else f"{pace:.1f} {unit}/s"


def minutes(seconds: float) -> str:
    """`0:45`, `12:03`, `1:00:09`."""
    whole, left = divmod(int(seconds), 60)
    hours, whole = divmod(whole, 60)
    return f"{hours}:{whole:02}:{left:02}" if hours else f"{whole}:{left:02}"


class Lines:
    """A progress that writes a line for each finished stage and, as long as it is entered, one whenever none has been
    written for a while: a step that says nothing for minutes does not look like one that hangs.

    Args:
        write: takes a line, also from another thread.
        interval: seconds without a line after which one is written; None for never.
        clock: seconds, ascending.
        share: of the time since the start for which at least no line is written either, so that the number of such
            lines grows with the time's logarithm.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        interval: float | None = 30.0,
        clock: Callable[[], float] = time.monotonic,
        share: float = 0.0,
    ) -> None:
        self.seconds: dict[str, float] = {}
        """Seconds that each finished stage took, in the order they finished."""
        self._write = write
        self._clock = clock
        self._running: dict[str, tuple[float, int, int, str]] = {}
        """By stage: when it began, done, total, unit."""
        self._notes: dict[str, str] = {}
        self._share = share
        self._began = self._told = self._written = clock()
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._timer = (
            None
            if interval is None
            else threading.Thread(target=self._watch, args=(interval,), name="lines", daemon=True)
        )

    def __enter__(self) -> Self:
        self._began = self._told = self._written = self._clock()
        if self._timer is not None:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left.set()
        if self._timer is not None:
            self._timer.join()

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        with self._lock:
            now = self._clock()
            # A stage that first speaks when part of it is done began when the one before it last spoke.
            began = self._running[what][0] if what in self._running else now if done == 0 else self._told
            self._told = now
            self._running[what] = (began, done, total, unit)
            if done < total:
                return
            del self._running[what]
            self._notes.pop(what, None)
            took = now - began
            self.seconds[what] = self.seconds.get(what, 0.0) + took
            if total:
                self._say(f"{what:<24} {f'{total:,} {unit}':>18} {rate(total, took, unit):>18} {took:>8.1f} s")

    def note(self, what: str, text: str) -> None:
        """Have `tell` say this too of a running stage."""
        self._notes[what] = text

    def tell(self) -> None:
        """Write where every running stage is; between two stages, how long ago the last one spoke."""
        with self._lock:
            now = self._clock()
            for what, (began, done, total, unit) in self._running.items():
                noted = f", {self._notes[what]}" if what in self._notes else ""
                self._say(f"{what}: {_how_far(done, total, unit, now - began)}{noted}, {minutes(now - began)}")
            if not self._running:
                after = f"after {next(reversed(self.seconds))}" if self.seconds else "since the start"
                self._say(f"at work, {minutes(now - self._told)} {after}")

    def _say(self, line: str) -> None:
        self._written = self._clock()
        self._write(line)

    def _watch(self, interval: float) -> None:
        while not self._left.wait(max(0.0, self._due(interval) - self._clock())):
            if self._clock() >= self._due(interval):
                self.tell()

    def _due(self, interval: float) -> float:
        """When a line is written if none is before."""
        return self._written + max(interval, self._share * (self._written - self._began))


def _how_far(done: int, total: int, unit: str, seconds: float) -> str:
    if done == 0:
        return f"at work on {total:,} {unit}"
    pace = rate(done, seconds, unit)
    return f"{done:,} of {total:,} {unit}" + (f", {pace}" if pace else "")
