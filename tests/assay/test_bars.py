"""Bars on a terminal, lines without one."""

import io
import re
import threading

from rich.console import Console

from assay.bars import Bars


def test_bars_leave_one_line_for_each_finished_stage_and_keep_the_seconds() -> None:
    written = io.StringIO()
    with Bars(Console(file=written, width=120)) as bars:
        bars("read", 0, 4000, "rows")
        bars("read", 1000, 4000, "rows")
        bars("read", 4000, 4000, "rows")
        bars("clean", 4000, 4000, "rows")
        bars("split", 10, 4000, "rows")
    lines = written.getvalue().splitlines()
    assert [line.split()[:3] for line in lines] == [["read", "4,000", "rows"], ["clean", "4,000", "rows"]]
    assert all(re.search(r"[\d,]+ rows/s +\d+\.\d s$", line) for line in lines)
    assert list(bars.seconds) == ["read", "clean"]
    assert all(seconds >= 0 for seconds in bars.seconds.values())


def test_a_terminal_sees_the_bar_of_the_stage_at_work() -> None:
    written = io.StringIO()
    with Bars(Console(file=written, width=120, force_terminal=True, color_system=None)) as bars:
        bars("train", 30, 60, "tokens")
        bars._bars.refresh()
    assert "30/60 tokens" in written.getvalue()


def test_without_a_terminal_a_step_that_says_nothing_is_told_of() -> None:
    heard = threading.Event()

    class Heard(io.StringIO):
        def write(self, text: str) -> int:
            if "\x1b[31m" in text:
                raise AssertionError("a row steers the terminal")
            if "judge\\x1b[31m: at work on 34,000 rows" in text:
                heard.set()
            return super().write(text)

    with Bars(Console(file=Heard(), width=120), interval=0.001) as bars:
        bars("judge\x1b[31m", 0, 34_000, "rows")
        assert heard.wait(60)


def test_a_terminal_gets_no_lines_of_what_its_bars_show() -> None:
    bars = Bars(Console(file=io.StringIO(), force_terminal=True), interval=0.001)
    with bars:
        bars("judge", 0, 34_000, "rows")
        assert {thread.name for thread in threading.enumerate()}.isdisjoint({"lines"})
