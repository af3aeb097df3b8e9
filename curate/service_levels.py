"""Service levels: bounds that a contract sets to a delivery, as `slaProperties` of the Open Data Contract Standard.

A level that a contract does not state has its default here and not in data_contracts/common.yaml: what a contract is
known by, and so the versions that were held to it, stay the same when a level is added.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SAID = frozenset({"id", "property", "value", "unit", "driver", "description"})
"""What is understood of a service level; the standard's `element`, `schedule` and `scheduler` are not."""


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


LEVELS = {
    "quarantined": Level(
        ("share",), 0, 1, 0.9, "The largest share of a drop's rows that stages judging each row by itself quarantine."
    ),
}
"""By the name of their `property`."""


@dataclass(frozen=True)
class Stated:
    """The value of a service level."""

    value: float
    unit: str


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
        if unknown := sorted(each.keys() - SAID):
            raise ValueError(name, f"{unknown[0]!r} is not understood; expected some of {', '.join(sorted(SAID))}")
        known = LEVELS[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not known.least <= value <= known.most:
            raise ValueError(name, f"value is {value!r}; expected a number from {known.least:g} to {known.most:g}")
        unit = each.get("unit", known.units[0])
        if unit not in known.units:
            raise ValueError(name, f"unit is {unit!r}; expected {' or '.join(known.units)}")
        names.append(name)
        levels[name] = Stated(value, unit)
    return levels
