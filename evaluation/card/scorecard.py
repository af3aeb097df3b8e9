"""Judgements counted: what scorecard.json says of systems that answered the same rows."""

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import Any

import jsonschema_rs
import numpy as np
import numpy.typing as npt
import orjson

from evaluation.card import classes
from evaluation.card.statistics import CONFIDENCE, Floats, Rows, compared, holm, mean, share, verdict
from evaluation.judge.answer import Answer, Generated
from evaluation.judge.fields import Field
from evaluation.judge.form import Flag, Form
from evaluation.judge.structured import Judge
from evaluation.settings import Price

SCHEMA_VERSION = 3
"""Of scorecard.json; scorecard.schema.json, beside this module, describes it."""

MAJORITY, BASE, TUNED = "majority", "base", "tuned"

Measure = tuple[str, str | None]
"""What is measured, and the field it is measured in, if any."""
FormOf = Callable[[str, bool], Form]
Masks = Mapping[str, Mapping[str, npt.NDArray[np.bool_]]]

JUDGED = (
    *("parses", "extracts", "schema_valid", "extracted_valid", "whole_match", "rules_match", "extracted_match"),
    *("wrong_but_valid", "missing_keys", "invented_keys"),
)
"""Measures that are a judgement's attributes of these names."""
FLAGGED: tuple[Flag, ...] = ("wrong_type", "wrong_enum", "wrong_value", "empty", "refusal", "repetition", "truncated")
"""Flags of a form that are measures."""
SLICED = ("schema_valid", "whole_match", "rules_match", "exact_match")
"""Measures that are also told for each slice."""
COMPARED = ("schema_valid", "whole_match", "rules_match", "exact_match")
"""Measures of the whole answer in which systems are compared."""

DRAWS = 40
"""Resamples for each of the tests that p is adjusted for, at least: the least p of a randomisation test, 1 in as many,
is half of 0.05 after the adjustment."""


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
class About:
    """What is known of a system beside its answers."""

    settings: Mapping[str, Any]
    """What it is, JSON-like."""
    seconds: float | None = None
    """That its answers took to generate, all together; None where there was no clock."""
    price: Price | None = None
    fewer_shots: int = 0
    """Rows that were shown fewer shots than the settings say, because more would not have fitted."""


@dataclass(frozen=True)
class Asked:
    """The rows that the systems were asked."""

    rows: Rows
    fields: Sequence[Field] | None = None
    """Of the structured answer; None for plain chat."""
    wanted: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """The right labels of each field that is a class, by row."""
    slices: Masks = field(default_factory=dict)
    """Kind of slice -> its name -> mask of the rows."""

    @staticmethod
    @_uncollected()
    def of(rows: Rows, judge: Judge, expected: Sequence[Any], slices: Masks | None = None) -> "Asked":
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
        return Asked(rows, judge.fields, wanted, slices or {})


@_uncollected()
def judged(
    generated: Sequence[Generated], expected: Sequence[Any], judge: Judge, form_of: FormOf | None = None
) -> list[Answer]:
    """A system's answers, judged.

    Args:
        generated: what it said, by row.
        expected: the right answers as Python values.
        judge: of the answers' schema.
        form_of: judges the form where it is not JSON that was asked for: (output, whether it was cut off) -> form.
    """
    answers = []
    for each, right in zip(generated, expected, strict=True):
        if form_of is None:
            judgement = judge(each.text, right, each.truncated)
        else:
            judgement = judge.judge(form_of(each.text, each.truncated), right)
        answers.append(Answer(each, judgement, judgement.whole_match))
    return answers


