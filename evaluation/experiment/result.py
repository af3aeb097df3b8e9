"""What came of an experiment: result.json, whose schema is published beside it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.grounding import Grounding, Prompt
from curate.manifest import Part
from curate.store import verified
from evaluation.card.classes import Labels
from evaluation.card.compare import PREDICTIONS
from evaluation.card.format import read_scorecard
from evaluation.card.scorecard import TUNED
from evaluation.card.statistics import Rows, holm, verdict
from evaluation.experiment.over_seeds import MacroF1, Means, by_seed, difference, interval, turn
from evaluation.experiment.settings import GROUNDED, LOSS, ExperimentSettings
from evaluation.judge.structured import Judge
from evaluation.settings import FullRecipe
from train.examples import Row
from train.history import STEPS
from train.manifest import AdapterManifest

RESULT, RESULT_SCHEMA = "result.json", "result.schema.json"
CLOCKED = {"seconds", "memory_mib"}
"""Of an arm, what a clock or the machine gave."""
Measures = Mapping[str, Means | MacroF1]
NOT_KNOWN: dict[str, Any] = {
    **dict.fromkeys(("difference", "low", "high", "p", "p_adjusted")),
    "verdict": "not known",
}
"""What an arm is beside the baseline in a metric that has no number."""


class Score(Part):
    """A metric of an arm: the mean over its seeds."""

    value: float | None
    """None where it is not known: the field is expected of none of the rows asked."""
    low: float | None
    """Of the 95% interval, over rows and seeds."""
    high: float | None
    by_seed: list[float | None]


class Against(Part):
    """An arm beside the baseline, on the same rows and seeds. All is None where the metric is not known."""

    difference: float | None
    low: float | None
    """Of the 95% interval of the difference, over rows and seeds."""
    high: float | None
    p: float | None
    """Two-sided, of the randomisation test over the rows: of these very adapters."""
    p_adjusted: float | None
    """By Holm's method, for all tests of the experiment."""
    verdict: str
    """`better` or `worse` where p_adjusted is below 0.05 and the interval does not hold 0; else `no difference
    shown`, or `not known`."""


class ValidationPoint(Part):
    """The validation rows, asked between two steps."""

    epoch: float
    loss: float


class ArmResult(Part):
    """An arm. What differs by seed is a list in the order of the seeds."""

    changes: dict[str, Any]
    """Of the recipe."""
    x: float | None
    """The value of the one key that the arms differ in, where it is a number in all of them."""
    dataset: str
    """NAME/VERSION."""
    left_out: int
    """Rows to train and validate on that share something with the baseline's test split, and so were not used."""
    rows: list[int]
    """Rows trained on."""
    tokens: list[int]
    """Trained tokens, over all epochs."""
    seconds: list[float]
    """Spent in training steps."""
    memory_mib: list[int]
    """The most that the process that trained had: resident on a CPU, allocated on a GPU."""
    validation: list[list[ValidationPoint]]
    """On the arm's own validation rows, before training and at each validation."""
    turns: list[float | None]
    """The epoch after which validation loss rose to the end; none where it was least at the last."""
    scores: dict[str, Score]
    against: dict[str, Against]
    """By metric; the baseline has none."""
    adapters: list[str]
    scorecards: list[str]


class ExperimentResult(Part):
    """What result.json says."""

    name: str
    confidence: float
    rows: int
    """Test rows that every adapter was asked."""
    groups: int
    """Of them that are drawn together: near-duplicates."""
    refused: int
    """Test rows asked of nobody, because some arm's template has no words for them."""
    seeds: list[int]
    metrics: list[str]
    baseline: str
    axis: str | None
    """The one key that the arms differ in, where its values are numbers."""
    tests: int
    """That p is adjusted for: those of which it is known."""
    arms: dict[str, ArmResult]

    def timeless(self) -> dict[str, Any]:
        """Without what a clock or the machine gave."""
        return self.model_dump(exclude={"arms": {"__all__": CLOCKED}})


def require_metrics(settings: ExperimentSettings, recipe: FullRecipe) -> None:
    """See to it that the metrics are measures of the recipe's answers.

    Raises:
        AssayError: names one that is not, and those there are.
    """
    schema = recipe.held_to().target_schema
    known = [LOSS, "exact_match"]
    if schema is not None:
        judge = Judge(schema, recipe.evaluation.fields)
        known += ["whole_match", "schema_valid", "parses", "rules_match", GROUNDED]
        known += [f"{each.name}.accuracy" for each in judge.fields]
        known += [f"{judge.fields[number].name}.macro_f1" for number in judge.classes]
    for metric in settings.metrics:
        if metric not in known:
            raise AssayError(
                f"metrics: answers of the contract {Path(recipe.contract).name} have no {metric}.",
                remedy=f"There are: {', '.join(known)}.",
            )


def measures(
    metrics: Sequence[str],
    scorecards: Sequence[Path],
    losses: Sequence[Sequence[float]],
    rows: Sequence[Row],
    grounding: Grounding,
) -> dict[str, Means | MacroF1]:
    """An arm's measures.

    Args:
        metrics: their names.
        scorecards: folders, by seed.
        losses: by seed and row, where the loss is among the metrics.
        rows: that were asked.
        grounding: of the answers' fields.
    """
    import numpy as np

    said = [_answers(folder, rows) for folder in scorecards]
    found: dict[str, Means | MacroF1] = {}
    for metric in metrics:
        field, _, what = metric.rpartition(".")
        if metric == LOSS:
            found[metric] = Means(np.array(losses, dtype=np.float64))
        elif metric == GROUNDED:
            found[metric] = Means(np.array([_grounded(answers, rows, grounding) for answers in said]))
        elif what == "macro_f1":
            allowed = read_scorecard(scorecards[0])["fields"][field]["labels"] or ()
            labels = Labels.of(allowed, [row["fields"][field]["wanted"] for row in said[0]])
            given = [labels.given([row["fields"][field]["given"] for row in answers]) for answers in said]
            found[metric] = MacroF1(labels, np.stack(given))
        else:
            values = [
                [float(row["fields"][field]["exact"] if field else row[metric]) for row in answers] for answers in said
            ]
            found[metric] = Means(np.array(values))
    return found


