"""Judgements counted: what scorecard.json says of systems that answered the same rows."""

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evaluation.card import classes
from evaluation.card.format import (
    SCHEMA_VERSION,
    Comparison,
    Difference,
    FieldMeasure,
    FieldScores,
    ItemScores,
    Latency,
    Rate,
    Scorecard,
    SliceScores,
    SystemScores,
    ValueScores,
    WholeMeasure,
)
from evaluation.card.statistics import CONFIDENCE, Floats, Ints, Rows, compared, holm, mean, ratio, share, verdict
from evaluation.card.ungrounded import Grounds
from evaluation.judge.accepted import NOTHING, Accepted
from evaluation.judge.answer import Answer, Generated
from evaluation.judge.fields import Field, Tally
from evaluation.judge.form import ABSENT, Form, value_of
from evaluation.judge.structured import Judge
from evaluation.judge.values import paths_of
from evaluation.settings import Price

MAJORITY, BASE, TUNED = "majority", "base", "tuned"

Measure = tuple[WholeMeasure | FieldMeasure, str | None]
"""What is measured, and the field it is measured in, if any."""
FormOf = Callable[[str, bool], Form]
Mask = npt.NDArray[np.bool_]
"""Of the rows: shape (rows,)."""
Masks = Mapping[str, Mapping[str, Mask]]

JUDGED: tuple[WholeMeasure, ...] = (
    *("parses", "extracts", "schema_valid", "extracted_valid", "whole_match", "rules_match", "extracted_match"),
    *("wrong_but_valid", "missing_keys", "invented_keys"),
)
"""Measures that are a judgement's attributes of these names."""
FLAGGED: tuple[WholeMeasure, ...] = (
    *("wrong_type", "wrong_enum", "wrong_value", "empty", "refusal", "repetition", "truncated", "thought"),
)
"""Flags of a form that are measures."""
SLICED = ("schema_valid", "whole_match", "rules_match", "exact_match")
"""Measures that each slice has too."""
COMPARED = ("schema_valid", "whole_match", "rules_match", "exact_match")
"""Measures of the whole answer in which systems are compared."""

DRAWS = 40
"""Swaps that are drawn for each of the tests that p is adjusted for, at least, where p is not exact: the least p, 1 in
as many, is half of 0.05 after the adjustment."""


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look at all judgements again and again for cycles they cannot have: a
    third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True)
class SystemInfo:
    """What is known of a system beside its answers."""

    settings: Mapping[str, Any]
    """What it is, JSON-like."""
    seconds: float | None = None
    """That its answers took to generate, all together; None where there was no clock."""
    price: Price | None = None
    fewer_shots: int = 0
    """Rows that were shown fewer shots than the settings say, because more would not have fitted."""

    def add_to(self, system: SystemScores) -> None:
        """Add what the system is, how fast it was and what it cost."""
        cost = None
        if self.price is not None:
            paid = system["tokens_in"] * self.price.input + system["tokens_out"] * self.price.output
            cost = round(paid / 1e6, 6)
        system["settings"] = dict(self.settings)
        system["tokens_per_second"] = round(system["tokens_out"] / self.seconds, 2) if self.seconds else None
        system["cost"] = cost
        system["fewer_shots"] = self.fewer_shots


@dataclass(frozen=True)
class TestRows:
    """The rows that all systems are asked."""

    __test__ = False  # for pytest

    rows: Rows
    fields: Sequence[Field] | None = None
    """Of the structured answer; None for plain chat."""
    wanted: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """The right labels of each field that is a class, by row."""
    slices: Masks = field(default_factory=dict)
    """Kind of slice -> its name -> mask of the rows."""

    @staticmethod
    @_uncollected()
    def of(rows: Rows, judge: Judge, expected: Sequence[Any], slices: Masks | None = None) -> "TestRows":
        """The rows of structured answers.

        Args:
            rows: how many there are and which belong together.
            judge: knows the fields.
            expected: the right answers as Python values.
            slices: of the rows.
        """
        labels = [judge.expected_labels(right) for right in expected]
        wanted = {
            judge.fields[number].name: [each[place] for each in labels] for place, number in enumerate(judge.classes)
        }
        return TestRows(rows, judge.fields, wanted, slices or {})

    def labels(self) -> dict[str, classes.Labels]:
        """Right labels as numbers of each field that is a class."""
        allowed = {each.name: each.labels for each in self.fields or ()}
        return {name: classes.Labels.of(allowed[name], wanted) for name, wanted in self.wanted.items()}

    def given(self, answers: Sequence[Answer]) -> dict[str, list[str | None]]:
        """A system's labels of each field that is a class, by row."""
        judged = [answer.judgement for answer in answers if answer.judgement is not None]
        return {name: [each.given[place] for each in judged] for place, name in enumerate(self.wanted)}


