"""CSV, TSV and their like -> raw rows, one a record, by the header's names."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO

from curate.read.dialect import DELIMITER, LOOKED_AT, SURE, Cells, Dialect, dialect_of, stating_lines
from curate.read.encoding import Rejoined, head_of
from curate.read.files import Options
from curate.read.raw_row import (
    LONGEST_ROW,
    MOST_COLUMNS,
    Row,
    Unread,
    distinct,
    not_decoded,
    shown_text,
    too_long,
    too_wide,
)

HEAD = 1 << 16
"""Bytes of a file's beginning by which its dialect is told."""


TITLE = "; if the first line is a title or a remark, take it out; if cells are divided otherwise, state `delimiter`"


FEWEST = 10
"""Lines behind a quote by which it is told that they are rows and no text: fewer may have its delimiters by chance."""
LITERAL = '; where quotes are text, state `quote: ""`'
UNENDED = "unexpected end of data"
"""What the csv module says of a quote that is not closed where the file ends."""


class _Broken(csv.Error):
    """A row that goes on where it must not; its words are the argument."""


class _Lines:
    """The lines of a table of text, of which those of the row under way are kept."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._again: list[str] = []
        """Lines to be given out again, the last first."""
        self._alone = False
        """Whether the line given out last is a row by itself."""
        self.row: list[str] = []
        self.before = 0
        """How many lines come before the row under way."""

    def __iter__(self) -> Iterator[str]:
        """Those to come; _Broken ends it."""
        size = 0
        while True:
            if self.row and self._alone:
                raise _Broken(UNENDED)
            line = self._again.pop() if self._again else self._read()
            if not line:
                return
            self._alone = bool(self._again)
            size = size + len(line) if self.row else len(line)
            self.row.append(line)
            if size > LONGEST_ROW:
                raise _Broken(too_long())
            yield line.removeprefix("\ufeff")  # of a file that was put behind another

    def _read(self) -> str:
        """The next line; of one longer than LONGEST_ROW its first LONGEST_ROW + 1 characters."""
        line = rest = self._text.readline(LONGEST_ROW + 1)
        while len(rest) >= LONGEST_ROW and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(LONGEST_ROW)
        return line

    def end_row(self) -> None:
        self.before += len(self.row)
        self.row.clear()

    def cut(self, at: int) -> None:
        """Give the lines from place `at` of the row out again, each but the last as a row by itself."""
        self._again = self.row[: at - 1 : -1]
        del self.row[at:]

    def skip(self, dialect: Dialect) -> bool:
        """Count lines up to the one in which a quote is closed; whether there is one."""
        skipped = 0
        while line := self._read():
            skipped += 1
            if _odd(line, dialect):
                break
        self.before += skipped
        return bool(line)


def csv_rows(
    stream: IO[bytes], options: Options, delimiter: str | None, encoding: str | None
) -> Iterator[Row | Unread]:
    """Rows of RFC 4180, blank lines passed over. A row that breaks its rules is set aside with all its lines.

    A quote that is not closed makes one row of all lines up to the next quote. Where these are rows by themselves, the
    quote's own row alone is set aside; else all up to where the quote is closed. No line is parsed more than thrice.
    """
    csv.field_size_limit(LONGEST_ROW)
    head = head_of(stream, HEAD)
    chained = io.BufferedReader(Rejoined(head, stream), 1 << 16)
    text = io.TextIOWrapper(chained, encoding="utf-8-sig", errors="surrogateescape", newline="")
    beginning = head.decode("utf-8-sig", "replace")
    dialect = dialect_of(beginning, options, delimiter, len(head) == HEAD)
    lines = _Lines(text)
    lines.row.extend(text.readline() for _ in range(stating_lines(beginning)))
    rows = dialect.rows(iter(lines))
    columns = distinct(list(options.columns)) if options.columns else None
    while True:
        lines.end_row()
        cells: Cells | None
        try:
            cells, problem = next(rows, None), None
        except csv.Error as error:  # after which the lines may have ended, or be given out again
            cells, problem = [], str(error).replace(DELIMITER, dialect.delimiter)
            rows = dialect.rows(iter(lines))
        if cells is None:
            return
        if problem is None and not cells:
            continue
        if len(cells) > MOST_COLUMNS:
            cells, problem = [], too_wide(len(cells))
        if columns is None:
            header = cells if options.header else [f"column_{at}" for at in range(1, len(cells) + 1)]
            columns = distinct([name or f"column_{at}" for at, name in enumerate(header, 1)])
            if problem is None and options.header:
                continue
        problem = problem or _csv_problem(columns, cells, encoding)
        if problem is None:
            yield dict(zip(columns, cells, strict=True))
            continue
        raw = "".join(lines.row)
        cause = TITLE if len(columns) == 1 and cells else _cause(raw, dialect)
        yield _unclosed(lines, len(columns), dialect, problem) or Unread(problem + cause, lines.before + 1, _shown(raw))


def _shown(raw: str) -> str:
    return shown_text(raw if len(raw) <= LONGEST_ROW else raw[:1000])


def _unclosed(lines: _Lines, width: int, dialect: Dialect, problem: str) -> Unread | None:
    """What is said of a row of several lines whose quote is not closed where it should be; None of any other."""
    row = lines.row
    begin = lines.before + 1
    opener = _opener(row[:-1], dialect)
    opened = f"the quote opened on line {begin + opener} is not closed"
    if _are_rows(row[opener + 1 : -1], width, dialect):
        lines.cut(opener + 1)
        return Unread(opened + LITERAL, begin, _shown("".join(row)))
    is_long = problem == too_long() and len(row) > 1
    raw = _shown("".join(row))
    if is_long and lines.skip(dialect):
        return Unread(f"{problem}, from the quote opened on line {begin + opener} to where it is closed", begin, raw)
    if is_long or (problem == UNENDED and len(row) > FEWEST):
        count = lines.before + len(row) - begin + 1
        return Unread(f"{opened} up to the end of the file: {count} lines are one row{LITERAL}", begin, raw)
    return None


def _odd(line: str, dialect: Dialect) -> bool:
    """Whether a line opens a quote that it does not close, or closes one that it does not open."""
    if dialect.escape is not None and dialect.escape in line:
        line = re.sub(re.escape(dialect.escape) + ".", "", line, flags=re.DOTALL)
    return bool(dialect.quote) and line.count(dialect.quote) % 2 == 1


def _opener(lines: list[str], dialect: Dialect) -> int:
    """The place, among a row's lines, of the one that opens the quote that none of them closes."""
    odd = [at for at, line in enumerate(lines) if _odd(line, dialect)]
    return odd[-1] if len(odd) % 2 else 0


