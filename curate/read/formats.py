"""Formats: a stream of bytes -> raw rows, one by one, with what cannot be read set aside."""

import csv
import io
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson
import yaml

from curate.read.encoding import BROKEN, Rejoined, encoding_of, head_of, in_utf8, is_utf8
from curate.read.files import Options

Row = dict[str, Any]
"""A file's own columns. Those that begin with an underscore may be Assay's: `_member` names the member of an archive,
`_encoding` how the text was encoded where that was not UTF-8, `_key` a row's key in a JSON object of rows."""

LONGEST_ROW = 16 << 20
"""Bytes of a line, a file of text, or an element of JSON, or characters of a CSV cell, beyond which it is no row."""
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


def rows_of(
    stream: IO[bytes], format: str | None, name: str, options: Options, line: int = 0
) -> Iterator[Row | Unread]:
    """Every row of a file's bytes.

    Args:
        stream: at its beginning, or at the beginning of a line of JSON lines.
        format: one of `Files.format`.
        name: the file's.
        options: how it is written.
        line: how many lines of the file come before.
    """
    if format == "parquet":
        yield from _parquet(stream)
    elif format == "arrow":
        yield from _arrow(stream)
    elif format in ("front_matter", "text"):
        yield _document(stream.read(LONGEST_ROW + 1), format, name, options.encoding)
    else:
        stream, encoding = in_utf8(stream, options.encoding)
        if format == "jsonl":
            rows = _jsonl(stream, encoding, line)
        elif format == "json":
            rows = _json(stream, options.rows, encoding)
        else:
            rows = _csv(stream, options, "\t" if format == "tsv" else None, encoding)
        yield from rows if encoding is None or is_utf8(encoding) else _told(rows, encoding)


def _told(rows: Iterable[Row | Unread], encoding: str) -> Iterator[Row | Unread]:
    """Rows that say how their text was encoded."""
    for row in rows:
        yield row | {"_encoding": encoding} if isinstance(row, dict) else row


def _not_decoded(encoding: str | None, words: object = "not UTF-8") -> str:
    """What is said of bytes that are not in a file's encoding."""
    if encoding is None:
        return f"{words}; no other encoding is sure: state `encoding` in the recipe's source"
    return f"not {encoding}" if not is_utf8(encoding) else "not UTF-8"


def _shown(data: bytes) -> str:
    return data.replace(BROKEN, b"\xef\xbf\xbd").decode("utf-8", "backslashreplace")


def _too_long() -> str:
    return f"longer than {LONGEST_ROW >> 20} MiB"


# JSON

_ZEROS = bytes.maketrans(b"123456789", b"000000000")


def json_value(data: bytes) -> Any:
    """A JSON text's value, which has only finite numbers, at most DEEPEST levels, and can be written back as UTF-8.

    orjson's, where it is sure to be the same as the standard library's: orjson makes floats of integers beyond 64
    bits (20 digits, or 19 and a sign), and has another limit of depth. Of a key given twice both take the last.

    Raises:
        ValueError: it is not strict JSON in these bounds, in the standard library's words.
    """
    if data.count(b"[") + data.count(b"{") <= DEEPEST and b"0" * 19 not in data.translate(_ZEROS):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass  # or a byte order mark; the words below are the ones people know
    return strict_value(data.decode("utf-8-sig"))


def strict_value(text: str) -> Any:
    """What `json_value` means, by the standard library alone."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    _check(value, text)
    return value


def _check(value: Any, text: str) -> None:
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    if "\\ud" in text.lower():
        _check_text(value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.40} is too large for a number")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer:
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        inner = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, (dict, list))]
        layer, depth = [child for children in inner for child in children], depth + 1


def _check_text(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"lone surrogate \\u{ord(error.object[error.start]):04x}") from None


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends; of one longer than LONGEST_ROW its first LONGEST_ROW + 1 bytes."""
    while line := stream.readline(LONGEST_ROW + 1):
        rest = line
        while len(rest) >= LONGEST_ROW and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_ROW)
        yield line


def _jsonl(stream: IO[bytes], encoding: str | None, line: int) -> Iterator[Row | Unread]:
    for number, text in enumerate(lines_of(stream), line + 1):
        if len(text) > LONGEST_ROW:
            yield Unread(_too_long(), number, _shown(text[:1000]))
        elif not text.isspace():
            try:
                value = json_value(text)
            except UnicodeDecodeError as error:
                utf8 = encoding is not None and is_utf8(encoding)
                words = str(error) if utf8 else _not_decoded(encoding, error)
                yield Unread(words, number, _shown(text))
                continue
            except ValueError as error:
                yield Unread(str(error), number, _shown(text))
                continue
            yield value if isinstance(value, dict) else Unread("expected a JSON object", number, _shown(text))


ROWS_KEYS = ("data", "rows", "examples", "instances", "records")
"""Keys under which a JSON object's rows are looked for."""


