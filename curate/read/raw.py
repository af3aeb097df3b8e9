"""Read: a file of a drop -> raw rows, one by one, with what cannot be read set aside.

A raw row is a dict of the file's own columns. Files may be compressed (gzip, xz, bzip2, Zstandard) or members of a tar
or zip archive, which is read as a stream, within bounds of size, and never unpacked to a path that it names. How a file
is packed and what it holds is told by its bytes; by its name only where they do not tell.
"""

import bz2
import errno
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any, TypeGuard

import xxhash

from curate.errors import AssayError
from curate.hashing import file_digest
from curate.read.budget import ROW_BYTES, UNPACKED_BYTES, UNPACKED_RATIO, Budget, UnpackedSizeError
from curate.read.columnar import at_hand
from curate.read.documents.reader import NeedsPackageError
from curate.read.files import Files, InputFile, Options, drop_digest, find_files, hashed, list_files, unopened
from curate.read.formats import rows_of
from curate.read.raw_row import LONGEST_ROW, UNREADABLE, Row, Unread, shown
from curate.read.sniff import (
    BLOCK,
    TITLES,
    UNKNOWN,
    UNLIKE,
    Content,
    archive_by_name,
    beginning,
    format_by_name,
    has_magic,
    is_text,
    packaged,
    packing_by_name,
    packing_of,
    sniff,
    unpacked_name,
)

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
    "form_of",
    "hashed",
    "is_plain_json_lines",
    "list_files",
    "parse",
    "read_part",
    "read_rows",
]

MOST_PACKINGS = 4
"""A file may be packed three times over; one that unpacks to itself has no end."""
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
    if file.unread:
        yield Unread(file.unread, None, "")
        return
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
            yield from rows_of(io.BufferedReader(window, 1 << 20), "jsonl", file.name, options, Budget(0), part.line)
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


def form_of(file: InputFile) -> tuple[str | None, str | None]:
    """How a file is packed ("zip" or "tar", else how it is compressed, else None), and the format that it will be read
    in; None of an archive, and of what has no rows.

    Raises:
        AssayError: it cannot be opened.
    """
    packing, named, found = _looked_at(file)
    return packing, file.format or _told(found, named, file.options)


def is_plain_json_lines(file: InputFile) -> bool:
    """Whether a file is to be read as JSON lines, and lies there as such: it may be cut where a line ends.

    Raises:
        AssayError: it cannot be opened.
    """
    if file.format not in (None, "jsonl"):
        return False
    packing, named, found = _looked_at(file)
    format = _told(found, named, file.options)
    return packing is None and format == "jsonl" and _against(found, format, file.format is not None) is None


def _looked_at(file: InputFile) -> tuple[str | None, str | None, Content]:
    """How a file is packed, the format that its name or the recipe tells, and what it holds."""
    name = file.path.name
    named = file.format or format_by_name(name)
    packing = None
    try:
        with file.path.open("rb") as stream:
            packing, _ = _packing(stream, name)
            archive, inner = _unpacked(stream, name, Budget(UNPACKED_BYTES))
            if archive is not None:
                return archive, file.format, UNKNOWN
            packing = None if packing == "zip" else packing
            return packing, named, sniff(inner, named, file.options.encoding)[0]
    except BROKEN as error:
        if _is_the_systems(error):
            raise unopened(file.path, error) from None
        return packing, named, UNKNOWN


def _file_rows(stream: IO[bytes], file: InputFile) -> Iterator[Row | Unread]:
    budget = Budget(UNPACKED_BYTES + UNPACKED_RATIO * file.size)
    yield from _until_broken(_paid(_rows(stream, file.path.name, file, budget), budget))


def _paid(rows: Iterator[Row | Unread], budget: Budget) -> Iterator[Row | Unread]:
    for row in rows:
        budget.spend(ROW_BYTES)
        yield row


