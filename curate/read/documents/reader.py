"""Reader: documents are read in a process of their own, which the worst of them can end, and no more.

What reads them is written in C++ and Rust for speed, or may take any time and memory that a hostile file asks for. So
that process has bounds of both, one for each document, and nothing else to lose; a document at which it ends, in a
fresh one too, is set aside.
"""

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import orjson

from curate.errors import AssayError
from curate.read.documents.bounds import OUT_OF_MEMORY
from curate.read.documents.messages import row_of
from curate.read.documents.stated import Stated
from curate.read.raw_row import Row, Unread

MEMORY = 1 << 30
"""Bytes that the process may take."""
SECONDS = 60
"""Of the processor, for a document; where pages are recognised, for a page."""
LARGEST = 256 << 20
"""Bytes of a document."""
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP}
"""Signals that no document causes."""


STATED = Stated()


class NeedsPackageError(AssayError):
    """A library that reads documents is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"These files are read by the package {package}, which is not installed.",
            remedy=f"pip install 'assay-curation[{extra}]'",
        )


class _EndedError(Exception):
    """The process has ended in the middle of a document.

    Args:
        how: it ended.
        killed: whether by a signal that only comes from outside.
        in_time: whether for the time that it took.
    """

    def __init__(self, how: str, killed: bool = False, in_time: bool = False) -> None:
        super().__init__(how)
        self.killed = killed
        self.in_time = in_time


def read_document(data: bytes, format: str, name: str, stated: Stated = STATED) -> Iterator[Row | Unread]:
    """The rows of a document.

    Args:
        data: all of it.
        format: one of those that `curate.read.documents.__main__` knows.
        name: the file's.
        stated: what the recipe's source says.

    Raises:
        NeedsPackageError: what reads this format is not installed.
        AssayError: the process was killed from outside.
    """
    if len(data) > LARGEST:
        yield Unread(f"longer than {LARGEST >> 20} MiB", None, "", name=name)
        return
    given = killed = 0
    while True:
        fresh = not _idle
        process = Process() if fresh else _idle.pop()
        try:
            for number, row in enumerate(process.rows(data, format, name, stated)):
                if number >= given:
                    given += 1
                    yield row
            return
        except _EndedError as ended:  # one that has read others has less memory than a fresh one: it is read again
            killed += ended.killed
            if killed == 2:
                raise AssayError(
                    f"{name}: the process that reads it was killed twice, from outside or for want of memory.",
                    remedy="Run it again, with fewer --workers if memory is short. What was finished is kept.",
                ) from None
            if not ended.killed and (fresh or ended.in_time):
                yield Unread(str(ended), None, "", name=name)
                return


PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
"""Environment variables that the process has too."""


class Process:
    """A process that reads documents, one at a time."""

    def __init__(self) -> None:
        path = os.pathsep.join(each for each in sys.path if each)
        command = [sys.executable, "-P", "-m", "curate.read.documents", str(MEMORY), str(SECONDS)]
        self.process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Of the environment, keys among it, it has what its libraries are found by and no more.
            env={name: os.environ[name] for name in PASSED if name in os.environ} | {"PYTHONPATH": path},
        )

    def rows(self, data: bytes, format: str, name: str, stated: Stated) -> Iterator[Row | Unread]:
        """What it reads of a document; it is ended where not all is asked for.

        Raises:
            _EndedError: at this document.
        """
        whole = False
        try:
            self._send(orjson.dumps([format, name, list(stated), len(data)]) + b"\n", data)
            while (found := self._receive()) is not None:
                for each in found:
                    yield _row(each)
            whole = True
            _idle.append(self)
        finally:
            if not whole:
                self.process.kill()
                self.close()

    def _send(self, *messages: bytes) -> None:
        try:
            for each in messages:
                self.process.stdin.write(each)  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        except OSError:
            raise self._ended() from None

    def _receive(self) -> list[dict[str, Any]] | None:
        """Some rows; None behind the last."""
        stream = self.process.stdout
        head = stream.read(8)  # type: ignore[union-attr]
        size = int.from_bytes(head, "little")
        message = stream.read(size)  # type: ignore[union-attr]
        if len(head) < 8 or len(message) < size:
            raise self._ended()
        found: list[dict[str, Any]] | None = orjson.loads(message)
        return found

    def _ended(self) -> _EndedError:
        code = self.process.wait()
        if code == OUT_OF_MEMORY:
            return _EndedError(f"takes more than {MEMORY >> 20:,} MiB of memory to be read")
        if code == -signal.SIGXCPU:
            return _EndedError(f"takes more than {SECONDS} seconds to be read", in_time=True)
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit status {code}"
        said = f"ended what reads it: {how}, as libraries end that get no more memory; it has {MEMORY >> 20:,} MiB"
        return _EndedError(said, -code in FROM_OUTSIDE)

    def close(self) -> None:
        """Let it end, which it does when nothing more can come."""
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()  # type: ignore[union-attr]
            except BrokenPipeError:
                continue
        self.process.wait()


def _row(found: dict[str, Any]) -> Row | Unread:
    if "needs" in found:
        raise NeedsPackageError(*found["needs"])
    return row_of(found)


_idle: list[Process] = []
"""Those of this process that wait for a document."""


def processes() -> list["subprocess.Popen[bytes]"]:
    """Those that wait for a document."""
    return [each.process for each in _idle]


@atexit.register
def close_idle() -> None:
    """End those that wait for a document."""
    while _idle:
        _idle.pop().close()


os.register_at_fork(after_in_child=_idle.clear)
