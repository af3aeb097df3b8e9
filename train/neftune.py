"""NEFTune (Jain et al. 2023, arXiv 2310.05914): uniform noise on a row's embeddings, while it is trained on."""

from typing import Any, Self

import torch


class Noise:
    """Puts noise on the embeddings of a model in training mode, as long as it is entered.

    Each number of a row of L tokens, in d dimensions, is moved by up to alpha / sqrt(L d), either way. L is the row's
    own length and padding is left as it is, as in the paper's code; transformers takes the length of the padded batch.

    Args:
        model: a causal language model.
        alpha: of the recipe; None for no noise.
    """

    def __init__(self, model: Any, alpha: float | None) -> None:
        self.embeddings: torch.nn.Module = model.get_input_embeddings()
        self.alpha = alpha
        self.real: torch.Tensor | None = None
        """(B, L) of the batch to come, 0 at padding; rows that are computed in another shape have no padding."""

    def __enter__(self) -> Self:
        self.hook = self.embeddings.register_forward_hook(self._put) if self.alpha is not None else None
        return self

    def __exit__(self, *_: object) -> None:
        if self.hook is not None:
            self.hook.remove()

    def _put(self, module: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        if not module.training or self.alpha is None:
            return None
        ids = given[0]
        padded = self.real is not None and self.real.shape == ids.shape
        real = (self.real if padded else torch.ones_like(ids)).to(output)[..., None]  # type: ignore[union-attr]
        most = self.alpha / (real.sum(1, keepdim=True) * output.shape[-1]).sqrt()
        return output + (2 * torch.rand_like(output) - 1) * most * real
