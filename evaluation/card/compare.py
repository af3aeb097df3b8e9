"""Two scorecards compared row by row: on the rows that both have, by the results kept beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.store import verified
from evaluation.card.classes import Labels
from evaluation.card.format import Comparison, Scorecard, WholeMeasure, read_scorecard
from evaluation.card.scorecard import FLAGGED, TUNED, Measure, Outcomes, comparisons
from evaluation.card.statistics import Ints, Rows, verdict

PREDICTIONS = "predictions.parquet"
FORMS: tuple[WholeMeasure, ...] = (
    *("parses", "extracts", "schema_valid", "whole_match", "rules_match", "extracted_match"),
)
PLAIN: tuple[WholeMeasure, ...] = ("exact_match", "truncated")
KEYS: tuple[WholeMeasure, ...] = ("missing_keys", "invented_keys")
FAULTS = ("wrong_but_valid", *KEYS, *FLAGGED)
"""Measures of which less is better."""
LISTED = 20
"""Rows named of those on which the two differ."""

Row = Mapping[str, Any]


class Side(TypedDict):
    """One of the two systems."""

    scorecard: str
    system: str


class Example(TypedDict):
    """A row on which the two differ; lists are of a and b."""

    id: str
    right: list[bool]
    forms: list[str | None]
    fields: list[str]
    """Those of which one is right."""


class Compared(TypedDict):
    """Two systems on the rows that both have."""

    a: Side
    b: Side
    rows: int
    """In both."""
    only_in_a: int
    only_in_b: int
    comparisons: list[Comparison]
    """Every measure in which at least one row differs."""
    equal: list[tuple[str, str | None]]
    """The other measures, and their fields."""
    differing: int
    """Rows that differ in any."""
    examples: list[Example]
    """The first of them, those that only one answers right before the others."""


def compare(one: Path, other: Path, system: str | None = None, other_system: str | None = None) -> Compared:
    """Compare a system of one scorecard with a system of another; of what is a fault, more is worse.

    Args:
        one: a scorecard's folder.
        other: another's, or the same.
        system: of the first; by default `tuned`, or the only one there is.
        other_system: of the second.

    Raises:
        AssayError: there is no such system, both are the same, the scorecards share no row, or what is expected of a
            row differs. Fields are compared that both judge as the same kind.
    """
    folders = (one, other)
    cards = [read_scorecard(folder) for folder in folders]
    names = [
        system_of(card, folder, name) for card, folder, name in zip(cards, folders, (system, other_system), strict=True)
    ]
    if one.resolve() == other.resolve() and names[0] == names[1]:
        raise AssayError(
            f"{one}: {names[0]} is compared with itself.",
            remedy=f"Name two systems with --system and --other-system: {', '.join(cards[0]['systems'])}.",
        )
    tables = [
        {
            row["id"]: row
            for row in pq.read_table(verified(folder, PREDICTIONS), filters=[("system", "=", name)]).to_pylist()
        }
        for folder, name in zip(folders, names, strict=True)
    ]
    sides = _on_the_same_rows(one, other, *tables)
    rows = len(sides[0])
    kinds = {
        name: each["kind"]
        for name, each in cards[0]["fields"].items()
        if name in cards[1]["fields"] and cards[1]["fields"][name]["kind"] == each["kind"]
    }
    whole = _without_echoes(*(_outcomes(side, kinds) for side in sides))
    outcomes = _differing(*whole)
    found = _compared(cards[0], sides, outcomes, [name for name, kind in kinds.items() if kind == "class"])
    tested = {(each["measure"], each["field"]) for each in found}
    apart = _apart(outcomes[0], outcomes[1], rows)
    differing = sorted(
        np.flatnonzero(apart).tolist(),
        key=lambda place: (sides[0][place]["exact_match"] == sides[1][place]["exact_match"], -apart[place]),
    )
    return {
        "a": {"scorecard": str(one), "system": names[0]},
        "b": {"scorecard": str(other), "system": names[1]},
        "rows": rows,
        "only_in_a": len(tables[0]) - rows,
        "only_in_b": len(tables[1]) - rows,
        "comparisons": found,
        "equal": [measure for measure in [*whole[0].rates, *whole[0].means] if measure not in tested],
        "differing": len(differing),
        "examples": [_example(sides[0][place], sides[1][place], list(kinds)) for place in differing[:LISTED]],
    }


def system_of(card: Scorecard, folder: Path, name: str | None) -> str:
    """The system of a scorecard that is named; by default `tuned`, or the only one there is.

    Raises:
        AssayError: there is no such system.
    """
    systems = list(card["systems"])
    if name is None:
        name = TUNED if TUNED in systems else systems[0] if len(systems) == 1 else ""
    if name not in systems:
        raise AssayError(f"{folder}: no system {name!r}.", remedy=f"Its systems: {', '.join(systems)}.")
    return name


def _on_the_same_rows(one: Path, other: Path, first: Mapping[str, Row], second: Mapping[str, Row]) -> list[list[Row]]:
    """Both systems' results, of the rows that both have."""
    ids = [row for row in first if row in second]
    if not ids:
        raise AssayError(f"{one} and {other} share no row.", remedy="Score both on the same data set version.")
    for row in ids:
        if first[row]["expected"] != second[row]["expected"]:
            raise AssayError(
                f"Row {row}: {one} and {other} expect different answers of it.",
                remedy="Score both on the same data set version.",
            )
    if (first[ids[0]]["form"] is None) != (second[ids[0]]["form"] is None):
        raise AssayError(
            f"{one} and {other}: the answers of one are JSON, those of the other plain text.",
            remedy="Score both with a contract that has a target.schema.json, or both without.",
        )
    return [[table[row] for row in ids] for table in (first, second)]


