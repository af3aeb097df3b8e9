"""Dialect: how a table of text is written, as it is stated or as its beginning shows."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from curate.read.files import Options

DELIMITERS = ("\x01", "\x1f", ",", ";", "\t", "||", "::", "|~|", "|", "~", "^")
"""What a delimiter is told among: Hive's, which texts do not have; the usual ones; those of exports that fear these.
One of several characters comes before the one that it is made of, by which a table has empty cells everywhere."""
USUAL, SURE = (",", ";", "\t", "|"), 0.9
"""Delimiters that a header would hardly have by chance; the share of rows that the others must fit."""
FEWEST_QUOTED = 5
"""Cells within single quotes by which these are taken for such, though the rows can be read without."""
LOOKED_AT = 50
"""Rows by which a dialect is told."""
STATEMENT = re.compile(r"\s*\"?sep *= *(\\t|\t|[^\"\r\n]+?) *\"? *(?:\r\n?|\n)", re.IGNORECASE)
"""Excel's first line, by which a file states its delimiter; blank ones may be before it."""
LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
"""What databases write behind a backslash for control characters."""
EXPORTED = re.compile(r"\\(?:[NntrbfvZ0\\\"',;|\r\n\t]|$)")
"""A backslash of an export, whose texts have theirs doubled."""
DELIMITER, NULL = "\ud800", "\ud801"
"""What stands for a delimiter of several characters, and for a null cell: lone surrogates, which no text has."""

Cells = list[str | None]


@dataclass(frozen=True)
class Dialect:
    """How cells are written."""

    delimiter: str
    quote: str = '"'
    """Character around a cell; none where quotes are text."""
    escape: str | None = None
    """Character before a quote, a delimiter or itself that is text, and before N, which is a null cell."""
    letters: bool = False
    """Whether a letter of LETTERS behind an escape stands for a control character."""
    spaced: bool = False
    """Whether a space may stand before a quote."""

    def rows(self, lines: Iterator[str]) -> Iterator[Cells]:
        """The cells of each row; after a csv.Error the next row can be asked for."""
        single = len(self.delimiter) == 1
        quoting: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        rows: Iterator[Any] = csv.reader(
            lines if single and self.escape is None else map(self._marked, lines),
            strict=True,
            delimiter=self.delimiter if single else DELIMITER,
            escapechar=self.escape,
            skipinitialspace=self.spaced,
            **quoting,
        )
        return rows if single and self.escape is None else map(self._unmarked, rows)

    def _marked(self, line: str) -> str:
        """A line as the reader of the csv module understands it: it would take any character behind an escape for
        itself, and knows neither null nor a delimiter of several characters."""
        if self.escape is not None and self.escape in line:
            cell = re.escape(self.delimiter)
            line = re.sub(rf"(^|{cell}){re.escape(self.escape)}N(?={cell}|[\r\n]|$)", rf"\1{NULL}", line)
            meant = {self.escape, self.quote, self.delimiter[0], "\r", "\n"}
            named = LETTERS if self.letters else {}
            line = re.sub(
                rf"{re.escape(self.escape)}(.)",
                lambda pair: pair[0] if pair[1] in meant else f"{self.escape}{named.get(pair[1], pair[0])}",
                line,
                flags=re.DOTALL,
            )
        return line if len(self.delimiter) == 1 else line.replace(self.delimiter, DELIMITER)

    def _unmarked(self, cells: list[str]) -> Cells:
        return [
            None if cell == NULL else cell.replace(DELIMITER, self.delimiter).replace(NULL, f"{self.escape}N")
            for cell in cells
        ]


def stating_lines(head: str) -> int:
    """How many lines at the file's beginning state the delimiter, blank ones before it too."""
    match = STATEMENT.match(head)
    return len(re.findall(r"\r\n?|\n", match[0])) if match else 0


def _stated(said: str, rest: str) -> str:
    """The delimiter that is stated: of one that is repeated, as by programs that fill up all lines, one, unless the
    lines below have it so."""
    said = said.replace("\\t", "\t")
    return said if len({*said}) > 1 or said in rest else said[0]


