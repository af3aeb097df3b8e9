"""The learning rate, step by step, against formulas and transformers' schedules."""

from typing import Any

import pytest
import torch
from transformers import get_scheduler

from train.schedules import schedule
from train.settings import TrainingSettings


def rates(steps: int, **given: Any) -> list[float]:
    factor = schedule(TrainingSettings.model_validate(given), steps)
    return [factor(step) for step in range(steps)]


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_behind_the_warm_up_it_is_transformers(name: str, steps: int) -> None:
    ours = rates(steps, lr_scheduler_type=name, warmup_ratio=0.1)
    warm = -(-steps // 10)
    made = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = get_scheduler(name, made, warm, steps)
    for step in range(steps):
        if step >= warm:
            assert ours[step] == pytest.approx(theirs.get_last_lr()[0])
        made.step()
        theirs.step()
    assert ours[:warm] == pytest.approx([(step + 1) / (warm + 1) for step in range(warm)]), "never nothing"


def test_where_it_ends() -> None:
    stable = rates(20, lr_scheduler_type="wsd", warmup_ratio=0.0)
    assert stable == pytest.approx([1.0] * 17 + [0.75, 0.5, 0.25])
    assert rates(20, lr_scheduler_type="wsd", warmup_ratio=0.5)[10:] == pytest.approx([1.0] * 7 + [0.75, 0.5, 0.25])
    floored = rates(100, lr_scheduler_type="cosine", warmup_ratio=0.0, min_lr_ratio=0.1)
    assert floored == sorted(floored, reverse=True)
    assert 0.1 < floored[-1] < 0.101
    assert set(rates(9, lr_scheduler_type="constant", warmup_ratio=0.0)) == {1.0}
