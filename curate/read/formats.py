"""Formats: a stream of bytes -> raw rows, one by one, by the reader of its format."""

import json
from collections.abc import Iterator
from typing import IO

from curate.read.budget import Budget
from curate.read.columnar import arrow_rows, parquet_rows
from curate.read.delimited import csv_rows
from curate.read.document import document, text_of_file
from curate.read.documents.mailbox import mailbox_rows
from curate.read.documents.reader import LARGEST, read_document
from curate.read.documents.stated import Stated
from curate.read.encoding import in_utf8
from curate.read.files import Options
from curate.read.json_rows import json_lines, json_rows
from curate.read.passages import passages
from curate.read.raw_row import LONGEST_ROW, MOST_COLUMNS, Row, Unread, how_encoded, too_wide
from curate.read.standoff import brat_rows
from curate.read.tagged import tagged_rows
from curate.read.typed_values import in_encoding

DOCUMENTS = {"pdf", "docx", "odt", "rtf", "eml", "xlsx"}
"""Formats of which a file is read in one go, in a process of its own."""


def rows_of(
    stream: IO[bytes], format: str | None, name: str, options: Options, budget: Budget, line: int = 0
) -> Iterator[Row | Unread]:
    """Every row of a file's bytes.

    Args:
        stream: at its beginning, or at the beginning of a line of JSON lines.
        format: one of `Files.format`.
        name: the file's.
        options: how it is written.
        budget: what formats that pack may unpack to.
        line: how many lines of the file come before.
    """
    if format in ("parquet", "arrow"):
        rows = parquet_rows(stream, budget) if format == "parquet" else arrow_rows(stream, budget)
        known = options.encoding
        yield from rows if known is None else (in_encoding(row, known) for row in rows)
    elif format == "text" and options.cuts_text:
        yield from passages(stream, name, options)
    elif format in ("front_matter", "text"):
        yield document(stream.read(LONGEST_ROW + 1), format, name, options)
    elif format == "html":
        yield from _pages(stream.read(LONGEST_ROW + 1), name, options)
    elif format == "mbox":
        yield from mailbox_rows(stream, name)
    elif format in DOCUMENTS:
        yield from read_document(stream.read(LARGEST + 1), format, name, _stated(options))
    else:
        stream, encoding = in_utf8(stream, options.encoding, options.fallback_encoding)
        known = encoding and encoding.name
        if format == "jsonl":
            rows = _within(json_lines(stream, known, line))
        elif format == "json":
            rows = _within(json_rows(stream, options.rows, known))
        elif format == "conll":
            rows = tagged_rows(stream, name, options)
        elif format == "brat":
            rows = brat_rows(stream, name)
        else:
            rows = csv_rows(stream, options, "\t" if format == "tsv" else None, known)
        said = how_encoded(encoding)
        yield from rows if not said else (row | said if isinstance(row, dict) else row for row in rows)


def _pages(data: bytes, name: str, options: Options) -> Iterator[Row | Unread]:
    """A page of the web, in the encoding that it declares."""
    text, encoding = text_of_file(data, options)
    if isinstance(text, Unread):
        yield text
        return
    for row in read_document(text.encode(), "html", name):
        yield row | how_encoded(encoding) if isinstance(row, dict) else row


def _stated(options: Options) -> Stated:
    return Stated(options.ocr, options.header, list(options.columns) if options.columns else None)


def _within(rows: Iterator[Row | Unread]) -> Iterator[Row | Unread]:
    """Rows of JSON, one of more than MOST_COLUMNS keys set aside."""
    for row in rows:
        if isinstance(row, dict) and len(row) > MOST_COLUMNS:
            yield Unread(too_wide(len(row)), None, json.dumps(row)[:LONGEST_ROW])
        else:
            yield row
