"""QLoRA: a published data set version -> an adapter that knows its parents."""

import importlib.metadata
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.hashing import digest
from curate.progress import Progress, silent
from curate.recipe import Recipe, TrainingSettings
from curate.render import IGNORED, ChatTemplate, Renderer, load_tokenizer
from curate.store import Store, read_manifest
from train.adapter import check_parents, parents, save
from train.base_model import BaseModel, compute_dtype, load_model, prepare, quiet
from train.batches import Batch, forward, lay_out, length_grouped
from train.examples import Example, encode, read_split, select

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

VERSION = 1
"""Of the method; an adapter of another one is not taken for the same."""

VALIDATION_ROWS = 64
"""Rows of the validation split that the loss is taken over, before training and after each epoch."""

WARMUP = 0.05
"""Share of the steps in which the learning rate rises; then it falls in a straight line to zero."""

LIBRARIES = ("accelerate", "bitsandbytes", "peft", "torch", "transformers", "trl")


def train(version: Path, recipe: Recipe, store: Store, progress: Progress = silent) -> Path:
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
    manifest = read_manifest(version)
    base = prepare(recipe.fit.model, store.cache, progress)
    template = ChatTemplate(recipe.render.chat)
    check_parents(f"Data set {version}", manifest["base"], base, template)
    inputs = {
        "method": VERSION,
        "dataset": {"name": manifest["name"], "version": manifest["version"], "manifest_sha256": digest(manifest)},
        "base": {"model": base.name} | parents(base, template),
        "answers": recipe.render.answers,
        "settings": settings.model_dump(mode="json"),
    }
    event = {"event": "adapters", "name": recipe.name}
    for folder in store.versions("adapters", recipe.name):
        if read_manifest(folder)["inputs"] == inputs:
            progress("train (found in the store)", 1, 1, "adapters")
            store.record(event | {"version": folder.name, "found": True})
            return folder

    renderer = Renderer(template, *load_tokenizer(base.folder), recipe.render.answers)
    examples, validation = (
        encode(
            select(
                read_split(version, split, ["id", "label", "cluster", "tokens", "messages"], store.cache),
                count,
                settings.max_tokens,
                settings.seed,
            ),
            renderer,
        )
        for split, count in (("train", settings.rows), ("validation", VALIDATION_ROWS))
    )
    if not examples:
        raise AssayError(
            f"{version}: no row of the train split has {settings.max_tokens} tokens or fewer.",
            remedy="Raise training.max_tokens in the recipe.",
        )
    model = adapted(base, settings)
    losses = fit(model, base, examples, validation, settings, progress)
    with store.publishing("adapters", recipe.name) as draft:
        save(model, base, draft.folder)
        folder = draft.publish(
            {
                "name": recipe.name,
                "schema_version": 1,
                "inputs": inputs,
                "rows": {
                    "train": len(examples),
                    "train_ids_sha256": digest(sorted(example.id for example in examples)),
                    "validation": len(validation),
                },
                "tokens": {
                    "seen": settings.epochs * sum(len(example.input_ids) for example in examples),
                    "trained": settings.epochs * sum(example.trained for example in examples),
                },
                "loss": {"train": losses.train, "validation": losses.validation},
                "compute": {"device": model.device.type, "dtype": str(compute_dtype()).removeprefix("torch.")},
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


@dataclass
class Losses:
    """What training told: mean negative log-likelihood (nats) of a trained token, and how fast it went."""

    train: list[float] = field(default_factory=list)
    """Over each epoch, while it was being trained."""
    validation: list[float] = field(default_factory=list)
    """Before training and after each epoch."""
    tokens: int = 0
    """Seen in training, prompts included, padding not."""
    seconds: float = 0.0
    """Spent in training, validation left out."""


def adapted(base: BaseModel, settings: TrainingSettings) -> "PeftModel":
    """The base model with a fresh LoRA adapter on all linear layers but the head; untrained, it changes nothing."""
    with quiet():
        from peft import LoraConfig, get_peft_model
        from transformers import set_seed

        set_seed(settings.seed)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model: PeftModel = get_peft_model(load_model(base, settings.quantization), config)
    return model


def fit(
    model: "PeftModel",
    base: BaseModel,
    examples: Sequence[Example],
    validation: Sequence[Example],
    settings: TrainingSettings,
    progress: Progress = silent,
) -> Losses:
    """Train a model's adapter on examples, in place.

    trl prepares nothing here: it would cut rows at its `max_length`, drop rows of which that leaves no answer, and
    take its own view of the mask. What it is given is what is trained.

    Returns:
        The losses; `validation` holds NaN where there is no example to validate on.
    """
    with quiet():
        import torch
        from datasets import Dataset
        from torch.utils.data import Sampler
        from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
        from trl import SFTConfig, SFTTrainer

    losses = Losses()
    lengths = [len(example.input_ids) for example in examples]
    total = settings.epochs * sum(lengths)

    class ByLength(Sampler[int]):
        """A new order every epoch."""

        generator = torch.Generator().manual_seed(settings.seed)

        def __len__(self) -> int:
            return len(lengths)

        def __iter__(self) -> Iterator[int]:
            return iter(length_grouped(lengths, settings.batch_size, self.generator))

    class Trainer(SFTTrainer):
        loss_sum = 0.0
        trained = 0

        def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
            return ByLength()

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> "torch.Tensor":
            loss, trained = answer_loss(model, **inputs)
            self.loss_sum += loss.item()
            self.trained += trained
            losses.tokens += int(inputs["attention_mask"].sum()) + len(inputs["targets"])
            progress("train", losses.tokens, total, "tokens")
            return loss / trained

    class Validate(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            losses.validation.append(mean_loss(model, validation, settings.batch_size))
            self.begin = time.perf_counter()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            losses.seconds += time.perf_counter() - self.begin
            losses.train.append(trainer.loss_sum / trainer.trained)
            trainer.loss_sum, trainer.trained = 0.0, 0
            losses.validation.append(mean_loss(model, validation, settings.batch_size))
            self.begin = time.perf_counter()

    with tempfile.TemporaryDirectory(prefix="assay-train-") as scratch, quiet():
        trainer = Trainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                dataset_kwargs={"skip_prepare_dataset": True},
                max_length=None,
                remove_unused_columns=False,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=WARMUP,
                seed=settings.seed,
                bf16=model.device.type == "cuda" and compute_dtype().itemsize == 2,
                gradient_checkpointing=False,
                dataloader_pin_memory=model.device.type == "cuda",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            data_collator=lambda rows: collate([row["input_ids"] for row in rows], [row["labels"] for row in rows]),
            train_dataset=Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples]),
            processing_class=PreTrainedTokenizerFast.from_pretrained(base.folder),
            callbacks=[Validate()],
        )
        for parameter in model.parameters():
            if parameter.requires_grad:  # trl has made them bfloat16, too coarse for small steps
                parameter.data = parameter.data.float()
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return losses


