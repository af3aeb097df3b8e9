"""LoRA (Hu et al. 2021, arXiv 2106.09685): a product of two small matrices beside each linear layer. QLoRA is the same
beside weights in NF4.

Of the same family: rsLoRA (Kalajdzievski 2023, arXiv 2312.03732) scales by alpha over the root of the rank, LoRA+
(Hayou et al. 2024, arXiv 2402.12354) gives the second matrix a learning rate of its own.
"""

from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from curate.errors import AssayError
from train.base_model import quiet
from train.methods.modules import check_layers, check_targets, is_called, last_names, linear_layers, saved_modules, tied
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
FUSED_OUT = "out_proj"
"""A module that peft refuses to adapt in these models: their kernels take its weights, not its result."""


def ready(loaded: "PreTrainedModel", settings: TrainingSettings, use_dora: bool = False) -> PeftModel:
    """A model with a fresh adapter on the modules and layers that the recipe names; untrained, it changes nothing.

    Raises:
        AssayError: a module or layer that is to get one is not there, or a pattern fits none that does.
    """
    linear = linear_layers(loaded)
    layers = settings.layers_to_transform
    targets = settings.target_modules or "all-linear"
    if settings.target_modules == []:
        check_targets([], linear)
    if targets != "all-linear":
        check_targets(targets, linear)
    elif loaded.config.model_type in FUSED:
        targets = [name for name in last_names(linear) if name != FUSED_OUT]
    elif layers is not None:  # peft takes layers only with names of modules
        targets = last_names(linear)
    if layers is not None:
        check_layers(layers, loaded)
    saved = saved_modules(settings.modules_to_save, loaded)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        layers_to_transform=layers,
        use_rslora=settings.use_rslora,
        use_dora=use_dora,
        rank_pattern=dict(settings.rank_pattern),
        alpha_pattern=dict(settings.alpha_pattern),
        modules_to_save=saved or None,
        ensure_weight_tying=bool(saved) and tied(loaded),
        task_type="CAUSAL_LM",
    )
    with quiet():
        try:
            model: PeftModel = get_peft_model(loaded, config)
        except ValueError as error:
            raise AssayError(
                f"training.method {settings.method}, target_modules, layers_to_transform: peft makes no adapter of "
                f"these: {error}",
                remedy=f"The modules of this model: {', '.join(last_names(linear))}.",
            ) from error
    _check_patterns(model, settings)
    return model


def own_rate(optimizer: torch.optim.Optimizer, model: torch.nn.Module, part: str, ratio: float) -> None:
    """Let the weights whose names hold `part` learn at `ratio` times the rate of what else is trained: of LoRA+ the
    matrices B, at the published lambda.

    Args:
        optimizer: fresh, of the model's trained weights; gets a group of parameters more for each that holds some.
        model: with an adapter.
        part: of their names.
        ratio: of the rates.
    """
    second = {id(each) for name, each in model.named_parameters() if part in name}
    for group in list(optimizer.param_groups):
        inside = [each for each in group["params"] if id(each) in second]
        rest = [each for each in group["params"] if id(each) not in second]
        if inside and rest:
            group["params"] = rest
            optimizer.add_param_group({**group, "params": inside, "lr": ratio * group["lr"]})


def _check_patterns(model: PeftModel, settings: TrainingSettings) -> None:
    """Each pattern names a module that has an adapter; of others peft would say nothing."""
    names = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(settings, key):
            if not any(is_called(name, pattern) for name in names):
                raise AssayError(
                    f"training.{key}: no module that gets an adapter is called {pattern!r}.",
                    remedy=f"There are: {', '.join(last_names(names))}; before one its layer may stand: "
                    f"{'.'.join(names[0].split('.')[-3:])}.",
                )
