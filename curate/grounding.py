"""Grounding: where in its prompt what an answer says is said.

How a field of the answer is grounded stands in contract.yaml beside the property, as the standard's custom property
`grounding`; where it does not, it follows from the JSON Schema of the answer:

- `verbatim`: the prompt holds these very characters, from word to word.
- `normalised`: the prompt holds these words, whatever their case, spaces, punctuation and form in Unicode. Texts are so
  grounded, unless something else is said.
- `date`: the prompt names that day, or that month of a year, in figures or words: texts of the format `date` or
  `date-time`, and those that are a day in ISO 8601.
- `number`: the prompt names that number, in figures or words, with any separators or scale, or as a percentage:
  numbers.
- `enum`: the prompt need not hold it, because it is chosen from a list: `enum`, `const`, and booleans.
- `none`: the prompt need not hold it, and the description of the custom property says why not.

What is stated of an object or a list holds of all in it that states nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from curate.contract import Contract
from curate.odcs import FREE, stated_grounding
from curate.row_schema import followed, types_of
from curate.text.dates import Date, dates_in, dates_said, iso_date
from curate.text.folded import Folded, folded
from curate.text.spoken_numbers import Number, numbers_in

VERSION = 2
"""Raised whenever values would be found in another way: it keys what the stages that look for them have judged."""
How = Literal["verbatim", "normalised", "date", "number", "enum", "none"]
GONE = object()
"""In the place of an item that goes from its list."""
ROOT = ""
"""The path of the answer itself."""
DEEPEST = 8
"""Levels of a schema that refers to itself."""


@dataclass(frozen=True)
class Place:
    """A passage of a prompt."""

    begin: int
    end: int
    """Characters of the turn's content; the end is not included."""
    turn: int = 0
    """Which turn of the row, from 0."""


@dataclass(frozen=True)
class Nearest(Place):
    """The passage of a prompt that is most like a value which it does not hold."""

    similarity: float = 0.0
    """From 0 to 1: of a text, the share of characters that agree with the best passage of its length; of a date, the
    share of year, month and day that are equal; of a number, the smaller of both by the greater."""


class Reading:
    """A text as values are looked for in it; each reading of it is made once."""

    def __init__(self, text: str, language: str = "en") -> None:
        self.text = text
        self.language = language

    @cached_property
    def words(self) -> Folded:
        return Folded(self.text)

    @cached_property
    def dates(self) -> list[Date]:
        return dates_in(self.words)

    @cached_property
    def numbers(self) -> list[Number]:
        return numbers_in(self.words, self.language)


def find(value: Any, how: How, text: str | Reading) -> Place | None:
    """Where a text says a value first; None where it does not.

    Args:
        value: a text or a number; what has other types, or says nothing, is nowhere.
        how: see the module; what `FREE` names is nowhere.
        text: several values are best looked for in one `Reading`.
    """
    reading = Reading(text) if isinstance(text, str) else text
    if how in FREE or isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    place = None
    if how == "number":
        place = _number(value, reading)
    elif how == "date":
        place = _date(str(value), reading)
    elif how == "verbatim":
        place = _verbatim(str(value), reading.text)
    else:
        place = reading.words.find(str(value))
    return None if place is None else Place(*place)


def nearest(value: Any, how: How, text: str | Reading) -> Nearest | None:
    """The passage of a text that is most like a value, for people to look at; None where nothing is of its kind."""
    reading = Reading(text) if isinstance(text, str) else text
    if how == "number" and (wanted := _numbers(value)):
        like = [(_closeness(wanted[-1].value, each.value), each) for each in reading.numbers]
        closest = max(like, key=lambda each: each[0], default=None)
        return closest and Nearest(closest[1].begin, closest[1].end, similarity=round(closest[0], 3))
    if how == "date" and (dates := dates_said(str(value))):
        alike = [(dates[0][0].equal_parts(each), each) for each in reading.dates]
        best = max(alike, key=lambda each: each[0], default=None)
        return best and Nearest(best[1].begin, best[1].end, similarity=round(best[0] / 3, 3))
    from rapidfuzz.fuzz import partial_ratio_alignment

    wanted_text, words = folded(str(value)), reading.words
    if not wanted_text or not words.words:
        return None
    aligned = partial_ratio_alignment(wanted_text, words.joined)
    if aligned is None or not aligned.score:
        return None
    begin, end = (
        (aligned.dest_start, aligned.dest_end) if len(wanted_text) <= len(words.joined) else (0, len(words.joined))
    )
    return Nearest(*words.place(begin, end), similarity=round(aligned.score / 100, 3))


