"""Service levels: bounds that a contract sets to a delivery, as `slaProperties` of the Open Data Contract Standard.

A level that a contract does not state has its default here and not in data_contracts/common.yaml: what a contract is
known by, and so the versions that were held to it, stay the same when a level is added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SAID = frozenset({"id", "property", "value", "unit", "driver", "description"})
"""What is understood of a service level, and of one of columns `element` too; the standard's `schedule` and `scheduler`
are not."""


@dataclass(frozen=True)
class Level:
    """A service level that is understood."""

    units: tuple[str, ...]
    """Units that its value may be in; without one it is in the first."""
    least: float
    most: float
    """Bounds of the value."""
    default: float | None
    """In the first unit; None where a contract that does not state it has none."""
    description: str
    of_columns: bool = False
    """Whether it is of the columns that its `element` names."""


LEVELS = {
    "quarantined": Level(
        ("share",), 0, 1, 0.9, "The largest share of a drop's rows that stages judging each row by itself quarantine."
    ),
    "completeness": Level(
        ("share",),
        0,
        1,
        None,
        "The least share of the rows that have a value in each column that `element` names.",
        of_columns=True,
    ),
    "freshness": Level(("d", "h"), 0, 36500, None, "The longest time without a new drop; the watcher tells of it."),
}
"""By the name of their `property`."""


@dataclass(frozen=True)
class Stated:
    """The value of a service level."""

    value: float
    unit: str
    columns: tuple[str, ...] = ()
    """Of the set, where it is of some."""


def service_levels(stated: Iterable[dict[str, Any]]) -> dict[str, Stated]:
    """Every service level that holds: those that a contract states and the defaults of the others.

    Args:
        stated: the contract's `slaProperties`, valid by the standard's JSON Schema.

    Raises:
        ValueError: (the property, what was expected) where one is not understood, or stated twice.
    """
    levels = {
        name: Stated(known.default, known.units[0]) for name, known in LEVELS.items() if known.default is not None
    }
    names: list[str] = []
    for each in stated:
        name, value = each["property"], each["value"]
        if name not in LEVELS:
            raise ValueError(name, f"not understood; expected one of {', '.join(LEVELS)}")
        if name in names:
            raise ValueError(name, "stated twice")
        known = LEVELS[name]
        said = SAID | {"element"} if known.of_columns else SAID
        if unknown := sorted(each.keys() - said):
            raise ValueError(name, f"{unknown[0]!r} is not understood; expected some of {', '.join(sorted(said))}")
        columns = tuple(column.strip() for column in each.get("element", "").split(",") if column.strip())
        if known.of_columns and not columns:
            raise ValueError(name, "`element` is missing; expected the columns of the set that it is of, as `label`")
        if isinstance(value, bool) or not isinstance(value, int | float) or not known.least <= value <= known.most:
            raise ValueError(name, f"value is {value!r}; expected a number from {known.least:g} to {known.most:g}")
        unit = each.get("unit", known.units[0])
        if unit not in known.units:
            raise ValueError(name, f"unit is {unit!r}; expected {' or '.join(known.units)}")
        names.append(name)
        levels[name] = Stated(value, unit, columns)
    return levels


def complete(levels: Mapping[str, Stated]) -> list[dict[str, Any]]:
    """The expectations of a set that the level `completeness` stands for."""
    stated = levels.get("completeness")
    if stated is None:
        return []
    return [
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {"column": column, "mostly": stated.value},
            "meta": {
                "name": f"completeness_{column}",
                "dimension": "completeness",
                "description": "As the service level `completeness` says.",
            },
        }
        for column in stated.columns
    ]
