"""What any of trl's trainers gets of this package: optimizer, checkpoints, validations, and what is told."""

import math
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME

from curate.progress import Progress, note
from train.batches import PADDED, Layout
from train.checkpoints import Checkpoints, step_of
from train.examples import Example
from train.halted import Hopeless, NotFinite, Pruned
from train.history import History
from train.loss import mean_loss
from train.methods.trained import put_weights, weights_of
from train.neftune import Noise
from train.optimizers import Sophia, optimizer
from train.processes import ALONE, Processes
from train.schedules import schedule
from train.settings import TrainingSettings
from train.sharded import dealt_state, whole

if TYPE_CHECKING:
    from transformers import Trainer as TheirTrainer

    from train.methods.trained import Trained
    from train.preferences import Pair
    from train.reward import Asked
else:
    TheirTrainer = object

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
    hopeless: Hopeless | None = None
    """Who may end the run after a validation."""
    processes: Processes = ALONE
    """That take each step together."""


class Loop(TheirTrainer):
    """A trainer of trl's, with what all objectives share."""

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
        self.processes = rows.processes
        self.progress = progress
        self.lengths = [len(example.input_ids) for example in rows.train]
        batches = math.ceil(len(rows.train) / settings.batch_size)
        self.steps_per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
        self.best: dict[str, torch.Tensor] | None = None
        self.seen = self.before = 0
        """Tokens, or what `unit` says, trained on since this run began, and before."""
        self.begun = self.saved = time.perf_counter()
        """When the step began, and when the last checkpoint was complete."""
        self.passed = self.saving = 0.0
        """Seconds since it was complete, as the first process has it, and those that it took."""
        self.step_rows: list[int] = []
        """Of all processes."""
        self.counts: dict[str, float] = {"computed": 0, "padding": 0}
        """What the step's batches come to, as it is told."""
        self.lost: NotFinite | None = None
        """The step's first loss that is not finite."""
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

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule that the recipe names."""
        if self.lr_scheduler is None:
            stepped = optimizer or self.create_optimizer()
            self.lr_scheduler = LambdaLR(stepped, schedule(self.settings, num_training_steps))
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """Those that decay: neither biases nor norms, nor what else scales: decay would turn it down, not off."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not any(scale in name for scale in SCALES)]

    def get_batch_samples(self, *args: Any) -> Any:
        """The batches of the next step, and how many tokens of them are trained."""
        self.begun = time.perf_counter()
        self.step_rows, self.counts, self.lost = [], {"computed": 0, "padding": 0}, None
        return super().get_batch_samples(*args)

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

    def _not_finite(self, what: str, value: float, rows: Sequence[int]) -> NotFinite:
        kept = self.checkpoints.last()
        named = ", ".join(self.rows.train[row].id for row in rows)
        rate = "training.reft.learning_rate" if self.settings.objective == "reft" else "training.learning_rate"
        return NotFinite(
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
        # What is dealt out is computed by all at once or by none.
        told = self._validated() if self.processes.strategy == "fsdp" else self.processes.led(self._validated)
        self.log(dict(told))
        history, step = self.history, self.state.global_step
        best = history.best()
        if self.settings.keep_best and best is not None and best.step == step:
            self.best = weights_of(self.adapter)
        patience = self.settings.early_stopping_patience
        if patience is not None and history.without_better() >= patience:
            self.control.should_training_stop = True
            self.control.should_save = False  # so that one that goes on from here stops here too
        self.control.should_evaluate = False
        hopeless = self.rows.hopeless
        if hopeless is not None and 0 < step < self.state.max_steps and hopeless(history):
            raise Pruned(history)
        return told

    def _validated(self) -> dict[str, float]:
        validation, model = self.rows.validation, self.adapter
        loss = mean_loss(model, validation, self.settings.batch_size, self.progress, self.layout)
        if not math.isfinite(loss):
            raise NotFinite(
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
        optimizer, schedule = self._stepped()
        weights, moments = weights_of(self.adapter), whole(optimizer.state_dict(), wanted=self.processes.first)
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
        moments, passed = (
            torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
        )
        optimizer, schedule = self._stepped()
        optimizer.load_state_dict(dealt_state(moments, optimizer))
        schedule.load_state_dict(passed)

    def _stepped(self) -> tuple[Any, Any]:
        """Optimizer and schedule, which there are once training has begun."""
        return self.optimizer, self.lr_scheduler

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        put_weights(self.adapter, load_file(folder / WEIGHTS))
        if (folder / BEST).is_file():
            self.best = load_file(folder / BEST)


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
            control.should_save = (due or trainer.passed >= OFTEN) and trainer.saving <= SHARE * trainer.passed


def _memory(device: torch.device) -> int:
    """MiB, the most so far: allocated on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
