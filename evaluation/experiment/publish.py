"""An experiment's result, made of what its adapters answered, and published."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.grounding import Grounding
from curate.progress import Progress, silent
from curate.store import Store
from evaluation.card.statistics import CONFIDENCE, Rows
from evaluation.experiment.asked import Question, row_losses
from evaluation.experiment.manifest import ExperimentInputs, ExperimentManifest
from evaluation.experiment.over_seeds import MacroF1
from evaluation.experiment.report import write_reports
from evaluation.experiment.result import (
    RESULT,
    RESULT_SCHEMA,
    ArmResult,
    ExperimentResult,
    Measures,
    axis,
    compared_with,
    measures,
    scores,
    trained,
)
from evaluation.experiment.settings import LOSS, ExperimentSettings
from evaluation.settings import FullRecipe

SCHEMA_VERSION = 1
OUTCOMES = "outcomes.parquet"
"""By arm, seed and row: each metric; of a field that is a class the given and the wanted label."""
Runs = Mapping[tuple[str, int], Path]
"""A folder by arm and seed."""


@dataclass(frozen=True)
class Answered:
    """The adapters, and what they answered."""

    adapters: Runs
    scorecards: Runs


def publish(
    name: str,
    settings: ExperimentSettings,
    recipes: Mapping[str, FullRecipe],
    question: Question,
    answered: Answered,
    inputs: ExperimentInputs,
    store: Store,
    progress: Progress = silent,
) -> Path:
    """Publish an experiment, or find it.

    Returns:
        The folder: result.json with result.schema.json, table.md, report.html, outcomes.parquet and manifest.json. Its
        version is that of inputs, outcomes and scores; times and memory stand in the others only.
    """
    content = inputs.content()
    event = {"event": "experiments", "name": name}
    found = store.made_from("experiments", name, content)
    if found is not None:
        progress("experiment (found in the store)", 1, 1, "experiments")
        store.record(event | {"version": found.name, "found": True})
        return found
    measured: dict[str, Measures] = {}
    for arm, recipe in recipes.items():
        asked = question.asked[arm].rows
        runs = [(answered.adapters[arm, seed], answered.scorecards[arm, seed]) for seed in settings.seeds]
        losses = [row_losses(folder, recipe, asked, store) for folder, _ in runs] if LOSS in settings.metrics else []
        grounding = Grounding.of(recipe.held_to())
        measured[arm] = measures(settings.metrics, [card for _, card in runs], losses, asked, grounding)
        progress("judge", len(measured), len(recipes), "arms")
    evaluation = recipes[settings.against].evaluation
    groups = [row["cluster"] or row["id"] for row in question.rows]
    rows = Rows(groups, len(groups), evaluation.resamples, evaluation.seed)
    result = _result(name, settings, recipes, question, answered, inputs, measured, rows)

    def describe(folder: Path, manifest: dict[str, Any]) -> None:
        (folder / RESULT).write_text(json.dumps(result.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
        schema = json.dumps(ExperimentResult.model_json_schema(), indent=2)
        (folder / RESULT_SCHEMA).write_text(schema + "\n", encoding="utf-8")
        write_reports(folder, ExperimentManifest.model_validate(manifest), result)

    parents = [*answered.adapters.values(), *answered.scorecards.values()]  # and so their data sets
    with store.publishing("experiments", name, parents) as draft:
        table = pa.Table.from_pylist(list(_outcomes(settings, measured, question, groups)))
        pq.write_table(table, draft.folder / OUTCOMES)
        folder = draft.publish(
            {"name": name, "schema_version": SCHEMA_VERSION, "inputs": content, "result": result.timeless()}, describe
        )
    store.record(event | {"version": folder.name, "found": False})
    return folder


def _result(
    name: str,
    settings: ExperimentSettings,
    recipes: Mapping[str, FullRecipe],
    question: Question,
    answered: Answered,
    inputs: ExperimentInputs,
    measured: Mapping[str, Measures],
    rows: Rows,
) -> ExperimentResult:
    changes = {arm: settings.changes(arm) for arm in recipes}
    along = axis(recipes, changes)
    against = compared_with(settings.against, measured, rows)
    return ExperimentResult(
        name=name,
        confidence=CONFIDENCE,
        rows=rows.count,
        groups=rows.total,
        refused=question.refused,
        seeds=settings.seeds,
        metrics=settings.metrics,
        baseline=settings.against,
        axis=along and along[0],
        tests=sum(each.p is not None for its in against.values() for each in its.values()),
        arms={
            arm: ArmResult(
                changes=dict(settings.arms[arm]),
                x=along and along[1][arm],
                dataset=str(inputs.arms[arm].dataset),
                left_out=inputs.arms[arm].left_out,
                scores=scores(measured[arm], rows),
                against=against[arm],
                scorecards=[inputs.arms[arm].runs[str(seed)].scorecard for seed in settings.seeds],
                **trained([answered.adapters[arm, seed] for seed in settings.seeds]),
            )
            for arm in recipes
        },
    )


def _outcomes(
    settings: ExperimentSettings, measured: Mapping[str, Measures], question: Question, groups: list[str]
) -> Iterator[dict[str, Any]]:
    """The rows of outcomes.parquet."""
    for arm, each in measured.items():
        for number, seed in enumerate(settings.seeds):
            for at, row in enumerate(question.rows):
                told: dict[str, Any] = {"arm": arm, "seed": seed, "id": row["id"], "group": groups[at]}
                for metric, measure in each.items():
                    if isinstance(measure, MacroF1):
                        given, wanted = measure.given[number, at], measure.labels.wanted[at]
                        field = metric.removesuffix(".macro_f1")
                        told[f"{field}.given"], told[f"{field}.wanted"] = (
                            measure.labels.names[label] if label >= 0 else None for label in (given, wanted)
                        )
                    else:
                        told[metric] = float(np.float64(measure.values[number, at]))
                yield told