@_uncollected()
def judged(
    generated: Sequence[Generated],
    expected: Sequence[Any],
    judge: Judge,
    form_of: FormOf | None = None,
    accepted: Sequence[Accepted] | None = None,
) -> list[Answer]:
    """A system's answers, judged.

    Args:
        generated: what it said, by row.
        expected: the right answers as Python values.
        judge: of the answers' schema.
        form_of: judges the form where it is not JSON that was asked for: (output, whether it was cut off) -> form.
        accepted: what is right beside the right answers.
    """
    answers = []
    for each, right, too in zip(generated, expected, accepted or [NOTHING] * len(expected), strict=True):
        if form_of is None:
            judgement = judge(each.text, right, each.truncated, too)
        else:
            judgement = judge.judge(form_of(each.text, each.truncated), right, too)
        if each.refused and not judgement.extracts:
            judgement = replace(judgement, form="refusal", flags=judgement.flags | {"refusal"})
        answers.append(Answer(each, judgement, judgement.whole_match))
    return answers


@dataclass(frozen=True)
class Outcomes:
    """What became of each row of one system, by measure, as columns of shape (rows,)."""

    rates: Mapping[Measure, Mask]
    """Measures that happen or not."""
    means: Mapping[Measure, Floats]
    """Measures from 0 to 1."""
    items: Mapping[str, dict[str, ItemScores]] = field(default_factory=dict)
    """Of each list of objects, what became of the objects' fields."""
    values: Mapping[str, Mapping[str, Ints]] = field(default_factory=dict)
    """Of each field by path, how many values of each row are right, wrong, omitted, invented: shape (rows, 4)."""

    @staticmethod
    def of(answers: Sequence[Answer], fields: Sequence[Field] | None) -> "Outcomes":
        """The outcomes of a system's answers; `fields` of the structured answer, None for plain chat."""
        if fields is None:
            exact = _flags(answer.exact for answer in answers)
            cut = _flags(answer.generated.truncated for answer in answers)
            return Outcomes({("exact_match", None): exact, ("truncated", None): cut}, {})
        judged = [answer.judgement for answer in answers if answer.judgement is not None]
        rates: dict[Measure, Mask] = {
            (name, None): _flags(bool(getattr(each, name)) for each in judged) for name in JUDGED
        }
        rates |= {(flag, None): _flags(flag in each.flags for each in judged) for flag in FLAGGED}
        means: dict[Measure, Floats] = {}
        items: dict[str, dict[str, ItemScores]] = {}
        for place, each in enumerate(fields):
            column = [judgement.fields[place] for judgement in judged]
            rates["accuracy", each.name] = _flags(one.exact for one in column)
            rates["match", each.name] = _flags(one.match for one in column)
            if each.rule.kind in ("set", "list"):
                means["f1", each.name] = np.fromiter((one.score for one in column), np.float64, len(column))
            if each.items:
                totals = [sum((one.items[number] for one in column), Tally()) for number in range(len(each.items))]
                items[each.name] = {
                    item.name: cast(ItemScores, asdict(total)) for item, total in zip(each.items, totals, strict=True)
                }
        values = {
            each.name: {
                path: _counts([judgement.values[place][number] for judgement in judged])
                for number, path in enumerate(paths_of(each))
            }
            for place, each in enumerate(fields)
        }
        return Outcomes(rates, means, items, values)

    def numbers(self, measure: Measure) -> Floats:
        """A measure as numbers."""
        return self.means[measure] if measure in self.means else self.rates[measure].astype(np.float64)


def _counts(tallies: Sequence[Tally]) -> Ints:
    """Tallies as numbers: shape (rows, 4). Few are told apart, and most are the same objects."""
    kinds, first, which = np.unique([id(each) for each in tallies], return_index=True, return_inverse=True)
    told = [tallies[place] for place in first.tolist()]
    table = [(each.right, each.wrong, each.omitted, each.invented) for each in told]
    return np.array(table, dtype=np.int64).reshape(len(kinds), 4)[which]


def _flags(values: Iterable[bool]) -> Mask:
    return np.fromiter(values, np.bool_)


