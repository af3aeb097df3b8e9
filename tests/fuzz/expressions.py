"""Expressions of recipes, made by their grammar: the same value each time, within bounds, or the row is set aside."""

import json
import re
from collections.abc import Iterator

import pyarrow as pa
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_TESTS

from curate.read.expressions import FILTERS
from curate.read.mapping import Mapper, RecordMapping, RowError
from curate.record import SCHEMA
from tests.fuzz.target import Choices, Target, told

ROW = {
    "text": "A text, with 12 numbers: 3.5 and ünïcode 日本",
    "number": 7,
    "score": -0.5,
    "none": None,
    "items": ["b", "a", "a", 3, None],
    "object": {"k": "v", "n": {"m": [1, 2]}},
    "pairs": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
    "json": '{"a": [1, 2]}',
    "python": "['a', 'b']",
}
LITERALS = (
    "'a'",
    "''",
    "0",
    "1",
    "-1",
    "2.5",
    "999999999",
    "none",
    "true",
    "[]",
    "{}",
    "'(a+)+$'",
    "'%s'",
    "'%999999999d'",
    "'%Y'",
    "'{:999999999}'",
)
KEYS = ("a", "k", "__class__", "format", "upper", "items", "0", "_x", "__init__", "mro")
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "and", "or", "==", "<", "in", "not in", "is")
NAMES = (*ROW, *ROW, *ROW, "_row", "_file", "range", "lipsum", "cycler", "namespace", "dict", "self", "loop", "caller")
EVERY_FILTER = sorted({*DEFAULT_FILTERS, *FILTERS})
EVERY_TEST = sorted(name for name in DEFAULT_TESTS if name.isidentifier())
LONGEST_VALUE = 1 << 20
"""Characters of what an expression may make of this row of some hundred."""


def expression(choices: Choices, depth: int = 4) -> str:
    """An expression of Jinja, valid more often than not."""
    kind = choices.one_of("nnlffffffffffaictoqsdm") if depth else choices.one_of("nl")
    inner = depth - 1
    if kind == "n":
        return choices.one_of(NAMES)
    if kind == "l":
        return choices.one_of(LITERALS)
    left = expression(choices, inner)
    if kind == "f":
        return f"({left} | {choices.one_of(EVERY_FILTER)}{_arguments(choices, inner)})"
    if kind == "a":
        return f"{left}.{choices.one_of(KEYS)}"
    if kind == "i":
        return f"{left}[{expression(choices, inner)}]"
    if kind == "c":
        return f"({left}){_arguments(choices, inner)}"
    if kind == "t":
        return f"({left} is {choices.one_of(EVERY_TEST)}{_arguments(choices, 0)})"
    if kind == "q":
        return f"({left} if {expression(choices, inner)} else {expression(choices, inner)})"
    if kind == "s":
        return f"{left}[{choices.one_of(('', '1', '-1', '0'))}:{choices.one_of(('', '2', '999999'))}]"
    if kind == "d":
        return f"{{'a': {left}, 'b': [{expression(choices, inner)}]}}"
    if kind == "m":
        return f"({left} | map('{choices.one_of(EVERY_FILTER)}') | list)"
    return f"({left} {choices.one_of(OPERATORS)} {expression(choices, inner)})"


def _arguments(choices: Choices, depth: int) -> str:
    count = choices.one_of((0, 0, 0, 1, 1, 2))
    depth = choices.one_of((0, 0, 0, min(depth, 1)))
    return "(" + ", ".join(expression(choices, depth) for _ in range(count)) + ")" if count else ""


def grammar(data: bytes) -> None:
    choices = Choices(data)
    evaluated(expression(choices, choices.one_of((1, 2, 3, 4))))


def text(data: bytes) -> None:
    evaluated(data.decode("utf-8", "replace"))


def evaluated(source: str) -> None:
    """Hold an expression to what is promised of all of them."""
    try:
        mapping = RecordMapping(
            let={"x": source}, turns=[{"role": "user", "content": source}], target="x", meta={"m": "x"}
        )
        mapper = Mapper(mapping, {})
    except ValueError as error:
        told(error)
        return
    first, second = (next(_made(mapper)) for _ in range(2))
    assert first == second, f"{source}: not the same each time"
    assert len(first) <= LONGEST_VALUE, f"{source}: made {len(first)} characters"
    assert not re.search(" at 0x[0-9a-f]{6}", first, re.IGNORECASE), f"{source}: tells a place in memory"


def _made(mapper: Mapper) -> Iterator[str]:
    """The record of the row, or why there is none, as JSON text."""
    try:
        records = mapper.records(ROW, "a.jsonl")
    except RowError as error:
        if "MemoryError" in str(error.evidence) or "RecursionError" in str(error.evidence):
            raise AssertionError(f"{error.evidence}") from None
        yield json.dumps([error.reason, re.sub(r" at 0x[0-9a-f]+", "", str(error.evidence))])
        return
    for record in records:
        source = {"drop": None, "file": "a", "row": 0}
        row = {name: record.get(name) for name in SCHEMA.names} | {"source": source}
        pa.Table.from_pylist([row], schema=SCHEMA).validate(full=True)
        yield json.dumps(record, default=str)


SOURCES = (
    "text | lower | trim",
    "items | select('string') | unique | join(', ')",
    "object.n.m[0] + 1",
    "pairs | groupby('a') | list",
    "json | from_json",
    "python | from_python",
    "text | findall('[0-9]+')",
    "text | sub('a', 'b')",
    "{'a': number, 'b': [text]}",
    "pairs | map(attribute='b') | list",
    "text ~ ' ' ~ number if score is number else none",
    "'%s' | format(text)",
)
WORDS = tuple(
    word.encode()
    for word in (*(f" | {name}" for name in EVERY_FILTER), *LITERALS, *NAMES, "[", "(", "{", ".", "~", " is ")
)

TARGETS = (
    Target("expression_grammar", grammar, lambda: [bytes(range(at, at + 24)) for at in range(0, 240, 24)], led=True),
    Target("expression_text", text, lambda: [source.encode() for source in SOURCES], WORDS),
)
