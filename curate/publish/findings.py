"""Findings: what of a version somebody should look at first, the gravest on top, and what to do about it.

Each rule is a function of the facts of a version. It says a sentence where something stands out, and nothing else.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite, sqrt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.distribution import NONE
from curate.manifest import DatasetManifest, GateRule, StageAccount
from curate.publish.counters import COUNTED, in_words
from curate.publish.mends import ASKED, MENDS
from curate.publish.pages import percent
from curate.rows.ground import GROUNDED, UNGROUNDED, Ground
from curate.stage import UNREAD_KEY

MOST = 10
"""Findings that are told."""
NAMED = 5
"""Values that a sentence names."""
LOST, MUCH_LOST, MOST_LOST = 0.05, 0.2, 0.5
"""Share of the rows in quarantine for one reason that is told, doubtful, grave."""
APART = 2.81
"""z of two means that chance gives one split of two in a hundred sets (both sides): the normal quantile of 0.9975."""
FAR_APART = 0.1
"""Difference of two splits' mean lengths, as a share of train's, that is doubtful whatever the cause."""
FEW_ROWS = 100
"""Rows of a split below which a share of them is uncertain by ten points and more."""
COMMON = 20
"""Rows of a label from which each split can have some."""
HALF, ABOVE_EVEN, UNEVEN = 0.5, 1.5, 20
"""Share of the rows of the most frequent label, if it is so many times what all labels would have alike; and how many
times the rarest's rows it has; that are told."""
ONE_SOURCE, ABOVE = 0.5, 0.2
"""Share of the near-duplicates that one folder has, and by how much that is above its share of all rows."""
MAIN_LANGUAGE = 0.9
"""Share of the rows with a language told from which the others surprise."""
CLOSE = 0.02
"""Distance from a bound, as a share of the span between both or of the bound itself, that is close."""
ASTRAY = 0.02
"""Share of the rows that would have to change their split, from which it is told."""
ROSE = 0.1
"""By how much the share of a reason rises from one version to the next, that is told."""


class Grade(IntEnum):
    """How grave a finding is."""

    LOOK = 1
    """Worth a look."""
    DOUBTFUL = 2
    """To be understood before training."""
    GRAVE = 3
    """Most likely wrong."""


@dataclass(frozen=True)
class Finding:
    """A sentence about a version."""

    grade: Grade
    share: float
    """Of the rows, or how far off: among findings of a grade the larger is told first."""
    text: str
    """What was found; what stands between two backticks is a name."""
    mend: str
    """What to do about it."""
    evidence: str
    """Where in the report it is to be seen: the id of an element."""


@dataclass(frozen=True)
class Facts:
    """What is known of a version."""

    manifest: DatasetManifest
    splits: Mapping[str, pa.Table]
    """By split: `label` and `tokens` of its rows."""
    near_duplicates: Mapping[str, int]
    """Rows in quarantine for being near-duplicates, by the folder of their file."""
    parent: DatasetManifest | None = None
    """The last version whose rows these were compared with."""

    @property
    def rows_in(self) -> int:
        return max(1, self.manifest.counts.rows_in + self.manifest.counts.made)

    @property
    def kept(self) -> int:
        return max(1, self.manifest.counts.kept)

    def stage(self, name: str) -> StageAccount | None:
        return next((stage for stage in self.manifest.stages if stage.name == name), None)


Rule = Callable[[Facts], Iterator[Finding]]


