"""What the recipe says of training, as transformers' trainer and its trackers are told it."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import TrainingArguments

from curate.errors import AssayError
from curate.reach import installed_by
from train.dtypes import compute_dtype
from train.settings import TrainingSettings

BOARD = "TENSORBOARD_LOGGING_DIR"


def arguments(
    settings: TrainingSettings,
    name: str,
    folder: Path,
    device: str,
    kind: type[Any] = TrainingArguments,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """transformers' arguments.

    Args:
        settings: of the recipe.
        name: of the run, for trackers.
        folder: transformers' own, in which it writes nothing by itself; of trackers see `trackers_in`.
        device: of the model: cpu or cuda.
        kind: class of the arguments: trl's, by the trainer.
        own: what that class takes besides.
    """
    gpu, dtype = device == "cuda", compute_dtype(settings.dtype)
    made = kind(
        output_dir=str(folder),
        run_name=name,
        project="assay",  # of trackio
        remove_unused_columns=False,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        activation_checkpointing=settings.gradient_checkpointing,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm or 0.0,
        seed=settings.seed,
        use_cpu=not gpu,
        ddp_broadcast_buffers=False,  # they are equal and stay so
        bf16=gpu and dtype == torch.bfloat16,
        fp16=gpu and dtype == torch.float16,
        dataloader_pin_memory=gpu,
        save_strategy="no",  # of the trainer's own accord; see train.loop.Watch
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would put earlier losses in the place of one that is not finite
        report_to=list(settings.report_to) or "none",
        disable_tqdm=True,
        **own,
    )
    made._n_gpu = min(1, made.n_gpu)  # of several, transformers would make each batch so many times as large
    return made


def require_trackers(settings: TrainingSettings) -> None:
    """See to it that the trackers are installed.

    Raises:
        AssayError: one is not.
    """
    for tracker in settings.report_to:
        if find_spec(tracker) is None:
            raise AssayError(f"training.report_to: {tracker} is not installed.", remedy=installed_by(tracker))


UNDER_WAY: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "trackio": lambda trackio: trackio.context_vars.current_run.get(),
        "mlflow": lambda mlflow: mlflow.active_run(),
        "wandb": lambda wandb: wandb.run,
    }
)
"""A tracker's run, as the tracker has it; None where there is none."""
END: Mapping[str, Callable[[Any, bool], Any]] = MappingProxyType(
    {
        "trackio": lambda trackio, failed: trackio.finish(),
        "mlflow": lambda mlflow, failed: mlflow.end_run("FAILED" if failed else "FINISHED"),
        "wandb": lambda wandb, failed: wandb.finish(exit_code=int(failed)),
    }
)


@contextmanager
def trackers_in(folder: Path, settings: TrainingSettings, run: str) -> Iterator[None]:
    """Trackers keep what they are told on this machine, below `folder`, wherever the user's environment does not say
    otherwise. What they print goes to standard error: standard output is the command's.

    What they begin within ends with it: transformers ends no run of W&B's, and none of a training that fails. The
    user's own run, which was under way before, goes on.

    Args:
        folder: of the store.
        settings: name the trackers.
        run: its name; TensorBoard's, which tells runs apart by folders alone, is a folder of this name.
    """
    if settings.report_to:
        folder.mkdir(parents=True, exist_ok=True)
    told = {
        "tensorboard": {},
        "trackio": {"TRACKIO_DIR": str(folder / "trackio")},
        "mlflow": {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_EXPERIMENT_NAME": "assay",
            "MLFLOW_DISABLE_TELEMETRY": "true",  # it tells its makers of each run otherwise
        },
        "wandb": {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_PROJECT": "assay",
            "WANDB_ERROR_REPORTING": "false",  # to its makers
        },
    }
    here = {key: value for tracker in settings.report_to for key, value in told[tracker].items()}
    here = {key: value for key, value in here.items() if key not in os.environ}
    if "tensorboard" in settings.report_to:
        here[BOARD] = str(Path(os.environ.get(BOARD, folder / "tensorboard")) / run)
    before = {key: os.environ.get(key) for key in here}
    others = _under_way(settings)
    os.environ.update(here)
    try:
        with redirect_stdout(sys.stderr) if settings.report_to else nullcontext():
            failed = True
            try:
                yield
                failed = False
            finally:
                for tracker, begun in _under_way(settings).items():
                    if begun is not others.get(tracker):
                        END[tracker](sys.modules[tracker], failed)
                if "trackio" in settings.report_to and (trackio := sys.modules.get("trackio")):
                    # Its runs do not stand in each other's way, and the one begun last is taken for the current one.
                    trackio.context_vars.current_run.set(others.get("trackio"))
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _under_way(settings: TrainingSettings) -> dict[str, Any]:
    """The run of each tracker, of those that are loaded, that has one."""
    known = UNDER_WAY.keys() & settings.report_to & sys.modules.keys()
    found = {tracker: UNDER_WAY[tracker](sys.modules[tracker]) for tracker in known}
    return {tracker: run for tracker, run in found.items() if run is not None}


def let_go(callbacks: Iterable[Any]) -> None:
    """Keep transformers' callback of MLflow from ending, whenever it is collected, the run that is then under way."""
    for each in callbacks:
        if hasattr(each, "_auto_end_run"):
            each._auto_end_run = False
