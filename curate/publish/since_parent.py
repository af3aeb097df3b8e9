"""Since the parent: a version's counts beside those of the last version that its rows were compared with."""

from collections.abc import Mapping
from typing import Any

from curate.manifest import DatasetManifest
from curate.record import SPLITS

MOST = 12
"""Labels that are listed: those whose share changed most."""


def since_parent(manifest: DatasetManifest, parent: DatasetManifest) -> list[dict[str, Any]]:
    """Rows of both versions by split, label and reason, as tables: {"name", "lines", "more"}.

    A line is {"name", "rows": [parent's, this one's], "shares": the same of all rows kept, or of all rows read for a
    reason, "points": how far the share moved, in points of 100}. Labels are those that moved most; `more` counts the
    others.
    """
    kept = parent.counts.kept, manifest.counts.kept
    read = (parent.counts.rows_in + parent.counts.made, manifest.counts.rows_in + manifest.counts.made)
    splits = _lines(parent.counts.splits, manifest.counts.splits, kept)
    splits.sort(key=lambda line: SPLITS.index(line["name"]))
    labels = _lines(_labels(parent), _labels(manifest), kept)
    reasons = _lines(_reasons(parent), _reasons(manifest), read)
    return [
        {"name": "Split", "lines": splits, "more": 0},
        {"name": "Label", "lines": labels[:MOST], "more": len(labels[MOST:])},
        {"name": "Quarantined as", "lines": reasons, "more": 0},
    ]


def _lines(before: Mapping[str, int], after: Mapping[str, int], of: tuple[int, int]) -> list[dict[str, Any]]:
    lines = []
    for name in {**before, **after}:
        rows = [before.get(name, 0), after.get(name, 0)]
        shares = [count / max(1, whole) for count, whole in zip(rows, of, strict=True)]
        lines.append({"name": name, "rows": rows, "shares": shares, "points": 100 * (shares[1] - shares[0])})
    return sorted(lines, key=lambda line: (-abs(line["points"]), line["name"]))


def _labels(manifest: DatasetManifest) -> Mapping[str, int]:
    told = manifest.stages[-1].distributions.get("label")
    return {} if told is None else told.values


def _reasons(manifest: DatasetManifest) -> dict[str, int]:
    return {f"{stage.name}: {reason}": rows for stage in manifest.stages for reason, rows in stage.reasons.items()}
