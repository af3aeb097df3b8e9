"""A model that is trained: made ready by the recipe's method, and what it learned taken out and put back."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import set_seed

from curate.errors import AssayError
from curate.progress import Progress
from train.accelerators import accelerated, unsloth_model
from train.base_model import BaseModel, load_model
from train.methods import dora, full, ia3, lora, partial
from train.methods.keys import WHOLE
from train.settings import TrainingSettings
from train.sharded import dealt_like, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Trained = PeftModel | PreTrainedModel

METHODS: Mapping[str, "Callable[[PreTrainedModel, TrainingSettings], Trained]"] = {
    "full": full.ready,
    "partial": partial.ready,
    "lora": lora.ready,
    "qlora": lora.ready,
    "dora": dora.ready,
    "qdora": dora.ready,
    "ia3": ia3.ready,
}


def adapted(base: BaseModel, settings: TrainingSettings) -> "Trained":
    """The base model, ready to be trained; untrained, it says what the base model says.

    Raises:
        AssayError: a module or layer that the recipe names is not there.
    """
    # The base model's own weights are trained in float32, as adapters are: steps are smaller than 16 bits tell.
    dtype = "float32" if settings.method in WHOLE else settings.dtype
    if settings.use_unsloth:
        loaded = unsloth_model(base, settings)
    else:
        loaded = load_model(base, settings.quantization, dtype, settings.double_quantization)
    set_seed(settings.seed)
    return accelerated(with_adapter(loaded, settings), settings)


def with_adapter(loaded: "PreTrainedModel", settings: TrainingSettings) -> "Trained":
    """`adapted` of a model that is there.

    Raises:
        AssayError: as `adapted`.
    """
    return METHODS[settings.method](loaded, settings)


def weights_of(model: "Trained") -> dict[str, torch.Tensor]:
    """What is trained, copied to the CPU: an adapter's weights by peft's names, others by transformers'. Where weights
    are dealt out, all processes ask at once."""
    if isinstance(model, PeftModel):
        state = get_peft_model_state_dict(model)
    else:
        state = {name: each for name, each in model.named_parameters() if each.requires_grad}
    return {
        name: whole(tensor.detach()).cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }


def put_weights(model: "Trained", weights: Mapping[str, torch.Tensor]) -> None:
    """Put back what `weights_of` gave.

    Raises:
        AssayError: of the base model's own weights, they are not those that this model trains.
    """
    if isinstance(model, PeftModel):
        there = get_peft_model_state_dict(model)
        set_peft_model_state_dict(model, {name: dealt_like(each, there[name]) for name, each in weights.items()})
        return
    there = {name: each for name, each in model.named_parameters() if each.requires_grad}
    unlike = {name for name in there.keys() & weights.keys() if there[name].shape != weights[name].shape}
    if wrong := sorted((there.keys() ^ weights.keys()) | unlike):
        raise AssayError(
            f"{len(wrong)} weights are not those that were to be trained, {wrong[0]} among them.",
            remedy="Train again: the settings in the manifest and the weights beside it do not belong together.",
        )
    with torch.no_grad():
        for name, each in there.items():
            each.copy_(dealt_like(weights[name], each))


def tell_left_out(model: torch.nn.Module, progress: Progress) -> None:
    """Tell of experts that stay as they are: where a layer holds its experts as one tensor they are no modules, and
    peft adapts those of some architectures only."""
    experts = {
        name: weight.numel()
        for module_name, module in model.named_modules()
        if not (isinstance(module, torch.nn.modules.conv._ConvNd) or module_name.endswith(".base_layer"))
        for name, weight in module.named_parameters(module_name, recurse=False)
        if weight.ndim == 3 and not weight.requires_grad
    }
    if experts and isinstance(model, PeftModel):
        names = ", ".join(sorted({".".join(name.split(".")[-2:]) for name in experts}))
        share = sum(experts.values()) / sum(weight.numel() for weight in model.parameters())
        progress(
            f"no adapter for {names}: {share:.0%} of the weights, which peft does not adapt in this architecture",
            1,
            1,
            "adapters",
        )
