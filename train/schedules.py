"""How the learning rate rises and falls."""

import math
from collections.abc import Callable

from train.settings import TrainingSettings

DECAY = 0.2
"""Share of the steps of `wsd`, at their end, in which the rate falls (Hägele et al. 2024, arXiv 2405.18392)."""


def schedule(settings: TrainingSettings, steps: int) -> Callable[[int], float]:
    """What the learning rate is multiplied by, by the number of steps taken before.

    It rises in a line over the warm-up, and is whole at the first step behind it. No step has a rate of nothing, as
    transformers' first one has, whose batch is not learned.

    Args:
        settings: of the recipe.
        steps: how many there will be.
    """
    warm = math.ceil(settings.warmup_ratio * steps)
    falling = min(steps - warm, math.ceil(DECAY * steps)) if settings.lr_scheduler_type == "wsd" else steps - warm
    least = settings.min_lr_ratio

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        passed = max(0.0, (step - (steps - falling)) / max(1, falling))
        if settings.lr_scheduler_type == "constant":
            return 1.0
        left = (1 + math.cos(math.pi * passed)) / 2 if settings.lr_scheduler_type == "cosine" else 1 - passed
        return least + (1 - least) * max(0.0, left)

    return factor
