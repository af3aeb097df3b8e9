"""The training loop: trl's, with our own batches, mask, loss, order and checkpoints.

trl prepares nothing here. It would cut rows at its `max_length`, drop the rows of which that leaves no answer, and take
its own view of the mask; what it is given is what is trained.
"""

import math
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from trl import SFTTrainer

from curate.errors import AssayError
from curate.hashing import digest
from curate.progress import Progress, note, silent
from train.arguments import arguments
from train.base_model import BaseModel, quiet
from train.batches import PADDED, Batch, Layout, length_grouped
from train.checkpoints import Checkpoints, step_of
from train.examples import Example
from train.history import History
from train.loss import answer_loss, collate, drawn_loss, mean_loss
from train.methods.trained import put_weights, weights_of
from train.neftune import Noise
from train.optimizers import Sophia, gauss_newton_bartlett, optimizer, taken_by
from train.processes import ALONE, Processes
from train.settings import TrainingSettings
from train.sharded import Whole, deal_out, dealt_state, whole

if TYPE_CHECKING:
    from train.methods.trained import Trained
    from train.preferences import Pair

WEIGHTS, BEST = "trained.safetensors", "best.safetensors"
"""What is trained, after the step and after the best validation so far, in a checkpoint."""
SCALES = ("ia3_l", "lora_magnitude_vector")
"""Parts of the names of weights that scale others."""
OFTEN = 300.0
"""Seconds after which a checkpoint is due."""
SHARE = 0.01
"""Of the time, that checkpoints may take."""


class Score(Protocol):
    """How good the answers are that a model gives to the validation rows; the more, the better."""

    @property
    def deciding(self) -> dict[str, Any]:
        """What the score depends on besides the model and the data set, as JSON has it."""

    def __call__(self, model: "Trained", /) -> float: ...


@dataclass(frozen=True)
class Rows:
    """What a run is about."""

    train: Sequence[Example]
    """At least one."""
    validation: Sequence[Example]
    """None where there are none to validate on."""
    score: Score | None = None
    """Of answers to them, where `keep_best` names one."""
    layout: Layout = PADDED
    """How closely rows of a batch are put together."""
    pairs: "Sequence[Pair]" = ()
    """Of which `train` has each as one row, where preferences are trained."""
    processes: Processes = ALONE
    """That take each step together."""


