"""Check of what was removed as a duplicate: it is one, of a row that stayed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from curate.manifest import DatasetManifest
from curate.publish.check_result import Check
from curate.publish.check_text import asked_turns, jaccard, same_answer, shingles_of
from curate.publish.published import (
    EarlierVersions,
    Row,
    read_rows,
    row_name,
    split_rows,
    stages_after,
)

COLUMNS = ["id", "turns", "target", "source"]


class _Place(NamedTuple):
    """Which row the evidence names as the one that stayed."""

    version: str | None
    """None for the version that is checked."""
    id: str
    file: str
    row: int


def check_duplicates(folder: Path, manifest: DatasetManifest, earlier: EarlierVersions) -> Check:
    """Every quarantined duplicate names a row that stayed, with its true similarity and, where asked for, its answer.

    A row that stayed is a published one, of this version or of the earlier one that the evidence names; or one that a
    later stage left out by choice (`semantic`, `doubt`, `balance`, `select`), but none that may not be published at
    all.
    """
    settings = manifest.recipe["duplicates"]
    check = Check(
        "duplicates",
        "every duplicate removed is one, of a row that stayed and with the similarity told",
        "",
        what="pairs",
    )
    removed = [
        (row, json.loads(row["evidence"]))
        for row in read_rows(folder / "quarantine.parquet", [*COLUMNS, "stage", "reason", "evidence"])
        if row["stage"] == "duplicates" and row["reason"] in ("exact_duplicate", "near_duplicate")
    ]
    wanted = {_place(seen) for _, seen in removed}
    versions: dict[str | None, Path] = {None: folder} | {each.name: each for each in earlier.folders}
    stayed: dict[_Place, Row] = {}
    for version, where in versions.items():
        for row in _rows_that_stayed(where):
            place = _Place(version, row["id"], row["source"]["file"], row["source"]["row"])
            if place in wanted:
                stayed[place] = row
    for row, seen in removed:
        place = _place(seen)
        if place.version not in versions:
            check.how = f"those of versions at hand{earlier.how()}"
            continue
        check.compared += 1
        if place not in stayed:
            check.fail(f"{row_name('quarantine', row)}: the row it names did not stay: {row['evidence']}")
        elif problem := _problem(row, stayed[place], seen["similarity"], settings):
            check.fail(f"{row_name('quarantine', row)}: {problem}")
    return check


def _place(seen: dict[str, Any]) -> _Place:
    return _Place(seen.get("version"), seen["kept"], seen["file"], seen["row"])


def _rows_that_stayed(folder: Path) -> Iterator[Row]:
    """The rows of a version that its search for duplicates has kept: published, or left out by choice later."""
    later = stages_after(DatasetManifest.unproven(folder), "duplicates") - {"split"}
    yield from (row for _, row in split_rows(folder, COLUMNS))
    quarantine = read_rows(folder / "quarantine.parquet", [*COLUMNS, "stage"])
    yield from (row for row in quarantine if row["stage"] in later)


def _problem(row: Row, kept: Row, told: float, settings: dict[str, Any]) -> str | None:
    """Why a row is no duplicate of the one kept, or not by the similarity told."""
    exact = row["reason"] == "exact_duplicate"
    equal = exact and asked_turns(row) == asked_turns(kept)
    similarity = 1.0 if equal else jaccard(shingles_of(row, settings), shingles_of(kept, settings))
    if abs(similarity - told) > 1e-6:
        return f"similarity {similarity:.6f}, the evidence says {told}"
    if similarity < settings["threshold"]:
        return f"similarity {similarity:.6f}, below the threshold"
    if exact and not equal:
        return "not equal to the row it names"
    if (settings["same_target"] or exact) and not same_answer(row, kept):
        return "another answer than the row it names"
    return None
