"""Answers: trl's trainer with our own batches, mask, loss and order.

trl prepares nothing here. It would cut rows at its `max_length`, drop the rows of which that leaves no answer, and take
its own view of the mask; what it is given is what is trained.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from curate.hashing import digest
from curate.progress import Progress, silent
from train.arguments import arguments, let_go
from train.base_model import BaseModel, quiet
from train.batches import Batch, length_grouped
from train.checkpoints import Checkpoints
from train.history import History
from train.loop import Loop, Rows
from train.loss import answer_loss, collate, drawn_loss
from train.methods.trained import put_weights
from train.optimizers import Sophia, gauss_newton_bartlett, taken_by
from train.settings import TrainingSettings
from train.sharded import Whole, deal_out

if TYPE_CHECKING:
    from train.methods.trained import Trained


def fit(
    model: "Trained",
    base: BaseModel,
    rows: Rows,
    settings: TrainingSettings,
    checkpoints: Checkpoints,
    name: str = "",
    progress: Progress = silent,
    kind: "type[Loop] | None" = None,
) -> History:
    """Train a model in place; go on from the run's last checkpoint, where there is one.

    What a run that was killed gives is what it would have given: the order of rows is a function of seed and epoch, and
    a checkpoint holds the adapter, the optimizer's moments, the schedule, the random generators and the history.

    Args:
        model: what `adapted` gave.
        base: the model it was made of.
        rows: what is trained on and validated on.
        settings: of the recipe.
        checkpoints: of the run.
        name: of the run, for trackers.
        progress: told in tokens.
        kind: of trainer, by the objective; by default that of answers.

    Returns:
        The history. The model is as it was after the last step, or after the best validation by `keep_best`.

    Raises:
        NotFinite: a loss or a gradient is not; names step and rows.
        Pruned: `rows.hopeless` said so.
    """
    processes = rows.processes
    device = "cuda" if torch.cuda.is_available() else "cpu"  # what is to be dealt out is still elsewhere
    with quiet():
        kind = kind or Trainer
        tokenizer = PreTrainedTokenizerFast.from_pretrained(base.folder, trust_remote_code=False)
        made = kind.made_of(rows, settings, model, tokenizer)
        args = arguments(settings, name, checkpoints.folder, device, *kind.arguments(settings))
        trained = (name for name, weight in model.named_parameters() if weight.requires_grad)
        args.ddp_find_unused_parameters = any("expert" in name for name in trained)  # one may get no token of a step
        trainer = kind(
            rows,
            settings,
            checkpoints,
            progress,
            model=model,
            args=args,
            processing_class=tokenizer,
            **made,
        )
        for parameter in model.parameters():
            if parameter.requires_grad:  # trl has made them bfloat16, too coarse for small steps
                parameter.data = parameter.data.float()
        if instead := taken_by(settings.optim, device)[1]:
            progress(instead, 1, 1, "optimizers")
        if processes.count > 1:  # each with noise of its own
            torch.manual_seed(int(digest([settings.seed, processes.number])[:15], 16))
        if processes.strategy == "fsdp":
            deal_out(model)
        trainer.before_training()
        last = processes.led(lambda: checkpoints.last(progress))
        trainer.args.eval_on_start = bool(rows.validation) and last is None
        with trainer.noise:
            try:
                trainer.train(resume_from_checkpoint=None if last is None else str(last))
            finally:
                let_go(trainer.callback_handler.callbacks)
                if trainer.state.global_step < trainer.state.max_steps:
                    progress("train", trainer.seen, trainer.seen, trainer.unit)
        if settings.keep_best and trainer.best is not None:
            put_weights(model, trainer.best)
    return trainer.history


def batch_of(collated: dict[str, torch.Tensor]) -> Batch:
    """The batch of what `train.loss.collate` gives."""
    return Batch(**{name: collated[name] for name in ("prefix", "input_ids", "attention_mask")})


class Trainer(Loop, SFTTrainer):
    """Answers: trl's trainer with the loss and the order of this package."""

    loss_is_scaled_for_ga = True  # type: ignore[assignment]
    """`compute_loss` has divided by the trained tokens of all batches of the step."""

    @classmethod
    def arguments(cls, settings: TrainingSettings) -> tuple[type[Any], dict[str, Any]]:
        return SFTConfig, {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}

    @classmethod
    def made_of(cls, rows: Rows, settings: TrainingSettings, model: "Trained", tokenizer: Any) -> dict[str, Any]:
        examples = [{"row": n, "input_ids": e.input_ids, "labels": e.labels} for n, e in enumerate(rows.train)]
        return {"data_collator": cls.collator(rows), "train_dataset": Dataset.from_list(examples)}

    @classmethod
    def collator(cls, rows: Rows) -> Callable[[Sequence[dict[str, Any]]], dict[str, Any]]:
        """What makes a batch of rows of the data set: the numbers of all as `rows`, of those that are computed here as
        `here`, and what `summed_loss` takes."""

        def collate_answers(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
            here = rows.processes.share(batch) or batch[:1]  # which counts for nothing, where there are too few
            made = collate([row["input_ids"] for row in here], [row["labels"] for row in here])
            return {"rows": [row["row"] for row in batch], "here": [row["row"] for row in here], **made}

        return collate_answers

    def summed_loss(self, model: Any, rows: Sequence[int], inputs: dict[str, Any]) -> tuple[torch.Tensor, list[Batch]]:
        """The loss of some rows, in all, and the batches that were computed for it."""
        loss, _ = answer_loss(model, layout=self.layout, **inputs)
        return loss, [batch_of(inputs)]

    def told(self) -> dict[str, float]:
        return {
            "tokens": sum(self.lengths[row] for row in self.step_rows),
            "trained": sum(self.rows.train[row].trained for row in self.step_rows),
        }

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Whole batches, of which the collator takes this process's rows: accelerate would make more of them."""
        if self.processes.count == 1:
            return super().get_train_dataloader()
        rows: Any = self.train_dataset
        loader: DataLoader[Any] = DataLoader(
            rows,
            batch_size=self.settings.batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return prepare_data_loader(loader, num_processes=1, process_index=0)  # type: ignore[no-any-return]

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        if self.processes.count == 1:
            return super()._wrap_model(model, training, dataloader)
        self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)  # what is computed in
        whole_model = Whole(self.adapter)
        if self.processes.strategy == "fsdp":
            return whole_model
        return self.accelerator.prepare_model(whole_model, device_placement=False)

    def _get_train_sampler(self, train_dataset: Any = None) -> "ByLength":
        return ByLength(self.lengths, self.settings.batch_size, self.settings.seed)

    def _get_num_items_in_batch(self, batch_samples: Sequence[dict[str, Any]], device: Any) -> int:
        return sum(self.rows.train[row].trained for batch in batch_samples for row in batch["rows"])

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        rows, here = inputs.pop("rows"), inputs.pop("here")
        self.noise.real = inputs.get("attention_mask")  # preferences take no noise
        if self.sophia is not None and self.sophia.due and not self.step_rows:  # of a step's first batch
            self._estimate_curvature(self.sophia, inputs)
        self.step_rows += rows
        counted, work = dict(self.counts), partial(self.summed_loss, rows=here, inputs=inputs)
        loss, batches = work(model) if self.processes.count == 1 else model(work)
        if self.lost is None and not math.isfinite(value := loss.item()):
            self.lost = self._not_finite("the loss", value, here)
        for batch in batches:
            padding, computed = batch.padding(self.layout)
            self.counts["computed"] += computed
            self.counts["padding"] += padding
        if self.processes.number >= len(rows):  # all of them are computed by other processes
            loss, self.counts = 0 * loss, counted
        self.seen += sum(self.lengths[row] for row in rows)
        total = int(self.args.num_train_epochs) * sum(self.lengths) - self.before
        self.progress("train", self.seen, total, "tokens")
        mean: torch.Tensor = loss / num_items_in_batch * self.processes.count  # gradients of processes are averaged
        return mean

    def _estimate_curvature(self, sophia: Sophia, inputs: dict[str, Any]) -> None:
        loss, tokens = drawn_loss(self.adapter, layout=self.layout, **inputs)
        estimate = gauss_newton_bartlett(loss, tokens, sophia.weights)
        sophia.estimated([self.accelerator.reduce(each, "mean") for each in estimate])


class ByLength(Sampler[int]):
    """Rows of like length together, in an order that is a function of seed and epoch."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(int(digest([self.seed, self.epoch])[:15], 16))
        return iter(length_grouped(self.lengths, self.batch_size, generator))
