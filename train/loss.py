"""The loss of the trained tokens, batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch

from curate.progress import Progress, silent
from curate.rows.renderer import IGNORED
from train.batches import PADDED, Batch, Layout, call, forward, lay_out
from train.examples import Example


def collate(input_ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """A batch to train on: the fields of `Batch`, `columns` and `targets`.

    A row's last token is only ever a target, so it is left out of the input. `columns` (K,) are those of the batch's
    input_ids at which any row has a target; `targets` (B, K) are the tokens that follow there, IGNORED where a row has
    none.
    """
    needed = [len(row) - max(1, next(i for i, label in enumerate(row) if label != IGNORED)) for row in labels]
    batch = lay_out([row[:-1] for row in input_ids], needed)
    shared, width = batch.prefix.shape[1], batch.input_ids.shape[1]
    following = torch.full((len(labels), width), IGNORED)
    for index, row in enumerate(labels):
        following[index, : len(row) - 1 - shared] = torch.tensor(row[1 + shared :])
    columns = (following != IGNORED).any(dim=0).nonzero()[:, 0]
    return {**vars(batch), "columns": columns, "targets": following[:, columns]}


def answer_loss(
    model: Any, targets: torch.Tensor, columns: torch.Tensor, layout: Layout = PADDED, **batch: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Summed negative log-likelihood of the trained tokens, and how many they are: the sum of `row_losses`."""
    losses = row_losses(model, targets, columns, layout, **batch)
    return losses.sum(), int((targets != IGNORED).sum())


def drawn_loss(
    model: Any, targets: torch.Tensor, columns: torch.Tensor, layout: Layout = PADDED, **batch: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """`answer_loss` of tokens that are drawn, in the place of each target, from what the model itself expects there."""
    losses = _by_row(model, Batch(**batch), targets, columns, layout, drawn=True)
    return losses.sum(), int((targets != IGNORED).sum())


def row_losses(
    model: Any, targets: torch.Tensor, columns: torch.Tensor, layout: Layout = PADDED, **batch: torch.Tensor
) -> torch.Tensor:
    """Summed negative log-likelihood (nats) of each row's trained tokens: shape (B,).

    The head is computed at the columns that have targets only. Under a layout that `train.layout` found for the model
    the losses and their gradients are those of the plain computation of each row alone.

    Args:
        model: a causal language model.
        targets: as `collate` gives them, like the rest.
        columns: of the targets.
        layout: how the rows may be computed. Nothing is shared where activations are computed again in the backward
            pass: transformers drops the cache then, without a word.
        batch: the fields of `Batch`.
    """
    return _by_row(model, Batch(**batch), targets, columns, layout, drawn=False)


def _by_row(
    model: Any, rows: Batch, targets: torch.Tensor, columns: torch.Tensor, layout: Layout, drawn: bool
) -> torch.Tensor:
    if layout.rows == "alone":
        return _alone(model, rows.joined(), columns + rows.prefix.shape[1], targets, drawn)
    elif layout.rows == "shared" and not (model.training and model.is_activation_checkpointing):
        logits, _ = forward(model, rows, columns, masked=False)
    else:
        logits, _ = forward(model, rows.joined(), columns + rows.prefix.shape[1], masked=False)
    return _summed(logits, targets, drawn)


def _alone(model: Any, batch: Batch, columns: torch.Tensor, targets: torch.Tensor, drawn: bool) -> torch.Tensor:
    """`_by_row` of one row after the other, each computed at the columns of its own targets."""
    losses = []
    for ids, real, wanted in zip(batch.input_ids, batch.attention_mask, targets, strict=True):
        trained = wanted != IGNORED
        logits, _ = call(model, columns[trained], input_ids=ids[None, : int(real.sum())], use_cache=False)
        losses.append(_summed(logits, wanted[None, trained], drawn)[0])
    return torch.stack(losses)


def _summed(logits: torch.Tensor, targets: torch.Tensor, drawn: bool) -> torch.Tensor:
    """Of logits (B, K, vocabulary) at targets (B, K), summed by row."""
    if drawn:
        expected = torch.multinomial(logits.detach().flatten(0, 1).float().softmax(-1), 1).view(targets.shape)
        targets = expected.where(targets != IGNORED, IGNORED)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view(targets.shape).sum(dim=-1)


def mean_loss(
    model: Any,
    examples: Sequence[Example],
    batch_size: int,
    progress: Progress = silent,
    layout: Layout = PADDED,
) -> float:
    """Mean negative log-likelihood (nats) of the examples' trained tokens; there must be one."""
    total, trained, done = 0.0, 0, 0
    training = model.training
    model.eval()
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    with torch.no_grad():  # not in inference mode: weights that are dealt out are put together in tensors that stay
        for begin in range(0, len(by_length), batch_size):
            rows = by_length[begin : begin + batch_size]
            batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
            given = {name: tensor.to(model.device) for name, tensor in batch.items()}
            loss, count = answer_loss(model, layout=layout, **given)
            total, trained, done = total + loss.item(), trained + count, done + len(rows)
            progress("validate", done, len(by_length), "rows")
    model.train(training)
    return total / trained
