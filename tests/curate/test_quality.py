"""Quality: each reason at its bound."""

import json
from typing import Any

import pytest
from hypothesis import given

from curate.quality import Quality
from tests.records import RECORDS, layouts, record, table_of


def reasons(row: dict[str, Any], **settings: int) -> list[tuple[str, dict[str, Any]]]:
    outcome = Quality(**settings).run(table_of([row]))
    assert outcome.kept.num_rows + outcome.rejected.num_rows == 1
    return [(seen["reason"], json.loads(seen["evidence"])) for seen in outcome.rejected.to_pylist()]


def said(prompt: str, answer: str) -> dict[str, Any]:
    return record(prompt, ("assistant", answer))


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        (said("q", "a"), {}, []),
        (said("", "a"), {}, [("empty", {"chars": 0, "bound": 1})]),
        (said(" \n\u3000", "a"), {}, [("empty", {"chars": 0, "bound": 1})]),
        (said("", ""), {"min_chars": 5}, [("empty", {"chars": 0, "bound": 1})]),
        (said("1234", "a"), {"min_chars": 5}, [("too_short", {"chars": 4, "bound": 5})]),
        (said(" 1234\n", "a"), {"min_chars": 5}, [("too_short", {"chars": 4, "bound": 5})]),
        (said("日本語です", "a"), {"min_chars": 5}, []),
        (said("123", "45"), {"max_chars": 5}, []),
        (said("123", "456"), {"max_chars": 5}, [("too_long", {"chars": 6, "bound": 5})]),
        (said("q", ""), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (said("q", " "), {"min_answer_chars": 3}, [("no_answer", {"chars": 0, "bound": 1})]),
        (record("q"), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (record("q", ("assistant", "a"), "more?"), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (said("q", "ab"), {"min_answer_chars": 3}, [("answer_too_short", {"chars": 2, "bound": 3})]),
        (said("q", "abc"), {"min_answer_chars": 3}, []),
        (record("q", target='{"a": [1, "é", null]}'), {}, []),
        (record("q", target="null"), {}, []),
        (record("q", target=""), {}, [("no_answer", {"chars": 0, "bound": 1})]),
    ],
)
def test_reasons_at_their_bounds(
    row: dict[str, Any], settings: dict[str, int], expected: list[tuple[str, dict[str, Any]]]
) -> None:
    assert reasons(row, **settings) == expected


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{", "Expecting property name"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": 1} x', "Extra data"),
        ("[" * 100_000, "nested too deeply"),
        ("yes", "Expecting value"),
    ],
)
def test_a_target_that_is_not_strict_json(target: str, words: str) -> None:
    [(reason, evidence)] = reasons(record("q", target=target))
    assert reason == "target_not_json"
    assert words in evidence["message"]
    assert evidence["target"] == target


@given(RECORDS)
def test_rows_are_conserved_whatever_their_layout(rows: list[dict[str, Any]]) -> None:
    outcomes = [Quality(min_chars=3, max_chars=12, min_answer_chars=2).run(table) for table in layouts(rows)]
    for outcome in outcomes:
        assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows)
        assert outcome.rejected.equals(outcomes[0].rejected)
        assert outcome.kept.equals(outcomes[0].kept)
    kept = outcomes[0].kept.to_pylist(maps_as_pydicts="strict")
    assert kept == [row for row in rows if not reasons(row, min_chars=3, max_chars=12, min_answer_chars=2)]
