"""Training by Assay's batches and loss against plain trl.

The same rows of a published data set, in the same batches and order, train the same fresh adapter from the same seed,
in float32: by trl's SFTTrainer without gradient checkpointing, the peer, and by the same with `train.loss` in the place
of its collator and loss. The losses of each step must agree to 1e-4. Then both are given rows whose beginnings are
unlike, so that nothing is shared and the columns of the head are all that is saved. Last, trl trains as it comes: rows
in an order of its own, activations computed again.

    assay curate recipes/licences.yaml --store STORE
    python -m benchmarks.training STORE --rows 96
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from benchmarks.measure import show
from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from train.audit import encode
from train.base_model import BaseModel, prepare, quiet
from train.batches import WORTH_SHARING, Layout, length_grouped
from train.examples import Example, read_split, select
from train.layout import training_layout
from train.loss import answer_loss, collate
from train.methods.trained import adapted
from train.settings import TrainingRecipe, TrainingSettings

AS_IT_COMES = "trl as it comes"


class AsItComes(SFTTrainer):
    """trl's trainer, with a clock."""

    checkpointing = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        began = time.perf_counter()
        loss: torch.Tensor = super().training_step(*given, **named)
        self.seconds.append(time.perf_counter() - began)
        self.losses.append(loss.item())
        return loss


class Plain(AsItComes):
    """The same with rows in the order they are given, and activations kept."""

    checkpointing = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)


class Ours(Plain):
    """The same with our loss."""

    layout = Layout("padded")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        loss, trained = answer_loss(model, layout=self.layout, **inputs)
        return loss / trained


def trained(
    kind: type[AsItComes], base: BaseModel, examples: Sequence[Example], settings: TrainingSettings
) -> AsItComes:
    """A fresh adapter trained for an epoch; what the check of the layout takes is not a step's."""
    model = adapted(base, settings)
    layout = training_layout(model, examples) if kind is Ours else None
    rows = [{"input_ids": each.input_ids, "labels": each.labels} for each in examples]
    own: dict[str, Any] = {}
    if kind is Ours:
        own["data_collator"] = lambda rows: collate([r["input_ids"] for r in rows], [r["labels"] for r in rows])
    with tempfile.TemporaryDirectory() as scratch, quiet():
        trainer = kind(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                dataset_kwargs={"skip_prepare_dataset": True},
                max_length=None,
                remove_unused_columns=False,
                num_train_epochs=1,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                seed=settings.seed,
                bf16=False,
                gradient_checkpointing=kind.checkpointing,
                dataloader_pin_memory=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast.from_pretrained(base.folder, trust_remote_code=False),
            **own,
        )
        for parameter in model.parameters():
            if parameter.requires_grad:  # trl has made them bfloat16
                parameter.data = parameter.data.float()
        if isinstance(trainer, Ours) and layout is not None:
            trainer.layout = layout
        trainer.train()
    return trainer


def unlike(examples: Sequence[Example], seed: int) -> list[Example]:
    """The same rows, each begun by tokens of its own."""
    draw = random.Random(seed)
    beginnings = [draw.sample(range(1000, 40000), WORTH_SHARING) for _ in examples]
    return [
        Example(each.id, beginning + each.input_ids[WORTH_SHARING:], each.labels)
        for each, beginning in zip(examples, beginnings, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("store", type=Path, help="with a data set of the recipe's name")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).parent.parent / "recipes" / "licences.yaml")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--method", choices=["lora", "qlora"], default="lora")
    options = parser.parse_args(arguments)
    recipe, store = TrainingRecipe.load(options.recipe), Store(options.store)
    settings = recipe.training.model_copy(update={"method": options.method, "dtype": "float32"})
    version = store.resolve("datasets", recipe.name)
    base = prepare(recipe.fit.model, store.cache)
    template = ChatTemplate.load(recipe.render.chat, base.folder)
    renderer = Renderer(template, *load_tokenizer(base.folder), recipe.render.answers, recipe.render.reasoning)
    split = read_split(version, "train", ["id", "label", "cluster", "tokens", "messages"])
    chosen = encode(select(split, options.rows, settings.max_tokens, settings.seed), renderer)
    draw = torch.Generator().manual_seed(settings.seed)
    order = length_grouped([len(each.input_ids) for each in chosen], settings.batch_size, draw)
    examples = [chosen[index] for index in order]
    tokens = sum(len(each.input_ids) for each in examples)

    kinds: dict[str, type[Plain]] = {"assay": Ours, "trl": Plain}
    given = {"": examples, ", nothing shared": unlike(examples, settings.seed)}
    seconds: dict[str, list[float]] = {name + what: [] for what in given for name in kinds} | {AS_IT_COMES: []}
    apart = dict.fromkeys(given, 0.0)
    for _ in range(options.repeats):
        for what, rows in given.items():
            runs = {name: trained(kind, base, rows, settings) for name, kind in kinds.items()}
            for name, run in runs.items():
                seconds[name + what].append(sum(run.seconds))
                print(f"{name}{what}: {sum(run.seconds):.1f} s", flush=True)
            pairs = zip(runs["assay"].losses, runs["trl"].losses, strict=True)
            apart[what] = max(apart[what], *(abs(a - b) for a, b in pairs))
        seconds[AS_IT_COMES].append(sum(trained(AsItComes, base, examples, settings).seconds))
        print(f"{AS_IT_COMES}: {seconds[AS_IT_COMES][-1]:.1f} s", flush=True)
    medians = {name: median(each) for name, each in seconds.items()}
    rates = [[name, each, tokens / each] for name, each in medians.items()]
    show(f"{len(examples)} rows, {tokens:,} tokens, medians", ["", "seconds", "tokens/s"], rates)
    print(f"Losses of a step differ by at most {max(apart.values()):.1e}.")
    line = {
        "name": "training",
        "input": {
            "rows": len(examples),
            "tokens": tokens,
            "batch_size": settings.batch_size,
            "method": options.method,
        },
        "seconds": {name: [round(each, 2) for each in of] for name, of in seconds.items()},
        "ratio": {f"trl{what}": round(medians[f"trl{what}"] / medians[f"assay{what}"], 2) for what in given}
        | {AS_IT_COMES: round(medians[AS_IT_COMES] / medians["assay"], 2)},
        "losses_apart": {f"trl{what}": each for what, each in apart.items()},
    }
    print(json.dumps(line))
    assert max(apart.values()) < 1e-4, "the losses are those of trl"


if __name__ == "__main__":
    main()
