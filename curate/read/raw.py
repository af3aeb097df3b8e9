"""Read: a file of a drop -> raw rows, one by one, with what cannot be read set aside.

A raw row is a dict of the file's own columns. Files may be compressed (.gz, .xz, .bz2, .zst) or members of a .tar.* or
.zip archive, which is read as a stream, within bounds of size, and never unpacked to a path that it names.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any

import xxhash

from curate.errors import AssayError
from curate.hashing import file_digest
from curate.read.files import (
    ARCHIVE,
    Files,
    InputFile,
    Options,
    drop_digest,
    find_files,
    format_of,
    hashed,
    list_files,
    unopened,
)
from curate.read.formats import rows_of
from curate.read.raw_row import LONGEST_ROW, Row, Unread

__all__ = [
    "LONGEST_ROW",
    "UNREADABLE",
    "Files",
    "InputFile",
    "Options",
    "Part",
    "Row",
    "Unread",
    "drop_digest",
    "find_files",
    "hashed",
    "list_files",
    "parse",
    "read_part",
    "read_rows",
]

UNREADABLE = "unreadable"
"""Reason: the row could not be read; the evidence holds the parser's words, the quarantine's `raw` the text."""

UNPACKED_BYTES = 1 << 30
UNPACKED_RATIO = 100
"""A file may unpack to UNPACKED_BYTES and UNPACKED_RATIO times its size: text packs ten- to thirtyfold, bombs
a thousandfold and more."""
PIECE = 1 << 13
"""Bytes unpacked at a time: so many are lost, at most, of a file that turns out to be broken behind them."""


def read_rows(file: InputFile) -> Iterator[Row | Unread]:
    """Every row of a file, or of every member of an archive, in order.

    An archive's rows carry the column `_member`, those of text that is not UTF-8 `_encoding`. Broken rows come as
    `Unread`, and the rest of the file is still read; where the bytes themselves are broken (a truncated archive, say),
    one `Unread` stands for all that follows.

    Raises:
        AssayError: the file itself cannot be opened, or is no longer what it was when its hash was taken.
    """
    try:
        with file.path.open("rb") as stream:
            yield from _file_rows(stream, file)
        unchanged = file_digest(file.path) == file.sha256
    except OSError as error:
        raise unopened(file.path, error) from None
    if not unchanged:
        raise changed(file)


def parse(file: InputFile, data: bytes) -> Iterator[Row | Unread]:
    """The rows of a file whose bytes have been read already."""
    return _file_rows(io.BytesIO(data), file)


def changed(file: InputFile) -> AssayError:
    """What is said of a file whose bytes are not those that were hashed."""
    return AssayError(
        f"{file.path}: changed while the drop was read.", remedy="Run it again once the drop is complete."
    )


@dataclass(frozen=True)
class Part:
    """Whole lines of a file of JSON lines."""

    begin: int
    end: int
    """Bytes."""
    line: int
    """How many lines of the file come before."""
    row: int
    """How many rows."""
    xxh3: str
    """Hash of the bytes, 128 bits."""


def read_part(file: InputFile, part: Part) -> Iterator[Row | Unread]:
    """The rows of a part of a file, as `read_rows` gives them.

    Raises:
        AssayError: as `read_rows` does.
    """
    try:
        with file.path.open("rb") as stream:
            stream.seek(part.begin)
            window = _Window(stream, part.end - part.begin)
            options = file.options.model_copy(update={"encoding": "utf-8"})
            yield from rows_of(io.BufferedReader(window, 1 << 20), "jsonl", file.name, options, part.line)
    except OSError as error:
        raise unopened(file.path, error) from None
    if window.hash.hexdigest() != part.xxh3:
        raise changed(file)


class _Window(io.RawIOBase):
    """The next bytes of a file, hashed as they are read."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size
        self.hash = xxhash.xxh3_128()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        self._left -= len(data)
        self.hash.update(data)
        buffer[: len(data)] = data
        return len(data)