def findings(facts: Facts) -> list[Finding]:
    """At most MOST findings, the gravest first; the same facts give the same ones."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda each: (-each.grade, -each.share, each.text))[:MOST]


def warned(facts: Facts) -> Iterator[Finding]:
    """What a stage warns of."""
    for stage in facts.manifest.stages:
        for warning in stage.warnings:
            mend = "What the stage changed and counted, with examples, shows which rows."
            yield Finding(Grade.GRAVE, 1, f"`{stage.name}` warns: {warning}", mend, "cleaning")


def lost(facts: Facts) -> Iterator[Finding]:
    """A reason for which many rows went."""
    for stage in facts.manifest.stages:
        for reason, rows in stage.reasons.items():
            share = rows / facts.rows_in
            if share < LOST or reason in (
                "conflict",
                "doubted_label",
                "too_many_tokens",
            ):  # they have rules of their own
                continue
            grade = Grade.GRAVE if share >= MOST_LOST else Grade.DOUBTFUL if share >= MUCH_LOST else Grade.LOOK
            text = f"{_part(rows, facts.rows_in)} went to quarantine in `{stage.name}` as `{reason}`."
            mend = MENDS.get(reason, "The evidence of each row says why.")
            yield Finding(grade, share, text, mend, f"{stage.name}-{reason}")


def ungrounded(facts: Facts) -> Iterator[Finding]:
    """A field of which many values are not in their prompts: who learns from them learns to invent."""
    stage = facts.stage(Ground.name)
    for name, missing in (stage.counters if stage else {}).items():
        field = name.removeprefix(UNGROUNDED)
        if field == name or stage is None:
            continue
        values = missing + stage.counters.get(f"{GROUNDED}{field}", 0)
        if not missing or missing < LOST * values:
            continue
        flagged = facts.manifest.recipe.get(Ground.name, {}).get("policy") == "flag"
        grade = Grade.DOUBTFUL if flagged else Grade.LOOK
        text = (
            f"{missing:,} of the {values:,} values of `{field}` ({percent(missing / values)}) are not in their prompts."
        )
        mend = (
            "They are trained all the same: say `ground.policy: null` or `quarantine`."
            if flagged
            else ("See whether `record.turns` shows what the answers were taken from.")
        )
        yield Finding(grade, missing / values, text, mend, "grounding")


def too_long(facts: Facts) -> Iterator[Finding]:
    """Rows that are longer than the model is given, and what became of them."""
    if (fit := facts.stage("fit")) is None:
        return
    bound = facts.manifest.recipe.get("fit", {}).get("max_tokens")
    longer = f"longer than {bound:,} tokens" if bound else "too long"
    for rows, became, where in (
        (fit.reasons.get("too_many_tokens", 0), "went to quarantine", "fit-too_many_tokens"),
        (fit.counters.get("truncated_input", 0), "had the user's text cut", "cleaning"),
        (fit.counters.get("split_turns", 0), "were divided", "cleaning"),
    ):
        if rows:
            share = rows / facts.rows_in
            grade = Grade.DOUBTFUL if share >= LOST else Grade.LOOK
            text = f"{_part(rows, facts.rows_in)} {_is(rows)} {longer} and {_agree(became, rows)}."
            yield Finding(grade, share, text, MENDS["too_many_tokens"], where)


def conflicting(facts: Facts) -> Iterator[Finding]:
    """Equal prompts with different answers."""
    counts = facts.manifest.counts
    if not counts.conflicts:
        return
    gone = sum(stage.reasons.get("conflict", 0) for stage in facts.manifest.stages)
    share = counts.rows_in_conflict / facts.rows_in
    became = f"{gone:,} of them went to quarantine" if gone else "all of them are kept"
    text = (
        f"{counts.conflicts:,} question{_s(counts.conflicts)} {_has(counts.conflicts)} more than one answer, in "
        f"{_rows(counts.rows_in_conflict)}; {became}."
    )
    grade = Grade.DOUBTFUL if gone < counts.rows_in_conflict or share >= LOST else Grade.LOOK
    yield Finding(grade, share, text, MENDS["conflict"], "conflicts")


def doubted(facts: Facts) -> Iterator[Finding]:
    """Labels that are most likely others."""
    if (doubt := facts.manifest.doubt) is None or not doubt.doubted:
        return
    share = doubt.doubted / doubt.rows
    given, likelier, rows = doubt.pairs[0]
    text = (
        f"{_part(doubt.doubted, doubt.rows)} of those judged most likely {_has(doubt.doubted)} another `{doubt.of}`: "
        f"most often {_name(given)} where {_name(likelier)} is likelier ({rows:,})."
    )
    grade = Grade.DOUBTFUL if share >= LOST else Grade.LOOK
    yield Finding(grade, share, text, MENDS["doubted_label"], "doubted")


def unread(facts: Facts) -> Iterator[Finding]:
    """What reading saw in rows and took no notice of, or guessed."""
    read = facts.manifest.stages[0]
    for counter, rows in read.counters.items():
        key = counter.startswith(UNREAD_KEY)
        if not rows or not (key or counter in COUNTED):
            continue
        mend = {"encoding_guessed": "State the `encoding` of the source.", "empty_files": "See whether they are whole."}
        told = "Map it in `record` if it says something that is to be learned." if key else "See whether it is meant."
        what = "file" if counter == "empty_files" else "row"
        text = f"{rows:,} {what}{_s(rows)} {_was(rows)} read {in_words(counter)}."
        share = rows / facts.rows_in
        grade = Grade.DOUBTFUL if share >= LOST else Grade.LOOK
        yield Finding(grade, share, text, mend.get(counter, told), "cleaning")


def lengths_differ(facts: Facts) -> Iterator[Finding]:
    """A split whose rows are shorter or longer than train's, by more than chance (two-sample z, Welch)."""
    train = _lengths(facts.splits["train"])
    for split in ("validation", "test"):
        other = _lengths(facts.splits[split])
        if min(len(train), len(other)) < 2:
            continue
        spread = sqrt(train.var(ddof=1) / len(train) + other.var(ddof=1) / len(other))
        difference = float(other.mean() - train.mean())
        z = difference / spread if spread else 0.0
        if abs(z) < APART:
            continue
        text = (
            f"{split.capitalize()} is {'shorter' if z < 0 else 'longer'} than train: {other.mean():.1f} tokens a row "
            f"on average against {train.mean():.1f}, z = {abs(z):.1f}."
        )
        apart = abs(difference) / float(train.mean())
        mend = (
            "What is measured on it is not what is trained: compare the scorecard's slices by length, or name what "
            "ties rows of one length together in `record.group` or `record.label`."
        )
        yield Finding(Grade.DOUBTFUL if apart >= FAR_APART else Grade.LOOK, apart, text, mend, "length")


