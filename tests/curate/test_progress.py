"""Lines of progress: one for each finished stage, and one now and then while nothing else is written."""

import threading
from itertools import pairwise

import pytest

from curate.progress import Lines, minutes, rate


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("done", "seconds", "shown"), [(34_873, 2, "17,436 rows/s"), (9, 2, "4.5 rows/s"), (1, 2, ""), (5, 0, "")]
)
def test_rates(done: float, seconds: float, shown: str) -> None:
    assert rate(done, seconds, "rows") == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (45.9, "0:45"), (723, "12:03"), (3609, "1:00:09")])
def test_minutes(seconds: float, shown: str) -> None:
    assert minutes(seconds) == shown


def test_where_the_work_is_says_what_done_total_rate_and_time() -> None:
    clock, lines = Clock(), list[str]()
    told = Lines(lines.append, None, clock)
    told("judge", 0, 34_000, "rows")
    clock.now = 10.0
    told("judge", 12_000, 34_000, "rows")
    clock.now = 45.0
    told.tell()
    assert lines == ["judge: 12,000 of 34,000 rows, 267 rows/s, 0:45"]


def test_a_step_that_told_only_its_start_is_said_to_be_at_work() -> None:
    clock, lines = Clock(), list[str]()
    told = Lines(lines.append, None, clock)
    told("merge the adapter", 0, 1, "models")
    clock.now = 61.0
    told.tell()
    assert lines == ["merge the adapter: at work on 1 models, 1:01"]


def test_between_two_stages_the_last_one_is_named() -> None:
    clock, lines = Clock(), list[str]()
    told = Lines(lines.append, None, clock)
    clock.now = 31.0
    told.tell()
    told("split", 0, 5, "rows")
    told("split", 5, 5, "rows")
    clock.now = 62.0
    told.tell()
    assert [lines[0], lines[-1]] == ["at work, 0:31 since the start", "at work, 0:31 after split"]
    assert len(lines) == 3


def test_a_finished_stage_leaves_a_line_and_its_seconds() -> None:
    clock, lines = Clock(), list[str]()
    told = Lines(lines.append, None, clock)
    told("read", 0, 4000, "rows")
    clock.now = 2.0
    told("read", 4000, 4000, "rows")
    clock.now = 3.0
    told("clean", 4000, 4000, "rows")  # has not said when it began: when the one before it ended
    told("references", 0, 0, "bytes")
    assert [line.split() for line in lines] == [
        ["read", "4,000", "rows", "2,000", "rows/s", "2.0", "s"],
        ["clean", "4,000", "rows", "4,000", "rows/s", "1.0", "s"],
    ]
    assert told.seconds == {"read": 2.0, "clean": 1.0, "references": 0.0}


def test_lines_come_by_themselves_as_long_as_it_is_entered() -> None:
    heard, lines = threading.Semaphore(0), list[str]()

    def write(line: str) -> None:
        lines.append(line)
        heard.release()

    with Lines(write, interval=0.001) as told:
        told("train", 30, 60, "tokens")
        for _ in range(3):
            assert heard.acquire(timeout=60), "nothing is written"
    written = len(lines)
    assert all(line.startswith("train: 30 of 60 tokens") for line in lines if not line.startswith("at work"))
    told("train", 40, 60, "tokens")
    assert len(lines) == written, "it has ended"


def test_no_line_comes_where_others_were_written_just_now() -> None:
    clock, lines = Clock(), list[str]()
    with Lines(lines.append, interval=1000.0, clock=clock) as told:
        told("read", 1, 2, "rows")
    assert lines == []


def test_the_longer_the_work_the_rarer_its_lines() -> None:
    """Of a second each at first; at last of a tenth of the time since the start."""
    clock, written = Clock(), list[float]()
    told = Lines(lambda _: written.append(clock.now), 1.0, clock, share=0.1)
    told("train", 0, 60, "tokens")
    for second in range(1, 1000):
        clock.now = float(second)
        if clock.now >= told._due(1.0):
            told.tell()
    assert written[:10] == [*range(1, 11)]
    assert all(10 * later >= 11 * earlier for earlier, later in pairwise(written[9:]))
    assert len(written) < 60