def _grounded(answers: Sequence[Row], rows: Sequence[Row], grounding: Grounding) -> list[float]:
    """By row, 1 where the answer is JSON of which the prompt says every value that it has to, else 0."""
    found = []
    for answer, row in zip(answers, rows, strict=True):
        prompt = Prompt(row["turns"], row.get("language"))
        looked = grounding.looked_for(json.loads(answer["output"]), prompt) if answer["parses"] else ()
        found.append(float(answer["parses"] and all(place is not None for _, place in looked)))
    return found


def _answers(scorecard: Path, rows: Sequence[Row]) -> list[Row]:
    """The judged answers of the adapter, in the order of the rows."""
    table = pq.read_table(verified(scorecard, PREDICTIONS), filters=[("system", "=", TUNED)])
    by_id = {row["id"]: row for row in table.to_pylist()}
    return [by_id[row["id"]] for row in rows]


def scores(measured: Measures, rows: Rows) -> dict[str, Score]:
    """An arm's metrics, their intervals as far as such numbers go: all but the loss are shares of 1."""
    found = {}
    for name, measure in measured.items():
        value, low, high = (interval(measure, rows)[key] for key in ("value", "low", "high"))
        if low is not None and high is not None:
            low, high = max(0.0, low), high if name == LOSS else min(1.0, high)
        found[name] = Score(value=value, low=low, high=high, by_seed=by_seed(measure, rows.count))
    return found


def compared_with(baseline: str, arms: Mapping[str, Measures], rows: Rows) -> dict[str, dict[str, Against]]:
    """Every other arm beside the baseline, in every metric."""
    found: dict[str, dict[str, Against]] = {arm: {} for arm in arms}
    tests = []
    for arm, metric in [(name, metric) for name in arms if name != baseline for metric in arms[name]]:
        one, other = arms[arm][metric], arms[baseline][metric]
        apart, p = difference(one, other, rows), one.p(other, rows)  # type: ignore[arg-type]
        found[arm][metric] = Against(**NOT_KNOWN)
        if apart["value"] is not None and p is not None:
            tests.append((arm, metric, apart["value"], apart["low"], apart["high"], p))
    adjusted = holm([p for *_, p in tests])
    for (arm, metric, value, low, high, p), after in zip(tests, adjusted, strict=True):
        sure = low is not None and high is not None and (low > 0 or high < 0)
        found[arm][metric] = Against(
            difference=value,
            low=low,
            high=high,
            p=p,
            p_adjusted=after,
            verdict=verdict(-value if metric == LOSS else value, after if sure else 1.0),
        )
    return found


def trained(adapters: Sequence[Path]) -> dict[str, Any]:
    """What the manifests and the steps of an arm's adapters say: keys of `ArmResult`."""
    manifests = [AdapterManifest.read(folder) for folder in adapters]
    runs = [each.run.validations if each.run else [] for each in manifests]
    at = [turn([point.loss for point in run]) for run in runs]
    steps = [pq.read_table(verified(folder, STEPS)).to_pylist() for folder in adapters]
    taken = [[step for step in each if step["step"]] for each in steps]
    return {
        "rows": [each.rows.train for each in manifests],
        "tokens": [each.tokens.trained for each in manifests],
        "seconds": [round(sum(step["tokens"] / step["tokens_per_second"] for step in each), 1) for each in taken],
        "memory_mib": [max(step["memory_mib"] for step in each) for each in taken],
        "validation": [[ValidationPoint(epoch=point.epoch, loss=point.loss) for point in run] for run in runs],
        "turns": [None if place is None else run[place].epoch for place, run in zip(at, runs, strict=True)],
        "adapters": [f"{each.name}/{each.version}" for each in manifests],
    }


def axis(
    recipes: Mapping[str, FullRecipe], changes: Mapping[str, Mapping[str, Any]]
) -> tuple[str, dict[str, float]] | None:
    """The one key that the arms differ in and its value by arm, where all are numbers and differ; else None.

    Args:
        recipes: by arm.
        changes: of the recipe, by arm.
    """
    keys = {key for each in changes.values() for key in _paths(each)}
    values = {key: [_at(recipe, key) for recipe in recipes.values()] for key in keys}
    apart = [key for key in keys if any(value != values[key][0] for value in values[key])]
    if len(apart) != 1:
        return None
    [key] = apart
    numbers = values[key]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        return None
    return (key, dict(zip(recipes, map(float, numbers), strict=True))) if len(set(numbers)) == len(numbers) else None


def _paths(values: Mapping[str, Any], within: str = "") -> list[str]:
    """Keys of what is no mapping, at any depth."""
    found = []
    for key, value in values.items():
        found += _paths(value, f"{within}{key}.") if isinstance(value, Mapping) else [within + key]
    return found


def _at(recipe: FullRecipe, key: str) -> Any:
    """A recipe's value by its key's path."""
    value: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
