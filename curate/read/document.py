"""A file of text, with or without YAML front matter -> one raw row."""

import re
from typing import Any

import yaml

from curate.read.encoding import Encoding, decoded, is_utf8, told
from curate.read.files import Options
from curate.read.json_value import check_text
from curate.read.raw_row import DEEPEST, LONGEST_ROW, Document, Row, Unread, how_encoded, not_decoded, shown, too_long
from curate.read.typed_values import nested
from curate.strict_yaml import FAST_LOADER, bounded_events

LONGEST_YAML = 1 << 20
"""Characters of front matter, each of which may cost PyYAML 300 bytes."""
LONGEST_NUMBER = 4300
"""Characters of a number: Python's own bound, which it does not hold YAML's other notations to. One of a million digits
in base 60 (`1:1:1`) takes minutes."""
OPENING = "[{-?:"
"""Characters without one of which no list and no mapping begins."""
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def document(data: bytes, format: str, name: str, options: Options) -> Row | Unread:
    """A file of text as one row."""
    text, encoding = text_of_file(data, options)
    if isinstance(text, Unread):
        return text
    row = _front_matter(text) if format == "front_matter" else {"text": Document(text), "name": name}
    return row | how_encoded(encoding) if isinstance(row, dict) else row


def text_of_file(data: bytes, options: Options) -> tuple[str | Unread, Encoding | None]:
    """The text of a file's bytes, and how it is encoded, as its source says or else it tells itself."""
    if len(data) > LONGEST_ROW:
        return Unread(too_long(), 1, shown(data[:1000])), None
    stated = options.encoding
    encoding = told(data, options.fallback_encoding, True) if stated is None else Encoding(stated)
    return text_of(data, encoding, 1), encoding


def text_of(data: bytes, encoding: Encoding | None, line: int) -> str | Unread:
    """Text that begins on a line of a file; that of no known encoding is read as UTF-8."""
    try:
        return decoded(data, "utf-8-sig" if encoding is None or is_utf8(encoding.name) else encoding.name)
    except UnicodeError as problem:
        return Unread(str(problem) if encoding else not_decoded(None, problem), line, shown(data))


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
        keys = {str(key): nested(value) for key, value in keys.items()}
    if "text" in keys:
        return Unread("front matter has the key `text`, which is the name of the text below it", 1, text)
    return keys | {"text": Document(text[match.end() :])}


class _Loader(FAST_LOADER):  # type: ignore[misc, valid-type]
    """YAML whose numbers are bounded."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if len(node.value) > LONGEST_NUMBER and node.tag.endswith((":int", ":float")):
            raise ValueError(f"a number of more than {LONGEST_NUMBER} digits")
        return super().construct_scalar(node)


def _yaml_value(text: str) -> Any:
    if len(text) > LONGEST_YAML:
        raise ValueError(f"front matter longer than {LONGEST_YAML >> 20} MiB")
    if "*" in text or sum(map(text.count, OPENING)) > DEEPEST:
        for event in bounded_events(text, DEEPEST):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("aliases are not read: a few lines of them can stand for terabytes")
    value = yaml.load(text, Loader=_Loader)  # noqa: S506
    if "\\" in text:
        check_text(value)
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
