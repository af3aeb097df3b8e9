"""DoRA (Liu et al. 2024, arXiv 2402.09353): LoRA turns the columns of a weight, and their lengths are trained apart.
QDoRA is the same beside weights in NF4."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from peft import PeftModel
from peft.helpers import DoraCaching
from peft.tuners.lora.dora import DoraLinearLayer

from train.methods import lora
from train.settings import TrainingSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def ready(loaded: "PreTrainedModel", settings: TrainingSettings) -> PeftModel:
    """As `lora.ready`, with a magnitude for each output of an adapted layer."""
    return lora.ready(loaded, settings, use_dora=True)


@contextmanager
def norms_kept(model: "torch.nn.Module") -> Iterator[None]:
    """Compute the norms of an adapter's weights once within, not anew at each token: they are the same numbers. The
    model stays in eval mode and its weights as they are meanwhile; without DoRA nothing changes.

    peft's own cache keeps the product of A and B besides, in 32 bits and as large as the weights it goes beside, of
    which the norm alone is made.
    """
    layers = [module for module in model.modules() if type(module) is DoraLinearLayer]
    if not layers:
        yield
        return
    for layer in layers:
        layer._dora_cache = _Norms()
    try:
        with DoraCaching():
            yield
    finally:
        for layer in layers:
            layer._dora_cache = {}


class _Norms(dict[str, Any]):
    """A layer's cache, with nothing in the place of a product: peft asks for it again, and looks no further at it
    where it has the norm."""

    def __setitem__(self, key: str, value: "torch.Tensor") -> None:
        super().__setitem__(key, value.new_empty(0) if key.startswith("lora-weight") else value)
