"""The recipe's section `training`."""

from typing import Literal

from pydantic import Field

from curate.recipe import Recipe
from curate.stage import Settings


class TrainingSettings(Settings):
    """How the adapter is trained."""

    rows: int = Field(256, ge=1, description="How many rows of the train split are trained on.")
    max_tokens: int = Field(1024, ge=8, description="Only rows of at most this many tokens are chosen.")
    epochs: int = Field(1, ge=1, description="How often each row is trained on.")
    learning_rate: float = Field(1e-3, gt=0, description="At its highest; it falls to nothing towards the end.")
    batch_size: int = Field(8, ge=1, description="Rows of one step.")
    rank: int = Field(16, ge=1, description="Of the adapter's matrices (LoRA's r).")
    alpha: int = Field(32, ge=1, description="What the adapter is scaled by, times its rank (LoRA's alpha).")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of the adapter's inputs, while it is trained.")
    quantization: Literal["nf4", "none"] = Field("nf4", description="Of the base model's weights.")
    seed: int = Field(0, description="Of the adapter's first weights and the order of the rows.")


class TrainingRecipe(Recipe):
    """A recipe as far as training reads it."""

    training: TrainingSettings = TrainingSettings()
