"""How long work tells its caller how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int, str], None]
"""Called as ``progress(what, done, total, unit)``, e.g. ``progress("clean", 5000, 34873, "rows")``."""


def silent(what: str, done: int, total: int, unit: str) -> None:
    """The progress that tells nobody."""
