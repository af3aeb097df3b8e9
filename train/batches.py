"""Batches of token ids: rows that are computed together, each as it would be alone."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

WORTH_SHARING = 16
"""Shortest common beginning, in tokens, that is worth a forward pass of its own."""

GROUPED = 64
"""Batches whose rows are sorted together: padding falls to a few per cent, and who meets whom still varies."""

CACHES = ("past_key_values", "cache_params")
"""What models call that which they keep of earlier tokens."""


@dataclass(frozen=True)
class Layout:
    """How closely rows are put together: for each model no closer than is exact."""

    rows: Literal["shared", "padded", "equal", "alone", "recomputed"]
    """What all rows of a batch begin with is computed once; each row is computed whole, padded to the longest; only
    rows of one length share a batch; none does; and what was computed of earlier tokens is not kept either."""
    reason: str = ""
    """Why not closer."""

    def __str__(self) -> str:
        return f"{self.rows}: {self.reason}" if self.reason else self.rows


SHARED, PADDED = Layout("shared"), Layout("padded")


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length; what all begin with is held once."""

    prefix: "torch.Tensor"
    """(1, P) token ids that every row begins with; P may be 0."""
    input_ids: "torch.Tensor"
    """(B, L) the rest of each row."""
    attention_mask: "torch.Tensor"
    """(B, P + L), 0 at padding."""

    @property
    def position_ids(self) -> "torch.Tensor":
        """(B, L), counted from each row's own beginning."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)[:, self.prefix.shape[1] :]

    def joined(self) -> "Batch":
        """The same with nothing shared: each row has its own beginning."""
        import torch

        beginnings = self.prefix.expand(len(self.input_ids), -1)
        return Batch(self.prefix[:, :0], torch.cat([beginnings, self.input_ids], dim=-1), self.attention_mask)

    def padding(self, layout: Layout) -> tuple[int, int]:
        """How many tokens of padding are computed, and how many tokens in all."""
        real = int(self.attention_mask.sum())
        if layout.rows == "shared":
            real -= self.prefix.shape[1] * (len(self.input_ids) - 1)
        padding = self.attention_mask.numel() - int(self.attention_mask.sum()) if layout.rows != "alone" else 0
        return padding, real + padding

    def to(self, device: "torch.device") -> "Batch":
        """The batch on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def lay_out(rows: Sequence[Sequence[int]], needed: Sequence[int], *, left: bool = False, share: bool = True) -> Batch:
    """Make a batch.

    Args:
        rows: token ids; no row is empty.
        needed: how many of each row's last tokens logits are wanted at, one or more; none of these is shared.
        left: pad on the left of what is not shared, so that all rows end in the same column; else on the right.
        share: whether to hold once what all rows begin with.
    """
    import torch

    shared = 0
    if share and len(rows) > 1:
        same = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
        shared = min(sum(1 for _ in same), *(len(row) - tail for row, tail in zip(rows, needed, strict=True)))
        shared = shared if shared >= WORTH_SHARING else 0
    width = max(len(row) for row in rows) - shared
    input_ids = torch.zeros((len(rows), width), dtype=torch.long)
    attention_mask = torch.zeros((len(rows), shared + width), dtype=torch.long)
    attention_mask[:, :shared] = 1
    for index, row in enumerate(rows):
        length = len(row) - shared
        begin = width - length if left else 0
        input_ids[index, begin : begin + length] = torch.tensor(row[shared:])
        attention_mask[index, shared + begin : shared + begin + length] = 1
    return Batch(torch.tensor([rows[0][:shared]], dtype=torch.long), input_ids, attention_mask)


def length_grouped(lengths: Sequence[int], batch_size: int, generator: "torch.Generator") -> list[int]:
    """Indices in an order that puts rows of like length into the same batch, and the batches in random order.

    Rows are shuffled, sorted by length within stretches of GROUPED batches and cut into batches, which are shuffled. An
    incomplete batch comes last; its rows are drawn before any are sorted, so they are of all lengths.
    """
    import torch

    order = torch.randperm(len(lengths), generator=generator).tolist()
    stretch, whole = GROUPED * batch_size, len(order) - len(order) % batch_size
    order, last = order[:whole], order[whole:]
    order = [
        index
        for begin in range(0, whole, stretch)
        for index in sorted(order[begin : begin + stretch], key=lengths.__getitem__)
    ]
    batches = [order[begin : begin + batch_size] for begin in range(0, whole, batch_size)]
    shuffled = [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
    return [index for batch in [*shuffled, last] for index in batch]


def forward(
    model: "PreTrainedModel | PeftModel", batch: Batch, columns: "torch.Tensor", *, masked: bool, cache: bool = False
) -> "tuple[torch.Tensor, dict[str, Any]]":
    """Logits of all rows of a batch at some columns.

    Args:
        model: a causal language model.
        batch: on the model's device.
        columns: (K,) of the batch's input_ids.
        masked: tell the model where padding is. It must know of padding on the left. On the right there is nothing that
            a causal model could see: the columns that come before are those of the row alone, and so are their
            positions and their places in a window or a chunk, whichever way the model counts them.
        cache: whether what the model keeps is wanted.

    Returns:
        Logits (B, K, vocabulary), and what the model keeps of the batch's tokens, by the name it is given back under:
        nothing where it keeps nothing, or that is not wanted. Gradients pass through both.
    """
    import torch

    past: dict[str, Any] = {}
    if width := batch.prefix.shape[1]:
        last = torch.tensor([width - 1], device=batch.prefix.device)
        _, past = call(model, last, input_ids=batch.prefix, use_cache=True)
        if not past:
            raise ValueError("the model keeps nothing of earlier tokens")
        for kept in past.values():
            kept.reorder_cache(last.new_zeros(len(batch.input_ids)))  # each row gets the first, and only, one
    told = {"attention_mask": batch.attention_mask, "position_ids": batch.position_ids} if masked else {}
    return call(model, columns, input_ids=batch.input_ids, use_cache=cache or bool(past), **told, **past)


def call(
    model: "PreTrainedModel | PeftModel", columns: "torch.Tensor", **given: Any
) -> "tuple[torch.Tensor, dict[str, Any]]":
    """Call a model with what it takes of what is given; returns as `forward` does."""
    takes = parameters(model)
    # As a tensor, not a number: this copies the wanted states together, and the head is one matrix product over them;
    # of a slice it would be one per row, several times slower on a CPU.
    if "logits_to_keep" in takes:
        given["logits_to_keep"] = columns
    for name in {"attention_mask", "position_ids"} - takes:
        given.pop(name, None)
    output = model(**given)
    kept = {name: output[name] for name in CACHES if output.get(name) is not None}
    whole = output.logits.shape[1] != len(columns)  # also of one that takes a number and no tensor
    return output.logits[:, columns] if whole else output.logits, kept


def parameters(model: "PreTrainedModel | PeftModel") -> set[str]:
    """The names of what a model's forward takes, below its adapter."""
    from peft import PeftModel

    below = model.get_base_model() if isinstance(model, PeftModel) else model
    return set(inspect.signature(below.forward).parameters)
