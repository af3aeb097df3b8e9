"""What the report tells of people's decisions: those that were not applied, and why."""

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.publish.shown_rows import matching

MOST = 100
"""Lines that are told, at most."""
OPEN = ("stale", "no_row", "disagreement", "overruled", "no_effect")
"""Outcomes that somebody should look at."""


def decided_lines(folder: Path) -> list[dict[str, Any]]:
    """The first lines of decisions.parquet that have changed nothing, see `curate.rows.decided.LISTED`; none where
    nobody was asked.

    Args:
        folder: of the version.
    """
    path = folder / "decisions.parquet"
    if not path.is_file():
        return []
    return [*islice(matching(path, pc.field("outcome").isin(OPEN)), MOST)]
