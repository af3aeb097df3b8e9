"""Values of answers, counted: which are right, which are others than expected, omitted, or invented.

A value is what stands at a field of the answer: that of a field that is no list, each item of a list, each field of the
objects in a list. Null, blank text, and an empty list or object say nothing and are none. Order is not counted: it
is what `match` and `f1` of a `list` tell.
"""

from collections import Counter
from collections.abc import Sequence
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


def counted(field: Field, given: Any, wanted: Any) -> Tallies:
    """What became of the values of a field; either may be ABSENT.

    At each path, values given are those right, wrong and invented, and values expected those right, wrong and omitted.
    Objects in lists are paired as `fields.compare` pairs those of a `set`. In a list of other values no value
    stands for another: what is not there is omitted, what is there besides is invented. What is no list has no items.
    """
    if field.items:
        return _of_objects(field, given, wanted)
    if field.rule.kind in ("set", "list"):
        return (_of_items(_items(given), _items(wanted), field.rule.kind == "set"),)
    if not says(given) or not says(wanted):
        return (INVENTED if says(given) else OMITTED if says(wanted) else NONE,)
    return (RIGHT if compare(field, given, wanted).match else WRONG,)


def says(value: Any) -> bool:
    """Whether something is a value: not null, blank, or empty."""
    if isinstance(value, str):
        return bool(value.strip())
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
    right = (one & other).total()
    return Tally(right, 0, other.total() - right, one.total() - right)


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
