"""DoRA (Liu et al. 2024, arXiv 2402.09353): LoRA turns the columns of a weight, and their lengths are trained apart.
QDoRA is the same beside weights in NF4."""

from typing import TYPE_CHECKING

from peft import PeftModel

from train.methods import lora
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def ready(loaded: "PreTrainedModel", settings: TrainingSettings) -> PeftModel:
    """As `lora.ready`, with a magnitude for each output of an adapted layer."""
    return lora.ready(loaded, settings, use_dora=True)