def small_splits(facts: Facts) -> Iterator[Finding]:
    """A split of too few rows to measure anything by."""
    for split in ("validation", "test"):
        rows = facts.manifest.counts.splits.get(split, 0)
        if 0 < rows < FEW_ROWS:
            points = 100 * 1.96 * sqrt(0.25 / rows)
            text = (
                f"{split.capitalize()} has {_rows(rows)}: a share of them is uncertain by up to ±{points:.0f} points."
            )
            yield Finding(Grade.DOUBTFUL, 1 / rows, text, f"Add rows, or raise `split.{split}`.", "distributions")


def labels_missing(facts: Facts) -> Iterator[Finding]:
    """Labels that a split has no row of."""
    counts = {split: _counted(table["label"]) for split, table in facts.splits.items() if table.num_rows}
    mend = "A label needs as many groups as there are splits: add rows of it, or join labels in `record.label`."
    for split in ("validation", "test"):
        if split not in counts or "train" not in counts:
            continue
        untrained = {label: rows for label, rows in counts[split].items() if label not in counts["train"]}
        if untrained:
            rows = sum(untrained.values())
            text = f"Train has no row of {_labels(untrained)}: {split} asks for what is never shown, in {_rows(rows)}."
            yield Finding(Grade.GRAVE, rows / facts.kept, text, mend, "label")
        total = {label: sum(each.get(label, 0) for each in counts.values()) for label in counts["train"]}
        common = {label: rows for label, rows in total.items() if rows >= COMMON and label not in counts[split]}
        if common:
            text = f"{split.capitalize()} has no row of {_labels(common)}, which the set has {COMMON} rows of and more."
            yield Finding(Grade.DOUBTFUL, sum(common.values()) / facts.kept, text, mend, "label")


def labels_uneven(facts: Facts) -> Iterator[Finding]:
    """A label that most rows have, or far more than another."""
    counts = _counted(pa.concat_tables([table.select(["label"]) for table in facts.splits.values()])["label"])
    if len(counts) < 2 or facts.manifest.recipe.get("balance", {}).get("weights"):
        return
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    (most, many), (rarest, few), total = ranked[0], ranked[-1], sum(counts.values())
    if many < max(HALF, ABOVE_EVEN / len(counts)) * total and many < UNEVEN * few:
        return
    text = (
        f"Labels are uneven: {_name(most)} has {percent(many / total)} of the rows, {_name(rarest)} "
        f"{percent(few / total)} ({_rows(few)})."
    )
    grade = Grade.DOUBTFUL if many >= 0.8 * total else Grade.LOOK
    mend = "`balance.cap` bounds the rows of a label, `balance.weights` lets rare ones count more in training."
    yield Finding(grade, many / total, text, mend, "balance")