def _json(stream: IO[bytes], rows: str | None, encoding: str | None) -> Iterator[Row | Unread]:
    """One row for each element of an array or of an object of rows, or one for the object."""
    head = head_of(stream, LONGEST_ROW)
    if len(head) < LONGEST_ROW:
        try:
            value = json_value(head)
        except ValueError:
            pass  # read element by element, up to where it breaks
        else:
            for row in value if isinstance(value, list) else _object_rows(value, rows):
                yield row if isinstance(row, dict) else _no_object(row)
            stream.read(1)  # nothing, or the error of a stream that breaks just behind it
            return
    chained = io.BufferedReader(Rejoined(head, stream))
    yield from _JsonText(io.TextIOWrapper(chained, "utf-8-sig", "surrogateescape", newline=""), encoding).rows(rows)


def _no_object(value: Any, line: int | None = None) -> Unread:
    return Unread("expected a JSON object", line, json.dumps(value))


def _object_rows(value: Any, rows: str | None) -> Iterable[Any]:
    """The rows of a JSON text that is not an array.

    Rows are what `rows` says. Untold, a list of objects under one of ROWS_KEYS, no other value being a list or an
    object; or the values, where they are two or more objects with the same keys; or the object itself.
    """
    if not isinstance(value, dict) or rows == ".":
        return [value]
    if rows not in (None, "*"):
        inner = value.get(rows)
        return inner if isinstance(inner, list) else [Unread(f"expected a list under the key {rows!r}", 1, "")]
    nested = {key: each for key, each in value.items() if isinstance(each, (dict, list))}
    if rows is None and len(nested) == 1:
        [(key, inner)] = nested.items()
        if key in ROWS_KEYS and isinstance(inner, list) and all(isinstance(each, dict) for each in inner):
            return inner
    alike = len(value) > 1 and all(isinstance(each, dict) for each in value.values())
    alike = alike and len({frozenset(each) for each in value.values()}) == 1 and bool(next(iter(value.values())))
    if rows == "*" or alike:
        return [each | {"_key": key} if isinstance(each, dict) else each for key, each in value.items()]
    return [value]


_SPACE = re.compile(r"[ \t\r\n]*")


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
        """The rows, and one Unread for all that follows where the text is broken."""
        try:
            if self._peek() == "[":
                yield from self._elements(self._element)
            elif self._peek() == "{" and rows not in (None, "."):
                yield from self._members(str(rows))
            else:
                found = _object_rows(self._value(), rows)
                if not self._peek():
                    yield from (row if isinstance(row, (dict, Unread)) else _no_object(row) for row in found)
            if self._peek():
                raise self._problem("Extra data")
        except ValueError as error:
            yield Unread(str(error), self._line(), self._shown(self._buffer[self._at : self._at + 1000]))

    def _members(self, rows: str) -> Iterator[Row | Unread]:
        """The rows of an object too long to be read at once: under one key, or all values."""

        def member() -> Iterator[Row | Unread]:
            if self._peek() != '"':
                raise self._problem("Expecting property name enclosed in double quotes")
            key = self._value()
            if self._peek() != ":":
                raise self._problem("Expecting ':' delimiter")
            self._at += 1
            if rows == "*":
                yield from (row | {"_key": key} if isinstance(row, dict) else row for row in self._element())
            elif key == rows and self._peek() == "[":
                yield from self._elements(self._element)
            else:
                self._value()

        yield from self._elements(member)

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
        value, text = self._value_text()
        try:
            _check(value, text)
            text.encode()
        except UnicodeEncodeError:
            yield Unread(_not_decoded(self._encoding), line, self._shown(text))
        except ValueError as error:
            yield Unread(str(error), line, self._shown(text))
        else:
            yield value if isinstance(value, dict) else _no_object(value, line)

    def _value(self) -> Any:
        value, text = self._value_text()
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(_not_decoded(self._encoding)) from None
        _check(value, text)
        return value

    def _value_text(self) -> tuple[Any, str]:
        """The next value and its text."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except (ValueError, RecursionError) as error:
                too_long = len(self._buffer) - self._at > LONGEST_ROW
                if not too_long and self._more():
                    continue
                if isinstance(error, RecursionError):
                    raise ValueError(f"nested deeper than {DEEPEST} levels") from None
                if isinstance(error, json.JSONDecodeError):
                    raise (ValueError(_too_long()) if too_long else self._problem(error.msg, error.pos)) from None
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

    def _shown(self, text: str) -> str:
        return _shown(text.encode("utf-8", "surrogateescape"))


# CSV

DELIMITERS = ",;\t|"


class _TooLong(Exception):
    """A line longer than LONGEST_ROW."""


def _csv(stream: IO[bytes], options: Options, delimiter: str | None, encoding: str | None) -> Iterator[Row | Unread]:
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
            cells, problem = [], _too_long()
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
            yield Unread(problem, begin, _shown(raw.encode("utf-8", "surrogateescape")))
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
        return _not_decoded(encoding)
    if len(cells) != len(columns):
        return f"{len(cells)} cells, expected {len(columns)}"
    return None


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


# Parquet and Arrow


def _parquet(stream: IO[bytes]) -> Iterator[Row | Unread]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _at_hand(stream) as source, pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from _batch_rows(batch)
    except (pa.ArrowException, ValueError) as error:  # ValueError: a schema that is not UTF-8
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def _arrow(stream: IO[bytes]) -> Iterator[Row | Unread]:
    """An IPC file or stream, told by its magic bytes."""
    import pyarrow as pa

    try:
        with _at_hand(stream) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            batches = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                batch.validate(full=True)  # offsets of a spoilt file may point anywhere
                for begin in range(0, batch.num_rows, 1024):
                    yield from _batch_rows(batch.slice(begin, 1024))
    except (pa.ArrowException, ValueError) as error:
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def _at_hand(stream: IO[bytes]) -> Any:
    """A stream that can be read in any order: a file itself, or what is unpacked in a file without a name."""
    if isinstance(stream, (io.BytesIO, io.BufferedReader)) and stream.seekable():
        return stream
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    while data := stream.read(1 << 20):
        file.write(data)
    file.seek(0)
    return file


def _batch_rows(batch: Any) -> Iterator[Row | Unread]:
    """A batch's rows; if Python has no value for one (a date beyond the year 9999, say), that one is set aside."""
    try:
        yield from batch.rename_columns(distinct(batch.schema.names)).to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield Unread(f"{type(error).__name__}: {error}", None, str(batch))
        else:
            for row in range(batch.num_rows):
                yield from _batch_rows(batch.slice(row, 1))


