"""An answer: what a system said to one row, and how that was judged."""

from dataclasses import dataclass

from evaluation.judge.structured import Judgement


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer."""

    text: str
    """Without the stop token."""
    tokens: int = 0
    """How many were generated, without the stop token."""
    truncated: bool = False
    """Whether there was no stop token among as many tokens as an answer may have."""
    seconds: float | None = None
    """From the batch's start to this row's last token: what a caller waits who sends such a batch."""
    tokens_in: int = 0
    """Of the prompt."""
    logprob: float | None = None
    """Natural logarithm of the probability of all that was generated, the stop token too, where it is known. Under a
    constraint, probabilities are those among the allowed tokens: what had no alternative adds nothing."""
    refused: bool = False
    """Whether a server says that the model declines to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One system's answer to one row."""

    generated: Generated
    judgement: Judgement | None
    """None for plain chat, whose answers have no form to judge."""
    exact: bool
    """Whether it is what is expected: the same JSON value or, for plain chat, the same text."""