def collate(input_ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> dict[str, "torch.Tensor"]:
    """A batch to train on: the fields of `Batch`, and `targets`.

    A row's last token is only ever a target, so it is left out of the input. `targets` (B, K) are the tokens that
    follow those of the last K columns, K being what the longest stretch from a first trained token to its end needs.
    """
    import torch

    needed = [len(row) - max(1, next(i for i, label in enumerate(row) if label != IGNORED)) for row in labels]
    batch = lay_out([row[:-1] for row in input_ids], needed)
    targets = torch.full((len(labels), max(needed)), IGNORED)
    for index, (row, tail) in enumerate(zip(labels, needed, strict=True)):
        targets[index, -tail:] = torch.tensor(row[-tail:])
    return {**vars(batch), "targets": targets}


def answer_loss(model: Any, targets: "torch.Tensor", **batch: "torch.Tensor") -> "tuple[torch.Tensor, int]":
    """Summed negative log-likelihood of the trained tokens, and how many they are.

    The head is computed at the columns that have targets only, and what all rows begin with is computed once; the loss
    and its gradients are those of the plain computation.
    """
    import torch

    logits, _ = forward(model, Batch(**batch), keep=targets.shape[1])
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return loss, int((targets != IGNORED).sum())


def mean_loss(model: "PeftModel", examples: Sequence[Example], batch_size: int) -> float:
    """Mean negative log-likelihood (nats) of the examples' trained tokens; NaN if there are none."""
    import torch

    total, trained = 0.0, 0
    training = model.training
    model.eval()
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    with torch.inference_mode():
        for begin in range(0, len(by_length), batch_size):
            rows = by_length[begin : begin + batch_size]
            batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
            loss, count = answer_loss(model, **{name: tensor.to(model.device) for name, tensor in batch.items()})
            total, trained = total + loss.item(), trained + count
    model.train(training)
    return total / trained if trained else float("nan")
