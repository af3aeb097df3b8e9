"""The training loop: trl's, with our own batches, mask, loss, order and checkpoints.

trl prepares nothing here. It would cut rows at its `max_length`, drop the rows of which that leaves no answer, and take
its own view of the mask; what it is given is what is trained.
"""

import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from trl import SFTConfig, SFTTrainer

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
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import Trainer as Whole

    from train.methods.trained import Trained
    from train.preferences import Pair
    from train.reward import Asked
else:
    Whole = object

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
    asked: "Asked | None" = None
    """How the rows of `train` are asked, and what their answers are worth, where these are reinforced."""


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
        AssayError: a loss or a gradient is not finite; names step and rows.
    """
    with quiet():
        kind = kind or Trainer
        tokenizer = PreTrainedTokenizerFast.from_pretrained(base.folder, trust_remote_code=False)
        made = kind.made_of(rows, settings, model, tokenizer)
        known = settings, name, checkpoints.folder, model.device.type
        trainer = kind(
            rows,
            settings,
            checkpoints,
            progress,
            model=model,
            args=arguments(*known, *kind.arguments(settings)),
            processing_class=tokenizer,
            **made,
        )
        for parameter in model.parameters():
            if parameter.requires_grad:  # trl has made them bfloat16, too coarse for small steps
                parameter.data = parameter.data.float()
        if instead := taken_by(settings.optim, model.device.type)[1]:
            progress(instead, 1, 1, "optimizers")
        trainer.before_training()
        last = checkpoints.last(progress)
        trainer.args.eval_on_start = bool(rows.validation) and last is None
        with trainer.noise:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        if settings.keep_best and trainer.best is not None:
            put_weights(model, trainer.best)
    if trainer.state.global_step < trainer.state.max_steps:
        progress("train", trainer.seen, trainer.seen, trainer.unit)
    return trainer.history


def batch_of(collated: dict[str, torch.Tensor]) -> Batch:
    """The batch of what `train.loss.collate` gives."""
    return Batch(**{name: collated[name] for name in ("prefix", "input_ids", "attention_mask")})


class Loop(Whole):
    """What any of trl's trainers gets of this package: optimizer, checkpoints, validations, and what is told."""

    unit = "tokens"
    """Of what `seen` and `before` count."""

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
        self.progress = progress
        self.lengths = [len(example.input_ids) for example in rows.train]
        batches = math.ceil(len(rows.train) / settings.batch_size)
        self.steps_per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
        self.best: dict[str, torch.Tensor] | None = None
        self.seen = self.before = 0
        """Tokens, or what `unit` says, trained on in this process, and before it."""
        self.begun = self.saved = time.perf_counter()
        """When the step began, and when the last checkpoint was complete."""
        self.saving = 0.0
        """Seconds that it took."""
        self.step_rows: list[int] = []
        self.counts: dict[str, float] = {"computed": 0, "padding": 0}
        """What the step's batches come to, as it is told."""
        self.remove_callback(PrinterCallback)
        self.add_callback(Watch(self))

    @property
    def history(self) -> History:
        """Of the run so far, in whichever processes."""
        return History.of(self.state.log_history, self.steps_per_epoch)

    @classmethod
    def arguments(cls, settings: TrainingSettings) -> tuple[type[Any], dict[str, Any]]:
        """The class of trl's arguments, and those that are its own."""
        raise NotImplementedError

    @classmethod
    def made_of(cls, rows: Rows, settings: TrainingSettings, model: "Trained", tokenizer: Any) -> dict[str, Any]:
        """What trl's trainer is made of besides, once model and tokenizer are as it takes them."""
        raise NotImplementedError

    def before_training(self) -> None:
        """Called with the model as it is before the first step, also where a run goes on."""

    def goes_on(self) -> None:
        """Called where steps have been taken before."""
        self.before = sum(each.tokens for each in self.history.steps)

    def told(self) -> dict[str, float]:
        """What the step's rows come to."""
        raise NotImplementedError

    def _send_telemetry(self) -> None:
        """trl would tell its makers of the run."""

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimizer that the recipe names."""
        if self.optimizer is None:
            decayed = self.get_decay_parameter_names(self.adapter)
            self.optimizer = optimizer(self.adapter, self.settings, decayed)
            self.sophia = self.optimizer if isinstance(self.optimizer, Sophia) else None
        return self.optimizer

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Those that decay: neither biases nor norms, nor what else scales: decay would turn it down, not off."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not any(scale in name for scale in SCALES)]

    def get_batch_samples(self, *args: Any) -> Any:
        """The batches of the next step, and how many tokens of them are trained."""
        self.begun = time.perf_counter()
        self.step_rows, self.counts = [], {"computed": 0, "padding": 0}
        return super().get_batch_samples(*args)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        scaler = self.accelerator.scaler  # which makes float16's scale smaller, and skips the step
        if not math.isfinite(value := float(norm)) and (scaler is None or scaler.get_scale() <= 1):
            raise self._not_finite("the norm of the gradient", value, self.step_rows)
        return norm

    def _not_finite(self, what: str, value: float, rows: Sequence[int]) -> AssayError:
        kept = self.checkpoints.last()
        named = ", ".join(self.rows.train[row].id for row in rows)
        rate = "training.reft.learning_rate" if self.settings.objective == "reft" else "training.learning_rate"
        return AssayError(
            f"Step {self.state.global_step + 1}: {what} is {value}; nothing is published. The learning rate was "
            f"{self._get_learning_rate():.3g}, the rows: {named}.",
            remedy=f"Look at these rows; lower {rate}, or set training.max_grad_norm: 1.0 and a longer "
            "training.warmup_ratio; with float16, try training.dtype: float32."
            + (f" The run until step {step_of(kept)} is kept in {kept}." if kept else ""),
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Told of each step and validation: keeps it, and passes it on to trackers."""
        if "loss" in logs:
            logs |= self.counts | self.told()
            logs["tokens_per_second"] = logs["tokens"] / (time.perf_counter() - self.begun)
            logs["memory_mib"] = _memory(self.adapter.device)
            if not math.isfinite(logs["grad_norm"]):
                del logs["grad_norm"]
            preferred = f", {logs['preferred']:.0%} preferred" if "preferred" in logs else ""
            reward = f", reward {logs['reward']:.3f}" if "reward" in logs else ""
            note(self.progress, "train", f"loss {logs['loss']:.3f}{preferred}{reward}")
        super().log(logs, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Take the loss over the validation rows and, if the recipe asks for it, the score of answers to them."""
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
        self.log(dict(told))
        history = self.history
        best = history.best()
        if self.settings.keep_best and best is not None and best.step == self.state.global_step:
            self.best = weights_of(model)
        patience = self.settings.early_stopping_patience
        if patience is not None and history.without_better() >= patience:
            self.control.should_training_stop = True
            self.control.should_save = False  # so that one that goes on from here stops here too
        self.control.should_evaluate = False
        return told

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        def write(folder: Path) -> None:
            save_file(weights_of(self.adapter), folder / WEIGHTS)
            if self.best is not None:
                save_file(self.best, folder / BEST)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

        began = time.perf_counter()
        self.checkpoints.add(self.state.global_step, write)
        self.saved = time.perf_counter()
        self.saving = self.saved - began

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        put_weights(self.adapter, load_file(folder / WEIGHTS))
        if (folder / BEST).is_file():
            self.best = load_file(folder / BEST)


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
        """What makes a batch of rows of the data set: their numbers as `rows`, and what `summed_loss` takes."""

        def collate_answers(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
            made = collate([row["input_ids"] for row in batch], [row["labels"] for row in batch])
            return {"rows": [row["row"] for row in batch], **made}

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

    def _get_train_sampler(self, train_dataset: Any = None) -> "ByLength":
        return ByLength(self.lengths, self.settings.batch_size, self.settings.seed)

    def _get_num_items_in_batch(self, batch_samples: Sequence[dict[str, Any]], device: Any) -> int:
        return sum(self.rows.train[row].trained for batch in batch_samples for row in batch["rows"])

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        rows = inputs.pop("rows")
        self.noise.real = inputs.get("attention_mask")  # preferences take no noise
        if self.sophia is not None and self.sophia.due and not self.step_rows:  # of a step's first batch
            self._estimate_curvature(self.sophia, inputs)
        self.step_rows += rows
        loss, batches = self.summed_loss(model, rows, inputs)
        if not math.isfinite(value := loss.item()):
            raise self._not_finite("the loss", value, rows)
        for batch in batches:
            padding, computed = batch.padding(self.layout)
            self.counts["computed"] += computed
            self.counts["padding"] += padding
        self.seen += sum(self.lengths[row] for row in rows)
        total = int(self.args.num_train_epochs) * sum(self.lengths) - self.before
        self.progress("train", self.seen, total, "tokens")
        mean: torch.Tensor = loss / num_items_in_batch
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


class Watch(TrainerCallback):
    """Says after which steps there is a validation or a checkpoint."""

    def __init__(self, trainer: Loop) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer = self.trainer
        trainer.saved = time.perf_counter()
        if state.global_step:
            trainer.goes_on()
            what = f"train (goes on after step {state.global_step} of {state.max_steps})"
            trainer.progress(what, 1, 1, "checkpoints")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer, settings, step = self.trainer, self.trainer.settings, state.global_step
        due = step % (settings.eval_steps or trainer.steps_per_epoch) == 0 or step == state.max_steps
        control.should_evaluate = due and bool(trainer.rows.validation)
        if settings.save_steps:
            control.should_save = step % settings.save_steps == 0
        else:
            passed = time.perf_counter() - trainer.saved
            control.should_save = (due or passed >= OFTEN) and trainer.saving <= SHARE * passed


def _memory(device: torch.device) -> int:
    """MiB, the most so far: allocated on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
