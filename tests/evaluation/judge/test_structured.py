"""One answer judged: right and wrong fields, keys, and nothing that makes it crash."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.judge.structured import Judge

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "count": {"type": "integer"},
        "kind": {"enum": ["a", "b", None]},
        "inner": {"type": "object", "properties": {"x": {"type": "string"}}},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}
JUDGE = Judge(SCHEMA)
RIGHT: dict[str, Any] = {"name": "X Y", "count": 1, "kind": "a"}


def test_right() -> None:
    judged = JUDGE(' {"count": 1,\n"name": "X Y", "kind": "a"} ', RIGHT)
    assert (judged.form, judged.detail, judged.parses, judged.schema_valid, judged.whole_match) == (
        *("valid", ""),
        *(True, True, True),
    )
    assert [field.name for field in JUDGE.fields] == ["name", "count", "kind", "inner.x"]
    assert all(each.exact for each in judged.fields), "absent where none is expected is right"
    assert judged.given == ("a",)
    assert not judged.wrong_but_valid


def test_valid_and_wrong() -> None:
    judged = JUDGE('{"name": "x  y", "count": 1, "kind": "a"}', RIGHT)
    assert judged.wrong_but_valid
    assert not judged.whole_match
    assert judged.rules_match, "by the rule of text"
    assert [each.exact for each in judged.fields] == [False, True, True, True]


def test_keys_missing_and_invented_by_path() -> None:
    judged = JUDGE('{"name": "X Y", "inner": {"z": 1}, "more": 0}', RIGHT | {"inner": {"x": "1"}})
    assert judged.missing_keys == ("count", "inner.x", "kind")
    assert judged.invented_keys == ("inner.z", "more")
    assert judged.form == "missing_key"
    assert judged.given == (None,)


def test_a_text_is_no_label_that_is_none() -> None:
    """`"true"` is not true and no hit of its label; 1.0 is 1, as JSON Schema has it."""
    judge = Judge({"type": "object", "properties": {"free": {"type": "boolean"}, "level": {"enum": [1, 2, 3]}}})
    right = {"free": True, "level": 1}
    assert judge.expected_labels(right) == ("true", "1")
    assert judge('{"free": "true", "level": "1"}', right).given == (None, None)
    assert judge('{"free": false, "level": 1.0}', right).given == ("false", "1")
    assert judge('{"free": true, "level": 1.0}', right).whole_match


@pytest.mark.parametrize("output", ["[]", "3", '"text"', "null", "true"])
def test_json_that_is_no_object(output: str) -> None:
    judged = JUDGE(output, RIGHT)
    assert judged.parses
    assert not judged.schema_valid
    assert not any(each.exact for each in judged.fields)
    assert judged.missing_keys == (), "it lacks more than keys"


def test_what_stands_in_other_text_is_wrong_but_told() -> None:
    judged = JUDGE(f"Sure: {json.dumps(RIGHT)}", RIGHT)
    assert not judged.parses
    assert not judged.whole_match
    assert not any(each.match for each in judged.fields)
    assert judged.extracts
    assert judged.extracted_valid
    assert judged.extracted_match


def test_a_string_of_a_megabyte() -> None:
    big = "x" * (1 << 20)
    assert JUDGE(json.dumps({"name": big, "count": 1}), {"name": big, "count": 1}).whole_match
    assert not JUDGE(big, RIGHT).parses


def test_numbers_of_400_digits() -> None:
    assert JUDGE(f'{{"name": null, "count": {"9" * 400}}}', {"name": None, "count": int("9" * 400)}).whole_match
    assert not JUDGE(f'{{"name": null, "count": {"9" * 400}}}', {"name": None, "count": 1.5}).whole_match


ANY_TEXT = st.text(st.characters()) | st.text('{}[]",:\\ud8001eE+-.nulltrsfaNI `namecount')
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz") | st.just("name"), inner),
    max_leaves=8,
)


@given(ANY_TEXT, JSON)
def test_any_text_is_judged(output: str, expected: Any) -> None:
    judged = JUDGE(output, expected)
    assert judged.whole_match <= judged.parses
    assert judged.schema_valid == (judged.form == "valid")


@given(JSON, JSON)
def test_what_is_dumped_is_right(value: Any, other: Any) -> None:
    assert JUDGE(json.dumps(value), value).whole_match
    assert JUDGE(json.dumps(value), value).rules_match
    JUDGE(json.dumps(value), other)