def duplicates_of_one_source(facts: Facts) -> Iterator[Finding]:
    """A folder that gives most of the near-duplicates, and not most of the rows."""
    gone = sum(facts.near_duplicates.values())
    sources = facts.manifest.stages[0].distributions.get("source")
    if not gone or sources is None:
        return
    folder, rows = min(facts.near_duplicates.items(), key=lambda item: (-item[1], item[0]))
    share = rows / gone
    of_all = sources.values.get(folder, 0) / max(1, facts.manifest.stages[0].kept)
    if share < ONE_SOURCE or share < of_all + ABOVE:
        return
    text = (
        f"{percent(share)} of the near-duplicates come from {_name(folder)}, which has {percent(of_all)} of the rows."
    )
    mend = "See whether its rows repeat a form: name what they share in `duplicates.boilerplate`, or leave it out."
    yield Finding(Grade.LOOK, rows / facts.rows_in, text, mend, "duplicates-near_duplicate")


def other_languages(facts: Facts) -> Iterator[Finding]:
    """A few rows in other languages than nearly all."""
    if facts.manifest.recipe.get("language", {}).get("keep") is not None:
        return
    told = facts.manifest.stages[-1].distributions.get("language")
    counts = {} if told is None else {code: n for code, n in told.values.items() if code not in ("und", NONE)}
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    total = sum(counts.values())
    if len(ranked) < 2 or ranked[0][1] < MAIN_LANGUAGE * total:
        return
    rows = total - ranked[0][1]
    named = ", ".join(f"`{code}` {count:,}" for code, count in ranked[1 : NAMED + 1])
    more = f" and {len(ranked) - NAMED - 1:,} more" if len(ranked) > NAMED + 1 else ""
    text = f"{_part(rows, facts.kept)} {_is(rows)} in another language than `{ranked[0][0]}`: {named}{more}."
    mend = f"Look at them; `language: {{keep: [{ranked[0][0]}, und]}}` leaves them out."
    yield Finding(Grade.LOOK, rows / facts.kept, text, mend, "language")


def personal_data(facts: Facts) -> Iterator[Finding]:
    """Personal data that was replaced, or that stays in keys."""
    if (pii := facts.stage("pii")) is None:
        return
    keys = pii.counters.get("in_keys", 0)
    kinds = {kind: rows for kind, rows in pii.counters.items() if rows and kind != "in_keys"}
    if kinds:
        named = ", ".join(f"`{kind}` in {_rows(rows)}" for kind, rows in _ranked(kinds))
        mend = "Look at the examples; a kind that `pii.quarantine` names takes its rows out instead."
        share = max(kinds.values()) / facts.rows_in
        yield Finding(Grade.LOOK, share, f"Personal data was found and replaced: {named}.", mend, "personal-data")
    if keys:
        text = f"{_part(keys, facts.rows_in)} {_has(keys)} personal data in a key of the JSON, which stays."
        mend = "Let `record` make values of such keys: values are replaced."
        yield Finding(Grade.DOUBTFUL, keys / facts.rows_in, text, mend, "cleaning")


def close_to_bound(facts: Facts) -> Iterator[Finding]:
    """An expectation that holds by little."""
    for rule in facts.manifest.gate.rules:
        for observed, bound, span in _bounds(rule):
            if span and abs(observed - bound) <= CLOSE * span:
                where = f" of `{rule.column}`" if rule.column else ""
                text = f"The expectation `{rule.name}`{where} holds by little: {observed:.4g}, its bound is {bound:g}."
                mend = "With the next drop it may fail: see what moves it, or state a bound that says what is meant."
                yield Finding(Grade.LOOK, 1 - abs(observed - bound) / span, text, mend, "gate")
                break


def warnings_of_gate(facts: Facts) -> Iterator[Finding]:
    """An expectation of severity `warning` that does not hold."""
    for rule in facts.manifest.gate.warnings():
        where = f" of `{rule.column}`" if rule.column else ""
        text = f"The expectation `{rule.name}`{where} does not hold and only warns: {rule.observed}."
        mend = f"Expected: {rule.expected}. See whether the drop or the expectation is what is meant."
        yield Finding(Grade.DOUBTFUL, 1, text, mend, "gate")


