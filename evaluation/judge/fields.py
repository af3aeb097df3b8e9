"""What a structured answer is made of, and how each part is compared.

A field is a leaf of the answer's JSON Schema, named by its path (`party.address.city`). How it is compared follows from
the schema; a recipe's `evaluation.fields` may say otherwise:

    enum, const, boolean -> class      number, integer -> number       string with format date or date-time -> date
    any other string     -> text       array -> set if its items are unique, else list        anything else -> value

Items of a set or list that are objects have fields of their own (`parties.*.name`), by which they are paired and
scored.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from curate.errors import AssayError
from evaluation.judge.form import ABSENT
from evaluation.judge.items import aligned
from evaluation.settings import FieldRule


@dataclass(frozen=True)
class Field:
    """A field of the answer and how it is compared."""

    path: tuple[str, ...]
    rule: FieldRule
    labels: tuple[str, ...] = ()
    """Of a class: the labels that the schema allows."""
    items: tuple["Field", ...] = ()
    """Of a set or list of objects: an item's fields, with their paths within it."""

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Compared:
    """A field of an output compared with what is expected of it."""

    exact: bool
    """Equal in type and value, or absent in both."""
    match: bool
    """Equal by the field's rule: text without regard to case, width and space, a number within its tolerance, a date
    however it is written, the same set, the same list."""
    score: float
    """F1 of a set's or list's items, of objects that of their fields; else 1 for a match and 0 for none."""
    items: tuple["Tally", ...] = ()
    """Of objects in a set or list: what became of each of their fields."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of the values at one place of answers are what; of a list, one field of all its objects."""

    right: int = 0
    """By its rule."""
    wrong: int = 0
    omitted: int = 0
    """Expected and not there; so are all fields of an object that is not there."""
    invented: int = 0
    """There and not expected."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.right + other.right,
            self.wrong + other.wrong,
            self.omitted + other.omitted,
            self.invented + other.invented,
        )


def fields_of(schema: Mapping[str, Any], rules: Mapping[str, FieldRule]) -> list[Field]:
    """The fields of an answer in the order of its schema.

    Args:
        schema: JSON Schema of the answer.
        rules: by path, in place of what the schema suggests. The rule of an object or array takes it as one field.

    Raises:
        AssayError: a rule names a path that the schema does not have, or it has more than PLACES places.
    """
    found = list(_walk(schema, schema, (), rules, (), iter(range(PLACES))))
    names = list(_names(found, ""))
    unknown = sorted(rules.keys() - set(names))
    if unknown:
        known = ", ".join(names) or "none"
        raise AssayError(
            f"evaluation.fields.{unknown[0]}: the target schema has no such field.",
            remedy=f"Its fields: {known}.",
        )
    return found


def _names(fields: Iterable[Field], within: str) -> Iterator[str]:
    for field in fields:
        yield within + field.name
        yield from _names(field.items, f"{within}{field.name}.*.")


PLACES = 10_000
"""Fields and objects of an answer, at most: a few references can describe more than can be walked."""


def _walk(
    root: Mapping[str, Any],
    schema: Any,
    path: tuple[str, ...],
    rules: Mapping[str, FieldRule],
    within: tuple[str, ...],
    places: Iterator[int],
) -> Iterator[Field]:
    if next(places, None) is None:
        raise AssayError(
            f"The target schema describes more than {PLACES:,} places of an answer.",
            remedy="References may multiply them: describe fewer, or fewer levels.",
        )
    schema, within = _resolved(root, schema, within)
    rule = rules.get(".".join(path)) if path else None
    properties = schema.get("properties")
    if rule is None and isinstance(properties, dict) and len(path) < 16:
        for name, inner in properties.items():
            yield from _walk(root, inner, (*path, name), rules, within, places)
    elif path:
        rule = rule or FieldRule.model_validate({"as": _kind(schema)})
        found = _field(path, rule, _allowed(schema))
        if rule.kind in ("set", "list") and "items" in schema:
            # A path of its own for the rules, and none of the list's in the item's fields.
            whole = (*path, "*")
            inner, _ = _resolved(root, schema["items"], within)
            if isinstance(inner.get("properties"), dict):
                items = _walk(root, schema["items"], whole, rules, within, places)
                found = replace(found, items=tuple(replace(each, path=each.path[len(whole) :]) for each in items))
        yield found


def _field(path: tuple[str, ...], rule: FieldRule, allowed: list[Any]) -> Field:
    if rule.kind != "class":
        return Field(path, rule)
    numbers = [value for value in allowed if isinstance(value, int | float) and not isinstance(value, bool)]
    if not rule.order and len(numbers) > 2 and len(numbers) == len(allowed):  # levels
        rule = rule.model_copy(update={"order": [label_of(value) for value in sorted(numbers)]})
    labels = rule.order or [label for value in allowed if (label := label_of(value)) is not None]
    return Field(path, rule, tuple(labels))


def _resolved(
    root: Mapping[str, Any], schema: Any, within: tuple[str, ...]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A schema behind its local references, and without the alternative null; {} where it refers to itself."""
    while isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            if reference in within:
                return {}, within
            within = (*within, reference)
            target: Any = root
            for part in reference[2:].split("/"):
                part = part.replace("~1", "/").replace("~0", "~")
                target = target.get(part) if isinstance(target, dict) else None
            schema = target
            continue
        branches: list[Any] = next((schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)), [])
        others = [branch for branch in branches if branch != {"type": "null"}]
        if len(others) == 1 and len(branches) == 2:
            schema = others[0]
            continue
        return schema, within
    return {}, within


