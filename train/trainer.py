"""The training loop: trl's, with our own batches, mask and loss.

trl prepares nothing here. It would cut rows at its `max_length`, drop the rows of which that leaves no answer, and take
its own view of the mask; what it is given is what is trained.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from curate.progress import Progress, silent
from train.base_model import BaseModel, compute_dtype, load_model, quiet
from train.batches import PADDED, Batch, Layout, length_grouped
from train.examples import Example
from train.layout import training_layout
from train.loss import answer_loss, collate, mean_loss
from train.settings import TrainingSettings

WARMUP = 0.05
"""Share of the steps in which the learning rate rises; then it falls in a straight line to zero."""


@dataclass
class Losses:
    """What training told: mean negative log-likelihood (nats) of a trained token, and how fast it went."""

    train: list[float] = field(default_factory=list)
    """Over each epoch, while it was being trained."""
    validation: list[float] = field(default_factory=list)
    """Before training and after each epoch; none without rows to validate on."""
    tokens: int = 0
    """Seen in training, prompts included, padding not."""
    seconds: float = 0.0
    """Spent in training, validation left out."""
    layout: Layout = PADDED
    """Of the batches."""
    padding: int = 0
    """Tokens of padding that were computed in training."""
    computed: int = 0
    """Tokens that were computed in training, padding among them; what rows shared counts once."""

    def batches(self) -> dict[str, Any]:
        """What a manifest says of the batches."""
        share = round(self.padding / self.computed, 4)
        return {"rows": self.layout.rows, "rows_reason": self.layout.reason, "padding_share": share}


def adapted(base: BaseModel, settings: TrainingSettings) -> PeftModel:
    """The base model with a fresh LoRA adapter on all linear layers but the head; untrained, it changes nothing."""
    set_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with quiet():
        model: PeftModel = get_peft_model(load_model(base, settings.quantization), config)
    return model


def fit(
    model: PeftModel,
    base: BaseModel,
    examples: Sequence[Example],
    validation: Sequence[Example],
    settings: TrainingSettings,
    progress: Progress = silent,
) -> Losses:
    """Train a model's adapter on examples, in place.

    Args:
        model: what `adapted` gave.
        base: the model it was made of.
        examples: at least one.
        validation: the loss over them, if there are any, is taken before training and after each epoch.
        settings: of the recipe.
        progress: told in tokens.
    """
    gpu, dtype = model.device.type == "cuda", compute_dtype()
    with tempfile.TemporaryDirectory(prefix="assay-train-") as scratch, quiet():
        trainer = Trainer(
            examples,
            validation,
            progress,
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
                bf16=gpu and dtype == torch.bfloat16,
                fp16=gpu and dtype == torch.float16,
                gradient_checkpointing=False,
                dataloader_pin_memory=gpu,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            data_collator=lambda rows: collate([row["input_ids"] for row in rows], [row["labels"] for row in rows]),
            train_dataset=Dataset.from_list([{"input_ids": e.input_ids, "labels": e.labels} for e in examples]),
            processing_class=PreTrainedTokenizerFast.from_pretrained(base.folder, trust_remote_code=False),
        )
        for parameter in model.parameters():
            if parameter.requires_grad:  # trl has made them bfloat16, too coarse for small steps
                parameter.data = parameter.data.float()
        trainer.losses.layout = training_layout(
            model, examples, checkpointing=settings.gradient_checkpointing, progress=progress
        )
        trainer.train()
    return trainer.losses


class Trainer(SFTTrainer):
    """trl's trainer with the loss and the order of this module."""

    def __init__(
        self, examples: Sequence[Example], validation: Sequence[Example], progress: Progress, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.remove_callback(PrinterCallback)
        self.add_callback(Validate(self, validation, progress))
        self.losses = Losses()
        self.progress = progress
        self.lengths = [len(example.input_ids) for example in examples]
        self.loss_sum, self.trained = 0.0, 0

    def _get_train_sampler(self, train_dataset: Any = None) -> "ByLength":
        return ByLength(self.lengths, self.args.per_device_train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        loss, trained = answer_loss(model, layout=self.losses.layout, **inputs)
        batch = Batch(**{name: inputs[name] for name in ("prefix", "input_ids", "attention_mask")})
        padding, computed = batch.padding(self.losses.layout)
        self.losses.padding += padding
        self.losses.computed += computed
        self.loss_sum += loss.item()
        self.trained += trained
        self.losses.tokens += int(inputs["attention_mask"].sum()) + len(inputs["targets"])
        total = int(self.args.num_train_epochs) * sum(self.lengths)
        self.progress("train", self.losses.tokens, total, "tokens")
        return loss / trained


class ByLength(Sampler[int]):
    """Rows of like length together, in a new order every epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(length_grouped(self.lengths, self.batch_size, self.generator))


class Validate(TrainerCallback):
    """Takes the validation loss before training and after each epoch, and the time between."""

    def __init__(self, trainer: Trainer, validation: Sequence[Example], progress: Progress) -> None:
        self.trainer = trainer
        self.validation = validation
        self.progress = progress
        self.begin = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._validate()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        trainer, losses = self.trainer, self.trainer.losses
        losses.seconds += time.perf_counter() - self.begin
        losses.train.append(trainer.loss_sum / trainer.trained)
        trainer.loss_sum, trainer.trained = 0.0, 0
        self._validate()

    def _validate(self) -> None:
        if self.validation:
            batch_size = self.trainer.args.per_device_train_batch_size
            loss = mean_loss(self.trainer.model, self.validation, batch_size, self.progress, self.trainer.losses.layout)
            self.trainer.losses.validation.append(loss)
        self.begin = time.perf_counter()
