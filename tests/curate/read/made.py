"""Raw files for tests, and what is read of them: rows, and the records they make."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.read.conversation import Turn
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.raw import Files, InputFile, Options, Row, Unread, find_files, parse, read_rows


def file_of(path: Path, format: str | None = None, **options: Any) -> InputFile:
    [found] = find_files(Files(files=[path.name], format=format, **options), path.parent, path.parent / "cache")
    return found


def parsed(content: bytes, format: str, name: str = "f", **options: Any) -> list[Row | Unread]:
    """The rows of bytes."""
    return list(parse(InputFile(Path(name), name, "", len(content), format, Options(**options)), content))


def rows_of(path: Path, format: str | None = None, **options: Any) -> list[Row | Unread]:
    return list(read_rows(file_of(path, format, **options)))


Written = Callable[..., list[Row | Unread]]


UNSURE = "; no other encoding is sure: state `encoding` in the recipe's source"


ROWS = [{"a": "1", "b": "é"}, {"a": "2", "b": ""}]


PACKERS = {".gz": partial(gzip.compress, mtime=0), ".xz": lzma.compress, ".bz2": partial(bz2.compress, compresslevel=1)}


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def parquet_of(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def messages(rows: Iterable[Row | Unread]) -> list[str]:
    return [row.message for row in rows if isinstance(row, Unread)]


def said(*turns: tuple[str, str]) -> list[Turn]:
    return [{"role": role, "content": content} for role, content in turns]


def attempt(mapper: Mapper, row: Row) -> tuple[list[dict[str, Any]], RowError | None]:
    """A row's records, or why there are none."""
    try:
        return mapper.records(row, "f"), None
    except RowError as problem:
        return [], problem


def read(folder: Path, pattern: str, **mapping: Any) -> tuple[list[dict[str, Any]], list[RowError]]:
    mapper = Mapper(RecordMapping.model_validate(mapping), {})
    records: list[dict[str, Any]] = []
    problems: list[RowError] = []
    for file in find_files(Files(files=[pattern]), folder, folder):
        for _, row in mapper.rows(read_rows(file)):
            assert isinstance(row, dict)
            made, problem = attempt(mapper, row)
            records += made
            problems += [problem] if problem else []
    return records, problems
