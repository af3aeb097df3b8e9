"""What a drawn answer is worth, which reinforcement (`training.objective: reft`) raises: by the scorecard's judge."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from curate.hashing import digest
from evaluation.judge.accepted import Accepted, accepted_of, names_meta
from evaluation.judge.fields import at, normalised
from evaluation.judge.form import form_of
from evaluation.judge.structured import Judge, Judgement
from evaluation.settings import FullRecipe
from train.examples import Row, read_split
from train.reward import Rewarded

COLUMNS = ("id", "messages", "target")


def reward_of(version: Path, recipe: FullRecipe) -> "JudgedReward | None":
    """The reward of a recipe whose answers are reinforced; None where they are not.

    Args:
        version: folder of a published data set version.
        recipe: names the contract, and how answers are judged.

    Raises:
        AssayError: answers have no form to judge.
    """
    if recipe.training.objective != "reft":
        return None
    schema = recipe.held_to().target_schema
    if schema is None:
        raise AssayError(
            f"training.objective: reft needs the answer's JSON Schema; the contract {recipe.contract} has none.",
            remedy="Plain chat has no right answer that another could be held against: train by `sft` or `dpo`.",
        )
    return JudgedReward(version, recipe, schema, Judge(schema, recipe.evaluation.fields))


@dataclass(frozen=True)
class Question:
    """What a row asks, and what is right."""

    prompt: str
    """All that is said before the answer, normalised."""
    expected: Any
    accepted: Accepted


@dataclass(frozen=True)
class JudgedReward:
    """Rewards answers by what the scorecard's judge says of them."""

    version: Path
    recipe: FullRecipe
    schema: Mapping[str, Any]
    judge: Judge

    @property
    def deciding(self) -> dict[str, Any]:
        settings = self.recipe.evaluation
        return {
            "parts": dict.fromkeys(Rewarded._fields, 1 / len(Rewarded._fields)),
            "schema": digest(self.schema),
            "fields": {each.name: each.rule.model_dump(mode="json") for each in self.judge.fields},
            "accepted": settings.accepted,
            "optional": settings.optional,
        }

    def __call__(self, row: str, answer: str, cut_off: bool, /) -> Rewarded:
        return self.worth(self._asked[row], answer, cut_off)

    def worth(self, asked: Question, answer: str, cut_off: bool) -> Rewarded:
        """What an answer to a question is worth."""
        form = form_of(answer, self.judge.validator, cut_off)
        judgement = self.judge.judge(form, asked.expected, asked.accepted)
        said = asked.accepted.settled(form.value, asked.expected)
        grounded = self._grounded(asked, said) if judgement.parses else 0.0
        return Rewarded(float(judgement.parses), float(judgement.schema_valid), self._right(judgement), grounded)

    def questions(self, rows: Sequence[Row], accepted: Sequence[Accepted]) -> list[Question]:
        """Of rows with `messages` and `target`, and what is right beside these."""
        prompts = ["\n".join(each["content"] for each in row["messages"][:-1]) for row in rows]
        return [
            Question(normalised(prompt), json.loads(row["target"]), too)
            for prompt, row, too in zip(prompts, rows, accepted, strict=True)
        ]

    @cached_property
    def _asked(self) -> dict[str, Question]:
        settings = self.recipe.evaluation
        rows = read_split(self.version, "train", [*COLUMNS, *(["meta"] if names_meta(settings) else [])])
        accepted = accepted_of(rows, self.judge.fields, settings)
        return dict(zip((row["id"] for row in rows), self.questions(rows, accepted), strict=True))

    def _right(self, judgement: Judgement) -> float:
        """The share of the answer's fields that are right; a key that is no field of the schema, and is missing or
        invented, counts as one that is wrong. Of a list it is its F1."""
        if judgement.rules_match:
            return 1.0
        known = {each.name for each in self.judge.fields}
        besides = sum(key not in known for key in judgement.missing_keys + judgement.invented_keys)
        total = len(judgement.fields) + besides
        return sum(each.score for each in judgement.fields) / total if total else 0.0

    def _grounded(self, asked: Question, said: Any) -> float:
        """Of the fields whose right value stands in the prompt, the share that says something, and nothing that stands
        neither there nor among the labels of the schema; 1 where there is no such field."""
        copied = [
            each.path
            for each in self.judge.fields
            if each.rule.kind != "class" and _copied(at(asked.expected, each.path), asked.prompt, frozenset())
        ]
        if not copied:
            return 1.0
        return sum(_copied(at(said, path), asked.prompt, self._labels) for path in copied) / len(copied)

    @cached_property
    def _labels(self) -> frozenset[str]:
        """Every text that an enum or const of the schema allows."""
        return frozenset(map(normalised, _labels(self.schema)))


def _copied(value: Any, prompt: str, labels: frozenset[str]) -> bool:
    """Whether a value has texts, and each stands in the prompt or among the labels."""
    texts = [text for each in _texts(value) if (text := normalised(each))]
    return bool(texts) and all(text in labels or text in prompt for text in texts)


def _texts(value: Any) -> Iterator[str]:
    """The texts within a JSON value; of objects, their values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _labels(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (each for each in schema.get("enum", ()) if isinstance(each, str))
        if isinstance(schema.get("const"), str):
            yield schema["const"]
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _labels(each)
