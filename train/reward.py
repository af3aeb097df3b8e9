"""What sampled answers are worth, as reinforcement (`training.objective: reft`) is told it, and how rows are asked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from curate.progress import Progress
from curate.rows.renderer import Renderer
from train.examples import Example, Row, read_split


class Rewarded(NamedTuple):
    """What an answer is worth, part by part, each from 0 to 1."""

    json: float
    """It is JSON, strictly read."""
    schema: float
    """It fits the target's schema."""
    fields: float
    """Share of its fields that are right."""
    grounded: float
    """Share of the fields whose right value is copied from the prompt that say only what stands there."""

    @property
    def mean(self) -> float:
        """The reward: each part counts a quarter."""
        return sum(self) / len(self)


class Reward(Protocol):
    """What answers to the rows of a data set version's train split are worth."""

    @property
    def deciding(self) -> dict[str, Any]:
        """What it depends on besides the data set, as JSON has it."""

    def __call__(self, row: str, answer: str, cut_off: bool, /) -> Rewarded:
        """What one answer is worth.

        Args:
            row: its id.
            answer: the text, without the stop token.
            cut_off: whether it reached its limit of tokens.
        """


@dataclass(frozen=True)
class Asked:
    """The rows of a run, as they are asked: in the order of what is trained."""

    prompts: Sequence[Sequence[int]]
    """Token ids, as evaluation asks them."""
    renderer: Renderer
    """Knows the stop tokens, and the text of tokens."""
    reward: Reward

    @classmethod
    def of(cls, examples: Sequence[Example], version: Path, renderer: Renderer, reward: Reward) -> "Asked":
        """How rows of a version's train split are asked."""
        messages = {row["id"]: row["messages"] for row in read_split(version, "train", ["id", "messages"])}
        prompts = {each: renderer.prompt_ids(messages[each]) for each in {example.id for example in examples}}
        return cls([prompts[example.id] for example in examples], renderer, reward)


def tell_reasoning(rows: Collection[Row], renderer: Renderer, progress: Progress) -> None:
    """Tell how many of the rows of a warm-up are trained to think before they answer: ReFT begins with such rows, and
    without any the warm-up is plain supervised training."""
    thinking = sum(renderer.thoughts.end(row["messages"][-1]["content"]) > 0 for row in rows)
    trained = thinking if renderer.reasoning == "train" else 0
    progress(f"warm-up: {trained:,} of {len(rows):,} rows are trained to think before they answer", 1, 1, "warm-ups")
