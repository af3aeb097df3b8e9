"""JSON -> raw rows: JSON lines; or texts one after the other, each an array of rows, an object of them, or one row."""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, Any

from curate.read.encoding import Rejoined, head_of, is_utf8
from curate.read.json_value import DECODER, check_value, duplicate_key, json_value
from curate.read.raw_row import (
    DEEPEST,
    LONGEST_ROW,
    Row,
    Unread,
    bounded_lines,
    not_decoded,
    shown,
    shown_text,
    too_long,
)


def json_lines(stream: IO[bytes], encoding: str | None, line: int) -> Iterator[Row | Unread]:
    """One row for each line that is not blank; `line` lines of the file come before, `encoding` is what it was in."""
    for number, text in enumerate(bounded_lines(stream), line + 1):
        bare = text.removeprefix(codecs.BOM_UTF8) if number == 1 else text
        if len(text) > LONGEST_ROW:
            yield Unread(too_long(), number, shown(text[:1000]))
        elif bare and not bare.isspace():
            bare = bare.removeprefix(b"\x1e")  # by which RFC 7464 has records begin
            try:
                value = json_value(bare)
            except UnicodeDecodeError as error:
                utf8 = encoding is not None and is_utf8(encoding)
                words = str(error) if utf8 else not_decoded(encoding, error)
                yield Unread(words, number, shown(text))
                continue
            except ValueError as error:
                yield Unread(str(error), number, shown(text))
                continue
            yield _told(value, bare) if isinstance(value, dict) else Unread(NO_OBJECT, number, shown(text))


NO_OBJECT = "expected a JSON object"


def _told(row: Row, text: bytes) -> Row:
    """A row that tells of a key that its text gives twice."""
    if text.count(b":") == len(row):  # one for each key
        return row
    key = duplicate_key(text, row)
    return row if key is None else row | {"_duplicate_key": key}


ROWS_KEYS = ("data", "rows", "examples", "instances", "records")
"""Keys under which a JSON object's rows are looked for."""


def json_rows(stream: IO[bytes], rows: str | None, encoding: str | None) -> Iterator[Row | Unread]:
    """One row for each element of an array or of an object of rows, or one for the object; of texts one after the other
    likewise, but that each object is a row."""
    head = head_of(stream, LONGEST_ROW)
    if len(head) < LONGEST_ROW:
        try:
            value = json_value(head)
            plain = duplicate_key(head, value) is None
        except ValueError:
            plain = False
        if plain:  # else it is read element by element, up to where it breaks
            for row in value if isinstance(value, list) else _object_rows(value, rows or place_of_rows(value)):
                yield row if isinstance(row, (dict, Unread)) else _no_object(row)
            stream.read(1)  # nothing, or the error of a stream that breaks just behind it
            return
    chained = io.BufferedReader(Rejoined(head, stream))
    yield from _JsonText(io.TextIOWrapper(chained, "utf-8-sig", "surrogateescape", newline=""), encoding).rows(rows)


def _no_object(value: Any, line: int | None = None) -> Unread:
    return Unread(NO_OBJECT, line, json.dumps(value))


def _no_list(rows: str, line: int) -> Unread:
    return Unread(f"expected a list under the key {rows!r}", line, "")


def place_of_rows(value: Any) -> str:
    """Where a JSON object has its rows, as `Options.rows` says it, told by its form.

    A list of objects under one of ROWS_KEYS, no other value being a list or an object; or the values, where they are
    two or more objects with the same keys; or the object itself.
    """
    if not isinstance(value, dict):
        return "."
    nested = {key: each for key, each in value.items() if isinstance(each, (dict, list))}
    if len(nested) == 1:
        [(key, inner)] = nested.items()
        if key in ROWS_KEYS and isinstance(inner, list) and all(isinstance(each, dict) for each in inner):
            return str(key)
    alike = len(value) > 1 and all(isinstance(each, dict) for each in value.values())
    alike = alike and len({frozenset(each) for each in value.values()}) == 1 and bool(next(iter(value.values())))
    return "*" if alike else "."


def _object_rows(value: Any, rows: str) -> Iterable[Any]:
    """The rows of a JSON text that is not an array."""
    if not isinstance(value, dict) or rows == ".":
        return [value]
    if rows == "*":
        return [each | {"_key": key} if isinstance(each, dict) else each for key, each in value.items()]
    if rows not in value and "." in rows:
        key, _, below = rows.partition(".")
        return _object_rows(value[key], below) if isinstance(value.get(key), dict) else [_no_list(rows, 1)]
    inner = value.get(rows)
    return inner if isinstance(inner, list) else [_no_list(rows, 1)]


_SPACE = re.compile(r"[ \t\r\n\x1e]*")
"""RFC 7464 begins each JSON text with \\x1e."""


