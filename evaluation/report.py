"""What people read of a scorecard: report.html, one file that loads nothing; every text of a row in it is escaped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from curate.render import Message
from curate.report import report_environment
from evaluation.fields import equal
from evaluation.form import Class
from evaluation.scorecard import MAJORITY, Answer, Masks

SHOWN = 60
"""Rows whose answers are shown side by side; all are in predictions.parquet."""

MEASURES = {
    "parses": "parses as it is",
    "extracts": "parses if other text is forgiven",
    "schema_valid": "fits the schema",
    "whole_match": "whole answer right",
    "rules_match": "right by the fields' rules",
    "extracted_match": "right if other text is forgiven",
    "wrong_but_valid": "valid, but wrong",
    "missing_keys": "lacks a key",
    "invented_keys": "has a key of its own",
    "wrong_type": "has a value of a wrong type",
    "wrong_enum": "has a value that is no choice",
    "refusal": "declines",
    "repetition": "runs in circles",
    "empty": "says nothing",
    "exact_match": "exactly the expected text",
    "truncated": "cut off",
}
"""Measures of a system in the order they are shown, in words."""


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


def question(messages: Sequence[Message]) -> str:
    """What a conversation asks, as one text: the turns before the last answer."""
    turns = messages[:-1]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def write_report(
    folder: Path,
    manifest: Mapping[str, Any],
    card: Mapping[str, Any],
    loss: Mapping[str, Sequence[float]] | None,
    asked: Questions,
    systems: Mapping[str, Sequence[Answer]],
) -> None:
    """Write report.html.

    Args:
        folder: the scorecard's.
        manifest: of the scorecard, with `version`.
        card: what scorecard.json holds.
        loss: of the adapter's manifest; None without an adapter.
        asked: the rows.
        systems: answers by system, in the order of the rows.
    """
    questions, expected = asked.texts, asked.expected
    shared = _shared_beginning(questions)
    asked = {name: answers for name, answers in systems.items() if answers[0].generated.seconds is not None}
    page = report_environment().get_template("scorecard.html.jinja")
    text = page.render(
        manifest=manifest,
        card=card,
        measures=MEASURES,
        comparisons=_by_measure(card["comparisons"]),
        beyond=sum(
            each["b"] == MAJORITY and each["measure"] == "accuracy" and each["verdict"] == "better"
            for each in card["comparisons"]
        ),
        loss=loss,
        faults=[kind for kind in get_args(Class) if any(kind in system["form"] for system in card["systems"].values())],
        shared=questions[0][:shared].strip(),
        asked=list(asked),
        cards=[
            _card(questions[row][shared:], expected[row], {name: answers[row] for name, answers in asked.items()})
            for row in range(min(SHOWN, len(questions)))
        ],
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _by_measure(comparisons: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Comparisons of the same measure together, one for each other system."""
    groups: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for each in comparisons:
        groups.setdefault((each["measure"], each["field"]), []).append(each)
    return list(groups.values())


def _shared_beginning(questions: Sequence[str]) -> int:
    """How many characters of whole paragraphs all questions begin with."""
    if len(questions) == 1:
        return 0
    same = takewhile(lambda column: len(set(column)) == 1, zip(*questions, strict=False))
    return questions[0][: sum(1 for _ in same)].rfind("\n\n") + 1


def _card(question: str, expected: str, answers: Mapping[str, Answer]) -> dict[str, Any]:
    """One row's answers: `fields` as a table of those that are objects, `texts` of the others as they came."""
    objects = {name: value for name, answer in answers.items() if (value := _object(answer)) is not None}
    wanted = json.loads(expected) if objects else {}
    right: dict[str, Any] = wanted if isinstance(wanted, dict) else {}
    keys = [*right, *sorted({key for value in objects.values() for key in value} - right.keys())]
    return {
        "question": question.strip(),
        "expected": expected,
        "exact": {name: answer.exact for name, answer in answers.items()},
        "fields": [
            {
                "name": key,
                "expected": _json(right[key]) if key in right else None,
                "cells": {
                    name: {
                        "text": _json(value[key]) if key in value else None,
                        "right": key in value and key in right and equal(value[key], right[key]),
                    }
                    for name, value in objects.items()
                },
            }
            for key in keys
        ],
        "texts": {
            name: {"text": answer.generated.text, "why": _why(answer)}
            for name, answer in answers.items()
            if name not in objects
        },
    }


def _object(answer: Answer) -> dict[str, Any] | None:
    """The answer as an object, if it is one."""
    if answer.judgement is None or not answer.judgement.parses:
        return None
    value = json.loads(answer.generated.text)
    return value if isinstance(value, dict) else None


def _why(answer: Answer) -> str:
    """Why an answer is shown as it came."""
    kind = answer.judgement.form.replace("_", " ") if answer.judgement else ""
    cut = "cut off" if answer.generated.truncated and kind != "truncated" else ""
    return ", ".join(filter(None, [kind, cut]))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
