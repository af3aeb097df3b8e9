"""The loss of the trained tokens, batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch

from curate.progress import Progress, silent
from curate.rows.renderer import IGNORED
from train.batches import Batch, forward, lay_out
from train.examples import Example


def collate(input_ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """A batch to train on: the fields of `Batch`, and `targets`.

    A row's last token is only ever a target, so it is left out of the input. `targets` (B, K) are the tokens that
    follow those of the last K columns, K being what the longest stretch from a first trained token to its end needs.
    """
    needed = [len(row) - max(1, next(i for i, label in enumerate(row) if label != IGNORED)) for row in labels]
    batch = lay_out([row[:-1] for row in input_ids], needed)
    targets = torch.full((len(labels), max(needed)), IGNORED)
    for index, (row, tail) in enumerate(zip(labels, needed, strict=True)):
        targets[index, -tail:] = torch.tensor(row[-tail:])
    return {**vars(batch), "targets": targets}


def answer_loss(model: Any, targets: torch.Tensor, **batch: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Summed negative log-likelihood of the trained tokens, and how many they are.

    The head is computed at the columns that have targets only, and what all rows begin with is computed once; the loss
    and its gradients are those of the plain computation.
    """
    logits, _ = forward(model, Batch(**batch), keep=targets.shape[1])
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return loss, int((targets != IGNORED).sum())


def mean_loss(model: Any, examples: Sequence[Example], batch_size: int, progress: Progress = silent) -> float:
    """Mean negative log-likelihood (nats) of the examples' trained tokens; there must be one."""
    total, trained, done = 0.0, 0, 0
    training = model.training
    model.eval()
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    with torch.inference_mode():
        for begin in range(0, len(by_length), batch_size):
            rows = by_length[begin : begin + batch_size]
            batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
            loss, count = answer_loss(model, **{name: tensor.to(model.device) for name, tensor in batch.items()})
            total, trained, done = total + loss.item(), trained + count, done + len(rows)
            progress("validate", done, len(by_length), "rows")
    model.train(training)
    return total / trained
