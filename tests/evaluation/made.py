"""Answers of made systems to made rows, and the report of their scorecard: seeded, no model."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from curate.grounding import Grounding
from evaluation.card import gate
from evaluation.card.manifest import ScorecardManifest
from evaluation.card.report import write_report
from evaluation.card.scorecard import SystemInfo, TestRows, judged, scorecard
from evaluation.card.side_by_side import Questions
from evaluation.card.statistics import Rows
from evaluation.card.taught import Neighbour
from evaluation.card.ungrounded import Grounds, grounds_of
from evaluation.judge.answer import Answer, Generated
from evaluation.judge.structured import Judge
from tests.manifests import scorecard_manifest
from train.manifest import Loss

CATEGORIES = ["Permissive", "Copyleft", "Copyleft Limited", "Public Domain", "Proprietary Free"]
SCHEMA = {
    "type": "object",
    "properties": {
        "license": {"type": "string"},
        "category": {"enum": CATEGORIES},
        "kind": {"enum": ["notice", "text", "tag", "reference"]},
        "names": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "grant": {
            "type": "object",
            "properties": {"copyleft": {"enum": ["none", "weak", "strong"]}, "year": {"type": "integer"}},
            "required": ["copyleft", "year"],
            "additionalProperties": False,
        },
    },
    "required": ["license", "category", "kind", "names", "grant"],
    "additionalProperties": False,
}
LICENCES = ["apache-2.0", "mit", "gpl-2.0", "gpl-2.0-plus", "lgpl-2.1", "bsd-new", "cc0-1.0", "artistic-2.0"]
NOTICES = {
    "apache-2.0": "Licensed under the Apache License, Version 2.0; you may not use this file except in compliance.",
    "mit": "Permission is hereby granted, free of charge, to any person obtaining a copy of this software.",
    "gpl-2.0": "This program is free software under version 2 of the GNU General Public License.",
    "gpl-2.0-plus": "This program is free software under version 2 of the GNU General Public License, or any later.",
    "lgpl-2.1": "This library is free software under the GNU Lesser General Public License, version 2.1.",
    "bsd-new": "Redistribution and use in source and binary forms, with or without modification, are permitted.",
    "cc0-1.0": "To the extent possible under law, the author has waived all copyright.",
    "artistic-2.0": "Everyone is permitted to copy and distribute verbatim copies of this licence document.",
}
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> {{ 7 * 7 }} \x1b[2J \u202eabc \ud800 ' \" --> ]]>"


def wanted(number: int) -> dict[str, Any]:
    """The right answer of a row."""
    licence = LICENCES[number % len(LICENCES)]
    return {
        "license": licence,
        "category": CATEGORIES[number % len(LICENCES) % 5],
        "kind": ["notice", "text", "tag", "reference"][number // 3 % 4],
        "names": [licence.split("-")[0], f"part {number % 3}"],
        "grant": {"copyleft": ["none", "weak", "strong"][number % 3], "year": 1990 + number % 30},
    }


def answer(number: int, draw: random.Random, skill: float, lax: float) -> str:
    """An answer that is right with probability `skill`, and not even JSON with probability `lax`."""
    value = json.loads(json.dumps(wanted(number)))
    if draw.random() > skill:
        match draw.randrange(6):
            case 0:
                value["license"] = LICENCES[(number + 1) % len(LICENCES)]
            case 1:
                value["category"] = "Weak Copyleft"
            case 2:
                value["kind"] = "text" if value["kind"] != "text" else "tag"
                value["grant"]["year"] += 1
            case 3:
                del value["names"]
            case 4:
                value["names"].append("extra")
                value["note"] = "as far as I can tell"
            case _:
                value["category"] = CATEGORIES[(number + 2) % 5]
                value["license"] += "-plus"
    text = json.dumps(value)
    if draw.random() < lax:
        text = [f"Sure! Here it is:\n```json\n{text}\n```", text[: len(text) // 2], "I'm sorry, I cannot say.", ""][
            draw.randrange(4)
        ]
    return text


def systems(rows: int, skills: Mapping[str, tuple[float, float]]) -> dict[str, list[Generated]]:
    """Answers by system, given how often each is right and how often it is not JSON."""
    found = {}
    for name, (skill, lax) in skills.items():
        draw = random.Random(name)
        found[name] = [
            Generated(
                text, len(text) // 4, text[-1:] not in ("", "}", "`", "."), draw.uniform(0.2, 2), 90, -draw.random()
            )
            for text in (answer(number, draw, skill, lax) for number in range(rows))
        ]
    return found


SKILLS = {
    "majority": (0.05, 0.0),
    "base": (0.0, 0.9),
    "few-shot": (0.3, 0.4),
    "nearest": (0.5, 0.2),
    "constrained": (0.4, 0.0),
    "tuned": (0.85, 0.03),
    "merged": (0.83, 0.03),
}


def notice(number: int) -> str:
    """What a row asks, without the words of the task."""
    right = wanted(number)
    return f"{NOTICES[right['license']]} ({number}) Copyright {1990 + number % 30} {right['license']}"


def taught(number: int) -> list[Neighbour]:
    """Training rows that are like a row: a near-duplicate, one of another answer, one of another licence."""
    right = wanted(number)
    said = [right, right | {"license": f"{right['license']}-plus"}, wanted(number + 1)]
    return [
        Neighbour(
            f"{10 * number + place:032x}", notice(number + place), json.dumps(each), 0.93 / (1 + place), not place
        )
        for place, each in enumerate(said)
    ]


def grounds(rows: int) -> Grounds | None:
    """What answers to the rows have to keep to."""
    asked = [{"turns": [{"role": "user", "content": notice(number)}], "language": "en"} for number in range(rows)]
    return grounds_of(Grounding.of_schema(SCHEMA), asked)


def write(
    folder: Path,
    given: Mapping[str, Sequence[Generated]],
    texts: Sequence[str] | None = None,
    expected: Sequence[Any] | None = None,
    schema: Mapping[str, Any] = SCHEMA,
    value_of: Callable[[str], Any] = json.loads,
    near: Mapping[int, Sequence[Neighbour]] | None = None,
    keep_to: Grounds | None = None,
) -> dict[str, Any]:
    """Write report.html of these answers; gives the scorecard."""
    count = len(next(iter(given.values())))
    expected = expected or [wanted(number) for number in range(count)]
    texts = texts or [
        f"Which licence does this notice name? Answer with one JSON object.\n\n{NOTICES[right['license']]} ({number})"
        for number, right in enumerate(expected)
    ]
    judge = Judge(schema)
    third = np.arange(count) % 3
    slices = {
        "language": {"en": third > 0, "de": third == 0},
        "similarity to train": {"below 0.2": third == 0, "from 0.2": third == 1, "from 0.8": third == 2},
    }
    test_rows = TestRows.of(Rows(None, count, 200), judge, expected, slices)
    answers: dict[str, list[Answer]] = {name: judged(each, expected, judge) for name, each in given.items()}
    info = {
        name: SystemInfo(
            {
                "model": "base",
                "shots": 0,
                "choose": "fixed",
                "rows": "all",
                "constrained": False,
                "quantization": "nf4",
            },
            40.0,
        )
        for name in given
    }
    pairs = [("tuned", each) for each in given if each != "tuned"] if "tuned" in given else [*combinations(given, 2)]
    card = scorecard(answers, test_rows, pairs, info=info, grounds=keep_to, expected=expected)
    card["gate"] = gate.check(["schema_valid >= 0.9", "whole_match better than base, p < 0.05"], card)
    manifest = ScorecardManifest.model_validate(scorecard_manifest())
    loss = Loss(train=[0.9, 0.3], validation=[1.74, 0.4, 0.15]) if "tuned" in given else None
    wanted_texts = [json.dumps(right, ensure_ascii=False) for right in expected]
    questions = Questions(
        [f"{number:032x}" for number in range(count)], texts, wanted_texts, slices, judge.fields, near or {}
    )
    write_report(folder, manifest, card, loss, questions, answers, value_of)
    return card
