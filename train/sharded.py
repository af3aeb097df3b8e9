"""Weights that processes share: all in each (DDP), or dealt out to them (FSDP, arXiv 2304.11277; torch's
`fully_shard`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from curate.errors import AssayError
from train.processes import Processes
from train.settings import TrainingSettings

DEALT_OUT = {"adamw", "sgd"}
"""What takes steps of weights that are dealt out."""


def require_shares(settings: TrainingSettings, processes: Processes, scored: bool) -> None:
    """See to it that processes can train together so.

    Args:
        settings: of the recipe.
        processes: that were launched.
        scored: whether checkpoints are chosen by answers, which are generated.

    Raises:
        AssayError: they cannot.
    """
    count = processes.count
    if settings.batch_size % count:
        raise AssayError(
            f"training.batch_size: {settings.batch_size} rows cannot be dealt to {count} processes alike.",
            remedy="It counts the rows of all processes: launch as many as divide it (--num_processes), or name a "
            f"multiple of {count}.",
        )
    if count > 1 and settings.objective == "reft":
        raise AssayError(
            "training.objective: reft: one process draws the answers and trains on them.",
            remedy="Run it without `accelerate launch`; its warm-up, by itself as `objective: sft`, may have several.",
        )
    if count > 1 and settings.use_unsloth:
        raise AssayError("training.use_unsloth: Unsloth trains in one process.", remedy="Leave the key out.")
    whole_weights = {
        "objective: dpo": settings.objective == "dpo",
        f"optim: {settings.optim}": settings.optim not in DEALT_OUT,
        f"keep_best: {settings.keep_best}": scored,
    }
    for what in (what for what, asked in whole_weights.items() if asked and processes.strategy == "fsdp"):
        raise AssayError(
            f"training.{what}: wants whole weights, of which each process has a share under FSDP.",
            remedy="Launch with recipes/accelerate/ddp.yaml; or train with `objective: sft`, `optim: adamw` or `sgd`, "
            "and `keep_best: loss` or none.",
        )


class Whole(torch.nn.Module):
    """A model of which one call is all that a batch takes, however often it is run for it: by calls DDP knows when to
    sum gradients, and which weights have none.

    Args:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[Any], Any]) -> Any:
        return work(self.model)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Leave the gradients of what is dealt out in each process."""
        self.model.set_requires_gradient_sync(False)
        yield
        self.model.set_requires_gradient_sync(True)


def deal_out(model: Any) -> None:
    """Leave this process its share of each weight. A layer's weights are put together when it is computed, and what is
    outside of the layers for the whole pass.

    Args:
        model: a causal language model, whole, on any device; its weights go to the process's own.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    layers = set(model._no_split_modules or ())
    for module in list(model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(tree: Any, wanted: bool = True) -> Any:
    """Tensors that were dealt out, anywhere in lists and dictionaries, put together on the CPU.

    Args:
        tree: the same in all processes, which call at once.
        wanted: whether this process takes them; else it only gives its shares, and gets None.
    """

    def together(tensor: DTensor) -> torch.Tensor | None:
        found = tensor.full_tensor()
        return found.cpu() if wanted else None

    return tree_map_only(DTensor, together, tree)


def dealt_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, which all processes have, dealt out as another is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def dealt_state(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """A whole state of an optimizer, dealt out as its weights are."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    kept = {
        index: {
            name: dealt_like(each, weights[index]) if each.shape == weights[index].shape else each
            for name, each in of_weight.items()
        }
        for index, of_weight in state["state"].items()
    }
    return state | {"state": kept}
