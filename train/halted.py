"""Why a run ends without an adapter, where that is the run's own doing: it diverged, or nobody wanted more of it."""

from typing import Protocol

from curate.errors import AssayError
from train.history import History


class NotFinite(AssayError):
    """A loss, a gradient or a weight is not finite: the same run would end the same way again."""


class Pruned(Exception):
    """Who trained asked for no more, after one of the run's validations.

    Args:
        history: of the run until then.
    """

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.history = history


class Hopeless(Protocol):
    """Whether a run that is not at its end is to end here, by its validations so far; asked after each."""

    def __call__(self, history: History, /) -> bool: ...
