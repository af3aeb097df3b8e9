"""What training taught near a row: the rows of the train split that are most like it, and what their answers say."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.judge.answer import Answer
from evaluation.judge.fields import Field, at, compare
from evaluation.judge.form import ABSENT

MOST_FIELDS = 8
"""Fields of a row that are looked at."""


@dataclass(frozen=True)
class Neighbour:
    """A row of the train split that is much like one that was asked."""

    id: str
    question: str
    answer: str
    """JSON, or plain text."""
    similarity: float
    """Of what both ask, without a template's words: the true Jaccard similarity, by shingles of 5 words."""
    near: bool
    """Whether it is a near-duplicate."""


@dataclass(frozen=True)
class Lesson:
    """What a training row says of a field that some system got wrong."""

    field: str
    """"" for an answer that is plain text."""
    text: str | None
    """The value as JSON, or the plain text; None where the training row has none."""
    right: bool
    """Whether it is what is expected."""
    said: Sequence[str]
    """The systems whose wrong answer it is."""


def lessons(
    near: Sequence[Neighbour],
    expected: str,
    answers: Mapping[str, Answer],
    fields: Sequence[Field] | None,
    value_of: Callable[[str], Any],
) -> list[list[Lesson]]:
    """What each of the training rows says of the fields that some system got wrong, of the first MOST_FIELDS of them.

    Of answers that are no JSON nothing is right: they count only where there are no others.

    Args:
        near: the training rows.
        expected: the right answer.
        answers: of the systems to the row.
        fields: of structured answers; None of plain text.
        value_of: reads an answer that parses.
    """
    wrong = {name: each for name, each in answers.items() if not each.exact}
    if fields is None:
        said = {name: each.generated.text for name, each in wrong.items()}
        return [
            [Lesson("", each.answer, each.answer == expected, [name for name in said if said[name] == each.answer])]
            for each in near
        ]
    read = {
        name: (value_of(each.generated.text), each.judgement)
        for name, each in wrong.items()
        if each.judgement is not None and each.judgement.parses
    }
    missed = [
        field
        for place, field in enumerate(fields)
        if not read or any(not judgement.fields[place].match for _, judgement in read.values())
    ]
    right, values = json.loads(expected), {name: value for name, (value, _) in read.items()}
    return [[_lesson(field, json.loads(each.answer), right, values) for field in missed[:MOST_FIELDS]] for each in near]


def _lesson(field: Field, taught: Any, right: Any, said: Mapping[str, Any]) -> Lesson:
    value, wanted = at(taught, field.path), at(right, field.path)
    good = compare(field, value, wanted).match
    by = [name for name, each in said.items() if not good and compare(field, at(each, field.path), value).match]
    return Lesson(field.name, None if value is ABSENT else json.dumps(value, ensure_ascii=False), good, by)
