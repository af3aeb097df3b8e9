"""JSON -> raw rows: JSON lines; or texts one after the other, each an array of rows, an object of them, or one row."""

import codecs
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO, Any

from curate.read.encoding import Rejoined, head_of, is_utf8
from curate.read.json_value import DECODER, check_value, duplicate_key, json_value, text_value
from curate.read.raw_row import (
    DEEPEST,
    LONGEST_ROW,
    Row,
    Unread,
    bounded_lines,
    distinct,
    not_decoded,
    shown,
    shown_text,
    too_long,
)
from curate.read.typed_values import from_mongodb


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
                bare = bare.rstrip().removesuffix(b",")
                value = _object(bare)
                if value is None:
                    raw = shown(text)
                    yield Unread(f"{error}{_cause(raw)}", number, raw)
                    continue
            if not isinstance(value, dict):
                value = _unwrapped(value)
            if isinstance(value, dict):
                yield _told(value, bare)
            else:
                yield Unread(NO_OBJECT + _no_names(value), number, shown(text))


NO_OBJECT = "expected a JSON object"


def _object(text: bytes) -> Row | None:
    """The object of a line whose comma is off, if there is one."""
    with suppress(ValueError):
        value = json_value(text)
        return value if isinstance(value, dict) else None
    return None


def _unwrapped(value: Any) -> Any:
    """What a JSON text holds that is held as text in another."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        with suppress(ValueError):
            return text_value(value)
    return value


def _no_names(value: Any) -> str:
    return "; a list's values have no names: write objects, or CSV with a header" if isinstance(value, list) else ""


LOOKED_AT = 1 << 16
"""Characters of a broken text that are looked at."""
SEVERAL = re.compile(r"\}\s*(?:\x1e|\ufeff)?\{\s*\"")
PYTHONS = re.compile(r"\s*[\[(]?\s*\{'|[:,]\s*(?:None|True|False)\s*[,}]")
NO_NUMBER = re.compile(r"[:,\[]\s*-?(?:NaN|Infinity)\b")


def _cause(text: str) -> str:
    """What broken JSON may be, and how to mend it."""
    text = text[:LOOKED_AT]
    if NO_NUMBER.search(text):
        return "; write null in its place"
    if PYTHONS.search(text):
        return "; it looks like Python's notation: write it with json.dumps"
    if SEVERAL.search(text):
        return "; it looks like several objects on one line: end each with a line end"
    return ""


def _told(row: Row, text: bytes) -> Row:
    """A row that tells of a key that its text gives twice, and that has plain values where MongoDB wrote typed ones."""
    if text.count(b":") == len(row):  # one for each key
        return row
    key = duplicate_key(text, row)
    if "_id" in row:
        row = _plain(row)
    return row if key is None else row | {"_duplicate_key": key}


def _plain(row: Row) -> Row:
    """A row without MongoDB's types, if it is one of its documents, as `_id` tells; else it may mean such keys."""
    own = row.get("_id")
    return from_mongodb(row) if isinstance(own, dict) and own.keys() == {"$oid"} else row


ROWS_KEYS = ("data", "rows", "examples", "instances", "records")
"""Keys under which a JSON object's rows are looked for."""


def json_rows(stream: IO[bytes], rows: str | None, encoding: str | None) -> Iterator[Row | Unread]:
    """One row for each element of an array or of an object of rows, or one for the object; of texts one after the other
    likewise, but that each object is a row."""
    head = head_of(stream, LONGEST_ROW)
    if len(head) < LONGEST_ROW:
        try:
            value = _unwrapped(json_value(head))
            plain = duplicate_key(head, value) is None
        except ValueError:
            plain = False
        if plain:  # else it is read element by element, up to where it breaks
            for row in value if isinstance(value, list) else _object_rows(value, rows):
                yield _plain(row) if isinstance(row, dict) else row if isinstance(row, Unread) else _no_object(row)
            stream.read(1)  # nothing, or the error of a stream that breaks just behind it
            return
    chained = io.BufferedReader(Rejoined(head, stream))
    yield from _JsonText(io.TextIOWrapper(chained, "utf-8-sig", "surrogateescape", newline=""), encoding).rows(rows)


def _no_object(value: Any, line: int | None = None) -> Unread:
    return Unread(NO_OBJECT + _no_names(value), line, json.dumps(value))


def _no_list(rows: str, line: int) -> Unread:
    return Unread(f"expected a list under the key {rows!r}", line, "")


SPLITS = frozenset(("train", "training", "validation", "valid", "val", "dev", "eval", "test", "testing"))
"""Keys under which a JSON object has the rows of each split."""


def place_of_rows(value: Any) -> str:
    """Where a JSON object has its rows, as `Options.rows` says it, told by its form.

    A list of objects under one of ROWS_KEYS, no other value but a `schema` being a list or an object; or the values,
    where they are two or more objects with the same keys, or lists of objects, the keys being SPLITS; or the object
    itself.
    """
    if not isinstance(value, dict):
        return "."
    if SPLITS.issuperset(value) and all(isinstance(each, list) for each in value.values()):
        return "*" if all(isinstance(row, dict) for each in value.values() for row in each) and value else "."
    nested = {key: each for key, each in value.items() if isinstance(each, (dict, list)) and key != "schema"}
    if len(nested) == 1:
        [(key, inner)] = nested.items()
        if key in ROWS_KEYS and isinstance(inner, list) and all(isinstance(each, dict) for each in inner):
            return str(key)
    alike = len(value) > 1 and all(isinstance(each, dict) for each in value.values())
    alike = alike and len({frozenset(each) for each in value.values()}) == 1 and bool(next(iter(value.values())))
    return "*" if alike else "."


