"""QLoRA: a published data set version -> an adapter that knows its parents."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.rows.chat_template import ChatTemplate, Message
from curate.rows.renderer import Renderer, load_tokenizer
from curate.stage import installed
from curate.store import Store, turn
from curate.workers import give_back
from train.adapter import check_parents, parents, save, weights_of
from train.audit import Audit, audit
from train.base_model import BaseModel, BaseTokenizer, arithmetic, compute_dtype, configuration, prepare, quiet
from train.checkpoints import Checkpoints
from train.examples import Example, read_split, select
from train.forecast import MAPPED, Forecast, foresee
from train.history import STEPS, History
from train.manifest import (
    AdapterInputs,
    AdapterManifest,
    BaseParent,
    Compute,
    DatasetParent,
    LeftOut,
    Loss,
    Run,
    TrainedRows,
    TrainedTokens,
    Validated,
)
from train.report import write_report
from train.serving import write_chat, write_notes
from train.settings import TrainingRecipe, TrainingSettings

if TYPE_CHECKING:
    from peft import PeftModel

    from train.trainer import Rows, Score

VERSION = 2
"""Of the method; an adapter of another one is not taken for the same."""

VALIDATION_ROWS = 64
"""Rows of the validation split that are validated on, where it has any: before training and at each validation."""

LIBRARIES = ("accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl")


def train(
    version: Path,
    recipe: TrainingRecipe,
    store: Store,
    progress: Progress = silent,
    score: "Score | None" = None,
    force: bool = False,
    left_out: Collection[str] = (),
) -> Path:
    """Train an adapter, or find the one that the same inputs gave before.

    A run that was interrupted goes on from its last checkpoint and gives the adapter that it would have given. One that
    another process is at is waited for.

    Args:
        version: folder of a published data set version.
        recipe: names the base model, the chat template and the training settings.
        store: where the adapter is published.
        progress: told in tokens, so its rate is tokens per second.
        score: of answers to validation rows, where `keep_best` is neither the loss nor nothing.
        force: begin though the forecast says that memory or disk will not be enough.
        left_out: ids of rows that are neither trained nor validated on.

    Returns:
        The adapter's folder: adapter_model.safetensors, adapter_config.json, what `train.serving` writes beside them,
        steps.parquet, report.html and manifest.json.

    Raises:
        AssayError: the data set was made for another tokenizer or chat template, or a row cannot be trained; memory or
            disk will not be enough; or a loss or gradient is not finite.
    """
    settings = recipe.training
    base = prepare(recipe.fit.model, store.cache, progress)
    inputs = _inputs(version, recipe, base, score, left_out)
    libraries = installed(LIBRARIES)
    key = digest([inputs, libraries, arithmetic()])
    checkpoints = Checkpoints(store.cache / "training" / key, settings.save_total_limit)
    with turn(checkpoints.folder / "turn", "train", progress):  # the folder's own lock is held while one is written
        found = store.made_from("adapters", recipe.name, inputs)
        if found is None:
            found = _train(
                version, recipe, base, inputs, libraries, store, checkpoints, score, force, left_out, progress
            )
        else:
            progress("train (found in the store)", 1, 1, "adapters")
            store.record({"event": "adapters", "name": recipe.name, "version": found.name, "found": True})
        checkpoints.clear()
    return found


def find(
    version: Path,
    recipe: TrainingRecipe,
    store: Store,
    score: "Score | None" = None,
    left_out: Collection[str] = (),
    progress: Progress = silent,
) -> Path | None:
    """The adapter that `train` would find; None where it would train one.

    Raises:
        AssayError: the data set was made for another tokenizer or chat template.
    """
    base = prepare(recipe.fit.model, store.cache, progress)
    return store.made_from("adapters", recipe.name, _inputs(version, recipe, base, score, left_out))


def _inputs(
    version: Path, recipe: TrainingRecipe, base: BaseModel, score: "Score | None", left_out: Collection[str]
) -> dict[str, Any]:
    """From what an adapter is trained, as its manifest says it."""
    manifest = DatasetManifest.read(version)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", manifest.base.content(), base, template)
    inputs = AdapterInputs(
        method=VERSION,
        dataset=DatasetParent.of(manifest),
        base=BaseParent(model=base.name, **parents(base, template)),
        answers=recipe.render.answers,
        reasoning=recipe.render.reasoning,
        published=template.published,
        settings=recipe.training.deciding(),
        score=score.deciding if score is not None else None,
    ).content()
    if left_out:
        inputs["left_out"] = LeftOut(rows=len(left_out), ids_sha256=digest(sorted(left_out))).content()
    return inputs


def _train(
    version: Path,
    recipe: TrainingRecipe,
    base: BaseModel,
    inputs: dict[str, Any],
    libraries: dict[str, str],
    store: Store,
    checkpoints: Checkpoints,
    score: "Score | None",
    force: bool,
    left_out: Collection[str],
    progress: Progress,
) -> Path:
    """Train an adapter and publish it."""
    settings = recipe.training
    with quiet():
        from train.arguments import require_trackers, trackers_in
        from train.layout import training_layout
        from train.lora import adapted, tell_left_out
        from train.trainer import Rows, fit

    require_trackers(settings)
    renderer = renderer_of(recipe, base)
    audits = _audits(version, recipe, renderer, left_out)
    examples, validation = (each.require() for each in audits)
    _check_choice(settings, validation, score)
    told = foresee(configuration(base.folder), settings, examples, store.root, force)
    progress(told.line(), 1, 1, "forecasts")
    if told.short:
        give_back(MAPPED)
    model = adapted(base, settings)
    tell_left_out(model, progress)
    layout = training_layout(model, examples, checkpointing=settings.gradient_checkpointing, progress=progress)
    rows = Rows(examples, validation, score, layout)
    with trackers_in(store.root / "tracked", settings):
        history = fit(model, base, rows, settings, checkpoints, recipe.name, progress)

    def beside(folder: Path) -> None:
        write_chat(folder, base, renderer)
        write_notes(folder, base, renderer, _shortest(version, examples), settings)

    return _publish(model, base, rows, audits, history, recipe, inputs, libraries, store, beside)


def _publish(
    model: "PeftModel",
    base: BaseModel,
    rows: "Rows",
    audits: Sequence[Audit],
    history: History,
    recipe: TrainingRecipe,
    inputs: dict[str, Any],
    libraries: dict[str, str],
    store: Store,
    beside: Callable[[Path], None],
) -> Path:
    """Publish what was trained, with what its run told, and what `beside` writes into its folder."""
    if not all(tensor.isfinite().all() for tensor in weights_of(model).values()):
        raise AssayError(
            "The adapter's weights are not finite after the last step; nothing is published.",
            remedy="Lower training.learning_rate, or set training.max_grad_norm: 1.0.",
        )
    settings, best = recipe.training, history.best()
    gpu, computing = model.device.type == "cuda", str(compute_dtype(settings.dtype)).removeprefix("torch.")
    last = history.steps[-1].step
    kept = best.step if settings.keep_best and best is not None else last
    seen, trained = history.tokens(kept)

    run = Run(
        steps=last,
        planned=settings.epochs * history.steps_per_epoch,
        kept=kept,
        validations=[Validated(**each._asdict()) for each in history.validations],
        padding=round(history.padding(), 6),
    )

    def describe(folder: Path, content: dict[str, Any]) -> None:
        history.write(folder / STEPS)
        write_report(folder, AdapterManifest.model_validate(content), run, history)

    with store.publishing("adapters", recipe.name) as draft:
        save(model, base, draft.folder)
        beside(draft.folder)
        folder = draft.publish(
            {
                "name": recipe.name,
                "schema_version": 2,
                "inputs": inputs,
                "rows": TrainedRows(
                    train=len(rows.train),
                    train_ids_sha256=digest(sorted(example.id for example in rows.train)),
                    validation=len(rows.validation),
                    audit={problem: sum(each.counts[problem] for each in audits) for problem in audits[0].counts},
                ).content(),
                "tokens": TrainedTokens(seen=seen, trained=trained).content(),
                "loss": Loss(
                    train=history.epoch_losses(), validation=[each.loss for each in history.validations]
                ).content(),
                "run": run.content(),
                "compute": Compute(
                    device=model.device.type,
                    dtype="float32" if not gpu and settings.quantization == "none" else computing,
                    rows=rows.layout.rows,
                    rows_reason=rows.layout.reason,
                ).content(),
                "libraries": libraries,
            },
            describe,
        )
    seconds = history.seconds()
    store.record(
        {
            "event": "adapters",
            "name": recipe.name,
            "version": folder.name,
            "found": False,
            "seconds": round(seconds, 1),
            "tokens_per_second": round(sum(each.tokens for each in history.steps) / seconds, 1),
        }
    )
    return folder


def _check_choice(settings: TrainingSettings, validation: Sequence[Example], score: "Score | None") -> None:
    """See to it that there is something to choose a checkpoint by.

    Raises:
        AssayError: there are no rows to validate on, or none to score answers with.
    """
    chosen = settings.keep_best
    if not validation and (chosen or settings.early_stopping_patience):
        raise AssayError(
            f"training.{'keep_best' if chosen else 'early_stopping_patience'}: the validation split has no rows to "
            "choose a checkpoint by.",
            remedy="Give it some (split.validation in the recipe), or leave the key out.",
        )
    if score is None and chosen not in (None, "loss"):
        raise AssayError(
            f"training.keep_best: {chosen} is a score of answers, and nobody who trains was given one.",
            remedy="`assay train` and `assay.train` give it; or choose by `loss`.",
        )


def forecast(
    version: Path, recipe: TrainingRecipe, store: Store, measure: int = 0, progress: Progress = silent
) -> Forecast:
    """What training will take, whether it fits or not.

    Args:
        version: folder of a published data set version.
        recipe: names the base model, the chat template and the training settings.
        store: where the adapter would be published.
        measure: steps that are really run, after one to warm up, to tell the time; the model is loaded for them.
        progress: told in steps.

    Raises:
        AssayError: as `train`, but for a lack of memory or disk.
    """
    settings = recipe.training
    base = prepare(recipe.fit.model, store.cache, progress)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", DatasetManifest.read(version).base.content(), base, template)
    examples = _audits(version, recipe, renderer_of(recipe, base))[0].require()
    with quiet():
        from train import trainer  # noqa: F401  so that what it takes counts
        from train.measure import seconds_per_token

    told = foresee(configuration(base.folder), settings, examples, store.root, force=True)
    if not measure:
        return told
    took = seconds_per_token(base, settings, examples, measure, progress)
    return replace(told, seconds=took * told.tokens)


def renderer_of(recipe: TrainingRecipe, base: BaseTokenizer) -> Renderer:
    """What makes the tokens that are trained."""
    render = recipe.render
    template = ChatTemplate.load(render.chat, base.folder)
    return Renderer(template, *load_tokenizer(base.folder), render.answers, render.reasoning)


def _audits(
    version: Path, recipe: TrainingRecipe, renderer: Renderer, left_out: Collection[str] = ()
) -> tuple[Audit, Audit]:
    """The rows to train on and those to validate on, tokenised and looked at."""
    settings = recipe.training
    weights = DatasetManifest.read(version).recipe.get("balance", {}).get("weights", {})
    return (
        _audit(version, "train", settings.rows, settings, renderer, weights, left_out),
        _audit(version, "validation", VALIDATION_ROWS, settings, renderer, left_out=left_out),
    )


def _audit(
    version: Path,
    split: str,
    count: int,
    settings: TrainingSettings,
    renderer: Renderer,
    weights: Mapping[str, float] | None = None,
    left_out: Collection[str] = (),
) -> Audit:
    """Up to so many rows of a split, tokenised and looked at; none where the validation split has none.

    Raises:
        AssayError: there is no row to train on, or no row is short enough.
    """
    published = read_split(version, split, ["id", "label", "cluster", "tokens", "messages"])
    rows = [row for row in published if row["id"] not in left_out]
    if not rows and split == "train":
        raise AssayError(f"{version}: the train split has no rows.", remedy="Give it some: split.train in the recipe.")
    chosen = select(rows, count, settings.max_tokens, settings.seed, weights)
    if rows and not chosen:
        raise AssayError(
            f"{version}: no row of the {split} split has {settings.max_tokens} tokens or fewer.",
            remedy="Raise training.max_tokens in the recipe.",
        )
    return audit(chosen, renderer, settings.max_tokens)


def _shortest(version: Path, examples: Sequence[Example]) -> list[Message]:
    """The messages of the shortest row that was trained on."""
    shortest = min(examples, key=lambda example: (len(example.input_ids), example.id))
    rows = read_split(version, "train", ["id", "messages"])
    messages: list[Message] = next(row["messages"] for row in rows if row["id"] == shortest.id)
    return messages
