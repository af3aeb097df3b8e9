"""Values of answers, counted: which are right, which are others than expected, omitted, or invented.

A value is what stands at a field of the answer: that of a field that is no list, each item of a list, each field of the
objects in a list. Null, blank text, and an empty list or object say nothing and are none. Order is not counted: it
is what `match` and `f1` of a `list` tell.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

from evaluation.judge.fields import Field, Tally, at, compare, item_key, likeness
from evaluation.judge.form import ABSENT
from evaluation.judge.items import aligned

Tallies = tuple[Tally, ...]
"""What became of the values at each path of a field."""

NONE, RIGHT, WRONG = Tally(), Tally(right=1), Tally(wrong=1)
OMITTED, INVENTED = Tally(omitted=1), Tally(invented=1)


def paths_of(field: Field, within: str = "") -> tuple[str, ...]:
    """Where a field has values: `date`, `parties[]`, `clauses[].date`."""
    path = f"{within}{field.name}"
    if field.items:
        return tuple(chain.from_iterable(paths_of(each, f"{path}[].") for each in field.items))
    return (f"{path}[]" if field.rule.kind in ("set", "list") else path,)


def all_of(field: Field, value: Any, became: Callable[[int], Tally]) -> Tallies:
    """What became of the values of a field where the same became of them all; the value may be ABSENT.

    Args:
        field: of the answer.
        value: what it holds.
        became: `right` or `omitted`.
    """
    if field.items or field.rule.kind in ("set", "list"):
        return tuple(map(became, _held(field, value)))
    return (became(1 if says(value) else 0),)


@cache
def right(count: int) -> Tally:
    """So many right values; one tally for all that are equal, as there are many."""
    return Tally(right=count)


@cache
def omitted(count: int) -> Tally:
    """So many omitted values."""
    return Tally(omitted=count)


def _held(field: Field, value: Any) -> tuple[int, ...]:
    """How many values a field has at each of its paths."""
    if field.items:
        none = (0,) * len(paths_of(field))
        objects = value if isinstance(value, list) else []
        each = [tuple(chain.from_iterable(_held(of, at(item, of.path)) for of in field.items)) for item in objects]
        return tuple(map(sum, zip(none, *each, strict=True)))
    if field.rule.kind in ("set", "list"):
        items = _items(value)
        return (len(set(map(item_key, items))) if field.rule.kind == "set" and len(items) > 1 else len(items),)
    return (1 if says(value) else 0,)


def counted(field: Field, given: Any, wanted: Any, match: bool | None = None) -> Tallies:
    """What became of the values of a field; either may be ABSENT.

    At each path, values given are those right, wrong and invented, and values expected those right, wrong and omitted.
    Objects in lists are paired as `fields.compare` pairs those of a `set`. In a list of other values no value
    stands for another: what is not there is omitted, what is there besides is invented. What is no list has no items.

    Args:
        field: of the answer.
        given: its value.
        wanted: the value that is expected.
        match: whether they match by the field's rule, where that is known.
    """
    if field.items:
        return _of_objects(field, given, wanted)
    if field.rule.kind in ("set", "list"):
        return (_of_items(_items(given), _items(wanted), field.rule.kind == "set"),)
    if not says(wanted):
        return (INVENTED if says(given) else NONE,)
    if not says(given):
        return (OMITTED,)
    return (RIGHT if (compare(field, given, wanted).match if match is None else match) else WRONG,)


def says(value: Any) -> bool:
    """Whether something is a value: not null, blank, or empty."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    return value is not ABSENT and value is not None and value != [] and value != {}


def summed(tallies: Sequence[Tallies]) -> Tallies:
    """Tallies of the same paths, path by path."""
    return tuple(sum(each, Tally()) for each in zip(*tallies, strict=True))


def _items(value: Any) -> list[Any]:
    return [each for each in value if says(each)] if isinstance(value, list) else []


def _of_items(given: list[Any], wanted: list[Any], distinct: bool) -> Tally:
    one, other = (Counter(map(item_key, items)) for items in (given, wanted))
    if distinct:
        one, other = Counter(one.keys()), Counter(other.keys())
    both = (one & other).total()
    return Tally(both, 0, other.total() - both, one.total() - both)


def _of_objects(field: Field, given: Any, wanted: Any) -> Tallies:
    one, other = (each if isinstance(each, list) else [] for each in (given, wanted))
    pairs = [pair for pair, _ in aligned(one, other, lambda *pair: likeness(field, *pair), ordered=False)]
    mine, its = ({pair[side] for pair in pairs} for side in (0, 1))
    objects = [
        *((one[place], other[at_place]) for place, at_place in pairs),
        *((each, ABSENT) for place, each in enumerate(one) if place not in mine),
        *((ABSENT, each) for place, each in enumerate(other) if place not in its),
    ]
    none = (NONE,) * len(paths_of(field))
    return summed([none, *(_of_object(field, *pair) for pair in objects)])


def _of_object(field: Field, given: Any, wanted: Any) -> Tallies:
    return tuple(
        chain.from_iterable(counted(each, at(given, each.path), at(wanted, each.path)) for each in field.items)
    )
