"""CSV, TSV and their like -> raw rows, one a record, by the header's names."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import IO

from curate.read.dialect import Cells, Dialect, dialect_of, stated_line
from curate.read.encoding import Rejoined, head_of
from curate.read.files import Options
from curate.read.raw_row import LONGEST_ROW, Row, Unread, distinct, not_decoded, shown_text, too_long

HEAD = 1 << 16
"""Bytes of a file's beginning by which its dialect is told."""


TITLE = "; if the first line is a title or a remark, take it out; if cells are divided otherwise, state `delimiter`"


class _TooLong(Exception):
    """A line longer than LONGEST_ROW."""


def csv_rows(
    stream: IO[bytes], options: Options, delimiter: str | None, encoding: str | None
) -> Iterator[Row | Unread]:
    """Rows of RFC 4180, blank lines passed over. A row that breaks its rules is set aside with all its lines."""
    csv.field_size_limit(LONGEST_ROW)
    head = head_of(stream, HEAD)
    chained = io.BufferedReader(Rejoined(head, stream), 1 << 16)
    text = io.TextIOWrapper(chained, encoding="utf-8-sig", errors="surrogateescape", newline="")
    beginning = head.decode("utf-8-sig", "replace")
    dialect = dialect_of(beginning, options, delimiter, len(head) == HEAD)
    taken: list[str] = []

    def lines() -> Iterator[str]:
        while line := text.readline(LONGEST_ROW + 1):
            rest = line
            while len(rest) >= LONGEST_ROW and not rest.endswith(("\n", "\r")):
                rest = text.readline(LONGEST_ROW)
            taken.append(line)
            if len(line) > LONGEST_ROW:
                raise _TooLong
            yield line.removeprefix("\ufeff")  # of a file that was put behind another

    if stated_line(beginning) is not None:
        taken.append(text.readline())
    number = 0
    rows = dialect.rows(lines())
    columns = distinct(list(options.columns)) if options.columns else None
    while True:
        number += len(taken)
        taken.clear()
        begin = number + 1
        cells: Cells | None
        try:
            cells, problem = next(rows, None), None
        except csv.Error as error:
            cells, problem = [], str(error)
        except _TooLong:  # which has ended the generator
            cells, problem = [], too_long()
            rows = dialect.rows(lines())
        if cells is None:
            return
        if problem is None and not cells:
            continue
        if columns is None:
            header = cells if options.header else [f"column_{at}" for at in range(1, len(cells) + 1)]
            columns = distinct([name or f"column_{at}" for at, name in enumerate(header, 1)])
            if problem is None and options.header:
                continue
        problem = problem or _csv_problem(columns, cells, encoding)
        raw = "" if problem is None else "".join(taken)
        if problem is not None:
            raw = raw if len(raw) <= LONGEST_ROW else raw[:1000]
            cause = TITLE if len(columns) == 1 and cells else _cause(raw, dialect)
            yield Unread(problem + cause, begin, shown_text(raw))
        else:
            yield dict(zip(columns, cells, strict=True))


def _csv_problem(columns: list[str], cells: Cells, encoding: str | None) -> str | None:
    if not columns:
        return "the header could not be read"
    try:
        "".join([*columns, *(cell for cell in cells if cell is not None)]).encode("utf-8")
    except UnicodeEncodeError:
        return not_decoded(encoding)
    if len(cells) != len(columns):
        return f"{len(cells)} cells, expected {len(columns)}"
    if len(columns) > 1 and cells == columns:
        return "the header once more"
    return None


def _cause(raw: str, dialect: Dialect) -> str:
    """What a row that breaks the rules of its dialect may keep to, and how to state that."""
    if dialect.escape is None and dialect.quote and f"\\{dialect.quote}" in raw:
        return f'; where \\{dialect.quote} is a quote within a cell, state `escape: "\\\\"`'
    return ""


NUMBER = re.compile(r"[-+]?\d+(?:[.,:/-]\d+)*%?")
SENTENCE = re.compile(r"\w+\W+\w+.*[.!?…。！？]\W*", re.DOTALL)
LONGEST_NAME = 60
"""Characters of a column's name."""


def looks_like_data(rows: Iterable[Row]) -> str | None:
    """The column's name, of rows of a table of text, that looks as if the header were a row: a number, a date, a
    sentence, a text longer than LONGEST_NAME, or a value that the column has again. None where all look like names."""
    values: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str):
                values.setdefault(name, set()).add(value)
    for name, found in values.items():
        if not name.startswith("_") and (
            len(name) > LONGEST_NAME or NUMBER.fullmatch(name) or SENTENCE.fullmatch(name) or name in found
        ):
            return name
    return None
