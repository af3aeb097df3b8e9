"""The rows of a report: what is asked, what is expected, and every different answer to it, side by side.

What would steer a terminal or turn the direction of writing is shown by its code point.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from curate.rows.chat_template import Message
from evaluation.card.marks import Line, differences, lines
from evaluation.card.scorecard import Masks
from evaluation.card.taught import Lesson, Neighbour, lessons
from evaluation.judge.answer import Answer
from evaluation.judge.fields import Field

LARGEST = 4_000_000
"""Bytes of the rows' texts in the page. What is longer is shortened, and says so; then there are fewer rows."""
LENGTHS = (4000, 2000, 1000, 600, 400)
"""Characters of one text that are shown: the first of these with which all rows fit."""
BRIEF = 240
"""Characters of a training row's question, and of a value in its answer, that are shown."""
TAUGHT = 1000
"""Bytes that a training row takes in the page, about."""
PLAIN = ("code_fence", "text_before", "text_after", "text_around", "empty", "refusal", "repetition", "no_answer")
"""Classes of form that say all; of the others it is said what exactly is wrong."""


@dataclass(frozen=True)
class Questions:
    """The rows that all systems were asked."""

    ids: Sequence[str]
    texts: Sequence[str]
    """What is asked."""
    expected: Sequence[str]
    """The right answers, JSON or plain text."""
    slices: Masks = field(default_factory=dict)
    """Kind of slice -> its name -> mask of the rows."""
    fields: Sequence[Field] | None = None
    """Of structured answers."""
    near: Mapping[int, Sequence[Neighbour]] = field(default_factory=dict)
    """By place of a row: the training rows that are most like it, where some answer is wrong."""