def dialect_of(head: str, options: Options, usual: str | None, cut: bool) -> Dialect:
    """What is stated; what the first line states; else what the first rows show, of which most must have as many
    cells as the first, and that two or more.

    Cells are within single quotes where half of the lines have such, each is closed, and no more rows can be read
    without them; nor as many, where there are double quotes too, or fewer than FEWEST_QUOTED such cells. Quotes are
    text where that alone gives every row as many cells as the first, and a quarter of the cells that begin with one,
    and two or more, do not end with one. An escape is told by cells that are null (`\\N`), or where `\\"` or a
    delimiter behind a backslash is met and more rows can be read with it than without.

    Args:
        head: the file's beginning.
        options: what the recipe states.
        usual: the delimiter of files of this name, taken if the header has it, or no other gives every row its cells.
        cut: whether the file goes on behind `head`.
    """
    delimiter = options.delimiter
    if statement := STATEMENT.match(head):
        head = head[statement.end() :]
        delimiter = delimiter or _stated(statement[1], head)
    first = next((line for line in head.splitlines() if line.strip()), "")
    if delimiter is None and usual is not None and usual in first:
        delimiter = usual
    quote = options.quote
    if quote is None:
        quote = "'" if first.startswith("'") and '"' not in head else '"'
    escape = options.escape
    best, most = Dialect(delimiter or usual or USUAL[0], quote, escape), 0.0
    for each in DELIMITERS if delimiter is None else (delimiter,):
        single = _in_single_quotes(head, each, cut) if options.quote is None else 0
        quotes = ["'", quote] if single else [quote]
        if '"' in head or single < FEWEST_QUOTED:
            quotes.reverse()
        for variant in (variant for one in quotes for variant in _variants(head, Dialect(each, one, escape))):
            share = _share(head, variant, cut)
            if share > most and (share >= SURE or delimiter or each in USUAL):
                best, most = variant, share
    if usual is not None and delimiter is None and most < 1:
        best, most = Dialect(usual, quote, escape), 0.0
    unquoted = replace(best, quote="")
    if options.quote is None and most < 1 and _share(head, unquoted, cut) == 1 and _quotes_are_text(head, unquoted):
        return unquoted
    return best


def _variants(head: str, plain: Dialect) -> list[Dialect]:
    """A dialect, and with what else a file's beginning may be written in it."""
    variants = [plain]
    if plain.escape is None and _has_null(head, plain.delimiter):
        letters = len(EXPORTED.findall(head)) == len(re.findall(r"\\\\|\\", head))
        variants = [replace(plain, escape="\\", letters=letters)]
    elif plain.escape is None and ("\\" + (plain.quote or '"') in head or "\\" + plain.delimiter in head):
        variants.append(replace(plain, escape="\\"))
    if plain.quote and f"{plain.delimiter} {plain.quote}" in head:
        variants.append(replace(plain, spaced=True))
    return variants


def _in_single_quotes(head: str, delimiter: str, cut: bool) -> int:
    """How many cells may stand within single quotes, if on every other line one is opened, and each is closed."""
    lines = head.splitlines()[: -1 if cut else None]
    opened = sum(_opened(line, delimiter) for line in lines)
    if 2 * opened < len(lines):
        return 0
    return opened if opened == sum(_opened(line[::-1], delimiter[::-1]) for line in lines) else 0


def _opened(line: str, delimiter: str) -> int:
    return line.startswith("'") + line.count(f"{delimiter}'")


def _has_null(head: str, delimiter: str) -> bool:
    cell = re.escape(delimiter)
    return re.search(rf"(?:^|{cell})\\N(?={cell}|\r|$)", head, re.MULTILINE) is not None


def _read(head: str, dialect: Dialect) -> Iterator[Cells | None]:
    """The first rows that are not blank; None for one that breaks the rules."""
    rows = dialect.rows(iter(io.StringIO(head, newline="")))
    found = 0
    while found < LOOKED_AT:
        try:
            cells = next(rows, None)
        except csv.Error:
            cells, broken = None, True
        else:
            broken = False
            if cells is None:
                return
        if broken or cells:
            found += 1
            yield cells


def _share(head: str, dialect: Dialect, cut: bool) -> float:
    """The share of the first rows that have as many cells as the first; none where that has one."""
    counts = [None if cells is None else len(cells) for cells in _read(head, dialect)]
    if cut and 1 < len(counts) < LOOKED_AT:
        counts.pop()
    return sum(count == counts[0] for count in counts) / len(counts) if counts and (counts[0] or 0) > 1 else 0.0


def _quotes_are_text(head: str, unquoted: Dialect) -> bool:
    """Whether a quarter of the cells that begin with a quote do not end with one: two or more, for one is a mistake."""
    begun = [
        cell for cells in _read(head, unquoted) for cell in cells or () if cell is not None and cell.startswith('"')
    ]
    unended = sum(len(cell) < 2 or not cell.endswith('"') for cell in begun)
    return unended > 1 and 4 * unended >= len(begun)