@dataclass(frozen=True)
class Outcomes:
    """What became of each row of one system, by measure, as columns of shape (rows,)."""

    rates: Mapping[Measure, npt.NDArray[np.bool_]]
    """Measures that happen or not."""
    means: Mapping[Measure, Floats]
    """Measures from 0 to 1."""

    @staticmethod
    def of(answers: Sequence[Answer], fields: Sequence[Field] | None) -> "Outcomes":
        """The outcomes of a system's answers; `fields` of the structured answer, None for plain chat."""
        if fields is None:
            exact = _flags(answer.exact for answer in answers)
            cut = _flags(answer.generated.truncated for answer in answers)
            return Outcomes({("exact_match", None): exact, ("truncated", None): cut}, {})
        judged = [answer.judgement for answer in answers if answer.judgement is not None]
        rates: dict[Measure, npt.NDArray[np.bool_]] = {
            (name, None): _flags(bool(getattr(each, name)) for each in judged) for name in JUDGED
        }
        rates |= {(flag, None): _flags(flag in each.flags for each in judged) for flag in FLAGGED}
        means: dict[Measure, Floats] = {}
        for place, each in enumerate(fields):
            column = [judgement.fields[place] for judgement in judged]
            rates["accuracy", each.name] = _flags(one.exact for one in column)
            rates["match", each.name] = _flags(one.match for one in column)
            if each.rule.kind in ("set", "list"):
                means["f1", each.name] = np.fromiter((one.score for one in column), np.float64, len(column))
        return Outcomes(rates, means)

    def numbers(self, measure: Measure) -> Floats:
        """A measure as numbers."""
        return self.means[measure] if measure in self.means else self.rates[measure].astype(np.float64)


def _flags(values: Iterable[bool]) -> npt.NDArray[np.bool_]:
    return np.fromiter(values, np.bool_)


