"""The base model's own weights are trained, those of the modules and layers that the recipe names."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from curate.errors import AssayError
from train.methods.modules import check_layers, check_targets, is_called, linear_layers
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def ready(loaded: "PreTrainedModel", settings: TrainingSettings) -> "PreTrainedModel":
    """The model, of which all that lies in the named modules is trained, of the named layers alone where some are.

    Weights that are tied are trained together: of tied embeddings the head is what the embeddings are.

    Raises:
        AssayError: nothing is named, or a module or layer is not there.
    """
    layers, targets = settings.layers_to_transform, settings.target_modules
    if layers is None and targets is None:
        raise AssayError(
            "training.method partial: neither target_modules nor layers_to_transform says which weights are trained.",
            remedy="Name modules (mlp, lm_head), layers ([28, 29]) or both; for all of them there is method full.",
        )
    modules = [name for name, _ in loaded.named_modules() if name]
    if targets == "all-linear":
        chosen = linear_layers(loaded)
    elif targets is None:
        chosen = modules
    else:
        check_targets(targets, modules, "module")
        chosen = [name for name in modules if any(is_called(name, target) for target in targets)]
    if layers is not None:
        check_layers(layers, loaded)
        inside = _layers(loaded, loaded.config.get_text_config().num_hidden_layers)
        within = [f"{inside}.{number}." for number in layers]
        chosen = [name for name in chosen if any(f"{name}.".startswith(layer) for layer in within)]
    trained = [each for name in chosen for each in loaded.get_submodule(name).parameters()]
    if not trained:
        raise AssayError(
            "training.target_modules, layers_to_transform: there is no weight in these modules of these layers.",
            remedy="Name modules that lie in the layers, or leave out one of the keys.",
        )
    loaded.requires_grad_(False)
    for each in trained:
        each.requires_grad_(True)
    return loaded


def _layers(model: torch.nn.Module, depth: int) -> str:
    """The name of the module that holds the layers."""
    modules: Iterator[tuple[str, torch.nn.Module]] = model.named_modules()
    return next(name for name, each in modules if isinstance(each, torch.nn.ModuleList) and len(each) == depth)