def _frame(value: Any) -> list[Row] | None:
    """The rows of an object as pandas writes tables, its `orient` being "split" or "columns"; None of any other."""
    if not isinstance(value, dict):
        return None
    names, cells = value.get("columns"), value.get("data")
    if value.keys() <= {"columns", "data", "index"} and isinstance(names, list) and isinstance(cells, list):
        names = distinct(list(map(str, names)))
        if cells and all(isinstance(each, list) and len(each) == len(names) for each in cells):
            return [dict(zip(names, each, strict=True)) for each in cells]
    if value and all(isinstance(each, dict) and each for each in value.values()):
        numbers = next(iter(value.values())).keys()
        transposed = all(map(str.isdecimal, numbers)) and not all(map(str.isdecimal, value))
        if transposed and all(each.keys() == numbers for each in value.values()):
            return [{name: each[number] for name, each in value.items()} for number in numbers]
    return None


def _object_rows(value: Any, rows: str | None) -> Iterable[Any]:
    """The rows of a JSON text that is not an array."""
    if rows is None:
        return frame if (frame := _frame(value)) is not None else _object_rows(value, place_of_rows(value))
    if not isinstance(value, dict) or rows == ".":
        return [value]
    if rows == "*":
        rows_of = {key: each if isinstance(each, list) else [each] for key, each in value.items()}
        return [row | {"_key": key} if isinstance(row, dict) else row for key, each in rows_of.items() for row in each]
    if rows not in value and "." in rows:
        key, _, below = rows.partition(".")
        return _object_rows(value[key], below) if isinstance(value.get(key), dict) else [_no_list(rows, 1)]
    inner = value.get(rows)
    return inner if isinstance(inner, list) else [_no_list(rows, 1)]


LONGEST_TOKEN = 16
"""Characters, about, of what JSON has beside texts and numbers: \\ud83d\\ude00, -Infinity."""
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
        self._space = ""
        """What is between the next character and the comma or bracket before it; of more than LOOKED_AT the last."""

    def rows(self, rows: str | None) -> Iterator[Row | Unread]:
        """The rows of one text after the other, and one Unread for all that follows where one is broken."""
        try:
            yield from self._text_rows(rows, first=True)
            while self._peek():
                yield from self._text_rows(rows, first=False)
        except ValueError as error:
            line = self._line()
            rest = self._rest()
            yield Unread(f"{error}{_cause(rest)}", line, rest)

    def _text_rows(self, rows: str | None, first: bool) -> Iterator[Row | Unread]:
        """The rows of the next text; an object is a row where others come before or after it."""
        if self._peek() == "[":
            yield from self._array()
        elif self._peek() == "{" and rows not in (None, "."):
            yield from self._members(str(rows))
        elif not first:
            yield from self._element()
        else:
            line = self._line()
            value, text = self._value_text()
            alone = not rows and not self._peek()
            frame = _frame(value) if alone else None
            place = place_of_rows(value) if alone else "."
            if frame is not None:
                yield from frame
            elif place == ".":
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
                found = self._array() if self._peek() == "[" else self._element()
                yield from (row | {"_key": key} if isinstance(row, dict) else row for row in found)
            elif key == rows and self._peek() == "[":
                there = True
                yield from self._array()
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
        self._end(close)

    def _end(self, close: str) -> None:
        if self._peek() != close:
            raise self._problem("Expecting ',' delimiter" if self._peek() else f"cut off before its {close}")
        self._at += 1

    def _array(self) -> Iterator[Row | Unread]:
        """The rows of an array. Where each begins on a line of its own, one that is broken is set aside alone, and
        commas between them may be missing, or one too many."""
        self._at += 1
        self._space = ""
        while self._peek() not in ("]", ""):
            _, is_line, indent = self._space.rpartition("\n")
            try:
                yield from self._element()
            except ValueError as error:
                end = self._buffer.find(f"\n{indent}{{", self._at) if is_line else -1
                if end < 0:
                    raise
                broken = self._buffer[self._at : end]
                yield Unread(f"{error}{_cause(broken)}", self._line(), shown_text(broken))
                self._at = end
            self._space = ""
            if self._peek() == ",":
                self._at += 1
                self._space = ""
            elif "\n" not in self._space or self._peek() != "{":
                break
        self._end("]")

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
                if not is_long and self._may_go_on(error) and self._more():
                    continue
                if isinstance(error, RecursionError):
                    raise ValueError(f"nested deeper than {DEEPEST} levels") from None
                if isinstance(error, json.JSONDecodeError):
                    is_long = is_long and self._may_go_on(error)
                    raise (ValueError(too_long()) if is_long else self._problem(error.msg, error.pos)) from None
                raise
            if end < len(self._buffer) or not self._more():  # else a number may go on
                text = self._buffer[self._at : end]
                self._at = end
                return value, text

    def _may_go_on(self, error: Exception) -> bool:
        """Whether a value may be broken only because what is held ends within it."""
        within = not isinstance(error, json.JSONDecodeError) or error.msg.startswith("Unterminated string")
        return within or error.pos + LONGEST_TOKEN > len(self._buffer)  # type: ignore[attr-defined]

    def _peek(self) -> str:
        """The next character that is no space, or none at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            if match:
                self._space = (self._space + match[0])[-LOOKED_AT:]
                self._at = match.end()
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