def question(messages: Sequence[Message]) -> str:
    """What a conversation asks, as one text: the turns before the last answer."""
    turns = messages[:-1]
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that are seen by what they do, if at all: controls (a terminal's escape among them), the marks and
overrides of the direction of writing, what has no width but joins no letters, and lone surrogates."""


def shown(text: str) -> str:
    """A text with every character that steers written as its code point."""
    return STEERING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text.replace("\r\n", "\n"))


def shortened(text: str, length: int) -> str:
    """A text of at most about so many characters: its beginning and its end, and how much stood between them."""
    if len(text) <= length + 100:
        return text
    begin, end = 2 * length // 3, length // 3
    return f"{text[:begin]}\n⟪ {len(text) - begin - end:,} of {len(text):,} characters left out ⟫\n{text[-end:]}"


@dataclass(frozen=True)
class ShownRows:
    """The rows in the page."""

    shared: str
    """What all questions begin with."""
    length: int
    """Characters of a text that are shown."""
    total: int
    """Rows there are."""
    cards: Sequence[Mapping[str, Any]]
    slices: Mapping[str, Sequence[str]]
    """Kind -> names."""

    @staticmethod
    def of(
        questions: Questions, systems: Mapping[str, Sequence[Answer]], value_of: Callable[[str], Any]
    ) -> "ShownRows":
        """As many rows as fit, each text as long as lets all of them fit."""
        begin = _shared_beginning(questions.texts)
        groups = [
            _alike({name: answers[row] for name, answers in systems.items()}) for row in range(len(questions.ids))
        ]
        texts = [
            [questions.texts[row][begin:], questions.expected[row], *(one.generated.text for one, names in groups[row])]
            for row in range(len(questions.ids))
        ]
        for length in LENGTHS:
            sizes = [
                sum(_size(text, length) for text in each) + TAUGHT * len(questions.near.get(row, ()))
                for row, each in enumerate(texts)
            ]
            if sum(sizes) <= LARGEST:
                break
        many = 0
        while many < len(sizes) and (sum(sizes[: many + 1]) <= LARGEST):
            many += 1
        numbers = [(kind, name) for kind, names in questions.slices.items() for name in names]
        return ShownRows(
            questions.texts[0][:begin].strip() if questions.texts else "",
            length,
            len(texts),
            [
                {
                    "number": row + 1,
                    "id": questions.ids[row],
                    "question": shown(shortened(texts[row][0].strip(), length)),
                    "expected": _expected(questions.expected[row], length),
                    "within": [
                        place for place, (kind, name) in enumerate(numbers) if questions.slices[kind][name][row]
                    ],
                    "right": [name for name, answers in systems.items() if answers[row].exact],
                    "wrong": [
                        _wrong(one, names, questions.expected[row], length, value_of)
                        for one, names in groups[row]
                        if not one.exact
                    ],
                    "taught": _taught(
                        questions, row, {name: answers[row] for name, answers in systems.items()}, value_of
                    ),
                    "kinds": [
                        f"{one.judgement.form if one.judgement else ''}.{one.exact:d}"
                        for one in (answers[row] for answers in systems.values())
                    ],
                }
                for row in range(many)
            ],
            {kind: list(names) for kind, names in questions.slices.items()},
        )


def _size(text: str, length: int) -> int:
    """Bytes that a text takes in the page, about, with the tags around it."""
    return 200 + len(text[:length].encode("utf-8", "replace"))


def _shared_beginning(questions: Sequence[str]) -> int:
    """How many characters of whole paragraphs all questions begin with."""
    if len(questions) < 2:
        return 0
    same = takewhile(lambda column: len(set(column)) == 1, zip(*questions, strict=False))
    return questions[0][: sum(1 for _ in same)].rfind("\n\n") + 1


def _alike(answers: Mapping[str, Answer]) -> list[tuple[Answer, list[str]]]:
    """Different answers to a row, each with the systems that gave it."""
    found: dict[tuple[str, bool], tuple[Answer, list[str]]] = {}
    for name, answer in answers.items():
        found.setdefault((answer.generated.text, answer.generated.truncated), (answer, []))[1].append(name)
    return list(found.values())


def _expected(text: str, length: int) -> dict[str, Any]:
    """The right answer: as lines of values if it is an object, else as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    found = lines(value, value) if isinstance(value, dict) else []
    return {"lines": _readable(found, length), "text": "" if found else shown(shortened(text, length))}


def _wrong(
    answer: Answer, names: Sequence[str], expected: str, length: int, value_of: Callable[[str], Any]
) -> dict[str, Any]:
    """An answer that is not the expected one: as lines of values if it is read as such, else as it came."""
    judgement, text = answer.judgement, answer.generated.text
    found: list[Line] = []
    if judgement is None:
        found = [Line("", differences(text, expected))] if len(text) <= length else []
    elif judgement.parses:
        found = lines(value_of(text), json.loads(expected))
    cut = answer.generated.truncated and (judgement is None or judgement.form != "truncated")
    return {
        "names": names,
        "form": "" if judgement is None else judgement.form,
        "detail": shown(judgement.detail) if judgement is not None and judgement.form not in PLAIN else "",
        "notes": [
            note
            for holds, note in (
                (judgement is not None and judgement.rules_match, "right by the fields' rules"),
                (judgement is not None and judgement.extracted_match, "right if other text is forgiven"),
                (cut, "cut off"),
            )
            if holds
        ],
        "lines": _readable(found, length),
        "text": "" if found else shown(shortened(text, length)).strip("\n"),
    }


def _taught(
    questions: Questions, row: int, answers: Mapping[str, Answer], value_of: Callable[[str], Any]
) -> list[dict[str, Any]]:
    """The training rows beside a row."""
    near = questions.near.get(row, ())
    told = lessons(near, questions.expected[row], answers, questions.fields, value_of)
    return [
        {
            "id": each.id,
            "question": shown(shortened(each.question, BRIEF)),
            "similarity": each.similarity,
            "near": each.near,
            "right": bool(lesson) and all(one.right for one in lesson),
            "lessons": [_lesson(one) for one in lesson],
        }
        for each, lesson in zip(near, told, strict=True)
    ]


def _lesson(lesson: Lesson) -> dict[str, Any]:
    text = None if lesson.text is None else shown(shortened(lesson.text, BRIEF))
    return {"field": shown(lesson.field), "text": text, "right": lesson.right, "said": lesson.said}


def _readable(found: Sequence[Line], length: int) -> list[dict[str, Any]]:
    return [
        {"path": shown(shortened(line.path, 200)), "fault": line.fault}
        | {"parts": [(kind, shown(shortened(part, length))) for kind, part in line.parts]}
        for line in found
    ]
