"""What the gate finds of each rule that a set is held to, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHOWN, SHOWN_CHARACTERS = 5, 60


@dataclass(frozen=True)
class Finding:
    """How the set stands to one rule of its contract."""

    name: str
    """As the contract calls the rule."""
    column: str | None
    """None where the rule is about the whole table."""
    success: bool
    warning: bool
    """Whether a version is published all the same where it fails."""
    observed: str
    """What was found, in words."""
    expected: str
    """The expectation and its arguments, as the contract writes them."""
    unexpected_ids: tuple[str, ...]
    """Ids of the rows that break it, where it is a rule about single rows."""

    def __str__(self) -> str:
        where = f" ({self.column})" if self.column else ""
        text = f"{self.name}{where}: observed {self.observed}; expected {self.expected}"
        if self.unexpected_ids:
            text += f"; rows {some(self.unexpected_ids)}"
        return text


def number(value: float) -> str:
    """A number, a fraction to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def some(values: Sequence[Any]) -> str:
    """The first few of the different values, each cut to a readable length."""
    texts = dict.fromkeys(map(str, values))
    shown = [text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…" for text in texts]
    return ", ".join(shown[:SHOWN]) + (", …" if len(shown) > SHOWN else "")