def split_astray(facts: Facts) -> Iterator[Finding]:
    """A split far from its ratios."""
    balance = facts.manifest.balance
    if balance is None or balance.deviation.in_all < ASTRAY:
        return
    share = balance.deviation.in_all
    shares = ", ".join(
        f"{name} {percent(each.share)} (of {percent(each.ratio)})" for name, each in balance.splits.items()
    )
    text = f"The splits are not of the sizes asked for: {shares}."
    yield Finding(Grade.DOUBTFUL, share, text, f"See which groups and clusters are large. {ASKED}", "clusters")


def rose(facts: Facts) -> Iterator[Finding]:
    """A reason that takes far more of the rows than it did in the version before."""
    if facts.parent is None:
        return
    before = facts.parent.counts.rows_in + facts.parent.counts.made
    was = {(s.name, reason): rows / max(1, before) for s in facts.parent.stages for reason, rows in s.reasons.items()}
    for stage in facts.manifest.stages:
        for reason, rows in stage.reasons.items():
            share, earlier = rows / facts.rows_in, was.get((stage.name, reason), 0.0)
            if share - earlier >= ROSE:
                text = (
                    f"`{reason}` took {percent(share)} of the rows, {percent(earlier)} in version "
                    f"`{facts.parent.version}` before."
                )
                mend = "See whether the drop, or the recipe, has changed its form."
                yield Finding(Grade.DOUBTFUL, share - earlier, text, mend, "parent")


RULES: tuple[Rule, ...] = (
    warned,
    lost,
    ungrounded,
    too_long,
    conflicting,
    doubted,
    unread,
    lengths_differ,
    small_splits,
    labels_missing,
    labels_uneven,
    duplicates_of_one_source,
    other_languages,
    personal_data,
    close_to_bound,
    warnings_of_gate,
    split_astray,
    rose,
)


def _bounds(rule: GateRule) -> Iterator[tuple[float, float, float]]:
    """What a rule saw, each bound of it, and what a distance from it is compared with; of shares and means alone.

    Whole numbers at their bound are what such a rule is for: no group in two splits, no row too long for the model.
    """
    said = rule.expected.partition(" ")[2]
    arguments: dict[str, Any] = json.loads(said) if said.startswith("{") else {}  # of drift there are words
    mostly, (first, *words) = arguments.get("mostly", 1), rule.observed.split(" ")
    if mostly < 1 and words[:1] == ["of"]:
        yield 1 - int(first) / max(1, int(words[1])), mostly, 1 - mostly
        return
    ends = [arguments[end] for end in ("min_value", "max_value") if arguments.get(end) is not None]
    try:
        observed = float(rule.observed)
    except ValueError:
        return
    if isfinite(observed) and "_count_" not in rule.expected and any(isinstance(end, float) for end in ends):
        span = max(ends) - min(ends) if len(ends) == 2 else abs(ends[0])
        for end in ends:
            yield observed, end, span


def _lengths(table: pa.Table) -> Any:
    return table["tokens"].to_numpy().astype(np.float64)


def _counted(labels: pa.ChunkedArray) -> dict[str, int]:
    found = pc.value_counts(labels.drop_null()).to_pylist()
    return {each["values"]: each["counts"] for each in found}


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _labels(counts: Mapping[str, int]) -> str:
    """The most frequent labels by name, and how many more there are."""
    named = ", ".join(_name(label) for label, _ in _ranked(counts)[:NAMED])
    return f"{named} and {len(counts) - NAMED:,} more labels" if len(counts) > NAMED else named


def _name(text: str) -> str:
    """A name that data gives, in a sentence."""
    short = text if len(text) <= 60 else f"{text[:60]}…"
    return f"`{short.replace('`', chr(0x2019))}`"


def _part(rows: int, of: int) -> str:
    return f"{_rows(rows)} ({percent(rows / of)})"


def _rows(count: int) -> str:
    return f"{count:,} row{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def _agree(became: str, count: int) -> str:
    return became.replace("were", "was") if count == 1 else became
