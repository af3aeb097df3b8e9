"""What of an answer differs from the expected one: by field path for objects, by word or character within a text."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, Literal

from evaluation.judge.fields import equal
from evaluation.judge.form import ABSENT

Kind = Literal["same", "other", "lacking"]
Part = tuple[Kind, str]
"""A piece of a text: as expected, not as expected, or (it is not in the answer) expected and lacking."""

TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+|\d+|\s+|.", re.DOTALL)
"""Pieces that are compared: words, numbers, white space, marks; single characters where a script has no spaces."""
MOST_TOKENS = 600
"""Pieces of either text up to which they are aligned; of longer ones, all between the common ends is marked."""
ALIKE = 0.3
"""Texts less alike than this (2 M / T of difflib) share words by accident: the whole is marked."""
MOST_LINES = 40
"""Values of an object that are shown."""


@dataclass(frozen=True)
class Line:
    """One value of an answer and what of it differs."""

    path: str
    """E.g. `party.names[0]`; "" for a value that is no object."""
    parts: Sequence[Part]
    fault: Literal["", "missing", "invented", "wrong"] = ""


def lines(given: Any, expected: Any) -> list[Line]:
    """An answer's values by path against those expected; keys that it lacks stand where they are expected.

    At most MOST_LINES, and one more that says how many are left out.
    """
    found = list(islice(_lines("", given, expected), 10_000))
    if len(found) > MOST_LINES:
        left = f"{len(found) - MOST_LINES:,} more values"
        return [*found[:MOST_LINES], Line("…", [("same", left)])]
    return found


def _lines(path: str, given: Any, expected: Any) -> Iterator[Line]:
    wanted = {} if expected is ABSENT else expected
    if isinstance(given, dict) and isinstance(wanted, dict) and (given or wanted):
        for key in [*wanted, *(key for key in given if key not in wanted)]:
            inner = f"{path}.{key}" if path else key
            yield from _lines(inner, given.get(key, ABSENT), wanted.get(key, ABSENT))
    elif isinstance(given, list) and isinstance(expected, list) and any(map(_holds, given)):
        for place in range(max(len(given), len(expected))):
            sides = (each[place] if place < len(each) else ABSENT for each in (given, expected))
            yield from _lines(f"{path}[{place}]", *sides)
    else:
        yield _line(path, given, expected)


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _line(path: str, given: Any, expected: Any) -> Line:
    if given is ABSENT:
        return Line(path, [("lacking", _text(expected))], "missing")
    if expected is ABSENT:
        return Line(path, [("other", _text(given))], "invented")
    if equal(given, expected):
        return Line(path, [("same", _text(given))])
    if isinstance(given, str) and isinstance(expected, str):
        parts = differences(given, expected)
        return Line(path, [("same", '"'), *parts, ("same", '"')], "wrong")
    if isinstance(given, list) and isinstance(expected, list):
        return Line(path, _items(given, expected), "wrong")
    return Line(path, [("other", _text(given))], "wrong")


def _items(given: Sequence[Any], expected: Sequence[Any]) -> list[Part]:
    """Items of a list that are not expected, and those expected that it lacks, order aside."""
    left = Counter(map(_text, expected))
    parts: list[Part] = [("same", "[")]
    for place, item in enumerate(map(_text, given)):
        if place:
            parts.append(("same", ", "))
        parts.append(("same" if left[item] > 0 else "other", item))
        left[item] -= 1
    lacking = [item for item in map(_text, expected) if left[item] > 0]
    if lacking:
        parts.append(("lacking", ", ".join(lacking)))
    return [*parts, ("same", "]")]


def differences(given: str, expected: str) -> list[Part]:
    """A text in parts as expected and not, with what it lacks where it lacks it."""
    one, other = TOKEN.findall(given), TOKEN.findall(expected)
    if max(len(one), len(other)) > MOST_TOKENS:
        return _between_common_ends(one, other)
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if matcher.ratio() < ALIKE:
        return [("other", given)] if given else [("lacking", expected)]
    parts: list[Part] = []
    for kind, begin, end, other_begin, other_end in matcher.get_opcodes():
        if kind == "equal":
            parts.append(("same", "".join(one[begin:end])))
            continue
        if end > begin:
            parts.append(("other", "".join(one[begin:end])))
        else:
            parts.append(("lacking", "".join(other[other_begin:other_end])))
    return parts


def _between_common_ends(one: Sequence[str], other: Sequence[str]) -> list[Part]:
    shorter = min(len(one), len(other))
    begin = next((place for place in range(shorter) if one[place] != other[place]), shorter)
    left = shorter - begin
    end = next((place for place in range(left) if one[-1 - place] != other[-1 - place]), left)
    middle, wanted = "".join(one[begin : len(one) - end]), "".join(other[begin : len(other) - end])
    parts: list[Part] = [
        ("same", "".join(one[:begin])),
        ("other", middle) if middle else ("lacking", wanted),
        ("same", "".join(one[len(one) - end :])),
    ]
    return [part for part in parts if part[1]]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
