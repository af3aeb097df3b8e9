"""Two scorecards compared row by row: on the rows that both have, by the results kept beside them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.store import read_manifest
from evaluation.classes import Labels
from evaluation.scorecard import SCHEMA_VERSION, TUNED, Measure, Outcomes, comparisons
from evaluation.statistics import Rows

PREDICTIONS = "predictions.parquet"


def compare(one: Path, other: Path, system: str | None = None, other_system: str | None = None) -> dict[str, Any]:
    """Compare a system of one scorecard with a system of another.

    Args:
        one: a scorecard's folder.
        other: another's, or the same.
        system: of the first; by default `tuned`, or the only one there is.
        other_system: of the second.

    Returns:
        {"a", "b": {"scorecard", "system"}, "rows": in both, "only_in_a", "only_in_b",
        "comparisons": as in scorecard.json}.

    Raises:
        AssayError: there is no such system, the scorecards share no row, or what is expected of a row differs.
    """
    cards = [_card(folder) for folder in (one, other)]
    names = [
        _system(card, folder, name)
        for card, folder, name in zip(cards, (one, other), (system, other_system), strict=True)
    ]
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
    kinds = {name: each["kind"] for name, each in cards[0]["fields"].items() if name in cards[1]["fields"]}
    sides = [[table[row] for row in ids] for table in tables]
    rows = Rows([row["group"] or row["id"] for row in sides[0]], len(ids), cards[0]["resamples"], cards[0]["seed"])
    classes = [name for name, kind in kinds.items() if kind == "class"]
    labels = {
        name: Labels.of(cards[0]["fields"][name]["labels"], [row["fields"][name]["wanted"] for row in sides[0]])
        for name in classes
    }
    keys = ("a", "b")
    outcomes = {key: _outcomes(side, kinds) for key, side in zip(keys, sides, strict=True)}
    given = {
        key: {name: [row["fields"][name]["given"] for row in side] for name in classes}
        for key, side in zip(keys, sides, strict=True)
    }
    return {
        **{
            key: {"scorecard": str(folder), "system": name}
            for key, folder, name in zip(keys, (one, other), names, strict=True)
        },
        "rows": len(ids),
        "only_in_a": len(tables[0]) - len(ids),
        "only_in_b": len(tables[1]) - len(ids),
        "comparisons": comparisons(outcomes, given, labels, rows, [keys]),
    }


def _card(folder: Path) -> dict[str, Any]:
    read_manifest(folder)
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


def _outcomes(side: list[dict[str, Any]], kinds: Mapping[str, str]) -> Outcomes:
    plain = side[0]["form"] is None
    rates: dict[Measure, Any] = {
        (measure, None): np.array([row[measure] for row in side], dtype=np.bool_)
        for measure in (("exact_match",) if plain else ("schema_valid", "whole_match", "rules_match"))
    }
    rates |= {("accuracy", name): np.array([row["fields"][name]["exact"] for row in side]) for name in kinds}
    means: dict[Measure, Any] = {
        ("f1", name): np.array([row["fields"][name]["score"] for row in side])
        for name, kind in kinds.items()
        if kind in ("set", "list")
    }
    return Outcomes(rates, means)
