"""The time of a step, found by taking a few."""

import time
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from peft import PeftModel

from curate.progress import Progress, silent
from train.accelerators import require_accelerators
from train.base_model import BaseModel
from train.dtypes import compute_dtype
from train.examples import Example
from train.layout import training_layout
from train.loss import answer_loss, collate
from train.methods.trained import adapted
from train.settings import TrainingSettings


def seconds_per_token(
    base: BaseModel, settings: TrainingSettings, examples: Sequence[Example], steps: int, progress: Progress = silent
) -> float:
    """Seconds that training takes per token, from a few batches of rows of middling length; no weight is changed.

    Args:
        base: the model, which is loaded.
        settings: of the recipe.
        examples: at least one.
        steps: how many are timed, after one that warms up.
        progress: told in steps.
    """
    require_accelerators(settings)
    model = adapted(base, settings)
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable()
        if isinstance(model, PeftModel):  # as trl does
            model.enable_input_require_grads()
    noisy = settings.neftune_noise_alpha is not None
    layout = training_layout(model, examples, checkpointing=settings.gradient_checkpointing, noisy=noisy)
    model.train()
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    begin = max(0, (len(by_length) - settings.batch_size) // 2)
    rows = by_length[begin : begin + settings.batch_size]
    batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
    given = {name: tensor.to(model.device) for name, tensor in batch.items()}
    computing = compute_dtype(settings.dtype)
    mixed = model.device.type == "cuda" and computing != torch.float32  # as in train.arguments
    began = 0.0
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        with torch.autocast("cuda", computing) if mixed else nullcontext():
            loss, trained = answer_loss(model, layout=layout, **given)
        (loss / trained).backward()
        loss.item()
        progress("measure", step, steps, "steps")
    return (time.perf_counter() - began) / (steps * sum(len(row.input_ids) for row in rows))
