"""Which layout of batches is exact for a model, found on rows of the data at hand.

Models differ in what they make of padding and of a beginning that was computed before: windows and chunks of attention
count it or do not, states of linear attention pass over it or not, some models keep no cache. transformers tells none
of that, and what goes wrong goes wrong in silence; so it is computed both ways, and compared.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from curate.errors import AssayError, no_memory
from curate.progress import Progress, silent
from curate.rows.renderer import IGNORED
from train.batches import WORTH_SHARING, Batch, Layout
from train.examples import Example
from train.loss import answer_loss, collate

Row = TypeVar("Row")

EXACT = 3e-4
"""What is apart by less, relative, counts as equal: the square root of float32's precision."""
ENOUGH = 512
"""Tokens of a row, beyond an attention window, that show what a layout does."""


def training_layout(
    model: Any,
    examples: Sequence[Example],
    *,
    checkpointing: bool = False,
    noisy: bool = False,
    dealt_out: bool = False,
    progress: Progress = silent,
) -> Layout:
    """The closest layout that gives the loss and the gradients of each row alone.

    Compared on two rows, the longest that begin alike, of which no more is computed than ENOUGH, without dropout. Where
    they are further apart than EXACT, that is held against what rounding does to each row alone (`rounding`). With
    dropout nothing is shared: rows that share a beginning would share its noise, which makes a step's gradient another
    random variable, of the same mean and more variance; so too with noise on the embeddings, whose size goes by each
    row's own length besides.

    Args:
        model: with the weights to train.
        examples: to be trained on, one or more.
        checkpointing: whether activations will be computed again in the backward pass.
        noisy: whether there will be noise on the embeddings (NEFTune); here there is none.
        dealt_out: whether weights will be dealt out to processes, which then run the model equally often for a batch.
        progress: told when it begins and when it is known.

    Raises:
        AssayError: the model cannot be trained by its own forward pass; or its rows are to be computed one by one, and
            weights dealt out.
    """
    what = "check how rows are put together"
    progress(what, 0, 1, "layouts")
    rows = shortened(longest_alike(examples, lambda example: example.input_ids), most_compared(model.config))
    batch = collate([row.input_ids for row in rows], [row.labels for row in rows])
    given = {name: tensor.to(model.device) for name, tensor in batch.items()}
    training = model.training
    model.eval()

    def distance(rows: Literal["shared", "padded", "alone"]) -> float:
        loss, gradients = _with_gradients(model, answer_loss(model, layout=Layout(rows), **given)[0])
        apart = _norm(a - b for a, b in zip(gradients, plain_gradients, strict=True))
        return max(float(abs(loss - plain) / abs(plain)), apart / _norm(plain_gradients))

    @cache
    def noise() -> float:
        with rounding(model):
            return distance("alone")

    try:
        plain, plain_gradients = _plain(model, **given)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        if no_memory(error):
            raise
        raise AssayError(
            f"{type(model).__name__}: the model gives no gradients: {shown(error)}.",
            remedy="Name a base model that transformers can train.",
        ) from error
    why = (
        "gradient checkpointing keeps no cache"
        if checkpointing
        else "with dropout each row has noise of its own"
        if has_dropout(model)
        else "with noise on its embeddings each row has noise of its own"
        if noisy
        else "processes with a share of each weight compute alike"
        if dealt_out
        else no_sharing(model, gap=False)
    )
    reasons = {"shared": why} if why else {}
    layout = closest(("shared", "padded", "alone"), distance, noise, reasons)
    if dealt_out and layout.rows == "alone":
        raise AssayError(
            f"Under FSDP rows are computed together, and this model computes them one by one: {layout.reason}.",
            remedy="Launch with recipes/accelerate/ddp.yaml.",
        )
    model.train(training)
    progress(what, 1, 1, "layouts")
    progress(f"rows are put together: {layout}", 1, 1, "layouts")
    return layout


def closest(
    layouts: Sequence[Literal["shared", "padded", "equal", "alone", "recomputed"]],
    distance: Callable[[Any], float],
    noise: Callable[[], float],
    reasons: dict[str, str],
) -> Layout:
    """The first layout that is exact.

    Args:
        layouts: the closest first; the last is exact by itself.
        distance: of what a layout gives from what each row alone gives, relative; may raise what models raise.
        noise: the distance that rounding makes, which counts as equal too; asked where one is more than EXACT.
        reasons: layouts that are out of the question, and why; the others that are not exact are added.
    """
    for layout in layouts[:-1]:
        if layout in reasons:
            continue
        try:
            apart = distance(layout)
        except Exception as error:  # models fail in all ways
            if no_memory(error):
                raise
            reasons[layout] = f"{layout} rows fail ({shown(error)})"
            continue
        if apart <= EXACT or apart <= noise():
            return Layout(layout, "; ".join(reasons.values()))
        reasons[layout] = (
            f"{layout} rows are not what each is alone (apart by {apart:.1e}, rounding by {max(noise(), EXACT):.0e})"
        )
    return Layout(layouts[-1], "; ".join(reasons.values()))


