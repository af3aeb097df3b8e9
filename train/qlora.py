"""QLoRA: a published data set version -> an adapter that knows its parents."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from train.adapter import check_parents, parents, save
from train.base_model import compute_dtype, prepare, quiet
from train.examples import Example, encode, read_split, select
from train.manifest import (
    AdapterInputs,
    BaseParent,
    Compute,
    DatasetParent,
    Loss,
    TrainedRows,
    TrainedTokens,
)
from train.settings import TrainingRecipe, TrainingSettings

VERSION = 1
"""Of the method; an adapter of another one is not taken for the same."""

VALIDATION_ROWS = 64
"""Rows of the validation split that the loss is taken over, before training and after each epoch, where it has any."""

LIBRARIES = ("accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl")


def train(version: Path, recipe: TrainingRecipe, store: Store, progress: Progress = silent) -> Path:
    """Train an adapter, or find the one that the same inputs gave before.

    Args:
        version: folder of a published data set version.
        recipe: names the base model, the chat template and the training settings.
        store: where the adapter is published.
        progress: told in tokens, so its rate is tokens per second.

    Returns:
        The adapter's folder: adapter_model.safetensors, adapter_config.json and manifest.json.

    Raises:
        AssayError: the data set was made for another tokenizer or chat template, or a row cannot be trained.
    """
    settings = recipe.training
    manifest = DatasetManifest.read(version)
    base = prepare(recipe.fit.model, store.cache, progress)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    check_parents(f"Data set {version}", manifest.base.content(), base, template)
    inputs = AdapterInputs(
        method=VERSION,
        dataset=DatasetParent.of(manifest),
        base=BaseParent(model=base.name, **parents(base, template)),
        answers=recipe.render.answers,
        reasoning=recipe.render.reasoning,
        settings=settings.model_dump(mode="json"),
    ).content()
    event = {"event": "adapters", "name": recipe.name}
    found = store.made_from("adapters", recipe.name, inputs)
    if found is not None:
        progress("train (found in the store)", 1, 1, "adapters")
        store.record(event | {"version": found.name, "found": True})
        return found

    renderer = Renderer(template, *load_tokenizer(base.folder), recipe.render.answers, recipe.render.reasoning)
    weights = manifest.recipe.get("balance", {}).get("weights", {})
    examples = _examples(version, "train", settings.rows, settings, renderer, store, weights)
    validation = _examples(version, "validation", VALIDATION_ROWS, settings, renderer, store)
    with quiet():
        from train.trainer import adapted, fit

    model = adapted(base, settings)
    losses = fit(model, base, examples, validation, settings, progress)
    with store.publishing("adapters", recipe.name) as draft:
        save(model, base, draft.folder)
        folder = draft.publish(
            {
                "name": recipe.name,
                "schema_version": 1,
                "inputs": inputs,
                "rows": TrainedRows(
                    train=len(examples),
                    train_ids_sha256=digest(sorted(example.id for example in examples)),
                    validation=len(validation),
                ).content(),
                "tokens": TrainedTokens(
                    seen=settings.epochs * sum(len(example.input_ids) for example in examples),
                    trained=settings.epochs * sum(example.trained for example in examples),
                ).content(),
                "loss": Loss(train=losses.train, validation=losses.validation).content(),
                "compute": Compute(
                    device=model.device.type, dtype=str(compute_dtype()).removeprefix("torch.")
                ).content(),
                "libraries": {library: importlib.metadata.version(library) for library in LIBRARIES},
            }
        )
    store.record(
        event
        | {
            "version": folder.name,
            "found": False,
            "seconds": round(losses.seconds, 1),
            "tokens_per_second": round(losses.tokens / losses.seconds, 1),
        }
    )
    return folder


def _examples(
    version: Path,
    split: str,
    count: int,
    settings: TrainingSettings,
    renderer: Renderer,
    store: Store,
    weights: Mapping[str, float] | None = None,
) -> list[Example]:
    """Up to so many rows of a split, encoded; none where the validation split has none.

    Raises:
        AssayError: there is no row to train on, or no row is short enough, or one cannot be trained.
    """
    rows = read_split(version, split, ["id", "label", "cluster", "tokens", "messages"])
    if not rows and split == "train":
        raise AssayError(f"{version}: the train split has no rows.", remedy="Give it some: split.train in the recipe.")
    examples = encode(select(rows, count, settings.max_tokens, settings.seed, weights), renderer)
    if rows and not examples:
        raise AssayError(
            f"{version}: no row of the {split} split has {settings.max_tokens} tokens or fewer.",
            remedy="Raise training.max_tokens in the recipe.",
        )
    return examples
