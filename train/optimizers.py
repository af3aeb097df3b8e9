"""The optimizers that `training.optim` names, and what each keeps of the weights that it trains."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim import SGD, AdamW, Muon, Optimizer

from train.methods.lora import own_rate
from train.settings import Optim, TrainingSettings

UNPAGED: dict[Optim, Optim] = {"paged_adamw": "adamw", "paged_adamw_8bit": "adamw_8bit"}
"""What takes the steps of an optimizer whose state is paged, where there is no GPU to page it out of."""
SAVED_RATE = 0.1
"""Of a model's own weights beside an adapter, by the adapter's: they move further by the same rate."""
EIGHT_BIT_FROM, EIGHT_BIT_BLOCK = 4096, 256
"""Numbers of a weight from which bitsandbytes keeps its moments in 8 bits, and numbers that share a constant then."""


def taken_by(optim: Optim, device: str) -> tuple[Optim, str]:
    """What takes the steps on a device, and why it is another one than the recipe names; "" where it is not.

    Args:
        optim: of the recipe.
        device: cpu or cuda.
    """
    instead = UNPAGED.get(optim) if device == "cpu" else None
    if instead is None:
        return optim, ""
    return instead, f"a CPU has no memory of a GPU to page out, so {instead} takes the steps of {optim}"


def optimizer(model: torch.nn.Module, settings: TrainingSettings, decayed: Iterable[str]) -> Optimizer:
    """The optimizer of a recipe, over all weights that are trained.

    Muon takes matrices within layers alone: embeddings, the head and what is no matrix are AdamW's. Of 8-bit AdamW
    the embeddings' moments stay in 32 bits, since rare tokens make their gradients uneven (Dettmers et al. 2021,
    arXiv 2110.02861, section 2.3).

    Args:
        model: with the weights.
        settings: of the recipe.
        decayed: names of the weights that weight decay applies to.
    """
    device = next(model.parameters()).device.type
    optim, _ = taken_by(settings.optim, device)
    names = set(decayed)
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    apart = {id(weight) for weight in _apart(model, optim)}

    def groups(keep: Callable[[torch.Tensor], bool]) -> list[dict[str, Any]]:
        kept = [(name, weight) for name, weight in trained if keep(weight)]
        both = (
            ([weight for name, weight in kept if name in names], settings.weight_decay),
            ([weight for name, weight in kept if name not in names], 0.0),
        )
        return [{"params": weights, "weight_decay": decay} for weights, decay in both if weights]

    inner, outer = groups(lambda weight: id(weight) not in apart), groups(lambda weight: id(weight) in apart)
    parts = [_made(optim, inner, settings)] if inner else []
    if outer:
        parts.append(_made("paged_adamw" if optim == "paged_adamw_8bit" else "adamw", outer, settings))
    for part in parts:
        if ratio := settings.loraplus_lr_ratio:
            own_rate(part, model, "lora_B", ratio)
        if settings.modules_to_save:
            own_rate(part, model, "modules_to_save", SAVED_RATE)
    return parts[0] if len(parts) == 1 else Together(parts)


def state_bytes(model: torch.nn.Module, settings: TrainingSettings, device: str) -> int:
    """Bytes that the optimizer keeps of the trained weights once it has taken a step; counters of steps left out.

    Args:
        model: with the weights, which may be fakes or on the meta device.
        settings: of the recipe.
        device: on which it will be trained: cpu or cuda.
    """
    optim, _ = taken_by(settings.optim, device)
    apart = {id(weight) for weight in _apart(model, optim)}
    return sum(
        _state_bytes("adamw" if id(weight) in apart else optim, weight, settings.momentum)
        for weight in model.parameters()
        if weight.requires_grad
    )


class Sophia(Optimizer):
    """Sophia-G (Liu et al. 2023, arXiv 2305.14342, algorithms 2 and 3): momentum divided by an estimate of the
    curvature's diagonal, each number of it clipped to 1, so that no step is longer than the learning rate.

    Args:
        params: as for any optimizer of torch.
        lr: the learning rate.
        betas: of the means of gradients and of estimates. These and what follows are the paper's, for Sophia-G.
        gamma: share of the curvature that is divided by; the smaller, the more numbers are clipped.
        eps: the least that is divided by.
        weight_decay: decoupled, as AdamW's.
        period: steps from one estimate of the curvature to the next.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.96, 0.99),
        gamma: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
        period: int = 10,
    ) -> None:
        self.period = period
        kept = {"lr": lr, "betas": betas, "gamma": gamma, "eps": eps, "weight_decay": weight_decay, "steps": 0}
        super().__init__(params, kept)

    @property
    def weights(self) -> list[torch.Tensor]:
        """What is trained, in the order in which curvature is given."""
        return [weight for group in self.param_groups for weight in group["params"]]

    @property
    def due(self) -> bool:
        """Whether the curvature is to be estimated before the next step."""
        return bool(self.param_groups[0]["steps"] % self.period == 0)

    @torch.no_grad()
    def estimated(self, curvature: Sequence[torch.Tensor]) -> None:
        """Take an estimate of the curvature's diagonal: a tensor for each of `weights`, of its shape."""
        found = iter(curvature)
        for group in self.param_groups:
            for weight in group["params"]:
                self._state(weight)["curvature"].lerp_(next(found), 1 - group["betas"][1])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self._state(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["betas"][0])
                newton = momentum / (group["gamma"] * state["curvature"]).clamp_(min=group["eps"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(newton.clamp_(-1, 1), alpha=-group["lr"])
            group["steps"] += 1

    def _state(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = self.state[weight]
        if not state:
            state |= {"momentum": torch.zeros_like(weight), "curvature": torch.zeros_like(weight)}
        return state


def gauss_newton_bartlett(loss: torch.Tensor, tokens: int, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The Gauss-Newton-Bartlett estimate of the curvature's diagonal, a tensor for each weight.

    Args:
        loss: summed over tokens that were drawn from the model's own distribution.
        tokens: how many.
        weights: to which it is the curvature.
    """
    gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return [gradient.square_().div_(tokens) for gradient in gradients]


class Together(Optimizer):
    """Optimizers of different weights, as one."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = parts
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        """The very groups of the parts: a learning rate that is set here is set there."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()


def _apart(model: Any, optim: Optim) -> list[torch.Tensor]:
    """The weights that another optimizer trains than the rest, whether they are trained or not."""
    embeddings = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    if optim == "muon":
        head = model.get_output_embeddings()
        flat = [weight for weight in model.parameters() if weight.ndim != 2 or 1 in weight.shape]
        return [*embeddings, *flat, *([] if head is None else [head.weight])]
    return embeddings if optim.endswith("8bit") else []


def _made(optim: Optim, groups: list[dict[str, Any]], settings: TrainingSettings) -> Optimizer:
    rate = settings.learning_rate
    if optim == "sgd":
        return SGD(groups, lr=rate, momentum=settings.momentum)
    if optim == "sophia":
        return Sophia(groups, lr=rate)
    if optim == "muon":  # scaled so that AdamW's rate and decay serve it (Liu et al. 2025, arXiv 2502.16982)
        return Muon(groups, lr=rate, adjust_lr_fn="match_rms_adamw")
    if optim == "adamw":
        return AdamW(groups, lr=rate, fused=True)
    # Not through transformers: it would tell bitsandbytes of the embeddings for as long as the process lives, by their
    # places in memory, which later runs' weights may have.
    from bitsandbytes.optim import AdamW as BitsAndBytes

    return BitsAndBytes(groups, lr=rate, optim_bits=8 if "8bit" in optim else 32, is_paged="paged" in optim)


def _state_bytes(optim: Optim, weight: torch.Tensor, momentum: float) -> int:
    if optim == "sgd":
        return weight.nbytes if momentum else 0
    if optim == "muon":
        return weight.nbytes
    if optim == "paged_adamw":
        return 2 * 4 * weight.numel()
    if optim.endswith("8bit"):
        if weight.numel() < EIGHT_BIT_FROM:
            return 2 * 4 * weight.numel()
        return 2 * (weight.numel() + 4 * -(-weight.numel() // EIGHT_BIT_BLOCK))
    return 2 * weight.nbytes
