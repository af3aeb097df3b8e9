"""Greedy generation in batches, as exact as one by one, whatever the model."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.progress import Progress, silent
from curate.rows.renderer import Renderer
from evaluation.ask.constrained import Constraint
from evaluation.ask.decoding import Decoding, batches, decoding_layout
from evaluation.judge.answer import Generated
from train.batches import Layout

if TYPE_CHECKING:
    from train.methods.trained import Trained


def generate(
    model: "Trained",
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    constraint: Constraint | None = None,
    layout: Layout | None = None,
    progress: Progress = silent,
    what: str = "generate",
) -> list[Generated]:
    """The most likely next token, again and again, until the stop token.

    Prompts of like length share a batch, put together as closely as is exact for the model: what all begin with is
    computed once, and the rest padded on the left and masked, or less than that. Rows that are done leave the batch
    when they are half of it.

    Args:
        model: a causal language model in eval mode.
        renderer: knows the token that ends an answer, and the text of the others.
        prompts: token ids, none empty.
        max_new_tokens: the most tokens an answer may have, its stop token among them.
        batch_size: prompts to a batch.
        constraint: of the answers; the stop token after one that can only end there is not waited for.
        layout: of the batches; what `decoding_layout` finds for the model and the prompts by default.
        progress: told in rows.
        what: the name to tell it.

    Returns:
        The answers in the order of the prompts; one that reaches `max_new_tokens` first is truncated under a constraint
        too.

    Raises:
        AssayError: an answer is beyond what the constraint's grammar can follow.
    """
    if not prompts:
        return []
    if layout is None:
        layout = decoding_layout(model, prompts, progress)
    from train.methods.dora import norms_kept

    answers: dict[int, Generated] = {}
    with norms_kept(model):
        for rows in batches(prompts, batch_size, layout):
            batch = _generate_batch(model, renderer, [prompts[row] for row in rows], max_new_tokens, constraint, layout)
            answers.update(zip(rows, batch, strict=True))
            progress(what, len(answers), len(prompts), "rows")
    return [answers[index] for index in range(len(prompts))]


def _generate_batch(
    model: "Trained",
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    constraint: Constraint | None,
    layout: Layout,
) -> list[Generated]:
    import torch

    began = time.perf_counter()
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs = [0.0] * len(prompts)
    seconds: dict[int, float] = {}
    matchers = [constraint.matcher() for _ in prompts] if constraint else []
    alive = list(range(len(prompts)))  # the rows that the tensors hold
    with torch.inference_mode():
        decoding = Decoding(model, prompts, layout)
        for step in range(1, max_new_tokens + 1):
            scores = decoding.logits.float()
            if constraint:
                asked = [None if row in seconds else matchers[row] for row in alive]
                allowed = torch.from_numpy(constraint.allowed(asked, scores.shape[1]))
                scores = scores.masked_fill(~allowed.to(model.device), -torch.inf)
            best, chosen = scores.max(dim=-1)
            logprob = -(scores - best[:, None]).exp().sum(dim=-1, dtype=torch.float64).log()
            for row, token, each in zip(alive, chosen.tolist(), logprob.tolist(), strict=True):
                if row in seconds:
                    continue
                logprobs[row] += each
                if token not in renderer.stop_token_ids:
                    tokens[row].append(token)
                if token in renderer.stop_token_ids or (constraint and constraint.ends(matchers[row], token)):
                    seconds[row] = time.perf_counter() - began
            if len(seconds) == len(prompts) or step == max_new_tokens:
                break
            going = [index for index, row in enumerate(alive) if row not in seconds]
            if len(going) <= len(alive) // 2:
                alive = [alive[index] for index in going]
                decoding.keep(going)
                chosen = chosen[going]
            decoding.step(chosen)
    ended = time.perf_counter() - began
    return [
        Generated(
            renderer.decode(ids),
            len(ids),
            truncated=row not in seconds,
            seconds=round(seconds.get(row, ended), 4),
            tokens_in=len(prompts[row]),
            logprob=round(logprobs[row], 6),
        )
        for row, ids in enumerate(tokens)
    ]