def _file_rows(stream: IO[bytes], file: InputFile) -> Iterator[Row | Unread]:
    budget = _Budget(UNPACKED_BYTES + UNPACKED_RATIO * file.size)
    if not ARCHIVE.search(file.path.name):
        unpacked = _decompressed(stream, file.path.name, budget)
        yield from _until_broken(rows_of(unpacked, file.format, file.path.name, file.options))
    elif file.path.suffix.lower() == ".zip":
        yield from _until_broken(_zip(stream, file, budget))
    else:
        yield from _until_broken(_tar(_decompressed(stream, file.path.name, budget), file, budget))


class UnpackedSizeError(Exception):
    """A small file unpacks to more than any honest text."""


@dataclass
class _Budget:
    """Bytes that a file may still unpack to, all its members together."""

    left: int

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UnpackedSizeError(
                f"unpacks to more than {UNPACKED_BYTES >> 30} GiB and {UNPACKED_RATIO} times its size"
            )


class _Bounded(io.RawIOBase):
    """What a decompressor or an archive gives, within a budget. Once it breaks it stays broken."""

    def __init__(self, stream: Any, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._error is not None:
            raise self._error
        try:
            data = self._stream.read1(min(len(buffer), PIECE))
            self._budget.spend(len(data))
        except Exception as error:
            self._error = error
            raise
        buffer[: len(data)] = data
        return len(data)


def _decompressed(stream: IO[bytes], name: str, budget: _Budget) -> IO[bytes]:
    """The stream itself, or decompressed if the name's suffix says so."""
    opener = OPENERS.get(PurePosixPath(name).suffix.lower())
    return stream if opener is None else io.BufferedReader(_Bounded(opener(stream), budget), 1 << 16)


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _zstd,
}


BROKEN = (
    EOFError,
    OSError,
    RuntimeError,  # zipfile's, of an encrypted member or a method it does not know
    UnpackedSizeError,
    ValueError,  # zipfile's and tarfile's, of headers that make no sense: names that are no UTF-8, places before 0
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def _until_broken(rows: Iterator[Row | Unread]) -> Iterator[Row | Unread]:
    """Rows up to where their bytes turn out to be broken, then one Unread that says how."""
    try:
        yield from rows
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's; what gzip and bz2 raise of broken data has no number
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def _zip(stream: IO[bytes], file: InputFile, budget: _Budget) -> Iterator[Row | Unread]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield from _until_broken(_zip_member(archive, info, file, budget))


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: InputFile, budget: _Budget
) -> Iterator[Row | Unread]:
    with archive.open(info) as stream:
        # Before anything is unpacked: zipfile reads no more than the size that the archive states.
        budget.spend(info.file_size)
        yield from _member(io.BufferedReader(stream, 1 << 16), info.filename, file, budget)  # type: ignore[type-var]


class _TarHeader(tarfile.TarInfo):
    """A header without which the archive is broken: tarfile itself takes a bad one for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_TarHeader":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}, where a member or the end should be") from None


def _tar(stream: IO[bytes], file: InputFile, budget: _Budget) -> Iterator[Row | Unread]:
    """Links, devices and folders are passed over: nothing of them is in the archive."""
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarHeader) as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is not None:
                # Python 3.11's own wrapper cannot even say that it cannot seek, which TextIOWrapper asks.
                member = io.BufferedReader(_Bounded(content, budget))
                yield from _until_broken(_member(member, entry.name, file, budget))


def _member(stream: IO[bytes], name: str, file: InputFile, budget: _Budget) -> Iterator[Row | Unread]:
    paths = PurePosixPath(name), PureWindowsPath(name)
    if any(path.anchor or ".." in path.parts for path in paths):
        yield Unread(f"{name}: a path that leaves the archive", None, "")
        return
    try:
        format = file.format or format_of(name)
    except AssayError as error:
        yield Unread(error.message, None, "")
        return
    if format is None:
        yield Unread(f"{name}: an archive within an archive", None, "")
        return
    for row in _until_broken(rows_of(_decompressed(stream, name, budget), format, name, file.options)):
        if isinstance(row, dict):
            yield row | {"_member": name}
        else:
            yield replace(row, message=f"{name}: {row.message}")
