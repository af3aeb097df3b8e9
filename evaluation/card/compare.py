"""Two scorecards compared row by row: on the rows that both have, by the results kept beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.store import read_manifest
from evaluation.card.classes import Labels
from evaluation.card.scorecard import FLAGGED, SCHEMA_VERSION, TUNED, Measure, Outcomes, comparisons
from evaluation.card.statistics import Ints, Rows, verdict

PREDICTIONS = "predictions.parquet"
FORMS = ("parses", "extracts", "schema_valid", "whole_match", "rules_match", "extracted_match")
FAULTS = ("wrong_but_valid", "missing_keys", "invented_keys", *FLAGGED)
"""Measures of which less is better."""
LISTED = 20
"""Rows named of those on which the two differ."""

Row = Mapping[str, Any]


def compare(one: Path, other: Path, system: str | None = None, other_system: str | None = None) -> dict[str, Any]:
    """Compare a system of one scorecard with a system of another.

    Args:
        one: a scorecard's folder.
        other: another's, or the same.
        system: of the first; by default `tuned`, or the only one there is.
        other_system: of the second.

    Returns:
        {"a", "b": {"scorecard", "system"}, "rows": in both, "only_in_a", "only_in_b",
        "comparisons": as in scorecard.json, in every measure in which at least one row differs, and what is more of a
        fault is worse, "equal": the other measures as [measure, field], "differing": how many rows differ in any,
        "examples": the first of them, those that only one answers right before the others, as {"id", "right":
        of a and b, "forms": of a and b, "fields": those of which one is right}}.

    Raises:
        AssayError: there is no such system, both are the same, the scorecards share no row, or what is expected of a
            row differs. Fields are compared that both judge as the same kind.
    """
    cards = [_card(folder) for folder in (one, other)]
    names = [
        _system(card, folder, name)
        for card, folder, name in zip(cards, (one, other), (system, other_system), strict=True)
    ]
    if one.resolve() == other.resolve() and names[0] == names[1]:
        systems = ", ".join(cards[0]["systems"])
        raise AssayError(
            f"{one}: {names[0]} is compared with itself.",
            remedy=f"Name two systems with --system and --other-system: {systems}.",
        )
    tables = [
        {row["id"]: row for row in pq.read_table(folder / PREDICTIONS, filters=[("system", "=", name)]).to_pylist()}
        for folder, name in zip((one, other), names, strict=True)
    ]
    ids = [row for row in tables[0] if row in tables[1]]
    if not ids:
        raise AssayError(f"{one} and {other} share no row.", remedy="Score both on the same data set version.")
    for row in ids:
        if tables[0][row]["expected"] != tables[1][row]["expected"]:
            raise AssayError(
                f"Row {row}: {one} and {other} expect different answers of it.",
                remedy="Score both on the same data set version.",
            )
    others = cards[1]["fields"]
    kinds = {
        name: each["kind"]
        for name, each in cards[0]["fields"].items()
        if name in others and others[name]["kind"] == each["kind"]
    }
    sides = [[table[row] for row in ids] for table in tables]
    if (sides[0][0]["form"] is None) != (sides[1][0]["form"] is None):
        raise AssayError(
            f"{one} and {other}: the answers of one are JSON, those of the other plain text.",
            remedy="Score both with a contract that has a target.schema.json, or both without.",
        )
    whole = _without_echoes(*(_outcomes(side, kinds) for side in sides))
    outcomes = dict(zip(("a", "b"), _differing(*whole), strict=True))
    classes = [name for name, kind in kinds.items() if kind == "class"]
    given = {
        key: {name: [row["fields"][name]["given"] for row in side] for name in classes}
        for key, side in zip(("a", "b"), sides, strict=True)
    }
    labels = {
        name: Labels.of(cards[0]["fields"][name]["labels"], [row["fields"][name]["wanted"] for row in sides[0]])
        for name in classes
        if given["a"][name] != given["b"][name]
    }
    rows = Rows([row["group"] or row["id"] for row in sides[0]], len(ids), cards[0]["resamples"], cards[0]["seed"])
    found = comparisons(outcomes, given, labels, rows, [("a", "b")], every=True)
    for each in found:
        if each["measure"] in FAULTS:
            each["verdict"] = verdict(-each["difference"], each["p_adjusted"])
    tested = {(each["measure"], each["field"]) for each in found}
    measured = [*whole[0].rates, *whole[0].means]
    apart = _apart(outcomes["a"], outcomes["b"], len(ids))
    differing = sorted(
        np.flatnonzero(apart).tolist(),
        key=lambda place: (sides[0][place]["exact_match"] == sides[1][place]["exact_match"], -apart[place]),
    )
    return {
        **{
            key: {"scorecard": str(folder), "system": name}
            for key, folder, name in zip(("a", "b"), (one, other), names, strict=True)
        },
        "rows": len(ids),
        "only_in_a": len(tables[0]) - len(ids),
        "only_in_b": len(tables[1]) - len(ids),
        "comparisons": found,
        "equal": [list(measure) for measure in measured if measure not in tested],
        "differing": len(differing),
        "examples": [_example(sides[0][place], sides[1][place], list(kinds)) for place in differing[:LISTED]],
    }


def _card(folder: Path) -> dict[str, Any]:
    read_manifest(folder)
    if not (folder / "scorecard.json").is_file():
        raise AssayError(f"{folder}: no scorecard.", remedy="Name one that `assay evaluate` has published.")
    card: dict[str, Any] = json.loads((folder / "scorecard.json").read_bytes())
    if card["schema_version"] != SCHEMA_VERSION:
        raise AssayError(
            f"{folder}: a scorecard of version {card['schema_version']}, expected {SCHEMA_VERSION}.",
            remedy="Evaluate again; answers come from the cache.",
        )
    return card


def _system(card: Mapping[str, Any], folder: Path, name: str | None) -> str:
    systems = list(card["systems"])
    if name is None:
        name = TUNED if TUNED in systems else systems[0] if len(systems) == 1 else ""
    if name not in systems:
        raise AssayError(f"{folder}: no system {name!r}.", remedy=f"Its systems: {', '.join(systems)}.")
    return name


def _outcomes(side: Sequence[Row], kinds: Mapping[str, str]) -> Outcomes:
    """Every measure that is kept by row, of one system."""

    def column(of: Any) -> Any:
        return np.array([bool(of(row)) for row in side])

    if side[0]["form"] is None:
        return Outcomes({(name, None): column(lambda row, n=name: row[n]) for name in ("exact_match", "truncated")}, {})
    rates: dict[Measure, Any] = {(name, None): column(lambda row, n=name: row[n]) for name in FORMS}
    rates["wrong_but_valid", None] = rates["schema_valid", None] & ~rates["whole_match", None]
    rates |= {(name, None): column(lambda row, n=name: row[n]) for name in ("missing_keys", "invented_keys")}
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


def _example(one: Row, other: Row, fields: Sequence[str]) -> dict[str, Any]:
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