def _rows(stream: IO[bytes], name: str, file: InputFile, budget: Budget) -> Iterator[Row | Unread]:
    """The rows of a file, or of all members if it is an archive."""
    archive, stream = _unpacked(stream, name, budget)
    if archive == "zip":
        yield from _zip(stream, file, budget)
    elif archive == "tar":
        yield from _tar(stream, file, budget)
    else:
        yield from _content_rows(stream, name, file, budget)


def _content_rows(stream: IO[bytes], name: str, file: InputFile, budget: Budget) -> Iterator[Row | Unread]:
    """The rows of what is unpacked, in the stated format, or in the one that the content or else the name tells."""
    stated = file.format
    if stated in ("text", "front_matter"):  # which anything may be
        yield from rows_of(stream, stated, name, file.options, budget)
        return
    named = stated or format_by_name(name)
    found, stream = sniff(stream, named, file.options.encoding)
    format = stated or _told(found, named, file.options)
    if format is not None:
        against = _against(found, format, stated is not None)
        for row in rows_of(stream, format, name, file.options, budget):
            yield replace(row, message=row.message + against) if against and isinstance(row, Unread) else row
    elif found.foreign:
        text = stream.read(LONGEST_ROW + 1)
        raw = shown(text if len(text) <= LONGEST_ROW else text[:1000]) if is_text(text[:BLOCK]) else ""
        yield Unread(f"{found.foreign}; expected {TITLES[named] if named else 'a file of rows'}", 1, raw)
    elif (archive := archive_by_name(name)) is not None:
        yield Unread(f"no {archive} archive, and nothing else that is known by its content", None, "")
    else:
        raise AssayError(
            f"{name}: cannot tell the format by its content, nor by its suffix.",
            remedy="Set `format` in the recipe's source.",
        )


def _told(found: Content, named: str | None, options: Options) -> str | None:
    """The format that a file's content tells, or else its name; None if it has no rows."""
    if found.foreign:
        return None
    format = found.decides(named)
    # Where it is said which of an object's keys has the rows, a line is no row, unless the name says so.
    return "json" if format == "jsonl" != named and options.rows not in (None, ".") else format


def _against(found: Content, format: str, stated: bool) -> str | None:
    """What is said of rows that cannot be read where the content is plainly not in the format."""
    if stated and found.said() not in ("", TITLES[format]) and not {format, found.format} <= {"csv", "tsv"}:
        return f"; the recipe states `format: {format}`, the content is {found.said()}"
    if found == UNLIKE:
        return "; the content does not begin like JSON: state `format` in the recipe's source if it is something else"
    return None


class _Bounded(io.RawIOBase):
    """What a decompressor or an archive gives, within a budget. Once it breaks it stays broken."""

    def __init__(self, stream: Any, budget: Budget) -> None:
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


def _packing(stream: IO[bytes], name: str) -> tuple[str | None, IO[bytes]]:
    """How a stream is packed: by its first bytes, or by its name if they tell nothing; and the stream from there."""
    head, stream = beginning(stream, BLOCK)
    return packing_of(head) or (None if is_text(head) or has_magic(head) else packing_by_name(name)), stream


def _unpacked(stream: IO[bytes], name: str, budget: Budget) -> tuple[str | None, IO[bytes]]:
    """What is packed in a stream; and "zip" or "tar" if that is an archive."""
    for _ in range(MOST_PACKINGS):
        packing, stream = _packing(stream, name)
        if packing == "zip":
            stream = at_hand(stream)
            with zipfile.ZipFile(stream) as archive:
                packing = "zip" if packaged(archive) is None else None
            stream.seek(0)
        if packing not in OPENERS:
            return packing, stream
        name = unpacked_name(name)
        stream = io.BufferedReader(_Bounded(OPENERS[packing](stream), budget), 1 << 16)
    raise UnpackedSizeError(f"packed more than {MOST_PACKINGS - 1} times over")


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")


OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": gzip.open,
    "xz": lzma.open,
    "bzip2": bz2.open,
    "zstd": _zstd,
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


def _is_the_systems(error: Exception) -> TypeGuard[OSError]:
    """Whether it is no fault of the file's bytes: what gzip and bz2 raise of those has no number, and a place before
    the file's beginning, which an archive's header may name, is an invalid argument."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _until_broken(rows: Iterator[Row | Unread]) -> Iterator[Row | Unread]:
    """Rows up to where their bytes turn out to be broken, then one Unread that says how."""
    try:
        yield from rows
    except BROKEN as error:
        if _is_the_systems(error):
            raise
        # Told alike whether the bytes lie on the disk or in memory.
        nowhere = (isinstance(error, OSError) and error.errno == errno.EINVAL) or "negative seek value" in str(error)
        said = "a header names a place before the file's beginning" if nowhere else f"{type(error).__name__}: {error}"
        yield Unread(said, None, "")


def _zip(stream: IO[bytes], file: InputFile, budget: Budget) -> Iterator[Row | Unread]:
    with zipfile.ZipFile(stream) as archive:
        if "[Content_Types].xml" in archive.namelist():
            yield Unread(
                "an Office file that is no document and no sheet (.pptx, ...): save its words as text", None, ""
            )
            return
        for info in archive.infolist():
            if not info.filename.endswith("/"):  # `is_dir` fails on an empty name
                yield from _until_broken(_zip_member(archive, info, file, budget))


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: InputFile, budget: Budget
) -> Iterator[Row | Unread]:
    with archive.open(info) as stream:
        yield from _member(io.BufferedReader(_Bounded(stream, budget), 1 << 16), info.filename, file, budget)


HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
"""Kinds of a tar archive's headers that hold names and the like of the next member."""
LONGEST_HEADER = 1 << 20


class _TarHeader(tarfile.TarInfo):
    """A header without which the archive is broken: tarfile itself takes a bad one for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_TarHeader":
        header = super().frombuf(buf, encoding, errors)
        if header.type in HEADERS and header.size > LONGEST_HEADER:  # which tarfile reads whole
            raise tarfile.HeaderError(f"a header of {header.size:,} bytes, more than {LONGEST_HEADER >> 20} MiB")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_TarHeader":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}, where a member or the end should be") from None


def _tar(stream: IO[bytes], file: InputFile, budget: Budget) -> Iterator[Row | Unread]:
    """Links, devices and folders are passed over: nothing of them is in the archive."""
    # In place of what is no UTF-8 no escape: its backslash would be a path's.
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarHeader, encoding="utf-8", errors="replace") as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isreg() else None
            if content is not None:
                # Python 3.11's own wrapper cannot even say that it cannot seek, which TextIOWrapper asks.
                member = io.BufferedReader(_Bounded(content, budget))
                yield from _until_broken(_member(member, entry.name, file, budget))


def _member(stream: IO[bytes], name: str, file: InputFile, budget: Budget) -> Iterator[Row | Unread]:
    paths = PurePosixPath(name), PureWindowsPath(name)
    if any(path.anchor or ".." in path.parts for path in paths):
        yield Unread(f"{name}: a path that leaves the archive", None, "")
        return
    for row in _until_broken(_member_rows(stream, name, file, budget)):
        if isinstance(row, dict):
            yield row | {"_member": name}
        else:
            yield replace(row, message=f"{name}: {row.message}")


def _member_rows(stream: IO[bytes], name: str, file: InputFile, budget: Budget) -> Iterator[Row | Unread]:
    archive, stream = _unpacked(stream, name, budget)
    if archive is not None:
        yield Unread("an archive within an archive", None, "")
        return
    try:
        yield from _content_rows(stream, name, file, budget)
    except NeedsPackageError:
        raise
    except AssayError as error:
        yield Unread(error.message.removeprefix(f"{name}: "), None, "")
