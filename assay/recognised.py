"""Rows of files whose shapes are recognised, and the records that are made of them without a mapping."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.read.raw import InputFile, Row, Unread, read_rows

RECOGNISED = Mapper(RecordMapping(), {})
"""Of rows whose shape tells all."""


def mapped_rows(files: list[InputFile], rows: int | None = None) -> Iterator[tuple[InputFile, int, Row | Unread]]:
    """Rows of files, each with its file and number, messages of one tree put together; from each file as many, if no
    more than `rows`."""
    each = None if rows is None else max(1, rows // len(files))
    for file in files:
        for number, row in islice(rows_recognised(file), each):
            yield file, number, row


def record_of(row: Row) -> list[dict[str, Any]]:
    """The records of a row whose shape is recognised; none of another."""
    try:
        return RECOGNISED.records(row, "")
    except RowError:
        return []


def rows_recognised(file: InputFile) -> Iterator[tuple[int, Row | Unread]]:
    """A file's rows with their numbers, messages of one tree put together."""
    return RECOGNISED.rows(read_rows(file))


def made_of(row: Row) -> Any:
    """What of a row's records depends on the row."""
    return [{key: value for key, value in record.items() if key not in ("told", "taken")} for record in record_of(row)]


def answer_of(record: dict[str, Any]) -> str | None:
    last = record["turns"][-1]
    return str(last["content"]) if last["role"] == "assistant" else None
