"""Where a flow reports to: who asked for it, else its log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flows import run
from flows.run import progress_of_run, report_to


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    monkeypatch.setattr(run, "get_run_logger", lambda: logging.getLogger("run"))
    with caplog.at_level(logging.INFO, "run"):
        yield caplog.messages


def test_by_default_the_log_gets_a_line_for_each_finished_stage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with logged(monkeypatch, caplog), progress_of_run() as progress:
        progress("read", 0, 100, "rows")
        progress("read", 100, 100, "rows")
        progress("clean", 10, 100, "rows")
    (line,) = caplog.messages
    assert line.split()[:3] == ["read", "100", "rows"]


def test_who_asked_for_it_is_told_and_only_inside() -> None:
    told: list[tuple[str, int, int, str]] = []
    with report_to(lambda *call: told.append(call)), progress_of_run() as progress:
        progress("read", 1, 2, "rows")
    assert told == [("read", 1, 2, "rows")]
    assert run._progress.get() is None
