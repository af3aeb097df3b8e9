"""(IA)^3 (Liu et al. 2022, arXiv 2205.05638): a factor for each key, each value and each number within a feed-forward
layer, and nothing else."""

from typing import TYPE_CHECKING

from peft import IA3Config, PeftModel, get_peft_model
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
)

from curate.errors import AssayError
from train.base_model import quiet
from train.methods.modules import check_targets, is_called, last_names, linear_layers
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FEEDFORWARD = {name for names in TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.values() for name in names}
"""Modules whose inputs are scaled, as peft knows them by name; of all others it is the outputs."""


def ready(loaded: "PreTrainedModel", settings: TrainingSettings) -> PeftModel:
    """A model with fresh factors, all one; by default on the modules that peft names for its architecture.

    Raises:
        AssayError: a module is not there, or none is named and peft does not know the architecture.
    """
    linear, kind = linear_layers(loaded), loaded.config.model_type
    targets = settings.target_modules
    if targets == "all-linear":
        targets = last_names(linear)
    elif targets is None:
        targets = TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(kind)
        if targets is None:
            raise AssayError(
                f"training.method ia3: peft knows no modules to scale in an architecture {kind!r}.",
                remedy="Name them in training.target_modules, the keys, the values and the last of the feed-forward "
                f"layers say; there are: {', '.join(last_names(linear))}.",
            )
    check_targets(targets, linear)
    config = IA3Config(
        target_modules=list(targets),
        feedforward_modules=[each for each in targets if any(is_called(each, name) for name in FEEDFORWARD)],
        task_type="CAUSAL_LM",
    )
    with quiet():
        model: PeftModel = get_peft_model(loaded, config)
    return model
