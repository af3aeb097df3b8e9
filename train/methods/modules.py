"""The modules of a model by the names that recipes call them, which are peft's."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from transformers.pytorch_utils import Conv1D

from curate.errors import AssayError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def linear_layers(model: "PreTrainedModel") -> list[str]:
    """The names of the linear layers but the head."""
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]


def last_names(names: Iterable[str]) -> list[str]:
    """The last part of each name, once."""
    return sorted({name.rpartition(".")[2] for name in names})


def is_called(name: str, target: str) -> bool:
    """Whether a module is the one, or one of those, that a recipe names by the end of its name."""
    return name == target or name.endswith(f".{target}")


def check_targets(targets: Sequence[str], names: Sequence[str], what: str = "linear layer") -> None:
    """Each names a module; of several of which one does, peft would leave the others out without a word.

    Raises:
        AssayError: one does not, or there are none; lists what there is.
    """
    kinds = ", ".join(last_names(names))
    for target in targets:
        if not any(is_called(name, target) for name in names):
            raise AssayError(
                f"training.target_modules: no {what} of this model is called {target!r}.",
                remedy=f"There are: {kinds}.",
            )
    if not targets:
        raise AssayError(
            "training.target_modules: the list is empty, so nothing would be trained.",
            remedy=f"Leave it out for all of: {kinds}.",
        )


def saved_modules(names: Sequence[str], model: "PreTrainedModel") -> list[str]:
    """The whole names of the modules with weights of their own, but linear layers, that are called so: peft would take
    any whose name ends in these letters.

    Raises:
        AssayError: none is; lists what there is.
    """
    linear = set(linear_layers(model))
    there = [
        name for name, module in model.named_modules() if name not in linear and [*module.parameters(recurse=False)]
    ]
    for name in names:
        if not any(is_called(each, name) for each in there):
            raise AssayError(
                f"training.modules_to_save: no embedding, head or norm of this model is called {name!r}.",
                remedy=f"There are: {', '.join(last_names(there))}. Of linear layers: `method: partial`.",
            )
    return [each for each in there if any(is_called(each, name) for name in names)]


def tied(model: "PreTrainedModel") -> bool:
    """Whether the head's weights are those of the embeddings."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def check_layers(layers: Sequence[int], model: "PreTrainedModel") -> None:
    """Each is the number of a layer.

    Raises:
        AssayError: one is not, or there are none.
    """
    count = model.config.get_text_config().num_hidden_layers
    if not layers or max(layers) >= count:
        said = f"there is no layer {max(layers)}" if layers else "the list is empty, so nothing would be trained"
        raise AssayError(
            f"training.layers_to_transform: {said}.", remedy=f"The layers of this model are 0 to {count - 1}."
        )
