"""Answers that need no language model: each field's most frequent value, linear classifiers of words, and the answer of
the row most like the question (`Shots.nearest`), copied.

A model that is not better than these has learned the form of the answer and nothing of its content.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import orjson

from curate.hashing import canonical_json
from curate.text.words import NO_SPACES
from evaluation.judge.fields import Field, at
from evaluation.judge.form import ABSENT

TFIDF_ROWS = 20_000
"""The most rows of the train split that classifiers are trained on; of more, so many are chosen by the seed."""

NOTHING = b"~"
"""In place of the JSON of a value that is not there; behind all JSON, should it be as frequent."""

_ALONE = "".join(f"{chr(first)}-{chr(last)}" for first, last in NO_SPACES)
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")


def words(text: str) -> list[str]:
    """The words of a text without regard to case; a character each where a script puts no spaces between words."""
    return _WORD.findall(text.casefold())


def majority(targets: Iterable[Mapping[str, Any]], fields: Sequence[Field]) -> dict[str, Any]:
    """The object that has each field's most frequent value, ties by canonical JSON: the answer that needs no reading.

    Args:
        targets: the right answers of the whole train split.
        fields: the fields wanted; one that more targets lack than have this value is left out.
    """
    counts: list[Counter[bytes]] = [Counter() for _ in fields]
    for target in targets:
        for each, count in zip(fields, counts, strict=True):
            value = at(target, each.path)
            count[NOTHING if value is ABSENT else canonical_json(value)] += 1
    found: dict[str, Any] = {}
    for each, count in zip(fields, counts, strict=True):
        most = min(count, key=lambda key: (-count[key], key), default=NOTHING)
        if most != NOTHING:
            _put(found, each.path, orjson.loads(most))
    return found


def tfidf(
    texts: Sequence[str],
    targets: Sequence[Mapping[str, Any]],
    questions: Sequence[str],
    fields: Sequence[Field],
    seed: int,
) -> list[dict[str, Any]]:
    """An answer to each question: every field that is a class from a linear support vector machine on TF-IDF.

    Terms are words and pairs of successive words; one machine (scikit-learn's LinearSVC, its default settings) for each
    field. All other fields have their most frequent value.

    Args:
        texts: what the rows ask that are learned from.
        targets: their right answers.
        questions: what is to be answered.
        fields: the fields wanted.
        seed: of the machines' solver.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    if not any(map(words, texts)):
        return [majority(targets, fields) for _ in questions]
    terms = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True)
    known, asked = terms.fit_transform(texts), None
    guess = majority(targets, [each for each in fields if each.rule.kind != "class"])
    answers = [deepcopy(guess) for _ in questions]
    for each in (each for each in fields if each.rule.kind == "class"):
        # Absent is a class too: of a field that not every answer has.
        found = [at(target, each.path) for target in targets]
        right = ["" if value is ABSENT else canonical_json(value).decode() for value in found]
        given = [right[0]] * len(questions)
        if len(set(right)) > 1:
            asked = terms.transform(questions) if asked is None else asked
            given = LinearSVC(random_state=seed).fit(known, right).predict(asked).tolist()
        for answer, value in zip(answers, given, strict=True):
            if value:
                _put(answer, each.path, orjson.loads(value))
    return answers


def _put(answer: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value into an object of objects, in place."""
    for part in path[:-1]:
        answer = answer.setdefault(part, {})
    answer[path[-1]] = value
