"""What the process of a run writes to the terminal of its worker, which may be gone before the run is done."""

import logging
import os
import sys
from typing import Any, TextIO, cast

from prefect.logging.handlers import PrefectConsoleHandler

BY_WORKER = "PREFECT__FLOW_RUN_ID"
"""Of the environment: a worker has started this process for a run."""


def outlive_readers() -> None:
    """Where a worker has started this process, have output that nobody reads any more go nowhere.

    A worker reads it through pipes, which break when it is killed. A line of the log would end the run then: rich exits
    on a broken pipe.
    """
    if BY_WORKER not in os.environ:
        return
    sys.stdout, sys.stderr = cast(TextIO, _Output(sys.stdout)), cast(TextIO, _Output(sys.stderr))
    for logger in (logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)):
        for handler in logger.handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.console.file = sys.stderr


class _Output:
    """A stream that goes nowhere from where it breaks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._leave()

    def _leave(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
