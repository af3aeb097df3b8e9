"""CSV, TSV and their like -> raw rows, one a record, by the header's names."""

import csv
import io
from collections.abc import Iterator
from typing import IO, Any

from curate.read.encoding import Rejoined, head_of
from curate.read.files import Options
from curate.read.raw_row import LONGEST_ROW, Row, Unread, distinct, not_decoded, shown_text, too_long

DELIMITERS = ",;\t|"


class _TooLong(Exception):
    """A line longer than LONGEST_ROW."""


def csv_rows(
    stream: IO[bytes], options: Options, delimiter: str | None, encoding: str | None
) -> Iterator[Row | Unread]:
    """Rows of RFC 4180, blank lines passed over. A row that breaks its rules is set aside with all its lines."""
    csv.field_size_limit(LONGEST_ROW)
    head = head_of(stream, 1 << 16)
    chained = io.BufferedReader(Rejoined(head, stream), 1 << 16)
    text = io.TextIOWrapper(chained, encoding="utf-8-sig", errors="surrogateescape", newline="")
    dialect = _dialect(head.decode("utf-8-sig", "replace"), options, delimiter)
    taken: list[str] = []

    def lines() -> Iterator[str]:
        while line := text.readline(LONGEST_ROW + 1):
            rest = line
            while len(rest) >= LONGEST_ROW and not rest.endswith(("\n", "\r")):
                rest = text.readline(LONGEST_ROW)
            taken.append(line)
            if len(line) > LONGEST_ROW:
                raise _TooLong
            yield line

    number = 0
    rows = csv.reader(lines(), strict=True, **dialect)
    columns: list[str] | None = None
    while True:
        number += len(taken)
        taken.clear()
        begin = number + 1
        try:
            cells, problem = next(rows, None), None
        except csv.Error as error:
            cells, problem = [], str(error)
        except _TooLong:  # which has ended the generator
            cells, problem = [], too_long()
            rows = csv.reader(lines(), strict=True, **dialect)
        if cells is None:
            return
        if problem is None and not cells:
            continue
        if columns is None:
            columns = distinct(cells)
            if problem is None:
                continue
        problem = problem or _csv_problem(columns, cells, encoding)
        if problem is not None:
            raw = "".join(taken)
            raw = raw if len(raw) <= LONGEST_ROW else raw[:1000]
            yield Unread(problem, begin, shown_text(raw))
        else:
            yield dict(zip(columns, cells, strict=True))


def _dialect(head: str, options: Options, delimiter: str | None) -> dict[str, Any]:
    """The delimiter and the quotes that are stated, or that the file's beginning shows."""
    first = next((line for line in head.splitlines() if line.strip()), "")
    quote = options.quote
    if quote is None:
        quote = "'" if first.startswith("'") and '"' not in head else '"'
    quoting: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    return {"delimiter": options.delimiter or delimiter or _delimiter(head, quoting)} | quoting


def _delimiter(head: str, quoting: dict[str, Any]) -> str:
    """The delimiter of DELIMITERS by which most of the first rows have as many cells as the header, of which it makes
    two or more; the comma if there is none."""
    best, most = ",", 0.0
    for delimiter in DELIMITERS:
        counts = []
        try:
            for cells in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, **quoting):
                if cells:
                    counts.append(len(cells))
                if len(counts) == 50:
                    break
        except csv.Error:
            continue
        if len(head) >= 1 << 16 and len(counts) > 1:
            counts.pop()  # perhaps cut
        share = sum(count == counts[0] for count in counts) / len(counts) if counts and counts[0] > 1 else 0.0
        if share > most:
            best, most = delimiter, share
    return best


def _csv_problem(columns: list[str], cells: list[str], encoding: str | None) -> str | None:
    if not columns:
        return "the header could not be read"
    try:
        "".join([*columns, *cells]).encode("utf-8")
    except UnicodeEncodeError:
        return not_decoded(encoding)
    if len(cells) != len(columns):
        return f"{len(cells)} cells, expected {len(columns)}"
    return None
