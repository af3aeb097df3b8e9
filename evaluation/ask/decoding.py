"""Rows that go on token by token, as many at once as is exact for the model at hand."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from curate.progress import Progress, silent
from train.batches import SHARED, WORTH_SHARING, Layout, call, forward, lay_out
from train.layout import closest, no_sharing, rounding

if TYPE_CHECKING:
    import torch

    from train.methods.trained import Trained

STEPS = 3
"""Tokens that the check feeds one by one."""


class Decoding:
    """What a model holds of rows that go on."""

    logits: "torch.Tensor"
    """(B, vocabulary) at each row's last token."""

    def __init__(self, model: "Trained", rows: Sequence[Sequence[int]], layout: Layout = SHARED) -> None:
        """Compute rows of token ids; they must be of one length unless the layout is of padded rows."""
        import torch

        self.model = model
        batch = lay_out(rows, [1] * len(rows), left=True, share=layout.rows == "shared").to(model.device)
        self.ids = batch.joined().input_ids
        self.mask, self.positions = batch.attention_mask, batch.position_ids[:, -1:]
        self.padded = not bool(self.mask.all())
        """Models that count positions or keep states their own way are told of a mask only where there is padding."""
        last = torch.tensor([batch.input_ids.shape[1] - 1], device=model.device)
        self.recomputed = layout.rows == "recomputed"
        logits, self.past = forward(model, batch, last, masked=self.padded, cache=not self.recomputed)
        self.logits = logits[:, -1]

    def step(self, tokens: "torch.Tensor") -> None:
        """Go on by one token (B,) of each row."""
        import torch

        self.ids = torch.cat([self.ids, tokens[:, None]], dim=-1)
        self.mask = torch.cat([self.mask, self.mask.new_ones((len(tokens), 1))], dim=-1)
        self.positions = self.positions + 1
        if self.recomputed:
            last = torch.tensor([self.ids.shape[1] - 1], device=self.ids.device)
            logits, _ = call(self.model, last, input_ids=self.ids, use_cache=False)
        else:
            told = {"attention_mask": self.mask, "position_ids": self.positions} if self.padded else {}
            first = torch.tensor([0], device=self.ids.device)
            logits, self.past = call(self.model, first, input_ids=tokens[:, None], use_cache=True, **told, **self.past)
        self.logits = logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Let go of all rows but these."""
        import torch

        kept = torch.tensor(rows, device=self.ids.device)
        self.ids, self.mask, self.positions = self.ids[kept], self.mask[kept], self.positions[kept]
        self.logits = self.logits[kept]
        for held in self.past.values():
            held.reorder_cache(kept)


def batches(prompts: Sequence[Sequence[int]], batch_size: int, layout: Layout) -> Iterator[list[int]]:
    """Indices of prompts that a layout puts together, the shortest first."""
    most = batch_size if layout.rows in ("shared", "padded", "equal") else 1
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda index: len(prompts[index])):
        unlike = layout.rows == "equal" and batch and len(prompts[batch[0]]) != len(prompts[index])
        if len(batch) == most or unlike:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def decoding_layout(model: "Trained", prompts: Sequence[Sequence[int]], progress: Progress = silent) -> Layout:
    """The closest layout under which rows go on as each does alone.

    Compared, by logits, with a pass over each row alone that keeps nothing, and held against what rounding does to that
    (`rounding`): on the longest prompt, the shortest that begins alike, and a third as long as the first, whose last
    tokens are fed one by one.

    Args:
        model: a causal language model in eval mode.
        prompts: token ids, none empty.
        progress: told where the layout is not the closest there is.
    """
    import torch

    rows = _unlike(prompts)
    steps = min(STEPS, len(rows[1]) - 1)
    ids = [torch.tensor([row], device=model.device) for row in rows]

    def alone() -> "list[torch.Tensor]":
        ends = [torch.arange(row.shape[1] - steps - 1, row.shape[1], device=model.device) for row in ids]
        return [call(model, end, input_ids=row, use_cache=False)[0][0] for row, end in zip(ids, ends, strict=True)]

    def off(got: "torch.Tensor", wanted: "torch.Tensor") -> float:
        error = (got - wanted).norm(dim=-1) / wanted.std(dim=-1) / wanted.shape[1] ** 0.5
        return float(error.max())

    def distance(name: Literal["shared", "padded", "equal", "alone"]) -> float:
        layout, apart = Layout(name), 0.0
        heads = [row[: len(row) - steps] for row in rows]
        for batch in batches(heads, len(heads), layout):
            decoding = Decoding(model, [heads[index] for index in batch], layout)
            for step in range(steps + 1):
                got = decoding.logits.float()
                wanted = torch.stack([plain[index][step] for index in batch]).float()
                apart = max(apart, off(got, wanted))
                if step == steps:
                    break
                if step == 1 and len(batch) > 1:
                    decoding.keep(range(1, len(batch)))
                    batch = batch[1:]
                decoding.step(torch.tensor([rows[index][step - steps] for index in batch], device=model.device))
        return apart

    @cache
    def noise() -> float:
        with rounding(model):
            return max(off(got.float(), wanted.float()) for got, wanted in zip(alone(), plain, strict=True))

    reasons = {name: why for name, why in [("shared", no_sharing(model, gap=True))] if why}
    with torch.inference_mode():
        plain = alone()
        layout = closest(("shared", "padded", "equal", "alone", "recomputed"), distance, noise, reasons)
    if layout.reason:
        progress(f"rows are put together: {layout}", 1, 1, "layouts")
    return layout


def _unlike(prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The longest prompt, the shortest that begins alike if there is one, and a third of the first one's length."""
    long = max(prompts, key=len)
    alike = [each for each in prompts if each[:WORTH_SHARING] == long[:WORTH_SHARING] and len(each) < len(long)]
    short = min(alike or prompts, key=len)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(long, short, strict=False)))
    return [long, short, [*long[:common], *reversed(long[common:])]]
