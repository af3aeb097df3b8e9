"""Shots: training rows shown before the question, with their answers, as earlier turns of the same conversation."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from curate.errors import AssayError
from curate.rows.chat_template import Message
from curate.rows.renderer import Renderer
from evaluation.ask.baselines import words
from train.examples import Row, select

if TYPE_CHECKING:
    from bm25s import BM25


def asked(row: Row) -> str:
    """All that is said before the answer."""
    return "\n\n".join(turn["content"] for turn in row["messages"][:-1])


class Shots:
    """Rows of the train split to show. The split keeps rows that belong together apart: none is like the row asked.

    Args:
        train: rows with `id`, `label`, `cluster`, `tokens` and `messages`.
        max_tokens: longer rows are not shown.
        seed: of the choice that is the same for all.
    """

    def __init__(self, train: Sequence[Row], max_tokens: int, seed: int) -> None:
        self.rows = sorted((row for row in train if row["tokens"] <= max_tokens), key=lambda row: str(row["id"]))
        self.max_tokens = max_tokens
        self.seed = seed

    def check(self, name: str, count: int) -> None:
        """Check that there are so many.

        Raises:
            AssayError: names the system.
        """
        if count > len(self.rows):
            raise AssayError(
                f"evaluation.systems.{name}: {count} shots, but the train split has {len(self.rows)} rows of at most "
                f"{self.max_tokens} tokens.",
                remedy="Show fewer, or raise evaluation.max_tokens in the recipe.",
            )

    def fixed(self, count: int) -> list[Row]:
        """The same for every row: chosen by the seed, from each label its share."""
        return select(self.rows, count, self.max_tokens, self.seed)

    def nearest(self, question: str, count: int) -> list[Row]:
        """Those whose words are most like the question's, the most alike last; of equals, the lesser ids.

        By BM25 (Lucene's variant, k1 = 1.5, b = 0.75), without what all rows begin and end with: the template's words
        say nothing of a row, and make short ones look long.
        """
        terms, index = words(self.own_part(question)), self._index
        scores = index.get_scores(terms) if terms and index is not None else np.zeros(len(self.rows))
        best = np.argsort(-scores, kind="stable")[:count]
        return [self.rows[place] for place in best[::-1].tolist()]

    @staticmethod
    def of_any_length(train: Sequence[Row], seed: int) -> "Shots":
        """Of rows that nobody has to read."""
        return Shots(train, max((row["tokens"] for row in train), default=0), seed)

    def own_part(self, text: str) -> str:
        """A question without what all rows begin and end with."""
        begin, end = self._template
        return text.removeprefix(begin).removesuffix(end)

    @cached_property
    def _template(self) -> tuple[str, str]:
        """What all rows begin with, and what they end with, in whole lines."""
        texts = [asked(row) for row in self.rows]
        begin = _common_lines(texts)
        return begin, _common_lines([text[len(begin) :][::-1] for text in texts])[::-1]

    @cached_property
    def _index(self) -> "BM25 | None":
        """None where no row has a word."""
        from bm25s import BM25

        documents = [words(self.own_part(asked(row))) for row in self.rows]
        if not any(documents):
            return None
        index = BM25()
        index.index(documents, show_progress=False)
        return index


def _common_lines(texts: Sequence[str]) -> str:
    """The lines that all texts begin with: those that the first and the last of them, sorted, begin with."""
    first, last = min(texts, default=""), max(texts, default="")
    same = next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )
    return first[: first.rfind("\n", 0, same) + 1]


def conversation(row: Row, shots: Sequence[Row]) -> list[Message]:
    """What is said before the answer: the row's system turn, the shots with their answers, the question."""
    system, question = _parted(row["messages"][:-1])
    return [*system, *(turn for shot in shots for turn in _parted(shot["messages"])[1]), *question]


def fitting(row: Row, shots: Sequence[Row], renderer: Renderer, most: int | None) -> tuple[list[int], list[Row]]:
    """The prompt's token ids, and the shots in it: of those that do not fit, the first ones are left out.

    Args:
        row: what is asked.
        shots: the least alike first.
        renderer: of the model.
        most: tokens that a prompt may have; None where there is no bound.

    Raises:
        AssayError: the question by itself does not fit.
    """
    for first in range(len(shots) + 1):
        shown = list(shots[first:])
        prompt = renderer.prompt_ids(conversation(row, shown))
        if most is None or len(prompt) <= most:
            return prompt, shown
    raise AssayError(
        f"Row {row['id']}: its prompt has {len(prompt)} tokens; the model's context leaves {most} beside the answer.",
        remedy="Lower evaluation.max_tokens or evaluation.max_new_tokens in the recipe.",
    )


def _parted(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system's messages, and the others; of each, what anybody is asked with: role and content."""
    told = [{"role": message["role"], "content": message["content"]} for message in messages]
    return (
        [message for message in told if message["role"] == "system"],
        [message for message in told if message["role"] != "system"],
    )