@_uncollected()
def scorecard(
    systems: Mapping[str, Sequence[Answer]],
    test_rows: TestRows,
    pairs: Sequence[tuple[str, str]] | None = None,
    official: Mapping[str, Any] | None = None,
    confidence: Mapping[str, Floats] | None = None,
    info: Mapping[str, SystemInfo] | None = None,
    chosen_from: Sequence[tuple[str, str]] | None = None,
    grounds: Grounds | None = None,
    expected: Sequence[Any] = (),
) -> Scorecard:
    """What scorecard.json holds, but for the gate.

    Every rate is a share of all rows. `missing_keys` and `invented_keys` count the rows whose output is an object that
    lacks a key, or has one that is not expected. Plain chat has `exact_match` and `truncated` only.

    Args:
        systems: answers by system, in the order of the rows.
        test_rows: the rows.
        pairs: of systems to compare; by default the tuned one with each other or, without one, each with each.
        official: what a data set's official scorer says, by system.
        confidence: of answers, 0 to 1 and NaN where there is none, by system; by default the probability of all that
            was generated, where it is known.
        info: what the systems are and what they cost, by system.
        chosen_from: all the pairs that could have been compared, where `pairs` were chosen from them by the answers: p
            is adjusted for the tests of all.
        grounds: what answers have to keep to; None where nothing is known of it.
        expected: the right answers as Python values, which may not keep to it either.
    """
    outcomes = {name: Outcomes.of(answers, test_rows.fields) for name, answers in systems.items()}
    given = {name: test_rows.given(answers) for name, answers in systems.items()}
    labels = test_rows.labels()
    pairs = _pairs(systems) if pairs is None else pairs
    tested = comparisons(outcomes, given, labels, test_rows.rows, pairs if chosen_from is None else chosen_from)
    card: Scorecard = {
        "schema_version": SCHEMA_VERSION,
        "confidence": CONFIDENCE,
        "rows": test_rows.rows.count,
        "groups": test_rows.rows.total,
        "resamples": test_rows.rows.resamples,
        "seed": test_rows.rows.seed,
        "fields": {
            each.name: {
                "kind": each.rule.kind,
                "labels": list(labels[each.name].names) if each.name in labels else None,
            }
            for each in test_rows.fields or ()
        },
        "systems": {
            name: _system(answers, outcomes[name], given[name], labels, test_rows) for name, answers in systems.items()
        },
        "comparisons": [each for each in tested if (each["a"], each["b"]) in pairs],
        "tests": len(tested),
        "gate": None,
    }
    if grounds is not None:
        card["ungrounded"] = grounds.scores(expected, test_rows.rows)
        for name, system in card["systems"].items():
            said = [
                value_of(each.generated.text) if each.judgement is not None and each.judgement.parses else ABSENT
                for each in systems[name]
            ]
            system["ungrounded"] = grounds.scores(said, test_rows.rows)
    for name, system in card["systems"].items():
        sure = (confidence or {}).get(name, _confidence(systems[name]))
        if not np.isnan(sure).all():
            right = outcomes[name].rates["exact_match" if test_rows.fields is None else "whole_match", None]
            system["calibration"] = classes.calibration(sure, right)
        if official:
            system["official"] = official[name]
        if info and name in info:
            info[name].add_to(system)
    return card


def _pairs(systems: Iterable[str]) -> list[tuple[str, str]]:
    if TUNED in (names := list(systems)):
        return [(TUNED, other) for other in names if other != TUNED]
    return list(combinations([name for name in names if name != MAJORITY], 2))


def _confidence(answers: Sequence[Answer]) -> Floats:
    """The probability of each answer, token after token; NaN where it is not known."""
    known = [answer.generated.logprob for answer in answers]
    return np.exp(np.array([np.nan if each is None else each for each in known], dtype=np.float64))


