"""Judgements counted: rates with intervals, and systems compared on the same rows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.hashing import canonical_json
from evaluation.generate import Generated
from evaluation.structured import Judgement

CONFIDENCE = 0.95

Measure = tuple[str, str | None]
"""What is counted, and the field it is counted in, if any."""

MAJORITY, BASE, TUNED = "majority", "base", "tuned"


@dataclass(frozen=True)
class Answer:
    """One system's answer to one row."""

    generated: Generated
    judgement: Judgement | None
    """None for plain chat, whose answers have no form to judge."""
    exact: bool
    """Whether it is what is expected: the same JSON value or, for plain chat, the same text."""


def majority(targets: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> dict[str, Any]:
    """The object that has each field's most frequent value, ties by canonical JSON: the answer that needs no reading.

    Args:
        targets: the right answers of the whole train split.
        fields: the fields wanted; one that no target has is left out.
    """
    counts: dict[str, Counter[bytes]] = {field: Counter() for field in fields}
    values: dict[bytes, Any] = {}
    for target in targets:
        for field in fields:
            if field in target:
                key = canonical_json(target[field])
                counts[field][key] += 1
                values[key] = target[field]
    return {field: values[min(count, key=lambda key: (-count[key], key))] for field, count in counts.items() if count}


def rate(count: int, total: int) -> dict[str, float | int | None]:
    """A share with its 95% interval by Wilson's score method (1927), and the count.

    The value and the bounds are None where there is nothing to share.
    """
    from scipy.stats import binomtest

    if not total:
        return {"value": None, "low": None, "high": None, "count": 0}
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "value": round(count / total, 6),
        "low": round(float(interval.low), 6),
        "high": round(float(interval.high), 6),
        "count": count,
    }


def compare(one: Sequence[bool], other: Sequence[bool]) -> dict[str, float | int]:
    """The exact McNemar test: whether two systems differ on the same rows.

    Returns:
        `only_a`, `only_b` (rows that only the one, only the other got right) and the two-sided `p`.
    """
    from scipy.stats import binomtest

    only_a = sum(a and not b for a, b in zip(one, other, strict=True))
    only_b = sum(b and not a for a, b in zip(one, other, strict=True))
    p = float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": float(f"{p:.3g}")}


def scorecard(systems: Mapping[str, Sequence[Answer]], fields: Sequence[str] | None) -> dict[str, Any]:
    """What scorecard.json holds, of systems that answered the same rows.

    Every rate is a share of all rows. `missing_keys` and `invented_keys` count the rows whose output is an object that
    lacks a key, or has one that is not expected. Plain chat has `exact_match` and `truncated` only.

    Args:
        systems: answers by system, in the order of the rows.
        fields: of the structured answer; None for plain chat.
    """
    outcomes = {name: _outcomes(answers, fields) for name, answers in systems.items()}
    compared: list[Measure] = (
        [("exact_match", None)] if fields is None else [("schema_valid", None), ("whole_match", None)]
    )
    compared += [("accuracy", field) for field in fields or []]
    return {
        "schema_version": 1,
        "confidence": CONFIDENCE,
        "rows": len(next(iter(systems.values()))),
        "systems": {name: _system(answers, outcomes[name]) for name, answers in systems.items()},
        "comparisons": [
            {"a": TUNED, "b": other, "measure": measure, "field": field, "test": "exact McNemar"}
            | compare(outcomes[TUNED][measure, field], outcomes[other][measure, field])
            for other in systems
            if TUNED in systems and other != TUNED
            for measure, field in compared
        ],
    }


def _outcomes(answers: Sequence[Answer], fields: Sequence[str] | None) -> dict[Measure, list[bool]]:
    """Every measure, row by row: did it happen."""
    truncated: dict[Measure, list[bool]] = {("truncated", None): [answer.generated.truncated for answer in answers]}
    judged = [answer.judgement for answer in answers if answer.judgement is not None]
    if fields is None:
        return {("exact_match", None): [answer.exact for answer in answers]} | truncated
    return {
        ("parses", None): [each.parses for each in judged],
        ("schema_valid", None): [each.schema_valid for each in judged],
        ("whole_match", None): [each.whole_match for each in judged],
        ("wrong_but_valid", None): [each.wrong_but_valid for each in judged],
        ("missing_keys", None): [bool(each.missing_keys) for each in judged],
        ("invented_keys", None): [bool(each.invented_keys) for each in judged],
        **truncated,
        **{("accuracy", field): [each.fields[field] for each in judged] for field in fields},
    }


def _system(answers: Sequence[Answer], outcomes: Mapping[Measure, list[bool]]) -> dict[str, Any]:
    rates = {key: rate(sum(rows), len(rows)) for key, rows in outcomes.items()}
    faults = Counter(answer.judgement.fault for answer in answers if answer.judgement and answer.judgement.fault)
    seconds = [each.generated.seconds for each in answers if each.generated.seconds is not None]
    return {
        **{measure: value for (measure, field), value in rates.items() if field is None},
        "fields": {field: {"accuracy": value} for (_, field), value in rates.items() if field is not None},
        "faults": dict(sorted(faults.items())),
        "tokens_out": sum(answer.generated.tokens for answer in answers),
        "latency_seconds": {
            "p50": round(float(np.percentile(seconds, 50)), 4),
            "p95": round(float(np.percentile(seconds, 95)), 4),
        }
        if seconds
        else None,
    }
