"""Reasons: why rows are not in a set that is not published, and what most likely mends it."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from curate.manifest import StageAccount
from curate.publish.mends import MENDS

SHOWN = 5
"""Reasons that an error names, those of most rows."""
EVIDENCE = 200
"""Characters of a row's evidence that an error shows."""


def why_gone(stages: Sequence[StageAccount], quarantine: pa.Table) -> tuple[str, str]:
    """What is told of rows that stages rejected: (the reasons by their rows, each with its first row; the mend).

    Args:
        stages: that are told of.
        quarantine: the rows that went, of these stages and of others.
    """
    reasons = [(rows, stage.name, reason) for stage in stages for reason, rows in stage.reasons.items()]
    reasons.sort(key=lambda each: (-each[0], each[1:]))
    if not reasons:
        return "No row was quarantined.", "Add rows."
    lines = [f"  {rows:,} {reason} ({stage}){_first(quarantine, stage, reason)}" for rows, stage, reason in reasons]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"  and {len(lines) - SHOWN} more reasons"]
    known = [MENDS[reason] for _, _, reason in reasons if reason in MENDS]
    return "\n".join(["Quarantined:", *lines]), known[0] if known else "The evidence says why rows went."


def _first(quarantine: pa.Table, stage: str, reason: str) -> str:
    """The first row that went for a reason, and what was seen."""
    gone = pc.and_(pc.equal(quarantine["stage"], stage), pc.equal(quarantine["reason"], reason))
    if (at := pc.index(gone, True).as_py()) < 0:  # a stage may reject under a name of its own
        return ""
    source, evidence = (quarantine[name][at].as_py() for name in ("source", "evidence"))
    shown = evidence if len(evidence) <= EVIDENCE else f"{evidence[:EVIDENCE]}…"
    return f", as {source['file']}, row {source['row']}: {shown}"