def comparisons(
    outcomes: Mapping[str, Outcomes],
    given: Mapping[str, Mapping[str, Sequence[str | None]]],
    labels: Mapping[str, classes.Labels],
    rows: Rows,
    pairs: Sequence[tuple[str, str]],
    every: bool = False,
) -> list[Comparison]:
    """Pairs of systems in the measures that say most, or in every one; p is adjusted for the number of tests by Holm's
    method."""
    if not rows.count:
        return []
    by_macro_f1: list[Measure] = [("macro_f1", name) for name, known in labels.items() if (known.wanted >= 0).any()]
    tests = [
        (one, other, measure, name)
        for one, other in pairs
        for measure, name in [*outcomes[one].rates, *outcomes[one].means, *by_macro_f1]
        if every or measure in (COMPARED if name is None else ("accuracy", "f1", "macro_f1"))
    ]
    draws = max(rows.resamples, DRAWS * len(tests))
    numbers = {system: {name: each.given(given[system][name]) for name, each in labels.items()} for system in given}
    tested: list[Difference] = []
    for one, other, measure, name in tests:
        if name is not None and measure == "macro_f1":
            first, second = (numbers[system][name] for system in (one, other))
            tested.append(classes.compared_macro_f1(labels[name], first, second, rows, draws))
        else:
            mine, its = (outcomes[system].numbers((measure, name)) for system in (one, other))
            tested.append(compared(mine, its, rows, draws))
    found: list[Comparison] = []
    for (one, other, measure, name), each, p in zip(tests, tested, holm([each["p"] for each in tested]), strict=True):
        comparison: Comparison = {
            "a": one,
            "b": other,
            "measure": measure,
            "field": name,
            **each,
            "p_adjusted": p,
            "verdict": verdict(each["difference"], p),
        }
        found.append(comparison)
    return found


def _system(
    answers: Sequence[Answer],
    outcomes: Outcomes,
    given: Mapping[str, Sequence[str | None]],
    labels: Mapping[str, classes.Labels],
    test_rows: TestRows,
) -> SystemScores:
    form = Counter(answer.judgement.form for answer in answers if answer.judgement is not None)
    whole = {measure: values for (measure, name), values in outcomes.rates.items() if name is None}
    rates: dict[str, Rate] = {measure: share(values, test_rows.rows) for measure, values in whole.items()}
    everywhere = [counts for by_path in outcomes.values.values() for counts in by_path.values()]
    scores: dict[str, Any] = {
        **rates,
        **({"values": _values(np.sum(everywhere, axis=0), test_rows.rows)} if everywhere else {}),
        "fields": {each.name: _field(each, outcomes, given, labels, test_rows.rows) for each in test_rows.fields or ()},
        "form": dict(sorted(form.items(), key=lambda each: (-each[1], each[0]))),
        "slices": {
            kind: {name: _slice(mask, whole, test_rows.rows) for name, mask in masks.items()}
            for kind, masks in test_rows.slices.items()
        },
        "tokens_in": sum(answer.generated.tokens_in for answer in answers),
        "tokens_out": sum(answer.generated.tokens for answer in answers),
        "latency_seconds": _latency(answers),
    }
    return cast(SystemScores, scores)  # measures are keys like any other


def _field(
    field: Field,
    outcomes: Outcomes,
    given: Mapping[str, Sequence[str | None]],
    labels: Mapping[str, classes.Labels],
    rows: Rows,
) -> FieldScores:
    name = field.name
    found: FieldScores = {
        "accuracy": share(outcomes.rates["accuracy", name], rows),
        "match": share(outcomes.rates["match", name], rows),
    }
    if ("f1", name) in outcomes.means:
        found["f1"] = mean(outcomes.means["f1", name], rows)
    if name in outcomes.items:
        found["items"] = outcomes.items[name]
    found["values"] = {path: _values(counts, rows) for path, counts in outcomes.values[name].items()}
    if name in labels:
        return {**found, **classes.scores(labels[name], labels[name].given(given[name]), rows, field.rule.order)}
    return found


def _values(counts: Ints, rows: Rows) -> ValueScores:
    """Values of all rows: what became of them, precision, recall and F1.

    Args:
        counts: of each row, right, wrong, omitted, invented: shape (rows, 4).
        rows: which of them belong together.
    """
    right, wrong, omitted, invented = counts.T.astype(np.float64)
    given, expected = right + wrong + invented, right + wrong + omitted
    totals = counts.sum(axis=0).tolist()
    return {
        "right": totals[0],
        "wrong": totals[1],
        "omitted": totals[2],
        "invented": totals[3],
        "precision": ratio(right, given, rows),
        "recall": ratio(right, expected, rows),
        "f1": ratio(2 * right, given + expected, rows),
    }


def _slice(mask: Mask, whole: Mapping[WholeMeasure | FieldMeasure, Mask], rows: Rows) -> SliceScores:
    shares = {measure: share(values[mask], rows.some(mask)) for measure, values in whole.items() if measure in SLICED}
    return cast(SliceScores, {"rows": int(mask.sum()), **shares})


def _latency(answers: Sequence[Answer]) -> Latency | None:
    seconds = [each.generated.seconds for each in answers if each.generated.seconds is not None]
    if not seconds:
        return None
    return {"p50": round(float(np.percentile(seconds, 50)), 4), "p95": round(float(np.percentile(seconds, 95)), 4)}
