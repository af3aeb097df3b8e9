"""Doubted labels for the report: the rows that the stage `doubt` has published, each beside its nearest rows."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.publish.shown_rows import excerpt, kept_rows, seen

MOST = 200
"""Doubted rows that are in the page; of more, the most doubted."""


def doubted_rows(folder: Path) -> list[dict[str, Any]]:
    """The first doubted rows of a version as `seen` gives them, with what is said of them, and the nearest row of both
    labels as `nearest`: {"given", "likelier"}, each with its `cosine`, or None.

    Args:
        folder: holds doubted.parquet, if the recipe has labels doubted, and the other tables.
    """
    path = folder / "doubted.parquet"
    if not path.is_file():
        return []
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(MOST), None)
    rows = [] if batch is None else pa.table(batch).to_pylist()
    found = [(seen(row), orjson.loads(row["evidence"])) for row in rows]
    sides = ("given", "likelier")
    named = {near["id"] for _, evidence in found for side in sides for near in evidence[f"nearest_{side}"]}
    others = kept_rows(folder, named)  # without those that were forgotten since
    shown = []
    for row, evidence in found:
        near = {
            side: next(
                (
                    _short(others[one["id"]]) | {"cosine": one["cosine"]}
                    for one in evidence[f"nearest_{side}"]
                    if one["id"] in others
                ),
                None,
            )
            for side in sides
        }
        shown.append(_short(row) | {"evidence": evidence, "nearest": near})
    return shown


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"text": excerpt(row["text"])}