# Text, with and without front matter

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's is eight times faster, where PyYAML was built with it."""
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def _document(data: bytes, format: str, name: str, stated: str | None) -> Row | Unread:
    """A file of text as one row."""
    if len(data) > LONGEST_ROW:
        return Unread(_too_long(), 1, _shown(data[:1000]))
    encoding = stated
    try:
        text = data.decode("utf-8-sig" if stated is None or is_utf8(stated) else stated)
    except UnicodeError as problem:
        encoding = encoding_of(data) if stated is None else None
        if encoding is None or is_utf8(encoding):
            words = str(problem) if stated or encoding else _not_decoded(None, problem)
            return Unread(words, 1, _shown(data))
        try:
            text = data.decode(encoding)
        except UnicodeError as error:
            return Unread(str(error), 1, _shown(data))
    row = _front_matter(text) if format == "front_matter" else {"text": text, "name": name}
    if isinstance(row, dict) and encoding is not None and not is_utf8(encoding):
        row["_encoding"] = encoding
    return row


def _front_matter(text: str) -> Row | Unread:
    """A file of YAML between `---` lines and text below: the YAML's keys, and `text`."""
    match = FRONT_MATTER.match(text)
    if match is None:
        return Unread("no YAML front matter between two --- lines", 1, text)
    keys = plain_yaml(match[1])
    if keys is None:
        try:
            keys = _yaml_value(match[1])
        except Exception as error:  # PyYAML's constructors raise whatever int(), datetime() and the like do
            return Unread(f"{type(error).__name__}: {error}", 1, text)
        if not isinstance(keys, dict):
            return Unread(f"front matter is a {type(keys).__name__}, expected keys and values", 1, text)
        keys = {str(key): value for key, value in keys.items()}
    if "text" in keys:
        return Unread("front matter has the key `text`, which is the name of the text below it", 1, text)
    return keys | {"text": text[match.end() :]}


def _yaml_value(text: str) -> Any:
    if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=YAML_LOADER)):
        raise ValueError("aliases are not read: a few lines of them can stand for terabytes")
    value = yaml.load(text, Loader=YAML_LOADER)  # noqa: S506
    _check_depth(value)
    if "\\" in text:
        _check_text(value)
    return {} if value is None else value


_PLAIN = r"(?:[A-Za-z/(](?:[!-9;-~]| +(?=[!\"$-~])|:(?=[!-~]))*|0|[1-9][0-9]{0,17})"
_PLAIN_LINE = re.compile(rf"(?:([A-Za-z_][A-Za-z0-9_]{{0,99}}):(?: +({_PLAIN}))?|( *)- ({_PLAIN}))\n")
_WORDS: dict[str, Any] = {
    form: value
    for words, value in (("true yes on", True), ("false no off", False), ("null", None))
    for word in words.split()
    for form in (word, word.capitalize(), word.upper())
}
"""What is no text in YAML 1.1 although it is made of letters."""


def plain_yaml(text: str) -> Row | None:
    """The value of YAML that has only lines `key: value` and `key:` with a list `- value` below, each value a plain
    word, phrase or natural number; None where there is anything else, and YAML itself must say what it means."""
    row: Row = {}
    at = 0
    items: list[Any] | None = None
    indent, key = "", ""
    while match := _PLAIN_LINE.match(text, at):
        at = match.end()
        name, value, dash, item = match.groups()
        if name is not None:
            if name in _WORDS:
                return None
            key, items = name, None
            if value is None:
                items = []
                row[key] = None
            else:
                row[key] = _plain_value(value)
        elif items is None or (items and dash != indent):
            return None
        else:
            indent = dash
            items.append(_plain_value(item))
            row[key] = items
    return row if at == len(text) else None


def _plain_value(text: str) -> Any:
    if text[0] <= "9" and text[0] >= "0":
        return int(text)
    return _WORDS.get(text, text)