@_uncollected()
def scorecard(
    systems: Mapping[str, Sequence[Answer]],
    asked: Asked,
    pairs: Sequence[tuple[str, str]] | None = None,
    official: Mapping[str, Any] | None = None,
    confidence: Mapping[str, Floats] | None = None,
    about: Mapping[str, About] | None = None,
    chosen_from: Sequence[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """What scorecard.json holds.

    Every rate is a share of all rows. `missing_keys` and `invented_keys` count the rows whose output is an object that
    lacks a key, or has one that is not expected. Plain chat has `exact_match` and `truncated` only.

    Args:
        systems: answers by system, in the order of the rows.
        asked: the rows.
        pairs: of systems to compare; by default the tuned one with each other or, without one, each with each.
        official: what a data set's official scorer says, by system.
        confidence: of answers, 0 to 1 and NaN where there is none, by system; by default the probability of all that
            was generated, where it is known.
        about: what the systems are and what they cost, by system.
        chosen_from: all the pairs that could have been compared, where `pairs` were chosen from them by the answers: p
            is adjusted for the tests of all.
    """
    outcomes = {name: Outcomes.of(answers, asked.fields) for name, answers in systems.items()}
    given = {name: _given(answers, asked) for name, answers in systems.items()}
    labels = {name: classes.Labels.of(_labels(asked, name), wanted) for name, wanted in asked.wanted.items()}
    pairs = _pairs(systems) if pairs is None else pairs
    tested = comparisons(outcomes, given, labels, asked.rows, pairs if chosen_from is None else chosen_from)
    card: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "confidence": CONFIDENCE,
        "rows": asked.rows.count,
        "groups": asked.rows.total,
        "resamples": asked.rows.resamples,
        "seed": asked.rows.seed,
        "fields": {
            each.name: {
                "kind": each.rule.kind,
                "labels": list(labels[each.name].names) if each.name in labels else None,
            }
            for each in asked.fields or ()
        },
        "systems": {
            name: _system(answers, outcomes[name], given[name], labels, asked) for name, answers in systems.items()
        },
        "comparisons": [each for each in tested if (each["a"], each["b"]) in pairs],
        "tests": len(tested),
        "gate": None,
    }
    for name, system in card["systems"].items():
        sure = (confidence or {}).get(name, _confidence(systems[name]))
        if not np.isnan(sure).all():
            right = outcomes[name].rates["exact_match" if asked.fields is None else "whole_match", None]
            system["calibration"] = classes.calibration(sure, right)
        if official:
            system["official"] = official[name]
        if about and name in about:
            system |= _told(about[name], system)
    return card


def _pairs(systems: Iterable[str]) -> list[tuple[str, str]]:
    if TUNED in (names := list(systems)):
        return [(TUNED, other) for other in names if other != TUNED]
    return list(combinations([name for name in names if name != MAJORITY], 2))


def _confidence(answers: Sequence[Answer]) -> Floats:
    """The probability of each answer, token after token; NaN where it is not known."""
    known = [answer.generated.logprob for answer in answers]
    return np.exp(np.array([np.nan if each is None else each for each in known], dtype=np.float64))


def _told(about: About, system: Mapping[str, Any]) -> dict[str, Any]:
    """What a system is, how fast it was and what it cost."""
    cost = None
    if about.price is not None:
        paid = system["tokens_in"] * about.price.input + system["tokens_out"] * about.price.output
        cost = round(paid / 1e6, 6)
    return {
        "settings": dict(about.settings),
        "tokens_per_second": round(system["tokens_out"] / about.seconds, 2) if about.seconds else None,
        "cost": cost,
        "fewer_shots": about.fewer_shots,
    }


def _labels(asked: Asked, name: str) -> Sequence[str]:
    return next(each.labels for each in asked.fields or () if each.name == name)


def _given(answers: Sequence[Answer], asked: Asked) -> dict[str, list[str | None]]:
    """A system's labels of each field that is a class, by row."""
    judged = [answer.judgement for answer in answers if answer.judgement is not None]
    return {name: [each.given[place] for each in judged] for place, name in enumerate(asked.wanted)}


def comparisons(
    outcomes: Mapping[str, Outcomes],
    given: Mapping[str, Mapping[str, Sequence[str | None]]],
    labels: Mapping[str, classes.Labels],
    rows: Rows,
    pairs: Sequence[tuple[str, str]],
    every: bool = False,
) -> list[dict[str, Any]]:
    """Pairs of systems in the measures that say most, or in every one; p is adjusted for the number of tests by Holm's
    method."""
    found: list[dict[str, Any]] = []
    if not rows.count:
        return found
    tests = [
        (one, other, measure, name)
        for one, other in pairs
        for measure, name in [*outcomes[one].rates, *outcomes[one].means, *(("macro_f1", name) for name in labels)]
        if every or measure in (COMPARED if name is None else ("accuracy", "f1", "macro_f1"))
        if measure != "macro_f1" or (labels[str(name)].wanted >= 0).any()
    ]
    rows = replace(rows, resamples=max(rows.resamples, DRAWS * len(tests)))
    for one, other, measure, name in tests:
        if measure == "macro_f1":
            known = labels[str(name)]
            first, second = (known.given(given[system][str(name)]) for system in (one, other))
            tested = classes.compared_macro_f1(known, first, second, rows)
        else:
            mine, its = (outcomes[system].numbers((measure, name)) for system in (one, other))
            tested = compared(mine, its, rows)
        found.append({"a": one, "b": other, "measure": measure, "field": name} | tested)
    for each, p in zip(found, holm([each["p"] for each in found]), strict=True):
        each |= {"p_adjusted": p, "verdict": verdict(each["difference"], p)}
    return found


def _system(
    answers: Sequence[Answer],
    outcomes: Outcomes,
    given: Mapping[str, Sequence[str | None]],
    labels: Mapping[str, classes.Labels],
    asked: Asked,
) -> dict[str, Any]:
    rates = {key: share(values, asked.rows) for key, values in outcomes.rates.items()}
    fields: dict[str, dict[str, Any]] = {}
    for (measure, name), value in rates.items():
        if name is not None:
            fields.setdefault(name, {})[measure] = value
    for (measure, name), numbers in outcomes.means.items():
        fields[str(name)][measure] = mean(numbers, asked.rows)
    for each in asked.fields or ():
        if each.name in labels:
            one = labels[each.name]
            fields[each.name] |= classes.scores(one, one.given(given[each.name]), asked.rows, each.rule.order)
    form = Counter(answer.judgement.form for answer in answers if answer.judgement is not None)
    seconds = [each.generated.seconds for each in answers if each.generated.seconds is not None]
    return {
        **{measure: value for (measure, name), value in rates.items() if name is None},
        "fields": fields,
        "form": dict(sorted(form.items(), key=lambda each: (-each[1], each[0]))),
        "slices": {
            kind: {
                name: {"rows": int(mask.sum())}
                | {
                    measure: share(values[mask], asked.rows.some(mask))
                    for (measure, field_name), values in outcomes.rates.items()
                    if field_name is None and measure in SLICED
                }
                for name, mask in masks.items()
            }
            for kind, masks in asked.slices.items()
        },
        "tokens_in": sum(answer.generated.tokens_in for answer in answers),
        "tokens_out": sum(answer.generated.tokens for answer in answers),
        "latency_seconds": {
            "p50": round(float(np.percentile(seconds, 50)), 4),
            "p95": round(float(np.percentile(seconds, 95)), 4),
        }
        if seconds
        else None,
    }


@cache
def schema() -> jsonschema_rs.Validator:
    """The JSON Schema of scorecard.json."""
    return jsonschema_rs.validator_for(orjson.loads((files("evaluation.card") / "scorecard.schema.json").read_bytes()))
