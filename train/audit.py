"""The audit of the mask: whether what is trained of each row is the answer and nothing else, before the first step."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, get_args

from curate.errors import AssayError
from curate.rows.chat_template import Message
from curate.rows.renderer import IGNORED, Encoded, Renderer
from train.examples import Example, Row

Problem = Literal[
    "refused",
    "no_trained_token",
    "prompt_trained",
    "not_the_answer",
    "no_stop_token",
    "special_token_in_answer",
    "padding_trained",
    "bos_missing",
    "bos_twice",
    "too_long",
]
"""What can be wrong with a row's tokens."""

WORDS: dict[Problem, str] = {
    "refused": "cannot be rendered as they are to be trained",
    "no_trained_token": "have no token that is trained",
    "prompt_trained": "have tokens trained that are no part of an answer",
    "not_the_answer": "have trained tokens that are not the answer",
    "no_stop_token": "end a trained answer without the stop token",
    "special_token_in_answer": "have a special token trained inside an answer",
    "padding_trained": "have padding trained",
    "bos_missing": "lack the token that the tokenizer begins every text with",
    "bos_twice": "begin with that token twice",
    "too_long": "have more tokens than training.max_tokens",
}
FIRST = 3
"""Rows that are named of each problem."""


@dataclass(frozen=True)
class Audit:
    """Rows, tokenised, and what is wrong with them."""

    examples: list[Example]
    """Of rows that could be rendered."""
    counts: dict[Problem, int]
    """Rows with each problem; zeros too."""
    first: dict[Problem, list[str]]
    """What is seen in the first rows of each problem that there is."""

    def require(self) -> list[Example]:
        """The examples, of which none has a problem.

        Raises:
            AssayError: says how many rows have each problem, and shows the first.
        """
        if not self.first:
            return self.examples
        lines = [
            f"{self.counts[problem]:,} rows {WORDS[problem]} ({problem}):\n  " + "\n  ".join(seen)
            for problem, seen in self.first.items()
        ]
        raise AssayError(
            "Nothing is trained: the audit of every row's mask found what must not be.\n" + "\n".join(lines),
            remedy="The base model's tokenizer and the chat template do not give back these texts; leave the rows out, "
            "or change one of the two. `assay preview RECIPE --row ID` shows one as it would be trained.",
        )


def encode(rows: Iterable[Row], renderer: Renderer, max_tokens: int | None = None) -> list[Example]:
    """Tokenise rows and check each: the trained tokens are the answers, to the letter, each with its stop token.

    Args:
        rows: with `id` and `messages`.
        renderer: of the base model.
        max_tokens: the most that a row may have.

    Raises:
        AssayError: as `Audit.require`.
    """
    return audit(rows, renderer, max_tokens).require()


def audit(rows: Iterable[Row], renderer: Renderer, max_tokens: int | None = None) -> Audit:
    """Look at every row.

    Args:
        rows: with `id` and `messages`.
        renderer: of the base model.
        max_tokens: the most that a row may have.
    """
    listed = list(rows)
    counts: Counter[Problem] = Counter()
    first: dict[Problem, list[str]] = {}
    examples = []
    judge = _Judge(renderer, max_tokens)
    for row, encoded in zip(listed, _encoded(listed, renderer), strict=True):
        if isinstance(encoded, Encoded):
            examples.append(Example(row["id"], encoded.input_ids, encoded.labels))
            found = dict(judge.problems(row["messages"], encoded))
        else:
            found = {"refused": f"{encoded.message} {encoded.remedy}"}
        for problem, seen in found.items():
            counts[problem] += 1
            if counts[problem] <= FIRST:
                first.setdefault(problem, []).append(f"Row {row['id']}: {seen}")
    return Audit(examples, {problem: counts[problem] for problem in get_args(Problem)}, first)


def _encoded(rows: Sequence[Row], renderer: Renderer) -> Iterator[Encoded | AssayError]:
    """Rows tokenised together; where one of them cannot be, each by itself, and what was said of it."""
    try:
        yield from list(renderer.encode_all([row["messages"] for row in rows]))
    except AssayError:
        for row in rows:
            try:
                yield renderer.encode(row["messages"])
            except AssayError as error:
                yield error


class _Judge:
    """What is asked of each row.

    Args:
        renderer: of the base model.
        max_tokens: the most that a row may have; None for any number.
    """

    def __init__(self, renderer: Renderer, max_tokens: int | None) -> None:
        tokenizer = renderer.tokenizer
        self.renderer = renderer
        self.max_tokens = max_tokens
        self.special = {tokenizer.token_to_id(text) for text in renderer.special_texts}
        self.bos = tokenizer.token_to_id(renderer.tokens.bos) if renderer.tokens.bos else None
        # Of a published template what it writes is what the model knows, and what servers ask with.
        self.begins_with_bos = renderer.tokens.adds_bos and not renderer.template.published
        self.decode = lru_cache(maxsize=4096)(renderer.decode)
        """Labels make the same answers come again and again."""

    def problems(self, messages: Sequence[Message], encoded: Encoded) -> Iterator[tuple[Problem, str]]:
        """Each problem of a row, and what is seen of it."""
        runs: list[tuple[int, ...]] = []
        at = 0
        for trained, group in groupby(encoded.labels, lambda label: label != IGNORED):
            tokens = tuple(encoded.input_ids[at : (at := at + sum(1 for _ in group))])
            if trained:
                runs.append(tokens)
        answers = [span.text for span in self.renderer.spans(messages) if span.trained]
        if not runs:
            yield "no_trained_token", f"none of its {len(encoded.labels):,} tokens is trained"
        for tokens, answer in zip(runs, answers, strict=False):
            yield from self._of_answer(tokens, answer, messages)
        if len(runs) > len(answers):
            yield "prompt_trained", f"{self.decode(runs[len(answers)])!r} is trained and in no answer"
        elif runs and len(runs) < len(answers):
            yield "not_the_answer", f"{len(runs)} of {len(answers)} answers are trained"
        if encoded.input_ids[:2] == [self.bos] * 2:
            yield "bos_twice", f"it begins with {self.renderer.tokens.bos!r} twice"
        elif self.begins_with_bos and encoded.input_ids[:1] != [self.bos]:
            yield "bos_missing", f"it begins with {self.decode(tuple(encoded.input_ids[:1]))!r}"
        if self.max_tokens is not None and len(encoded.input_ids) > self.max_tokens:
            yield "too_long", f"it has {len(encoded.input_ids):,} tokens, {self.max_tokens:,} are allowed"

    def _of_answer(
        self, tokens: tuple[int, ...], answer: str, messages: Sequence[Message]
    ) -> Iterator[tuple[Problem, str]]:
        stop, said = self.renderer.stop_token_id, self.decode(tokens)
        if said != answer:
            problem: Problem = "prompt_trained" if said.endswith(answer) else "not_the_answer"
            yield problem, f"the tokens to be trained are {said!r}, the answer is {answer!r}"
        if tokens[-1] != stop:
            yield "no_stop_token", f"the last trained token is {self.decode(tokens[-1:])!r}"
        elif tokens[-2:] == (stop, stop):
            yield "padding_trained", f"it is trained to say {self.renderer.stop!r} again and again"
        foreign = [token for token in tokens[:-1] if token in self.special]
        if foreign:  # a template writes some of its own around a call, say
            own = self.renderer.foreign_tokens([message["content"] for message in messages])
            foreign = [token for token in foreign if (text := self.decode((token,))) in own or text not in answer]
        if foreign:
            yield "special_token_in_answer", f"{self.decode((foreign[0],))!r} stands in the answer {said!r}"