class _JsonText:
    """JSON text read value by value, so that an array of any length is read in the memory of one element."""

    def __init__(self, text: IO[str], encoding: str | None) -> None:
        self._text = text
        self._encoding = encoding
        self._buffer = ""
        self._at = 0
        self._lines = 0
        """Lines before `_counted`, a place in the buffer."""
        self._counted = 0

    def rows(self, rows: str | None) -> Iterator[Row | Unread]:
        """The rows of one text after the other, and one Unread for all that follows where one is broken."""
        try:
            yield from self._text_rows(rows, first=True)
            while self._peek():
                yield from self._text_rows(rows, first=False)
        except ValueError as error:
            line = self._line()
            yield Unread(str(error), line, self._rest())

    def _text_rows(self, rows: str | None, first: bool) -> Iterator[Row | Unread]:
        """The rows of the next text; an object is a row where others come before or after it."""
        if self._peek() == "[":
            yield from self._elements(self._element)
        elif self._peek() == "{" and rows not in (None, "."):
            yield from self._members(str(rows))
        elif not first:
            yield from self._element()
        else:
            line = self._line()
            value, text = self._value_text()
            place = "." if rows or self._peek() else place_of_rows(value)
            if place == ".":
                yield self._row(value, text, line)
            else:
                yield from _JsonText(io.StringIO(text), self._encoding).rows(place)

    def _rest(self) -> str:
        """All that follows, for an Unread; of more than LONGEST_ROW characters the first."""
        rest = self._buffer[self._at :]
        with suppress(Exception):  # of a stream that breaks here too, what comes before that
            while len(rest) <= LONGEST_ROW and (more := self._text.read(1 << 16)):
                rest += more
        return shown_text(rest if len(rest) <= LONGEST_ROW else rest[:1000])

    def _members(self, rows: str) -> Iterator[Row | Unread]:
        """The rows of an object too long to be read at once: under one key, or all values."""

        there = rows == "*"

        def member() -> Iterator[Row | Unread]:
            nonlocal there
            if self._peek() != '"':
                raise self._problem("Expecting property name enclosed in double quotes")
            key = self._value()
            if self._peek() != ":":
                raise self._problem("Expecting ':' delimiter")
            self._at += 1
            if rows == "*":
                yield from (row | {"_key": key} if isinstance(row, dict) else row for row in self._element())
            elif key == rows and self._peek() == "[":
                there = True
                yield from self._elements(self._element)
            elif rows.startswith(f"{key}.") and self._peek() == "{":
                there = True
                yield from self._members(rows.removeprefix(f"{key}."))
            else:
                self._value()

        line = self._line()
        yield from self._elements(member)
        if not there:
            yield _no_list(rows, line)

    def _elements(self, element: Callable[[], Iterator[Row | Unread]]) -> Iterator[Row | Unread]:
        """What is between brackets or braces, separated by commas."""
        close = {"[": "]", "{": "}"}[self._peek()]
        self._at += 1
        if self._peek() != close:
            yield from element()
            while self._peek() == ",":
                self._at += 1
                yield from element()
        if self._peek() != close:
            raise self._problem("Expecting ',' delimiter")
        self._at += 1

    def _element(self) -> Iterator[Row | Unread]:
        self._peek()
        line = self._line()
        yield self._row(*self._value_text(), line)

    def _row(self, value: Any, text: str, line: int) -> Row | Unread:
        try:
            check_value(value, text)
            data = text.encode()
        except UnicodeEncodeError:
            return Unread(not_decoded(self._encoding), line, shown_text(text))
        except ValueError as error:
            return Unread(str(error), line, shown_text(text))
        return _told(value, data) if isinstance(value, dict) else _no_object(value, line)

    def _value(self) -> Any:
        value, text = self._value_text()
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(not_decoded(self._encoding)) from None
        check_value(value, text)
        return value

    def _value_text(self) -> tuple[Any, str]:
        """The next value and its text."""
        self._peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except (ValueError, RecursionError) as error:
                is_long = len(self._buffer) - self._at > LONGEST_ROW
                if not is_long and self._more():
                    continue
                if isinstance(error, RecursionError):
                    raise ValueError(f"nested deeper than {DEEPEST} levels") from None
                if isinstance(error, json.JSONDecodeError):
                    raise (ValueError(too_long()) if is_long else self._problem(error.msg, error.pos)) from None
                raise
            if end < len(self._buffer) or not self._more():  # else a number may go on
                text = self._buffer[self._at : end]
                self._at = end
                return value, text

    def _peek(self) -> str:
        """The next character that is no space, or none at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, as much again as is held, so that a long value is not tried too often."""
        chunk = self._text.read(max(1 << 13, len(self._buffer) - self._at))
        if chunk:
            self._line()
            self._buffer, self._at, self._counted = self._buffer[self._at :] + chunk, 0, 0
        return bool(chunk)

    def _line(self) -> int:
        """The line that comes next, counted on from where it was last asked."""
        self._lines += self._buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return 1 + self._lines

    def _problem(self, words: str, at: int | None = None) -> ValueError:
        at = self._at if at is None else at
        return ValueError(f"{words}: line {self._line() + self._buffer.count(chr(10), self._at, at)}")
