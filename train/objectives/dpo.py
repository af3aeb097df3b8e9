"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290): of two answers to a prompt the preferred one
is made more likely against the other, each by how much more likely it is than a reference model has it.

With `rpo_alpha` the negative log-likelihood of the preferred answers is added (Pang et al. 2024, arXiv 2404.19733),
here as the mean over their tokens: what trl calls `loss_type: [sigmoid, sft]` with `loss_weights: [1, rpo_alpha]`.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel

from curate.progress import Progress
from train.batches import Batch, Layout
from train.dtypes import compute_dtype
from train.loop import Rows
from train.loss import collate, row_losses
from train.preferences import Pair
from train.settings import TrainingSettings
from train.trainer import Trainer, batch_of

if TYPE_CHECKING:
    from train.methods.trained import Trained
WORTH_ALONE = 512
"""Mean length of prompts, in tokens, from which computing each once is worth a pass of its own for each pair: a pass
costs what it costs to make 4-bit weights whole again, however few its tokens are."""

Groups = Sequence[dict[str, torch.Tensor]]
"""Batches as `train.loss.collate` gives them, of two rows for each pair: the chosen answer, then the rejected."""


def groups_of(pairs: Sequence[Pair], layout: Layout) -> list[dict[str, torch.Tensor]]:
    """Pairs as batches: all together or, where beginnings are shared and prompts are long, each pair by itself, so that
    its prompt is computed once."""
    prompts = sum(len(pair.chosen.labels) - pair.chosen.answer for pair in pairs)
    alone = layout.rows == "shared" and prompts >= WORTH_ALONE * len(pairs)
    by_pair = [[pair] for pair in pairs] if alone else [list(pairs)]
    groups = []
    for group in by_pair:
        sides = [side for pair in group for side in pair.sides]
        groups.append(collate([side.input_ids for side in sides], [side.labels for side in sides]))
    return groups


def log_likelihoods(model: Any, groups: Groups, layout: Layout) -> torch.Tensor:
    """Summed log-probability of the trained tokens of each pair's chosen and rejected answer: shape (pairs, 2)."""
    return -torch.cat([row_losses(model, layout=layout, **group) for group in groups]).view(-1, 2)


def margins(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """By how much the implicit reward of the chosen answer is above that of the rejected: shape (pairs,).

    Args:
        policy: log-probabilities by the model that is trained: shape (pairs, 2), chosen and rejected.
        reference: those by the reference model.
        beta: the strength of the tie to the reference model.
    """
    rewards = beta * (policy - reference)
    return rewards[:, 0] - rewards[:, 1]


def reference_of(
    model: "Trained",
    pairs: Sequence[Pair],
    layout: Layout,
    settings: TrainingSettings,
    progress: Progress,
) -> torch.Tensor:
    """Log-probabilities of all pairs' answers before the first step: shape (pairs, 2).

    They are those of the base model or, where training starts from an adapter, of the model with it as it was; of a
    model whose own weights are trained, of these as they are.
    """
    training, computing, asked = model.training, compute_dtype(settings.dtype), []
    mixed = model.device.type == "cuda" and computing != torch.float32  # as in train.arguments
    model.eval()
    with (
        torch.inference_mode(),
        model.disable_adapter() if isinstance(model, PeftModel) and not settings.start_from else nullcontext(),
        torch.autocast("cuda", computing) if mixed else nullcontext(),
    ):
        for begin in range(0, len(pairs), settings.batch_size):
            groups = [
                {name: tensor.to(model.device) for name, tensor in group.items()}
                for group in groups_of(pairs[begin : begin + settings.batch_size], layout)
            ]
            asked.append(log_likelihoods(model, groups, layout))
            progress("ask the reference model", min(begin + settings.batch_size, len(pairs)), len(pairs), "pairs")
    model.train(training)
    return torch.cat(asked)


class PreferenceTrainer(Trainer):
    """The loop with the loss of pairs; `rows.train` are their `whole`s."""

    @classmethod
    def collator(cls, rows: Rows) -> Callable[[Sequence[dict[str, Any]]], dict[str, Any]]:
        def collate_pairs(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
            numbers = [row["row"] for row in batch]
            here = rows.processes.share(numbers) or numbers[:1]
            groups = groups_of([rows.pairs[number] for number in here], rows.layout)
            return {"rows": numbers, "here": here, "groups": groups}

        return collate_pairs

    def before_training(self) -> None:
        self.reference = reference_of(self.adapter, self.rows.pairs, self.layout, self.settings, self.progress)

    def _get_num_items_in_batch(self, batch_samples: Sequence[dict[str, Any]], device: Any) -> int:
        pairs = [self.rows.pairs[row] for batch in batch_samples for row in batch["rows"]]
        self.counts |= {"pairs": 0, "margin": 0.0, "preferred": 0.0}
        self.step_pairs = len(pairs)
        self.chosen_tokens = sum(pair.chosen.trained for pair in pairs)
        return len(pairs)

    def summed_loss(self, model: Any, rows: Sequence[int], inputs: dict[str, Any]) -> tuple[torch.Tensor, list[Batch]]:
        groups, pairs, alpha = inputs["groups"], self.step_pairs, self.settings.rpo_alpha
        policy = log_likelihoods(model, groups, self.layout)
        margin = margins(policy, self.reference[rows], self.settings.beta)
        self.counts["pairs"] += len(rows)
        self.counts["margin"] += margin.detach().sum().item() / pairs
        self.counts["preferred"] += int((margin > 0).sum()) / pairs
        loss = -torch.nn.functional.logsigmoid(margin).sum()
        if alpha is not None:
            loss = loss - alpha * policy[:, 0].sum() * pairs / self.chosen_tokens
        return loss, [batch_of(each) for each in groups]
