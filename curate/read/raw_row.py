"""A raw row: what every reader of a file gives, or, in its place, what could not be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Self

from curate.read.encoding import BROKEN, Encoding, is_utf8

Row = dict[str, Any]
"""A file's own columns. Those that begin with an underscore may be Assay's: `_member` names the member of an archive,
`_encoding` how the text was encoded where that was not UTF-8, `_guessed` whether that is a guess, "sure" or "unsure",
`_key` a row's key in a JSON object of rows, `_duplicate_key` a key that its JSON gives twice, of which the last value
counts. The `text` of a file that is a document is a `Document`."""


class Document(str):
    """The text of a document.

    Args:
        text: all of it.
        pages: the characters with which its pages begin; none where it has no pages.
        left_out: the numbers, from 1, of pages that could not be read.
    """

    pages: Sequence[int]
    left_out: Sequence[int]

    def __new__(cls, text: str, pages: Sequence[int] = (), left_out: Sequence[int] = ()) -> Self:
        made = super().__new__(cls, text)
        made.pages, made.left_out = pages, left_out
        return made


UNREADABLE = "unreadable"
"""Reason: the row could not be read; the evidence holds the parser's words, the quarantine's `raw` the text."""
NO_TEXT_LAYER = "no_text_layer"
"""Reason: a page shows something and holds no text, as scans do; the evidence has its number."""

LONGEST_ROW = 16 << 20
"""Bytes of a line, a file of text, an element of JSON, or the values of a row of Arrow, or characters of a row of CSV,
beyond which it is no row."""
MOST_COLUMNS = 1 << 14
"""Columns of a row, as many as a sheet of Excel has."""
DEEPEST = 200
"""Levels of a row's nesting. Python's own limit depends on who calls the parser; this one does not."""


@dataclass(frozen=True)
class Unread:
    """A row that could not be read."""

    message: str
    """The parser's words."""
    line: int | None
    """1-based line of the file on which the row begins, where that is known."""
    raw: str
    """The row's text, with `\\x..` for bytes that are not UTF-8; only the beginning of one longer than LONGEST_ROW."""
    page: int | None = None
    """Of a document, from 1, if that page alone could not be read."""
    reason: str = UNREADABLE
    name: str | None = None
    """Of the document."""


def bounded_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends; of one longer than LONGEST_ROW its first LONGEST_ROW + 1 bytes."""
    while line := stream.readline(LONGEST_ROW + 1):
        rest = line
        while len(rest) >= LONGEST_ROW and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_ROW)
        yield line


def not_decoded(encoding: str | None, words: object = "not UTF-8") -> str:
    """What is said of bytes that are not in a file's encoding."""
    if encoding is None:
        return f"{words}; no other encoding is sure: state `encoding` in the recipe's source"
    return f"not {encoding}" if not is_utf8(encoding) else "not UTF-8"


def how_encoded(encoding: Encoding | None) -> Row:
    """What rows say of how their text was encoded; nothing of UTF-8."""
    if encoding is None or is_utf8(encoding.name):
        return {}
    guess = {"_guessed": "sure" if encoding.sure else "unsure"} if encoding.guessed else {}
    return {"_encoding": encoding.name} | guess


def shown(data: bytes) -> str:
    """A row's bytes as text, for `Unread.raw`."""
    return data.replace(BROKEN, b"\xef\xbf\xbd").decode("utf-8", "backslashreplace")


def shown_text(text: str) -> str:
    """The same of text that was decoded with `surrogateescape`."""
    return shown(text.encode("utf-8", "surrogateescape"))


def too_long() -> str:
    """What is said of a row beyond LONGEST_ROW."""
    return f"longer than {LONGEST_ROW >> 20} MiB"


def too_wide(columns: int) -> str:
    """What is said of a row beyond MOST_COLUMNS."""
    return f"{columns:,} columns, more than {MOST_COLUMNS:,}"


def distinct(columns: list[str]) -> list[str]:
    """Column names, a repeated one numbered as pandas does it: `a`, `a.1`."""
    found: dict[str, None] = {}
    copies: dict[str, int] = {}
    for name in columns:
        numbered = name
        while numbered in found:
            copies[name] = copies.get(name, 0) + 1
            numbered = f"{name}.{copies[name]}"
        found[numbered] = None
    return list(found)