def fit(
    model: "Trained",
    base: BaseModel,
    rows: Rows,
    settings: TrainingSettings,
    checkpoints: Checkpoints,
    name: str = "",
    progress: Progress = silent,
    kind: "type[Trainer] | None" = None,
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
        AssayError: a loss or a gradient is not finite; names step and rows.
    """
    processes = rows.processes
    device = "cuda" if torch.cuda.is_available() else "cpu"  # what is to be dealt out is still elsewhere
    told = arguments(settings, name, checkpoints.folder, device)
    trained = (name for name, weight in model.named_parameters() if weight.requires_grad)
    told.ddp_find_unused_parameters = any("expert" in name for name in trained)  # one may get no token of a step
    with quiet():
        kind = kind or Trainer
        trainer = kind(
            rows,
            settings,
            checkpoints,
            progress,
            model=model,
            args=told,
            data_collator=kind.collator(rows),
            train_dataset=Dataset.from_list(
                [{"row": n, "input_ids": e.input_ids, "labels": e.labels} for n, e in enumerate(rows.train)]
            ),
            processing_class=PreTrainedTokenizerFast.from_pretrained(base.folder, trust_remote_code=False),
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
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        if settings.keep_best and trainer.best is not None:
            put_weights(model, trainer.best)
    if trainer.state.global_step < trainer.state.max_steps:
        progress("train", trainer.seen, trainer.seen, "tokens")
    return trainer.history


def batch_of(collated: dict[str, torch.Tensor]) -> Batch:
    """The batch of what `train.loss.collate` gives."""
    return Batch(**{name: collated[name] for name in ("prefix", "input_ids", "attention_mask")})


class Trainer(SFTTrainer):
    """trl's trainer with the loss, the order and the checkpoints of this package."""

    loss_is_scaled_for_ga = True  # type: ignore[assignment]
    """`compute_loss` has divided by the trained tokens of all batches of the step."""

    def __init__(
        self, rows: Rows, settings: TrainingSettings, checkpoints: Checkpoints, progress: Progress, **known: Any
    ) -> None:
        super().__init__(**known)
        self.adapter: Trained = known["model"]
        self.rows = rows
        self.layout = rows.layout
        self.settings = settings
        self.noise = Noise(self.adapter, settings.neftune_noise_alpha)
        self.sophia: Sophia | None = None
        self.checkpoints = checkpoints
        self.processes = rows.processes
        self.progress = progress
        self.lengths = [len(example.input_ids) for example in rows.train]
        batches = math.ceil(len(rows.train) / settings.batch_size)
        self.steps_per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
        self.best: dict[str, torch.Tensor] | None = None
        self.seen = self.before = 0
        """Tokens trained on since this run began, and before."""
        self.begun = self.saved = time.perf_counter()
        """When the step began, and when the last checkpoint was complete."""
        self.passed = self.saving = 0.0
        """Seconds since it was complete, as the first process has it, and those that it took."""
        self.step_rows: list[int] = []
        """Of all processes."""
        self.counts: dict[str, float] = {"computed": 0, "padding": 0}
        """What the step's batches come to, as it is told."""
        self.lost: AssayError | None = None
        """The step's first loss that is not finite."""
        self.remove_callback(PrinterCallback)
        self.add_callback(Watch(self))

    @property
    def history(self) -> History:
        """Of the run so far, in whichever processes."""
        return History.of(self.state.log_history, self.steps_per_epoch)

    @classmethod
    def collator(cls, rows: Rows) -> Callable[[Sequence[dict[str, Any]]], dict[str, Any]]:
        """What makes a batch of rows of the data set: the numbers of all as `rows`, of those that are computed here as
        `here`, and what `summed_loss` takes."""

        def collate_answers(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
            here = rows.processes.share(batch) or batch[:1]  # which counts for nothing, where there are too few
            made = collate([row["input_ids"] for row in here], [row["labels"] for row in here])
            return {"rows": [row["row"] for row in batch], "here": [row["row"] for row in here], **made}

        return collate_answers

    def before_training(self) -> None:
        """Called with the model as it is before the first step, also where a run goes on."""

    def summed_loss(self, model: Any, rows: Sequence[int], inputs: dict[str, Any]) -> tuple[torch.Tensor, list[Batch]]:
        """The loss of some rows, in all, and the batches that were computed for it."""
        loss, _ = answer_loss(model, layout=self.layout, **inputs)
        return loss, [batch_of(inputs)]

    def _send_telemetry(self) -> None:
        """trl would tell its makers of the run."""

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimizer that the recipe names."""
        if self.optimizer is None:
            decayed = self.get_decay_parameter_names(self.adapter)
            self.optimizer = optimizer(self.adapter, self.settings, decayed)
            self.sophia = self.optimizer if isinstance(self.optimizer, Sophia) else None
        return self.optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Whole batches, of which the collator takes this process's rows: accelerate would make more of them."""
        if self.processes.count == 1:
            return super().get_train_dataloader()
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_size=self.settings.batch_size,
            sampler=self._get_train_sampler(),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        made: DataLoader[Any] = prepare_data_loader(loader, num_processes=1, process_index=0)
        return made

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

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Those that decay: neither biases nor norms, nor what else scales: decay would turn it down, not off."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not any(scale in name for scale in SCALES)]

    def get_batch_samples(self, *args: Any) -> Any:
        """The batches of the next step, and how many tokens of them are trained."""
        self.begun = time.perf_counter()
        self.step_rows, self.counts, self.lost = [], {"computed": 0, "padding": 0}, None
        return super().get_batch_samples(*args)

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

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        told = self.processes.gathered((self.lost, self.counts, time.perf_counter() - self.saved, self.saving))
        for lost, *_ in told:
            if lost is not None:
                raise lost
        self.counts = {name: sum(counts[name] for _, counts, *_ in told) for name in self.counts}
        *_, self.passed, self.saving = told[0]
        scaler = self.accelerator.scaler  # which makes float16's scale smaller, and skips the step
        if not math.isfinite(value := float(norm)) and (scaler is None or scaler.get_scale() <= 1):
            raise self._not_finite("the norm of the gradient", value, self.step_rows)
        return norm

    def _not_finite(self, what: str, value: float, rows: Sequence[int]) -> AssayError:
        kept = self.checkpoints.last()
        named = ", ".join(self.rows.train[row].id for row in rows)
        return AssayError(
            f"Step {self.state.global_step + 1}: {what} is {value}; nothing is published. The learning rate was "
            f"{self._get_learning_rate():.3g}, the rows: {named}.",
            remedy="Look at these rows; lower training.learning_rate, or set training.max_grad_norm: 1.0 and a longer "
            "training.warmup_ratio; with float16, try training.dtype: float32."
            + (f" The run until step {step_of(kept)} is kept in {kept}." if kept else ""),
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Told of each step and validation: keeps it, and passes it on to trackers."""
        if "loss" in logs:
            tokens = sum(self.lengths[row] for row in self.step_rows)
            logs |= self.counts
            logs["tokens"] = tokens
            logs["trained"] = sum(self.rows.train[row].trained for row in self.step_rows)
            logs["tokens_per_second"] = tokens / (time.perf_counter() - self.begun)
            logs["memory_mib"] = _memory(self.adapter.device)
            if not math.isfinite(logs["grad_norm"]):
                del logs["grad_norm"]
            preferred = f", {logs['preferred']:.0%} preferred" if "preferred" in logs else ""
            note(self.progress, "train", f"loss {logs['loss']:.3f}{preferred}")
        super().log(logs, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Take the loss over the validation rows and, if the recipe asks for it, the score of answers to them."""
        # What is dealt out is computed by all at once or by none.
        told = self._validated() if self.processes.strategy == "fsdp" else self.processes.led(self._validated)
        self.log(dict(told))
        history = self.history
        best = history.best()
        if self.settings.keep_best and best is not None and best.step == self.state.global_step:
            self.best = weights_of(self.adapter)
        patience = self.settings.early_stopping_patience
        if patience is not None and history.without_better() >= patience:
            self.control.should_training_stop = True
            self.control.should_save = False  # so that one that goes on from here stops here too
        self.control.should_evaluate = False
        return told

    def _validated(self) -> dict[str, float]:
        validation, model = self.rows.validation, self.adapter
        loss = mean_loss(model, validation, self.settings.batch_size, self.progress, self.layout)
        if not math.isfinite(loss):
            raise AssayError(
                f"After step {self.state.global_step} the loss over the validation rows is {loss}; nothing is "
                "published.",
                remedy="Lower training.learning_rate, or try training.dtype: float32.",
            )
        told = {"eval_loss": loss}
        if self.rows.score is not None:
            model.eval()
            told["eval_score"] = self.rows.score(model)
            model.train()
        return told

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Keep what any number of processes can go on from; the random generators are those of so many."""
        began = time.perf_counter()
        taking: Any = self.optimizer
        schedule: Any = self.lr_scheduler
        weights, moments = weights_of(self.adapter), whole(taking.state_dict(), wanted=self.processes.first)
        generators = self.processes.gathered(self._generators())

        def write(folder: Path) -> None:
            save_file(weights, folder / WEIGHTS)
            if self.best is not None:
                save_file(self.best, folder / BEST)
            torch.save(moments, folder / OPTIMIZER_NAME)
            torch.save(schedule.state_dict(), folder / SCHEDULER_NAME)
            self._save_scaler(str(folder))
            for name, state in generators:
                (folder / name).write_bytes(state)
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

        self.processes.led(lambda: self.checkpoints.add(self.state.global_step, write))
        self.saved = time.perf_counter()
        self.saving = self.saved - began

    def _generators(self) -> tuple[str, bytes]:
        """The state of this process's random generators, by the name that transformers reads it by."""
        with tempfile.TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            (file,) = Path(folder).iterdir()
            return file.name, file.read_bytes()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.processes.strategy != "fsdp" or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        taking: Any = self.optimizer
        schedule: Any = self.lr_scheduler
        kept = (
            torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
        )
        taking.load_state_dict(dealt_state(next(kept), taking))
        schedule.load_state_dict(next(kept))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        put_weights(self.adapter, load_file(folder / WEIGHTS))
        if (folder / BEST).is_file():
            self.best = load_file(folder / BEST)


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


class Watch(TrainerCallback):
    """Says after which steps there is a validation or a checkpoint."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer = self.trainer
        trainer.saved = time.perf_counter()
        if state.global_step:
            trainer.before = sum(each.tokens for each in trainer.history.steps)
            what = f"train (goes on after step {state.global_step} of {state.max_steps})"
            trainer.progress(what, 1, 1, "checkpoints")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer, settings, step = self.trainer, self.trainer.settings, state.global_step
        due = step % (settings.eval_steps or trainer.steps_per_epoch) == 0 or step == state.max_steps
        control.should_evaluate = due and bool(trainer.rows.validation)
        if settings.save_steps:
            control.should_save = step % settings.save_steps == 0
        else:
            control.should_save = (due or trainer.passed >= OFTEN) and trainer.saving <= SHARE * trainer.passed


def _memory(device: torch.device) -> int:
    """MiB, the most so far: allocated on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