def _allowed(schema: Mapping[str, Any]) -> list[Any]:
    if "const" in schema:
        return [schema["const"]]
    if isinstance(schema.get("enum"), list):
        return list(schema["enum"])
    return [False, True] if "boolean" in _types(schema) else []


def _types(schema: Mapping[str, Any]) -> set[str]:
    named = schema.get("type", [])
    return set([named] if isinstance(named, str) else named) - {"null"}


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return "class"
    match sorted(_types(schema)):
        case ["boolean"]:
            return "class"
        case ["number"] | ["integer"] | ["integer", "number"]:
            return "number"
        case ["string"]:
            return "date" if schema.get("format") in ("date", "date-time") else "text"
        case ["array"] if "prefixItems" not in schema:
            return "set" if schema.get("uniqueItems") else "list"
    return "value"


def at(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path of a JSON value; ABSENT where nothing does."""
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return ABSENT
        value = value[part]
    return value


def compare(field: Field, given: Any, wanted: Any) -> Compared:
    """Compare a field of an output with what is expected; either may be ABSENT."""
    if field.items:
        return _objects(field, given, wanted)
    if given is ABSENT or wanted is ABSENT:
        return RIGHT if given is wanted else WRONG
    if equal(given, wanted):
        return RIGHT
    kind = field.rule.kind
    if kind in ("set", "list") and isinstance(given, list) and isinstance(wanted, list):
        return _items(given, wanted, ordered=kind == "list")
    same = MATCHES.get(kind)
    return MATCHED if same is not None and same(given, wanted, field.rule) else WRONG


RIGHT, MATCHED, WRONG = Compared(True, True, 1.0), Compared(False, True, 1.0), Compared(False, False, 0.0)


def _items(given: list[Any], wanted: list[Any], ordered: bool) -> Compared:
    """F1 of items, by their longest common subsequence where their order counts."""
    one, other = ([item_key(item) for item in items] for items in (given, wanted))
    if ordered:
        common, total = _common_subsequence(one, other), len(one) + len(other)
    else:
        common, total = len(set(one) & set(other)), len(set(one)) + len(set(other))
    score = 2 * common / total if total else 1.0
    return Compared(False, 2 * common == total, score)


def _objects(field: Field, given: Any, wanted: Any) -> Compared:
    """F1 of the fields of objects, each paired with the one that is most like it; what is no list has none."""
    whole = given is wanted if ABSENT in (given, wanted) else equal(given, wanted)
    alike = whole or (isinstance(given, list) and isinstance(wanted, list))
    one, other = (each if isinstance(each, list) else [] for each in (given, wanted))
    if whole:
        pairs = [((place, place), 1.0) for place in range(len(one))]
    else:
        pairs = aligned(one, other, lambda *pair: likeness(field, *pair), field.rule.kind == "list")
    met, expected = ({pair[side] for pair, _ in pairs} for side in (0, 1))
    tallies = [
        *(_tallied(field, one[mine], other[its]) for (mine, its), _ in pairs),
        *(_tallied(field, item, ABSENT) for place, item in enumerate(one) if place not in met),
        *(_tallied(field, ABSENT, item) for place, item in enumerate(other) if place not in expected),
    ]
    score = 1.0 if whole else 2 * sum(each for _, each in pairs) / max(len(one) + len(other), 1)
    match = alike and len(pairs) == len(one) == len(other) and all(each == 1 for _, each in pairs)
    by_field = tuple(sum((each[place] for each in tallies), Tally()) for place in range(len(field.items)))
    return Compared(whole, match, score, by_field)


def likeness(field: Field, given: Any, wanted: Any) -> float:
    """Of two objects in a list: the share of their fields that are right."""
    tallies = _tallied(field, given, wanted)
    total = sum(each.right + each.wrong + each.omitted + each.invented for each in tallies)
    return sum(each.right for each in tallies) / total if total else 1.0


def _tallied(field: Field, given: Any, wanted: Any) -> list["Tally"]:
    """What became of the fields of one object and, as the last, of its keys that are no field; what is no object counts
    as one such key."""
    known = {each.path[0] for each in field.items if each.path}
    one, other = ({} if each is ABSENT else each if isinstance(each, dict) else {"": each} for each in (given, wanted))
    beside = (_tally(ITEM, one.get(key, ABSENT), other.get(key, ABSENT)) for key in (one.keys() | other.keys()) - known)
    found = [_tally(each, at(given, each.path), at(wanted, each.path)) for each in field.items]
    return [*found, sum(beside, Tally())]


def _tally(field: Field, given: Any, wanted: Any) -> "Tally":
    if given is ABSENT or wanted is ABSENT:
        return Tally(omitted=int(wanted is not ABSENT), invented=int(given is not ABSENT))
    return Tally(right=1) if compare(field, given, wanted).match else Tally(wrong=1)


ITEM = Field((), FieldRule.model_validate({"as": "text"}))
"""What is no field of an object."""


def item_key(item: Any) -> Any:
    return ("text", normalised(item)) if isinstance(item, str) else ("json", _key(item))


def _key(value: Any) -> Any:
    """Equal for values that `equal` calls equal."""
    if isinstance(value, dict):
        return frozenset((name, _key(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_key(inner) for inner in value)
    return (type(value) is bool, value)


def _common_subsequence(one: list[Any], other: list[Any]) -> int:
    """Length of the longest common subsequence, a row of the table at a time as one integer (Hyyrö 2004)."""
    if len(one) > len(other):
        one, other = other, one
    places: dict[Any, int] = {}
    for place, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for item in other:
        here = row & places.get(item, 0)
        row = ((row + here) | (row - here)) & full
    return len(one) - row.bit_count()


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as JSON Schema has it: 1 is 1.0, and neither is true."""
    return bool(one == other) and _alike(one, other)


def _alike(one: Any, other: Any) -> bool:
    """Whether of two values that Python calls equal none is a boolean where the other is a number."""
    kind = type(one)
    if kind is str:
        return True
    if kind is dict:
        return all(_alike(value, other[key]) for key, value in one.items())
    if kind is list:
        return all(map(_alike, one, other))
    return (kind is bool) == (type(other) is bool)


def normalised(text: str) -> str:
    """A text without regard to case, to full and half width (NFKC), and to how much white space it has."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _same_text(given: Any, wanted: Any, rule: FieldRule) -> bool:
    return isinstance(given, str) and isinstance(wanted, str) and normalised(given) == normalised(wanted)


def _near(given: Any, wanted: Any, rule: FieldRule) -> bool:
    """Whether two numbers differ by no more than the tolerance; reckoned in fractions, so no number is too large."""
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in (given, wanted)):
        return False
    allowed = max(Fraction(rule.tolerance), Fraction(rule.relative) * abs(Fraction(wanted)))
    return abs(Fraction(given) - Fraction(wanted)) <= allowed


def _same_date(given: Any, wanted: Any, rule: FieldRule) -> bool:
    if not isinstance(given, str) or not isinstance(wanted, str):
        return False
    one, other = moment(given), moment(wanted)
    return one is not None and one == other


MATCHES: dict[str, Callable[[Any, Any, FieldRule], bool]] = {"text": _same_text, "number": _near, "date": _same_date}
"""By kind, whether two values match that are not equal; kinds that are not here have no other way to match."""

YEAR_FIRST = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")


def moment(text: str) -> datetime | None:
    """The day or moment that a text names: ISO 8601, or year, month and day in this order, the only one that is read
    alike everywhere. None where it names none. A time without an offset is taken as UTC's."""
    text = unicodedata.normalize("NFKC", text).strip()
    try:
        if day := YEAR_FIRST.fullmatch(text):
            return datetime(*map(int, day.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc]
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def label_of(value: Any) -> str | None:
    """A value of a class as a label: a text as it is, another scalar as JSON, 1.0 as 1; None for what is no scalar."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        value = int(value)
    if type(value) is int:
        return str(value)
    return None if value is ABSENT or isinstance(value, dict | list) else json.dumps(value)
