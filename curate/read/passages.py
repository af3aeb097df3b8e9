"""A file of text -> several raw rows, cut where a pattern says: SGML, CoNLL, mail folders, quotations."""

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from curate.patterns import compile_pattern, compile_start
from curate.read.document import text_of
from curate.read.encoding import SAMPLE, UTF8, Encoding, Rejoined, head_of, in_utf8, is_utf8, told
from curate.read.files import Options
from curate.read.raw_row import LONGEST_ROW, Row, Unread, bounded_lines, how_encoded, shown, too_long

if TYPE_CHECKING:
    import re2

WIDE = ("utf-16", "utf-32")
"""Encodings in which a line's end is more than one byte."""
BLANK_LINES = re.compile(rb"\A(?:[ \t]*\r?\n)+")


@dataclass
class _Passage:
    """A row so far."""

    line: int
    """1-based, its first."""
    groups: dict[str, str | None]
    lines: list[bytes] = field(default_factory=list)
    """No more of them than LONGEST_ROW."""
    size: int = 0
    """Bytes of all lines."""

    def add(self, line: bytes) -> None:
        self.size += len(line)
        if self.size <= LONGEST_ROW or not self.lines:
            self.lines.append(line)


def passages(stream: IO[bytes], name: str, options: Options) -> Iterator[Row | Unread]:
    """Rows {text, name, number} and the named groups of `record_start`, in the memory of one row.

    A row begins with each line whose beginning `record_start` matches, or behind each that `record_separator` matches
    whole, and which is of no row. What stands before the first start is a row too; what is blank is none, and blank
    lines around a text are not its own.
    """
    start = None if options.record_start is None else compile_start(options.record_start)
    separator = None if options.record_separator is None else compile_pattern(options.record_separator)
    none: dict[str, str | None] = dict.fromkeys(start.groupindex) if start else {}
    reader = _Reader(stream, name, options)
    passage = _Passage(1, none)
    number = 0
    for at, line in enumerate(reader.lines(), 1):
        words = reader.words(line)
        begins = start.match(words.encode(errors="replace")) if start else None
        ends = separator is not None and separator.fullmatch(words.rstrip().encode(errors="replace")) is not None
        if begins is not None or ends:
            if row := reader.row(passage, number + 1):
                number += 1
                yield row
            passage = _Passage(at + ends, _groups(begins) if begins else none)
        if not ends:
            passage.add(line)
    if row := reader.row(passage, number + 1):
        yield row


def _groups(match: "re2._Match") -> dict[str, str | None]:
    return {name: None if found is None else found.decode() for name, found in match.groupdict().items()}


class _Reader:
    """The lines of a file, and the texts made of them.

    Where a file has neither a stated encoding nor a byte order mark, each text has its own: what it declares, as mails
    do; UTF-8; or else the file's.
    """

    def __init__(self, stream: IO[bytes], name: str, options: Options) -> None:
        self._name = name
        self._fallback = options.fallback_encoding
        self._stated = options.encoding is not None
        head = head_of(stream, SAMPLE)
        self._encoding = Encoding(options.encoding) if options.encoding else told(head, self._fallback, False)
        self._stream: IO[bytes] = io.BufferedReader(Rejoined(head.removeprefix(codecs.BOM_UTF8), stream), 1 << 16)
        self._wide = self._encoding is not None and codecs.lookup(self._encoding.name).name.startswith(WIDE)
        if self._encoding is not None and self._wide:
            self._stream, _ = in_utf8(self._stream, self._encoding.name, None)

    def lines(self) -> Iterator[bytes]:
        return bounded_lines(self._stream)

    def words(self, line: bytes) -> str:
        """A line as the patterns see it."""
        narrow = self._encoding is not None and not self._wide
        return line.decode(self._encoding.name if self._encoding and narrow else "utf-8", "replace")

    def row(self, passage: _Passage, number: int) -> Row | Unread | None:
        """A passage's row, none where it is blank."""
        data = BLANK_LINES.sub(b"", b"".join(passage.lines)).rstrip()
        if not data:
            return None
        if passage.size > LONGEST_ROW:
            return Unread(too_long(), passage.line, shown(data[:1000]))
        encoding = self._encoding if self._stated or self._wide else self._own(data)
        text = text_of(data, UTF8 if self._wide else encoding, passage.line)
        if isinstance(text, Unread):
            return text
        return {"text": text, "name": self._name, "number": number} | passage.groups | how_encoded(encoding)

    def _own(self, data: bytes) -> Encoding | None:
        file = None if self._encoding is None or is_utf8(self._encoding.name) else self._encoding
        found = told(data, file.name if file else self._fallback, True)
        return file if file and found == Encoding(file.name) else found
