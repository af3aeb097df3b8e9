"""The official scorer of lbox_open's ljp_criminal: fine, imprisonment with labour and without, each as a level.

It scores texts such as `벌금2, 징역0, 금고0` by position, quirks and all, so that numbers are comparable with those
published (Hwang et al. 2022, LBox Open; test split `test2`): only the place of a level counts, a segment with a 0
anywhere in it is empty (so is `벌금10`), a missing one too, a comma in or right after `1,000` or `1|2` does not divide,
and a wrong level is a false positive but not a false negative. An answer that is JSON is rendered as such a text first;
one that is not is scored as it stands.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from curate.text import strict_json
from evaluation.judge.form import value_of

FIELDS = ("fine_lv", "imprisonment_with_labor_lv", "imprisonment_without_labor_lv")
WORDS = ("벌금", "징역", "금고")
"""What each field's level follows in the text."""
EMPTY = "0"
EPSILON = 1e-5
"""Added to each denominator, as the reference does: a perfect F1 is therefore a little less than 1."""

Segments = tuple[tuple[str, ...] | None, ...]
"""The values of each field; None where it is empty."""


def render(answer: Any) -> str | None:
    """The text of an answer that is an object of levels; None of anything else.

    A level may be a number, a text, or null, which is level 0; a list of levels (a range) is joined by `|`.
    """
    if not isinstance(answer, dict) or not set(answer) & set(FIELDS):
        return None
    parts = []
    for field, word in zip(FIELDS, WORDS, strict=True):
        level = answer.get(field)
        levels = level if isinstance(level, list) else [level]
        parts.append(word + "|".join(EMPTY if each is None else str(each) for each in levels))
    return ", ".join(parts)


def text_of(output: str) -> str:
    """An output as the text to be scored: rendered if it is JSON of levels, else as it stands."""
    try:
        rendered = render(value_of(output))
    except strict_json.InvalidJson:
        rendered = None
    return output if rendered is None else rendered


def segments(text: str) -> Segments:
    """The values of each field in a text: by position between commas that are no number's, then between `|`."""
    inside = [match.span() for match in re.finditer(r"\d[\d|,.]+\d", text)]
    begins = [begin for begin, _ in inside]

    def divides(at: int) -> bool:
        before = bisect_right(begins, at) - 1
        return before < 0 or at > inside[before][1]

    commas = [match.start() for match in re.finditer(",", text) if divides(match.start())]
    parts = [text[begin:end] for begin, end in zip([0, *(at + 1 for at in commas)], [*commas, len(text)], strict=True)]
    found = [None if EMPTY in part else tuple(re.sub(r"\s", "", value) for value in part.split("|")) for part in parts]
    return tuple(found[place] if place < len(found) else None for place in range(len(FIELDS)))


def score(outputs: Sequence[str], expected: Sequence[str]) -> dict[str, Any]:
    """Micro F1 of each field and the share of rows whose whole text is right.

    Args:
        outputs: what a system said, JSON or text.
        expected: what is right, JSON or text.

    Returns:
        {"score": mean of the fields' F1, "fields": {FIELD: {"f1", "tp", "fp", "fn", "tn"}}, "exact_match": share}.
    """
    counts = {field: dict.fromkeys(("tp", "fp", "fn", "tn"), 0) for field in FIELDS}
    exact = 0
    for output, right in zip(outputs, expected, strict=True):
        given_text, wanted_text = text_of(output), text_of(right)
        exact += given_text.strip() == wanted_text.strip()
        for field, given, wanted in zip(FIELDS, segments(given_text), segments(wanted_text), strict=True):
            if wanted is None:
                outcome = "tn" if given is None else "fp"
            elif given is None:
                outcome = "fn"
            else:
                outcome = "tp" if given == wanted else "fp"
            counts[field][outcome] += 1
    fields = {field: {"f1": round(_f1(**of_one), 6), **of_one} for field, of_one in counts.items()}
    return {
        "fields": fields,
        "score": round(sum(each["f1"] for each in fields.values()) / len(FIELDS), 6),
        "exact_match": round(exact / len(outputs), 6) if outputs else None,
    }


def _f1(tp: int, fp: int, fn: int, tn: int) -> float:
    precision, recall = tp / (tp + fp + EPSILON), tp / (tp + fn + EPSILON)
    return 2 * precision * recall / (precision + recall + EPSILON)