def no_sharing(model: Any, *, gap: bool) -> str:
    """Why a beginning cannot be computed once for several rows; "" where a model's configuration does not tell.

    Args:
        model: a causal language model.
        gap: whether padding would stand between the beginning and the rest of a row.
    """
    config = model.config.get_text_config(decoder=True)
    try:
        cache = DynamicCache(config=config)
    except Exception:  # the model makes another cache than its configuration describes
        return ""
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers):
        return "the model has layers of linear attention, whose state is not that of any token"
    if gap and (any(cache.is_sliding) or getattr(config, "window_size", None)):
        return "padding behind what is shared would take up places of the model's attention window"
    return ""


def longest_alike(rows: Sequence[Row], ids: Callable[[Row], Sequence[int]]) -> list[Row]:
    """The two longest rows, of unlike length if there are such, that begin alike; any two if none do, one if alone."""
    by_beginning: defaultdict[tuple[int, ...], list[Row]] = defaultdict(list)
    ordered = sorted(rows, key=lambda row: len(ids(row)), reverse=True)
    for row in ordered:
        by_beginning[tuple(ids(row)[:WORTH_SHARING])].append(row)
    alike = [group for group in by_beginning.values() if len(group) > 1]
    group = max(alike, key=lambda group: len(ids(group[1])), default=ordered)
    unlike = (list(pair) for pair in pairwise(group) if len(ids(pair[0])) != len(ids(pair[1])))
    return next(unlike, group[:2])


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether a training step throws dice: a module of dropout, or a share of it that a module's forward applies."""
    return any(
        isinstance(value, float) and value > 0
        for module in model.modules()
        for name, value in vars(module).items()
        if "drop" in name or "jitter" in name or isinstance(module, torch.nn.Dropout)
    )


@contextmanager
def rounding(model: torch.nn.Module) -> Iterator[None]:
    """Let what each module gives be off by about as much as its precision rounds by, at random: what is computed then
    is as far from what it was as two exact ways to compute the same may be from each other.

    Rounding to nearest is off by up to half a unit in the last place, uniformly: a quarter of the precision is its
    standard deviation.
    """
    draw = torch.Generator().manual_seed(0)

    def off(tensor: torch.Tensor, precision: float) -> torch.Tensor:
        noise = torch.randn(tensor.shape, generator=draw).to(tensor.device)
        return tensor.detach() * (precision / 4 * noise)

    def shake(module: torch.nn.Module, _: Any, output: Any) -> Any:
        if not (isinstance(output, torch.Tensor) and output.is_floating_point()):
            return None
        computed = vars(module).get("compute_dtype") or output.dtype  # of 4-bit weights
        precision = max(torch.finfo(dtype).eps for dtype in (computed, output.dtype))
        shaken = (output + off(output, precision)).to(output.dtype)  # a sum, which keeps nothing for the backward pass
        if shaken.requires_grad:
            shaken.register_hook(lambda gradient: (gradient + off(gradient, precision)).to(gradient.dtype))
        return shaken

    innermost = (module for module in model.modules() if not any(module.children()))
    hooks = [module.register_forward_hook(shake) for module in innermost]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def shortened(rows: Sequence[Example], most: int) -> list[Example]:
    """Two rows without so much of their middles that they have at most so many tokens, and the second one fewer."""

    def ends(example: Example, length: int) -> Example:
        left_out = slice(length // 2, len(example.input_ids) - (length - length // 2))
        ids, labels = list(example.input_ids), list(example.labels)
        if len(ids) > length:
            del ids[left_out], labels[left_out]
        return Example(example.id, ids, labels)

    return [ends(row, length) for row, length in zip(rows, (most, 3 * most // 4), strict=False)]


def most_compared(config: Any) -> int:
    """The most tokens of a row that are computed to compare layouts: ENOUGH beyond the widest window or chunk of
    attention that a model's configuration tells of."""
    said = config.get_text_config(decoder=True).to_dict()
    named = (value for key, value in said.items() if "window" in key or "chunk" in key)
    return ENOUGH + max((value for value in named if type(value) is int), default=0)


def shown(error: Exception) -> str:
    """An error of a library in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _plain(
    model: Any, targets: torch.Tensor, columns: torch.Tensor, **batch: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Summed loss and gradients by nothing but the model's own call, of one row after the other, with logits at all
    its tokens."""
    rows = Batch(**batch).joined()
    first = batch["prefix"].shape[1]
    total, summed = torch.zeros((), device=targets.device), list[torch.Tensor]()
    for ids, real, wanted in zip(rows.input_ids, rows.attention_mask, targets, strict=True):
        logits = model(input_ids=ids[None, : int(real.sum())], use_cache=False).logits[0]
        trained = wanted != IGNORED
        at = columns[trained] + first
        loss = torch.nn.functional.cross_entropy(logits[at].float(), wanted[trained], reduction="sum")
        found, gradients = _with_gradients(model, loss)
        total = total + found
        summed = [a + b for a, b in zip(summed, gradients, strict=True)] if summed else gradients
        del logits, loss  # before the next row's are there
    return total, summed


def _with_gradients(model: Any, loss: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)  # an expert that no token went to is unused
    return loss.detach(), [
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(weights, gradients, strict=True)
    ]


def _norm(tensors: Iterable[torch.Tensor]) -> float:
    return float(torch.stack([tensor.float().norm() for tensor in tensors]).norm())