def _verbatim(value: str, text: str) -> tuple[int, int] | None:
    begin = text.find(value)
    while value and begin >= 0:
        end = begin + len(value)
        inside = (text[begin - 1 : begin] + text[begin], text[end - 1] + text[end : end + 1])
        if not any(len(pair) == 2 and pair.isalnum() for pair in inside):
            return begin, end
        begin = text.find(value, begin + 1)
    return None


def _date(value: str, reading: Reading) -> tuple[int, int] | None:
    wanted = dates_said(value)
    if not wanted:
        return reading.words.find(value)
    places = [
        next((each for each in reading.dates if any(each.is_same(date) for date in ways)), None) for ways in wanted
    ]
    return (places[0].begin, places[0].end) if places[0] is not None and None not in places else None


def _number(value: str | int | float, reading: Reading) -> tuple[int, int] | None:
    wanted = _numbers(value)
    if not wanted:
        return reading.words.find(str(value))
    said: dict[int, list[Decimal]] = {}
    for number in wanted:
        said.setdefault(number.begin, []).append(number.value)
    places = [next((each for each in reading.numbers if each.value in values), None) for values in said.values()]
    return (places[0].begin, places[0].end) if places[0] is not None and None not in places else None


def _numbers(value: Any) -> list[Number]:
    """The numbers that a value says; of a text with several, all."""
    if isinstance(value, str):
        return [number for number in numbers_in(Folded(value)) if number.scaled]
    return [Number(Decimal(str(value)), 0, 0, True)]


def _closeness(one: Decimal, other: Decimal) -> float:
    if one == other:
        return 1.0
    if not one or not other or (one < 0) != (other < 0):
        return 0.0
    return float(min(abs(one), abs(other)) / max(abs(one), abs(other)))


class Prompt:
    """What a row asks, turn by turn, as values are looked for in it."""

    def __init__(self, turns: Sequence[Mapping[str, Any]], language: str | None = None) -> None:
        """
        Args:
            turns: those before the answer; of a row with a target, all.
            language: of the row.
        """
        self.readings = [Reading(turn["content"], language or "en") for turn in turns]

    def find(self, value: Any, how: How) -> Place | None:
        """See `find`; in the first turn that says it."""
        places = (
            replace(place, turn=turn)
            for turn, reading in enumerate(self.readings)
            if (place := find(value, how, reading)) is not None
        )
        return next(places, None)

    def nearest(self, value: Any, how: How) -> Nearest | None:
        """See `nearest`; in the turn that is most like it."""
        near = [
            replace(place, turn=turn)
            for turn, reading in enumerate(self.readings)
            if (place := nearest(value, how, reading)) is not None
        ]
        return max(near, key=lambda place: place.similarity, default=None)

    def passage(self, place: Place) -> str:
        """The text of a place."""
        return self.readings[place.turn].text[place.begin : place.end]


@dataclass(frozen=True)
class Said:
    """A value in an answer that is neither an object nor a list."""

    path: str
    """Of its field: `parties[]`, `clauses[].date`."""
    at: tuple[str | int, ...]
    """Where it is: ("clauses", 0, "date")."""
    value: Any
    how: How


