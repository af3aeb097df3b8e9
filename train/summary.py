"""What is told of an adapter, in tables made from what is published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.manifest import DatasetManifest
from curate.store import MANIFEST, Store
from curate.table import Table
from train.manifest import AdapterManifest, Run


def training_tables(adapter: Path, store: Store) -> list[Table]:
    """What the adapter of a folder was trained on, what it did to the loss, and how fast it went."""
    manifest = AdapterManifest.read(adapter)
    loss = manifest.loss
    told = [event for event in store.told("adapters", manifest.name) if event["version"] == adapter.name]
    trained = [event for event in told if not event["found"]]
    rows = [
        ["data set", str(manifest.inputs.dataset)],
        ["base model", manifest.inputs.base.model],
        *([["started from", f"{start.name}/{start.version}"]] if (start := manifest.inputs.adapter) else []),
        ["rows" if manifest.inputs.pairs is None else "pairs", f"{manifest.rows.train:,}"],
        ["epochs", f"{len(loss.train)}"],
        *_steps(manifest.run, str(manifest.inputs.settings.get("keep_best"))),
        *_reward(manifest),
        ["tokens seen", f"{manifest.tokens.seen:,}"],
        ["of them trained", f"{manifest.tokens.trained:,}"],
        *(_validation(loss.validation, manifest.run) or _unvalidated(manifest, store)),
        ["training loss of each epoch", ", ".join(f"{value:.3f}" for value in loss.train)],
        *_speed(trained),
        ["found in the store", "yes" if told and told[-1]["found"] else "no"],
    ]
    return [Table("adapter", f"Adapter {manifest.name}/{manifest.version}", ["", "value"], rows)]


def _speed(trained: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """How fast it was trained, where the ledger tells."""
    if not trained:
        return []
    return [
        ["seconds", f"{trained[-1]['seconds']:,.1f}"],
        ["tokens per second", f"{trained[-1]['tokens_per_second']:,.0f}"],
    ]


def _steps(run: Run | None, chosen_by: str) -> list[list[str]]:
    """How long it was trained, where the manifest tells, and which checkpoint was kept."""
    if run is None:
        return []
    stopped = f" of {run.planned:,}, stopped early" if run.steps < run.planned else ""
    kept = [["kept", f"step {run.kept:,}, best by {chosen_by}"]] if run.kept < run.steps else []
    return [["steps", f"{run.steps:,}{stopped}"], *kept]


def _reward(manifest: AdapterManifest) -> list[list[str]]:
    """What the answers to the validation rows were worth, where answers were reinforced and a reward was taken."""
    if manifest.inputs.reward is None or manifest.run is None:
        return []
    by = manifest.inputs.settings["keep_best"] or "reward"
    scores = [f"{each.score:.3f}" for each in manifest.run.validations if each.score is not None]
    return [[f"validation {by}", ", ".join(scores)]] if scores else []


def _validation(losses: list[float], run: Run | None) -> list[list[str]]:
    if not losses:
        return []
    before, *after = losses
    epochs = run is None or all(each.epoch == number for number, each in enumerate(run.validations))
    return [
        ["validation loss before", f"{before:.3f}"],
        [f"validation loss {'after each epoch' if epochs else 'since'}", ", ".join(f"{value:.3f}" for value in after)],
    ]


def _unvalidated(manifest: AdapterManifest, store: Store) -> list[list[str]]:
    """Why no row was validated on, as far as the store still has the data set version."""
    inputs = manifest.inputs
    who = [*(["pairs"] if inputs.pairs else []), *(["an experiment"] if inputs.left_out else [])]
    folder = store.root / "datasets" / inputs.dataset.name / inputs.dataset.version
    why = "the validation split has no rows"
    if who and (folder / MANIFEST).is_file() and (rows := DatasetManifest.read(folder).counts.splits.get("validation")):
        why = f"none of the {rows:,} rows of the validation split is left, for what {' and '.join(who)} ask"
    return [["validation loss", f"not known: {why}"]]
