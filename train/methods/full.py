"""Every weight of the base model is trained, embeddings and head too."""

from typing import TYPE_CHECKING

from train.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def ready(loaded: "PreTrainedModel", settings: TrainingSettings) -> "PreTrainedModel":
    """The model, all of whose weights are trained."""
    loaded.requires_grad_(True)
    return loaded
