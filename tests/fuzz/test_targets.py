"""Every fuzz target on some inputs, the same ones each time; `tests.fuzz.run` tries more."""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS

INPUTS = 25
FEWER = {"rows": 12, "recipe_values": 20, "inspected": 20}
"""Of targets whose check takes long."""


@pytest.mark.parametrize("name", TARGETS)
def test_any_input(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    target = TARGETS[name]
    for each in target.seeds():
        target.check(each)

    @seed(0)
    @settings(
        max_examples=FEWER.get(name, INPUTS),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs())
    def any_input(data: bytes) -> None:
        target.check(data)

    any_input()
