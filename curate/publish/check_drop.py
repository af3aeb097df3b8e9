"""Check of the drop: as many rows are in the version as in its files, counted by other code than that which reads them.

What a file is, is told here a second time and more simply; where that does not suffice, it is not counted.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from curate.hashing import file_digest
from curate.manifest import DatasetManifest
from curate.publish.check_result import Check
from curate.publish.published import SPLITS, forgotten_rows, read_rows
from curate.reach import Below
from curate.store import Store

LARGEST = 1 << 28
"""Bytes of a file, unpacked, beyond which it is not counted, unless it is JSON lines that are not packed."""
JUDGED = 1000
"""Lines by which JSON lines are told from one JSON text."""
SPACE = " \t\r\n\x0b\x0c\x1e\ufeff"
PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ": lzma.open,
    b"BZh": bz2.open,
    b"\x28\xb5\x2f\xfd": lambda data: pa.CompressedInputStream(data, "zstd"),
}
OPTIONS = """format encoding fallback_encoding delimiter quote escape header rows record_start
record_separator""".split()  # noqa: SIM905
STATEMENT = re.compile(r"\s*\"?sep\s*=.+\s*\n", re.IGNORECASE)
"""A first line by which Excel is told the delimiter."""


def check_drop(folder: Path, manifest: DatasetManifest) -> Check:
    """Every file of the drop that is still as it was, where the ledger says that the drop lies."""
    claim = "the files of the drop have as many rows as are published or quarantined of each"
    check = Check("drop", claim, "1", what="files")
    found: dict[str, set[int]] = {}
    broken: set[str] = set()
    for name in (*SPLITS, "quarantine"):
        columns = ["source", "reason"] if name == "quarantine" else ["source"]
        for row in read_rows(folder / f"{name}.parquet", columns):
            found.setdefault(row["source"]["file"], set()).add(row["source"]["row"])
            if row.get("reason") == "unreadable":
                broken.add(row["source"]["file"])
    for row in forgotten_rows(folder):
        found.setdefault(row["file"], set()).add(row["row"])
    events = Store(folder.resolve().parent.parent.parent).told("datasets", manifest.name)
    where = next((each.get("where") for each in reversed(events) if each["version"] == folder.name), None)
    gathered = manifest.recipe["record"]["turns"] is None
    passed: Counter[str] = Counter()
    listed = folder / "sources.parquet"
    for source in read_rows(listed, ["file", "sha256"]) if listed.is_file() else ():
        name = source["file"]
        file = _raw_file(name, manifest.recipe["sources"], where)
        if file is None or not file.path.is_file():
            passed["not at hand"] += 1
        elif file_digest(file.path) != source["sha256"]:
            passed["changed since"] += 1
        elif (count := count_rows(file, gathered, name in broken)) is None:
            passed["of which only their reader can tell"] += 1
        else:
            check.compared += 1
            if count != (held := len(found.get(name, ()))):
                check.fail(f"{name}: {count:,} rows in the file, {held:,} in the version")
    if passed:
        told = ", ".join(f"{count:,} {why}" for why, count in sorted(passed.items()))
        check.how = f"{check.compared:,}; not counted: {told}"
    return check


@dataclass(frozen=True)
class RawFile:
    """A file of the drop, and what its source says of it."""

    path: Path
    format: str | None = None
    encoding: str | None = None
    fallback_encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool = True
    rows: str | None = None
    record_start: str | None = None
    record_separator: str | None = None


def _raw_file(name: str, sources: list[dict[str, Any]], where: str | None) -> RawFile | None:
    """The file of a name, if only one source can have named it, or several that say the same."""
    found: set[RawFile] = set()
    for source in sources:
        patterns = [pattern.replace("**/", "*").rstrip("/") for pattern in source["files"]]
        if "://" in name or not any(fnmatchcase(name, each) or name.startswith(f"{each}/") for each in patterns):
            continue
        root = where
        if source["package"] is not None:
            try:
                root = str(metadata.distribution(source["package"]).locate_file(""))
            except metadata.PackageNotFoundError:
                return None
        if root is None or "://" in root:
            return None
        if source["package"] is None and Below(Path(root)).way_out(Path(root) / name) is not None:
            return None  # it was not read either
        found.add(RawFile(Path(root) / name, **{key: source[key] for key in OPTIONS if key in source}))
    return found.pop() if len(found) == 1 else None


def count_rows(file: RawFile, gathered: bool = False, broken: bool = False) -> int | None:
    """How many rows a file has; None where that is the reader's to say.

    Args:
        file: where it lies and how it is written.
        gathered: whether rows that are messages of a tree are put together.
        broken: whether some of its rows could not be read.
    """
    try:
        with file.path.open("rb") as stream:
            if file.path.stat().st_size > LARGEST:
                return _lines(stream, gathered)
            data = _unpacked(stream.read())
        if not (data.startswith(b"PK\x03\x04") or tarfile.is_tarfile(io.BytesIO(data))):
            return _count(data, file.path.name, file, gathered, broken)
        counts = [_count(each, member, file, gathered, broken) for member, each in _members(data)]
        return None if broken or None in counts else sum(each or 0 for each in counts)
    except (OSError, EOFError, ValueError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, pa.ArrowException):
        return None  # broken, as the quarantine says


def _lines(stream: Any, gathered: bool) -> int | None:
    """The lines of a file that is too large to be held, if they are JSON objects."""
    count = 0
    for number, line in enumerate(stream):
        if gathered and (b"parent_id" in line or b"message_tree_id" in line):
            return None
        if number == 0 and not isinstance(_value(line), dict):
            return None
        count += not line.isspace()
    return count


def _unpacked(data: bytes) -> bytes:
    for _ in range(4):
        opener = next((opener for magic, opener in PACKED.items() if data.startswith(magic)), None)
        if opener is None:
            return data
        with opener(io.BytesIO(data)) as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            break
    raise ValueError("too large, or packed too often, to be counted")


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, _unpacked(archive.read(info))
    else:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isreg() else None
                if content is not None:
                    yield entry.name, _unpacked(content.read())


def _count(data: bytes, name: str, file: RawFile, gathered: bool, broken: bool) -> int | None:
    """The rows of what is not packed."""
    import pyarrow.parquet as pq

    suffixes = PurePosixPath(name.lower()).suffixes
    format = file.format or next((each[1:] for each in reversed(suffixes) if each[1:] in ("csv", "tsv")), None)
    if (file.record_start, file.record_separator) != (None, None):
        return None
    if file.format in ("text", "front_matter"):
        return 1
    if file.format not in (None, "jsonl", "json", "csv", "tsv", "parquet", "arrow"):
        return None
    if gathered and (b"parent_id" in data or b"message_tree_id" in data):
        return None
    if data.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        if broken:
            return None
        source = io.BytesIO(data)
        if data.startswith(b"PAR1"):
            return int(pq.read_metadata(source).num_rows)
        reader = pa.ipc.open_file(source) if data.startswith(b"ARROW1") else pa.ipc.open_stream(source)
        return int(reader.read_all().num_rows)
    marked = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = data.decode(file.encoding or marked, "replace")
    if "\0" in text[:JUDGED] or (file.fallback_encoding or "").lower().startswith(("utf-16", "utf-32")):
        return None
    if (count := _json_rows(text, file, broken)) is not None or text.lstrip(SPACE)[:1] in ("{", "["):
        return count
    if format in ("csv", "tsv"):
        return None if broken else _csv_rows(text, "\t" if format == "tsv" else None, file)
    texts = not broken and any(suffix in (".txt", ".md") for suffix in suffixes)
    return 1 if texts and not _is_even(text) else None


def _is_even(text: str) -> bool:
    """Whether a text may be a table."""
    lines = [line for line in text.splitlines() if line.strip()]
    counts = [{line.count(mark) for line in lines} for mark in ",;\t|"]
    return any(len(each) == 1 and each != {0} for each in counts)


def _csv_rows(text: str, delimiter: str | None, file: RawFile) -> int | None:
    """The records of a table, where no escape and no delimiter of several characters decides where they end."""
    from pandas import read_csv
    from pandas.errors import ParserError

    text = STATEMENT.sub("", text, count=1) if STATEMENT.match(text) else text
    first = text.lstrip(SPACE).split("\n", 1)[0]
    delimiter = file.delimiter or delimiter or max(",;\t|", key=first.count)
    escaped = file.escape is not None or re.search(r"\\(?:[\"'\r\n]|N\b)", text)
    if escaped or len(delimiter) > 1 or (first.startswith("'") and file.quote is None):
        return None
    quoting: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if file.quote == "" else {"quotechar": file.quote or '"'}
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter, **quoting)
        if len({len(row) for row in rows if row}) > 1:
            return None  # the reader, to which no row was broken, knew better
        # No column is an index, and no row is skipped but a blank line.
        table = read_csv(
            io.StringIO(text),
            sep=delimiter,
            dtype=str,
            index_col=False,
            engine="c",
            header=0 if file.header else None,
            **quoting,
        )
    except (csv.Error, ParserError, ValueError):
        return None
    return len(table)


def _json_rows(text: str, file: RawFile, broken: bool) -> int | None:
    """The rows of JSON; of an object that is alone, the reader tells them."""
    lines = [line for each in text.split("\n") if (line := each.strip(SPACE))]
    judged = [_value(line) for line in lines[:JUDGED]]
    if lines and lines[0] != "[" and not isinstance(judged[0], dict):
        judged = [_value(line.removesuffix(",")) for line in lines[:JUDGED]]
    objects = sum(isinstance(value, dict) for value in judged)
    arrays = any(isinstance(value, list) for value in judged)
    several = (
        len(lines) > 1 and lines[0] != "[" and 2 * objects >= len(judged) and not arrays and file.rows in (None, ".")
    )
    if file.format == "jsonl" or (file.format is None and several):
        return len(lines)
    if broken:
        return None
    values: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    text = text.strip(SPACE)
    while at < len(text):
        if text[at] in SPACE:
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        values.append(value)
    objects = sum(isinstance(value, dict) for value in values)
    texts = any(isinstance(value, str) for value in values)
    if not values or texts or (objects and file.rows != "." and (len(values) == 1 or file.rows is not None)):
        return None
    return sum(len(value) if isinstance(value, list) else 1 for value in values)


def _value(line: str | bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
