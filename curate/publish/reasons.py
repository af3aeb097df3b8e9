"""Reasons: why rows are not in a set that is not published, and what most likely mends it."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from curate.manifest import StageAccount

SHOWN = 5
"""Reasons that an error names, those of most rows."""
EVIDENCE = 200
"""Characters of a row's evidence that an error shows."""
MENDS = {
    "unreadable": "Mend the line it names, or state `format` and `encoding` of the source.",
    "unrecognised": "State `record.turns` or `record.target`; `assay inspect` shows the columns.",
    "unmappable": "Mend the expression that it names; `assay preview` tries it on a few rows.",
    "not_text": "Pictures and sound cannot be trained; map what of such rows is text (`record.turns`).",
    "ungraded_answer": 'Say which are learned, e.g. `record: {accept: score >= 4}`; `{accept: "true"}` takes all.',
    "rejected_answer": 'If the column that it names does not judge the answer, say so: `record: {accept: "true"}`.',
    "nothing_trained": "The messages themselves say that they are not trained; map `record.turns` if they are to be.",
    "label_underivable": "See whether the condition of `record.underivable` says what is meant.",
    "template_markers": "`clean.template_markers: keep`, if the markers are part of what is said.",
    "language": "Name the language in `language.keep`, or keep `und` too: short texts are often not told.",
    "empty": "See whether `record` takes the prompt from the right column.",
    "no_answer": "See whether `record` takes the answer from the right column.",
    "too_short": "Lower `quality.min_chars`.",
    "too_long": "Raise `quality.max_chars`.",
    "answer_too_short": "Lower `quality.min_answer_chars`.",
    "target_not_json": "Let `record.target` give an object, or let the answer be a turn.",
    "target_schema": "Mend the contract's target.schema.json, or what `record.target` gives.",
    "record_schema": "Mend the contract, or what `record` gives.",
    "contaminated": "See whether the file named in `decontaminate` is this very data.",
    "refused": "Name a chat template that has words for these turns in `render.chat`.",
    "too_many_tokens": "Raise `fit.max_tokens`, or let `fit.policy` divide long rows.",
    "exact_duplicate": "If an earlier version holds them, a delivery has nothing new (`drop_is`). Else add others.",
    "near_duplicate": "Raise `duplicates.threshold`, or name what all rows repeat in `duplicates.boilerplate`.",
    "conflict": "If the drop mends an earlier one, `drop_is: all`; `duplicates.conflicts: keep_and_flag` keeps both.",
    "bridges_splits": "See whether `record.group` ties together what is to be in different splits.",
}
"""By reason, what most likely keeps such rows."""


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