def _are_rows(lines: list[str], width: int, dialect: Dialect) -> bool:
    """Whether lines are rows by themselves: of the first LOOKED_AT, nearly all have `width` cells, two or more."""
    fitting = 0
    for line in lines[:LOOKED_AT]:
        with suppress(csv.Error):
            fitting += len(next(dialect.rows(iter([line])), [])) == width
    return width > 1 and len(lines) >= FEWEST and fitting >= SURE * len(lines[:LOOKED_AT])


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
    if dialect.escape is None and f"\\{dialect.delimiter}" in raw:
        return f'; where \\{dialect.delimiter} is a delimiter within a cell, state `escape: "\\\\"`'
    if dialect.quote == '"' and f"{dialect.delimiter}'" in raw and f"'{dialect.delimiter}" in raw:
        return "; where cells stand within ', state `quote: \"'\"`"
    return ""


NUMBER = re.compile(r"[-+]?\d+(?:[.,:/-]\d+)*%?")
SENTENCE = re.compile(r"\w+\W+\w+.*[.!?…。！？]\W*", re.DOTALL)
ADDRESS = re.compile(r"\w+://\S+|(?:[A-Za-z]:|~|\.{1,2})?[/\\]\S+|[\w.-]+(?:[/\\][\w.-]+)*[/\\][\w-]+\.\w+")
YEAR = re.compile(r"(?:1[89]|20|21)\d\d")
WORD = re.compile(r"[^\W_]+")
COMMON = frozenset(
    {"id", "answer", "answers", "output", "response", "completion", "reply", "label", "category", "score"}
)
"""Words that end a column's name, and hardly ever what it holds."""
FEW_WORDS = 4
"""Words that a name has at most."""
LONGEST_NAME = 60
"""Characters of a column's name."""


def looks_like_data(rows: Iterable[Row]) -> str | None:
    """The column's name, of rows of a table of text, that looks as if the header were a row: a value that the column
    has again, an address or a path as its values are, a number, a date, a sentence, a text longer than LONGEST_NAME.

    None where all look like names, years above columns among them, or one surely is one: of a column of numbers, or of
    answers or labels as such are called.
    """
    values: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and not name.startswith("_"):
                values.setdefault(name, []).append(value)
    again = {
        name
        for name, found in values.items()
        if name in found or (ADDRESS.fullmatch(name) and all(map(ADDRESS.fullmatch, found)))
    }
    odd = [
        name
        for name in values
        if name in again or len(name) > LONGEST_NAME or NUMBER.fullmatch(name) or SENTENCE.fullmatch(name)
    ]
    if not again and any(_is_name(name, found) for name, found in values.items()):
        return None
    if not again and len(odd) < len(values) and all(map(YEAR.fullmatch, odd)):
        return None
    if not again and len(odd) == 1 and NUMBER.fullmatch(odd[0]) and not all(map(NUMBER.fullmatch, values[odd[0]])):
        return None
    return odd[0] if odd else None


def _is_name(name: str, values: list[str]) -> bool:
    """Whether a column's first cell is its name for sure."""
    words = WORD.findall(name.lower())
    if NUMBER.fullmatch(name) or SENTENCE.fullmatch(name) or not words or words == ["nan"] or len(words) > FEW_WORDS:
        return False
    numbers = len(values) >= FEWEST and all(map(NUMBER.fullmatch, values))
    return numbers or (words[-1] in COMMON and name[-1].isalnum())
