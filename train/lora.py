"""A fresh LoRA adapter (Hu et al. 2021, arXiv 2106.09685) on the modules and layers that the recipe names."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import set_seed
from transformers.pytorch_utils import Conv1D

from curate.errors import AssayError
from curate.progress import Progress
from train.accelerators import accelerated, unsloth_model
from train.base_model import BaseModel, load_model, quiet
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
FUSED_OUT = "out_proj"
"""A module that peft refuses to adapt in these models: their kernels take its weights, not its result."""


def adapted(base: BaseModel, settings: TrainingSettings) -> PeftModel:
    """The base model with a fresh adapter; untrained, it changes nothing.

    Raises:
        AssayError: a module or layer that is to get one is not there.
    """
    if settings.use_unsloth:
        loaded = unsloth_model(base, settings)
    else:
        loaded = load_model(base, settings.quantization, settings.dtype, settings.double_quantization)
    set_seed(settings.seed)
    return accelerated(with_adapter(loaded, settings), settings)


def with_adapter(loaded: "PreTrainedModel", settings: TrainingSettings) -> PeftModel:
    """`adapted` of a model that is there.

    Raises:
        AssayError: as `adapted`.
    """
    linear = _linear(loaded)
    layers = settings.layers_to_transform
    targets = settings.target_modules
    if targets != "all-linear":
        _check_targets(targets, linear)
    elif loaded.config.model_type in FUSED:
        targets = [name for name in _names(linear) if name != FUSED_OUT]
    elif layers is not None:  # peft takes layers only with names of modules
        targets = _names(linear)
    if layers is not None:
        _check_layers(layers, loaded)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        layers_to_transform=layers,
        task_type="CAUSAL_LM",
    )
    with quiet():
        try:
            model: PeftModel = get_peft_model(loaded, config)
        except ValueError as error:
            raise AssayError(
                f"training.target_modules, layers_to_transform: peft makes no adapter of these: {error}",
                remedy=f"The modules of this model: {_kinds(linear)}.",
            ) from error
    return model


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
    if experts:
        names = ", ".join(sorted({".".join(name.split(".")[-2:]) for name in experts}))
        share = sum(experts.values()) / sum(weight.numel() for weight in model.parameters())
        progress(
            f"no adapter for {names}: {share:.0%} of the weights, which peft does not adapt in this architecture",
            1,
            1,
            "adapters",
        )


def _linear(model: "PreTrainedModel") -> list[str]:
    """The names of the linear layers but the head."""
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]


def _names(linear: Sequence[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in linear})


def _kinds(linear: Sequence[str]) -> str:
    return ", ".join(_names(linear))


def _check_targets(targets: Sequence[str], linear: Sequence[str]) -> None:
    """Each names a module; of several of which one does, peft would leave the others out without a word."""
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            raise AssayError(
                f"training.target_modules: no linear layer of this model is called {target!r}.",
                remedy=f"There are: {_kinds(linear)}.",
            )
    if not targets:
        raise AssayError(
            "training.target_modules: the list is empty, so nothing would be trained.",
            remedy=f"Leave it out for all of: {_kinds(linear)}.",
        )


def _check_layers(layers: Sequence[int], model: "PreTrainedModel") -> None:
    count = model.config.get_text_config().num_hidden_layers
    if not layers or max(layers) >= count:
        said = f"there is no layer {max(layers)}" if layers else "the list is empty, so nothing would be trained"
        raise AssayError(
            f"training.layers_to_transform: {said}.", remedy=f"The layers of this model are 0 to {count - 1}."
        )