@dataclass(frozen=True)
class Grounding:
    """How each field of an answer is grounded."""

    fields: dict[str, How] = field(default_factory=dict)
    """By path, as far as the contract knows the fields: `parties[]`, `clauses[].date`."""
    stated: tuple[str, ...] = ()
    """Paths of which the contract states it."""
    why: dict[str, str] = field(default_factory=dict)
    """Of fields that the prompt need not hold, the contract's reason, by path."""
    nullable: tuple[str, ...] = ()
    """Paths at which null may be."""

    @staticmethod
    def of(contract: Contract) -> "Grounding":
        """What a contract says of its answer; nothing where that is plain text."""
        schema = contract.target_schema or {}
        stated: dict[str, Any] = stated_grounding(contract.document)
        derived = Grounding.of_schema(schema)
        fields = dict(derived.fields)
        for path in {*fields, *stated}:
            if (said := _inherited(path, stated)) is not None:
                fields[path] = said[0]
        why = {path: reason for path, (_, reason) in stated.items() if reason}
        return Grounding(dict(sorted(fields.items())), tuple(sorted(stated)), why, derived.nullable)

    @staticmethod
    def of_schema(schema: dict[str, Any]) -> "Grounding":
        """What follows from the JSON Schema of an answer."""
        nullable: set[str] = set()
        fields = dict(_derived(schema, schema, ROOT, DEEPEST, nullable))
        return Grounding(dict(sorted(fields.items())), nullable=tuple(sorted(nullable)))

    def said(self, target: Any) -> Iterator[Said]:
        """The values of an answer in their order, but for those that say nothing: null and empty texts."""
        yield from self._said(target, ROOT, (), None)

    def _said(self, value: Any, path: str, at: tuple[str | int, ...], above: How | None) -> Iterator[Said]:
        above = self.fields[path] if path in self.stated else above
        if isinstance(value, dict):
            for key, each in value.items():
                yield from self._said(each, _inner(path, key), (*at, key), above)
        elif isinstance(value, list):
            for number, each in enumerate(value):
                yield from self._said(each, f"{path}[]", (*at, number), above)
        elif value is not None and value != "":
            yield Said(path, at, value, above or self._how(path, value))

    def looked_for(self, target: Any, prompt: Prompt) -> list[tuple[Said, Place | None]]:
        """The values of an answer that its prompt has to hold, each with where it does."""
        return [(said, prompt.find(said.value, said.how)) for said in self.said(target) if said.how not in FREE]

    def without(self, target: Any, looked_for: Sequence[tuple[Said, Place | None]]) -> Any | None:
        """An answer without the values that its prompt does not hold: null in their place where the schema allows that,
        else without the item of a list that says it; None where it can do neither. An item of which the prompt holds
        nothing goes whole.

        Whether what is left is what the schema asks for is not looked at.
        """
        left = deepcopy(target)
        held = {at for said, place in looked_for if place is not None for at in _items(said.at)}
        gone: set[tuple[str | int, ...]] = set()
        for said, place in looked_for:
            if place is not None:
                continue
            items = _items(said.at)
            empty = next((at for at in items if at not in held), None)
            if empty is not None:
                gone.add(empty)
            elif said.path in self.nullable and said.at:
                _inside(left, said.at[:-1])[said.at[-1]] = None
            elif items:
                gone.add(items[-1])
            else:
                return None
        for at in sorted(gone, key=len, reverse=True):
            _inside(left, at[:-1])[at[-1]] = GONE
        return _without_gone(left)

    def _how(self, path: str, value: Any) -> How:
        """How a value is grounded of whose field the contract states nothing."""
        if isinstance(value, bool):
            return "enum"
        how = self.fields.get(path) or ("normalised" if isinstance(value, str) else "number")
        if not isinstance(value, str):
            return how if how in FREE else "number"
        if how == "number":  # a text beside numbers
            return "normalised"
        return (
            "date" if how == "normalised" and iso_date(value) is not None and len(value) >= len("2019-03-05") else how
        )


def _items(at: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    """The items of lists that a place is in, the outer before the inner."""
    return [at[: number + 1] for number, step in enumerate(at) if isinstance(step, int)]


def _inside(value: Any, at: Sequence[str | int]) -> Any:
    for step in at:
        value = value[step]
    return value


def _without_gone(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_gone(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_gone(each) for each in value if each is not GONE]
    return value


def _inner(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _inherited(path: str, stated: Mapping[str, tuple[How, str]]) -> tuple[How, str] | None:
    """What is stated of a path, or of the nearest that holds it."""
    while True:
        if path in stated:
            return stated[path]
        if not path:
            return None
        path = path.removesuffix("[]") if path.endswith("[]") else path.rpartition(".")[0]


def _derived(schema: Any, root: dict[str, Any], path: str, depth: int, nullable: set[str]) -> Iterator[tuple[str, How]]:
    """How the fields of a schema are grounded, by path; of alternatives, what the prompt has to hold comes last. The
    paths at which null may be are added to `nullable`."""
    schema = followed(schema, root)
    if not depth:
        return
    types = types_of(schema, root)
    if types is None or "null" in types:
        nullable.add(path)
    if "enum" in schema or "const" in schema:
        yield path, "enum"
        return
    kinds = schema.get("type", [])
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if kinds & {"integer", "number"}:
        yield path, "number"
    elif "string" in kinds:
        yield path, "date" if schema.get("format") in ("date", "date-time") else "normalised"
    elif "boolean" in kinds:
        yield path, "enum"
    for key in ("allOf", "oneOf", "anyOf"):
        alternatives = [
            pair for part in schema.get(key, ()) for pair in _derived(part, root, path, depth - 1, nullable)
        ]
        yield from sorted(alternatives, key=lambda pair: pair[1] not in FREE)
    for key, inner in (schema.get("properties") or {}).items():
        yield from _derived(inner, root, _inner(path, key), depth - 1, nullable)
    if isinstance(schema.get("items"), dict):
        yield from _derived(schema["items"], root, f"{path}[]", depth - 1, nullable)
    for inner in schema.get("prefixItems", ()):
        yield from _derived(inner, root, f"{path}[]", depth - 1, nullable)
