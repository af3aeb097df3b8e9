"""Batches of token ids, laid out the same way for training and for generation."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import DynamicCache, PreTrainedModel

WORTH_SHARING = 16
"""Shortest common beginning, in tokens, that is worth a forward pass of its own."""

GROUPED = 8
"""Batches whose rows are sorted together: padding falls to a few per cent, and who meets whom still varies."""


@dataclass(frozen=True)
class Batch:
    """Rows padded on the left, so that all of them end in the same column; what all begin with is held once.

    A model sees each row as it would alone: padding is masked and positions count from the row's own beginning.
    """

    prefix: "torch.Tensor"
    """(1, P) token ids that every row begins with; P may be 0."""
    input_ids: "torch.Tensor"
    """(B, L) the rest of each row."""
    attention_mask: "torch.Tensor"
    """(B, P + L), 0 at padding."""
    position_ids: "torch.Tensor"
    """(B, L)."""

    def to(self, device: "torch.device") -> "Batch":
        """The batch on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def lay_out(rows: Sequence[Sequence[int]], needed: Sequence[int]) -> Batch:
    """Make a batch.

    Args:
        rows: token ids; no row is empty.
        needed: how many of each row's last tokens logits are wanted at, one or more; none of these is shared.
    """
    import torch

    same = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    shared = min(sum(1 for _ in same), *(len(row) - tail for row, tail in zip(rows, needed, strict=True)))
    if shared < WORTH_SHARING or len(rows) == 1:
        shared = 0
    width = max(len(row) for row in rows) - shared
    input_ids = torch.zeros((len(rows), width), dtype=torch.long)
    attention_mask = torch.ones((len(rows), shared + width), dtype=torch.long)
    for index, row in enumerate(rows):
        padding = shared + width - len(row)
        input_ids[index, padding:] = torch.tensor(row[shared:])
        attention_mask[index, shared : shared + padding] = 0
    position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    return Batch(torch.tensor([rows[0][:shared]], dtype=torch.long), input_ids, attention_mask, position_ids)


def length_grouped(lengths: Sequence[int], batch_size: int, generator: "torch.Generator") -> list[int]:
    """Indices in an order that puts rows of like length into the same batch, and the batches in random order.

    Rows are shuffled, sorted by length within stretches of GROUPED batches and cut into batches, which are shuffled. An
    incomplete batch stays last.
    """
    import torch

    order = torch.randperm(len(lengths), generator=generator).tolist()
    stretch = GROUPED * batch_size
    order = [
        index
        for begin in range(0, len(order), stretch)
        for index in sorted(order[begin : begin + stretch], key=lengths.__getitem__)
    ]
    batches = [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]
    last = [batches.pop()] if len(batches[-1]) < batch_size else []
    shuffled = [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
    return [index for batch in shuffled + last for index in batch]


def forward(model: "PreTrainedModel | PeftModel", batch: Batch, keep: int) -> "tuple[torch.Tensor, DynamicCache]":
    """Logits of each row's last tokens.

    Args:
        model: a causal language model.
        batch: on the model's device.
        keep: how many columns of logits to compute, counted from the end.

    Returns:
        Logits (B, keep, vocabulary) and the key-value cache of the whole batch. Gradients pass through both.
    """
    import torch
    from transformers import DynamicCache

    width = batch.input_ids.shape[1]
    cache = DynamicCache(config=model.config)
    if batch.prefix.shape[1]:
        model(input_ids=batch.prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(batch.input_ids))
    output = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        past_key_values=cache,
        use_cache=True,
        # As a tensor, not a number: this copies the wanted states together, and the head is one matrix product over
        # them; of a slice it would be one per row, several times slower on a CPU.
        logits_to_keep=torch.arange(width - keep, width, device=batch.input_ids.device),
    )
    return output.logits, cache
