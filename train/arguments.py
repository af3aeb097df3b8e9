"""What the recipe says of training, as transformers' trainer and its trackers are told it."""

import os
import sys
from collections.abc import Iterator, Mapping
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


@contextmanager
def trackers_in(folder: Path, settings: TrainingSettings) -> Iterator[None]:
    """Trackers keep what they are told on this machine, below `folder`, wherever the user's environment does not say
    otherwise. What they print goes to standard error: standard output is the command's."""
    if settings.report_to:
        folder.mkdir(parents=True, exist_ok=True)
    told = {
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard")},
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
    added = {key: value for key, value in here.items() if key not in os.environ}
    os.environ.update(added)
    try:
        with redirect_stdout(sys.stderr) if settings.report_to else nullcontext():
            yield
    finally:
        for key in added:
            del os.environ[key]
