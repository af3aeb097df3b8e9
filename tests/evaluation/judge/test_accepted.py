"""Several accepted values and keys that may be left out: each counted once, and as the expected value."""

import json
from typing import Any

import pytest

from curate.errors import AssayError
from evaluation.card.scorecard import TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.judge.accepted import NOTHING, Accepted
from evaluation.judge.answer import Generated
from evaluation.judge.form import Form, form_of
from evaluation.judge.structured import Judge, Judgement

SCHEMA = {
    "type": "object",
    "properties": {
        "unit": {"enum": ["C", "celsius", "F"]},
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "at": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}},
    },
}
JUDGE = Judge(SCHEMA)
RIGHT = {"unit": "C", "city": "San Francisco", "days": 2, "tags": ["a", "b"], "at": {"lat": 1.5, "lon": 2}}
ACCEPTED = Accepted.of(
    {"unit": ["celsius"], "city": ["SF"], "days": [3, 4], "tags": [["b", "a"], []]},
    ["unit", "at"],
    JUDGE.fields,
    "Row 1",
)


def judge(accepted: Accepted = ACCEPTED, **changes: Any) -> Judgement:
    """Of the right answer with some keys changed; None leaves one out."""
    value = {key: each for key, each in (RIGHT | changes).items() if each is not None}
    return JUDGE.judge(form(value), RIGHT, accepted)


def form(value: Any) -> Form:
    return form_of(json.dumps(value), JUDGE.validator)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unit": "celsius"},
        {"city": "SF"},
        {"days": 3},
        {"days": 4.0},
        {"tags": ["b", "a"]},
        {"tags": []},
        {"unit": None},
        {"at": None},
        {"unit": "celsius", "city": "SF", "days": 4, "tags": [], "at": None},
    ],
)
def test_what_is_accepted_is_right(changes: dict[str, Any]) -> None:
    found = judge(**changes)
    assert found.whole_match
    assert found.rules_match
    assert all(each.exact and each.match and each.score == 1 for each in found.fields)
    assert found.missing_keys == found.invented_keys == ()
    assert found.given == ("C",), "counted as the label that is expected"
    assert judge(NOTHING, **changes).whole_match == (changes == {})


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"unit": "F"}, "unit"),
        ({"city": "LA"}, "city"),
        ({"city": None}, "city"),
        ({"days": 5}, "days"),
        ({"days": True}, "days"),
        ({"tags": ["a"]}, "tags"),
    ],
)
def test_what_is_not_accepted_is_wrong(changes: dict[str, Any], wrong: str) -> None:
    found = judge(**changes)
    assert not found.whole_match
    by_name = {field.name: each.exact for field, each in zip(JUDGE.fields, found.fields, strict=True)}
    assert [name for name, exact in by_name.items() if not exact] == [wrong]


def test_rules_hold_for_what_is_accepted_too() -> None:
    found = judge(city="  sf ")
    assert (found.whole_match, found.rules_match) == (False, True)
    assert judge(tags=["B", "A"]).rules_match
    assert judge(tags=["b", "a", "c"]).fields[3].score == pytest.approx(0.8), "of the list that is most like it"


def test_a_key_that_is_not_expected_but_accepted() -> None:
    accepted = Accepted.of({"days": [1]}, None, JUDGE.fields, "Row 1")
    for value, right in (({"city": "x"}, True), ({"city": "x", "days": 1}, True), ({"city": "x", "days": 2}, False)):
        found = JUDGE.judge(form(value), {"city": "x"}, accepted)
        assert (found.whole_match, found.invented_keys == ()) == (right, right)


def test_each_row_counts_once() -> None:
    said = [{"unit": "C"}, {"unit": "celsius"}, {"unit": "F"}, {}]
    expected: list[Any] = [{"unit": "C"} for _ in said]
    accepted = [Accepted.of({"unit": ["celsius"]}, ["unit"], JUDGE.fields, "Row")] * len(said)
    answers = judged([Generated(json.dumps(each)) for each in said], expected, JUDGE, accepted=accepted)
    test_rows = TestRows.of(Rows(None, len(said), 100), JUDGE, expected)
    system = scorecard({"one": answers}, test_rows)["systems"]["one"]
    assert system["whole_match"]["count"] == system["fields"]["unit"]["accuracy"]["count"] == 3
    assert system["fields"]["unit"]["confusion"] == [["C", "C", 3], ["C", "F", 1]]


@pytest.mark.parametrize("text", ['{"unit": ["celsius"]}', {"unit": ["celsius"]}])
def test_json_text_or_a_value(text: Any) -> None:
    assert Accepted.of(text, '["at"]', JUDGE.fields, "Row 1") == Accepted(
        {("unit",): ["celsius"]}, frozenset({("at",)})
    )
    assert Accepted.of(None, None, JUDGE.fields, "Row 1") == NOTHING


@pytest.mark.parametrize(
    ("values", "optional", "said"),
    [
        ('{"unit": "celsius"}', None, "Row 1: `accepted` is no object of lists"),
        ("[1]", None, "Row 1: `accepted` is no object of lists"),
        ("{", None, "Row 1: what is accepted is no JSON"),
        (None, '"unit"', "Row 1: `optional` is no list of paths"),
        ('{"colour": ["red"]}', None, "Row 1: the target schema has no 'colour'"),
        (None, '["at.alt"]', "Row 1: the target schema has no 'at.alt'"),
    ],
)
def test_what_says_nothing_is_an_error(values: Any, optional: Any, said: str) -> None:
    with pytest.raises(AssayError, match=said) as error:
        Accepted.of(values, optional, JUDGE.fields, "Row 1")
    assert error.value.remedy
