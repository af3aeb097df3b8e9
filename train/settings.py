"""The recipe's section `training`."""

from typing import Literal

from pydantic import Field

from curate.recipe import Recipe
from curate.stage import Settings


class TrainingSettings(Settings):
    rows: int = Field(256, ge=1, description="How many rows of the train split are trained on.")
    max_tokens: int = Field(1024, ge=8, description="Only rows of at most this many tokens are chosen.")
    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(8, ge=1)
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    quantization: Literal["nf4", "none"] = "nf4"
    seed: int = 0


class TrainingRecipe(Recipe):
    """A recipe as far as training reads it."""

    training: TrainingSettings = TrainingSettings()
