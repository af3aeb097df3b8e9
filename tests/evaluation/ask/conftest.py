from collections.abc import Iterator

import pytest

from evaluation.ask import endpoint as module
from tests.evaluation.scripted import Scripted, echo, serving


@pytest.fixture
def server() -> Iterator[Scripted]:
    """It echoes, until a test gives it another script."""
    with serving(echo) as running:
        yield running


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any backoff."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
