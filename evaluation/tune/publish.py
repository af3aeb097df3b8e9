"""A study's result, published."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.stage import installed
from curate.store import Store
from evaluation.tune.manifest import StudyInputs, StudyManifest, TrialParent
from evaluation.tune.recipe import found_recipe
from evaluation.tune.report import write_reports
from evaluation.tune.result import RESULT, RESULT_SCHEMA, StudyResult, best_of, result_of
from evaluation.tune.space import Space
from evaluation.tune.trial import METHOD, Trial
from train.manifest import AdapterManifest, DatasetParent
from train.settings import TrainingSettings

SCHEMA_VERSION = 1


def publish(
    space: Space,
    version: Path,
    trials: Sequence[Trial],
    path: Path,
    variant: str | None,
    store: Store,
    progress: Progress = silent,
) -> Path:
    """Publish a study, or find it.

    Args:
        space: what was searched.
        version: folder of the data set version.
        trials: in their order.
        path: the recipe's file.
        variant: of the recipe, that was searched.
        store: where it is published.
        progress: told whether it was found.

    Returns:
        The folder: result.json with result.schema.json, table.md, report.html, recipe.yaml with what lay beside it, and
        manifest.json. Its version is that of inputs and values; times and memory stand in the others only. The
        whole paths in recipe.yaml count: one that is found can be run.

    Raises:
        AssayError: no trial finished.
    """
    best = best_of(trials, space)
    if best is None:
        told = next((each.outcome.error for each in trials if each.outcome.error), None)
        raise AssayError(
            f"None of {len(trials)} trials finished, so nothing is published."
            + (f" The first failed: {told}" if told else ""),
            remedy="Mend what it says, or search other values; the same command tries again what failed.",
        )
    recipe = found_recipe(path, variant, space.recipe, cast(TrainingSettings, best.training))
    name, dataset = space.recipe.name, DatasetParent.of(DatasetManifest.read(version))
    content = StudyInputs(
        method=METHOD,
        dataset=dataset,
        tune=space.tune.model_dump(mode="json"),
        training=space.recipe.training.deciding(),
        recipe_sha256=recipe.sha256,
        trials=[
            TrialParent(
                settings=each.training and each.training.deciding(),
                state=each.outcome.state,
                adapter=each.outcome.adapter,
            )
            for each in trials
        ],
        libraries=installed(["optuna"]),
    ).content()
    event = {"event": "studies", "name": name}
    found = store.made_from("studies", name, content)
    if found is not None:
        progress("study (found in the store)", 1, 1, "studies")
        store.record(event | {"version": found.name, "found": True})
        return found
    adapter = AdapterManifest.read(store.root / "adapters" / str(best.outcome.adapter))
    result = result_of(name, str(dataset), adapter.rows.validation, space, trials, best)

    def describe(folder: Path, manifest: dict[str, Any]) -> None:
        (folder / RESULT).write_text(json.dumps(result.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
        schema = json.dumps(StudyResult.model_json_schema(), indent=2)
        (folder / RESULT_SCHEMA).write_text(schema + "\n", encoding="utf-8")
        write_reports(folder, StudyManifest.model_validate(manifest), result)
        study = f"study {name}/{manifest['version']}"
        told = f"The best of {len(trials)} trials of {study}: {space.metric} {best.outcome.value:.4f}"
        recipe.write(folder, told)

    adapters = [store.root / "adapters" / each.outcome.adapter for each in trials if each.outcome.adapter]
    with store.publishing("studies", name, [version, *adapters]) as draft:
        folder = draft.publish(
            {"name": name, "schema_version": SCHEMA_VERSION, "inputs": content, "result": result.timeless()}, describe
        )
    store.record(event | {"version": folder.name, "found": False})
    return folder
