"""Mends: what most likely keeps rows that go, by the reason for which they do."""

ASKED = "If what differs stands in the system turn, put it into the user's (record.turns)."
"""A mend where rows are tied together: rows are compared, and grouped, by what the user says."""
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
    "ungrounded": "Map prompts that hold it, say `ground.policy: null`, or let the contract say why not.",
    "window_unanswered": "Let the contract's schema allow null where a part of a document may not say it.",
    "contaminated": "See whether the file named in `decontaminate` is this very data.",
    "refused": "Name a chat template that has words for these turns in `render.chat`.",
    "too_many_tokens": "Raise `fit.max_tokens`, or let `fit.policy` divide long rows.",
    "exact_duplicate": "If an earlier version holds them, a delivery has nothing new (`drop_is`). Else add others.",
    "near_duplicate": "Raise `duplicates.threshold`, or name what all rows repeat in `duplicates.boilerplate`.",
    "conflict": "If the drop mends an earlier one, `drop_is: all`; `duplicates.conflicts: keep_and_flag` keeps both.",
    "doubted_label": "Look at the first of them beside their nearest rows: mend the label, or the rule that gives it.",
    "bridges_splits": "See whether `record.group` ties together what is to be in different splits.",
}
"""By reason, what most likely keeps such rows."""
