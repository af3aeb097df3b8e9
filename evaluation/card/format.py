"""The format of scorecard.json: the types of what it holds, its JSON Schema, and reading it."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

import jsonschema_rs
import orjson

from curate.errors import AssayError
from curate.hashing import digest
from curate.store import MANIFEST, SUMS, damaged, fetched, read_manifest, verified

CARD = "scorecard.json"
SCHEMA_VERSION = 5
"""Of scorecard.json; scorecard.schema.json, beside this module, describes it."""
READABLE = (4, SCHEMA_VERSION)
"""Versions that are read: 4 is 5 without `values` and `ungrounded`."""

WholeMeasure = Literal[
    "parses",
    "extracts",
    "schema_valid",
    "whole_match",
    "rules_match",
    "extracted_valid",
    "extracted_match",
    "wrong_but_valid",
    "missing_keys",
    "invented_keys",
    "wrong_type",
    "wrong_enum",
    "wrong_value",
    "refusal",
    "repetition",
    "empty",
    "exact_match",
    "truncated",
    "thought",
]
FieldMeasure = Literal["accuracy", "match", "f1", "macro_f1", "kappa"]
WHOLE_MEASURES: tuple[WholeMeasure, ...] = get_args(WholeMeasure)
"""Measures of the whole answer in the order they are shown."""
FIELD_MEASURES: tuple[FieldMeasure, ...] = get_args(FieldMeasure)
"""Measures of a field in the order they are shown."""

Test = Literal["exact McNemar", "randomisation"]
Verdict = Literal["better", "worse", "no difference shown"]


class Interval(TypedDict):
    """A number with its interval; None where there is nothing to measure."""

    value: float | None
    low: float | None
    high: float | None


class Rate(Interval):
    """A share of rows, and in how many it happened."""

    count: int


class Kappa(Interval):
    """Of ordered labels, over the rows that have a label."""

    rows: int


class LabelScores(TypedDict):
    """One label by itself; `precision` is None where it is never given."""

    rows: int
    precision: float | None
    recall: float
    f1: float


class ClassScores(TypedDict):
    """What is said of a field that is a class."""

    macro_f1: Interval
    labels: dict[str, LabelScores]
    confusion: list[list[Any]]
    """[expected label, given label or None, rows]."""
    kappa: NotRequired[Kappa]


class ItemScores(TypedDict):
    """One field of the objects in a list, all rows together."""

    right: int
    """By its rule."""
    wrong: int
    omitted: int
    """Expected and not there."""
    invented: int
    """There and not expected."""


class ValueScores(ItemScores):
    """Values at one place of the answers, all rows together; null, blank text and what is empty are none."""

    precision: Interval
    """Of the values given, those right."""
    recall: Interval
    """Of the values expected, those right."""
    f1: Interval


class UngroundedField(Interval):
    """Values of one field of the answers that prompts have to hold, and the share that they do not hold."""

    values: int
    count: int
    """Those that are not in the prompt."""


class Ungrounded(UngroundedField):
    """Values of answers that prompts have to hold."""

    fields: dict[str, UngroundedField]
    """By path: `clauses[].date`."""


class FieldScores(TypedDict):
    """What is said of one field: of a set or list also `f1`, of one of objects `items` by the objects' fields; of a
    class what `ClassScores` says."""

    accuracy: Rate
    match: Rate
    values: NotRequired[dict[str, ValueScores]]
    """By path: of a list the items' (`parties[]`), of objects in it the fields' (`clauses[].date`)."""
    f1: NotRequired[Interval]
    items: NotRequired[dict[str, ItemScores]]
    macro_f1: NotRequired[Interval]
    labels: NotRequired[dict[str, LabelScores]]
    confusion: NotRequired[list[list[Any]]]
    kappa: NotRequired[Kappa]


class SliceScores(TypedDict):
    """Some of the rows by themselves."""

    rows: int
    schema_valid: NotRequired[Rate]
    whole_match: NotRequired[Rate]
    rules_match: NotRequired[Rate]
    exact_match: NotRequired[Rate]


class Calibration(TypedDict):
    """How far confidence is from how often answers are right."""

    rows: int
    ece: float | None
    brier: float | None
    bins: list[list[float]]
    """[from, to, rows, mean confidence, share right]."""


class Latency(TypedDict):
    """Seconds of an answer."""

    p50: float
    p95: float


class SystemScores(TypedDict):
    """One system: the measures of the whole answer by name, those of its fields, and what it took."""

    parses: NotRequired[Rate]
    extracts: NotRequired[Rate]
    schema_valid: NotRequired[Rate]
    whole_match: NotRequired[Rate]
    rules_match: NotRequired[Rate]
    extracted_valid: NotRequired[Rate]
    extracted_match: NotRequired[Rate]
    wrong_but_valid: NotRequired[Rate]
    missing_keys: NotRequired[Rate]
    invented_keys: NotRequired[Rate]
    wrong_type: NotRequired[Rate]
    wrong_enum: NotRequired[Rate]
    wrong_value: NotRequired[Rate]
    refusal: NotRequired[Rate]
    repetition: NotRequired[Rate]
    empty: NotRequired[Rate]
    exact_match: NotRequired[Rate]
    truncated: Rate
    thought: NotRequired[Rate]
    values: NotRequired[ValueScores]
    ungrounded: NotRequired[Ungrounded]
    fields: dict[str, FieldScores]
    form: dict[str, int]
    slices: dict[str, dict[str, SliceScores]]
    calibration: NotRequired[Calibration]
    official: NotRequired[dict[str, Any]]
    settings: NotRequired[dict[str, Any]]
    fewer_shots: NotRequired[int]
    tokens_in: int
    tokens_out: int
    tokens_per_second: NotRequired[float | None]
    cost: NotRequired[float | None]
    latency_seconds: Latency | None


class Difference(TypedDict):
    """Two systems in one measure; see `statistics.compared`."""

    only_a: int | None
    only_b: int | None
    difference: float
    low: float | None
    high: float | None
    test: Test
    p: float
    rows_needed: int | None


class Comparison(Difference):
    """A difference of two systems, named, and what it comes to among all the tests."""

    a: str
    b: str
    measure: WholeMeasure | FieldMeasure
    field: str | None
    p_adjusted: float
    verdict: Verdict


class GateRule(TypedDict):
    """One rule of the gate, and whether the tuned system holds it."""

    rule: str
    passed: bool
    why: str


class Gate(TypedDict):
    """Whether the tuned system is promoted."""

    passed: bool
    rules: list[GateRule]


class FieldKind(TypedDict):
    """How a field is compared, and the labels of a class."""

    kind: str
    labels: list[str] | None


class Scorecard(TypedDict):
    """What scorecard.json holds; its JSON Schema says what each key means."""

    schema_version: int
    confidence: float
    rows: int
    groups: int
    resamples: int
    seed: int
    fields: dict[str, FieldKind]
    ungrounded: NotRequired[Ungrounded]
    """Of the right answers."""
    systems: dict[str, SystemScores]
    comparisons: list[Comparison]
    tests: int
    gate: Gate | None


def read_scorecard(folder: Path) -> Scorecard:
    """The scorecard of a folder.

    Raises:
        AssayError: there is none, it is of another version, or it does not say what its manifest says of it.
    """
    manifest = read_manifest(folder)
    if not fetched(folder / CARD).is_file():
        raise AssayError(f"{folder}: no scorecard.", remedy="Name one that `assay evaluate` has published.")
    if (folder / SUMS).is_file():
        verified(folder, CARD)
    try:
        card: Scorecard = json.loads((folder / CARD).read_bytes())
    except ValueError:
        raise damaged(folder, CARD, "not readable as JSON") from None
    if card["schema_version"] not in READABLE:
        raise AssayError(
            f"{folder}: a scorecard of version {card['schema_version']}, expected {' or '.join(map(str, READABLE))}.",
            remedy="Evaluate again; answers come from the cache.",
        )
    if digest(timeless(card)) != digest(timeless(manifest["scores"])):
        raise damaged(folder, CARD, f"not what {MANIFEST} says that was scored")
    return card


def timeless(card: Scorecard) -> Scorecard:
    """A scorecard without what a clock gave."""
    systems = {
        name: {key: value for key, value in system.items() if key not in ("latency_seconds", "tokens_per_second")}
        for name, system in card["systems"].items()
    }
    return cast(Scorecard, {**card, "systems": systems})


@cache
def schema() -> jsonschema_rs.Validator:
    """The JSON Schema of scorecard.json."""
    return jsonschema_rs.validator_for(orjson.loads((files("evaluation.card") / "scorecard.schema.json").read_bytes()))
