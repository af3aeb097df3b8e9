"""Every fuzz target on a few hundred inputs, the same ones each time; `python -m tests.fuzz.run` tries more."""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.targets import TARGETS

INPUTS = {"response": 60, "inspected": 60, "index": 60}
"""Of targets whose check takes long."""


@pytest.mark.parametrize("name", TARGETS)
def test_any_input(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    target = TARGETS[name]
    for seed in target.seeds():
        target.check(seed)
    settings(
        max_examples=INPUTS.get(name, 150),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(given(target.inputs())(target.check))()