def _compared(
    card: Scorecard, sides: Sequence[Sequence[Row]], outcomes: Sequence[Outcomes], classes: Sequence[str]
) -> list[Comparison]:
    """The tests of two systems, in these outcomes and, of the fields that are classes, by macro F1."""
    given = {
        key: {name: [row["fields"][name]["given"] for row in side] for name in classes}
        for key, side in zip(("a", "b"), sides, strict=True)
    }
    labels = {
        name: Labels.of(card["fields"][name]["labels"] or (), [row["fields"][name]["wanted"] for row in sides[0]])
        for name in classes
        if given["a"][name] != given["b"][name]
    }
    rows = Rows([row["group"] or row["id"] for row in sides[0]], len(sides[0]), card["resamples"], card["seed"])
    by_system = dict(zip(("a", "b"), outcomes, strict=True))
    found = comparisons(by_system, given, labels, rows, [("a", "b")], every=True)
    for each in found:
        if each["measure"] in FAULTS:
            each["verdict"] = verdict(-each["difference"], each["p_adjusted"])
    return found


def _outcomes(side: Sequence[Row], kinds: Mapping[str, str]) -> Outcomes:
    """Every measure that is kept by row, of one system."""

    def column(of: Any) -> Any:
        return np.array([bool(of(row)) for row in side])

    if side[0]["form"] is None:
        return Outcomes({(name, None): column(lambda row, n=name: row[n]) for name in PLAIN}, {})
    rates: dict[Measure, Any] = {(name, None): column(lambda row, n=name: row[n]) for name in FORMS}
    rates["wrong_but_valid", None] = rates["schema_valid", None] & ~rates["whole_match", None]
    rates |= {(name, None): column(lambda row, n=name: row[n]) for name in KEYS}
    rates |= {(flag, None): column(lambda row, f=flag: f in row["flags"]) for flag in FLAGGED}
    for name in kinds:
        rates["accuracy", name] = column(lambda row, n=name: row["fields"][n]["exact"])
        rates["match", name] = column(lambda row, n=name: row["fields"][n]["match"])
    means: dict[Measure, Any] = {
        ("f1", name): np.array([row["fields"][name]["score"] for row in side])
        for name, kind in kinds.items()
        if kind in ("set", "list")
    }
    return Outcomes(rates, means)


def _without_echoes(one: Outcomes, other: Outcomes) -> list[Outcomes]:
    """Without what a rule of comparison does not change: a test of the same again would only cost power."""
    echoes: dict[Measure, Measure] = {("rules_match", None): ("whole_match", None)}
    echoes |= {key: ("accuracy", key[1]) for key in one.rates if key[0] == "match"}
    same = {
        key
        for key, of in echoes.items()
        if key in one.rates and all((each.rates[key] == each.rates[of]).all() for each in (one, other))
    }
    return [Outcomes({k: v for k, v in each.rates.items() if k not in same}, each.means) for each in (one, other)]


def _differing(one: Outcomes, other: Outcomes) -> list[Outcomes]:
    """Only the measures in which some row differs: where none does, nothing is there to test (Tarone 1990)."""
    rates = [key for key in one.rates if (one.rates[key] != other.rates[key]).any()]
    means = [key for key in one.means if (one.means[key] != other.means[key]).any()]
    return [
        Outcomes({key: each.rates[key] for key in rates}, {key: each.means[key] for key in means})
        for each in (one, other)
    ]


def _apart(one: Outcomes, other: Outcomes, rows: int) -> Ints:
    """In how many measures each row differs: shape (rows,)."""
    apart = np.zeros(rows, dtype=np.int64)
    for key in [*one.rates, *one.means]:
        apart += one.numbers(key) != other.numbers(key)
    return apart


def _example(one: Row, other: Row, fields: Sequence[str]) -> Example:
    return {
        "id": one["id"],
        "right": [one["exact_match"], other["exact_match"]],
        "forms": [one["form"], other["form"]],
        "fields": [
            name
            for name in fields
            if one["form"] is not None and one["fields"][name]["exact"] != other["fields"][name]["exact"]
        ],
    }
