"""One answer judged: every class of fault, right and wrong fields, and nothing that makes it crash."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.structured import equal, judge

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": ["string", "null"]}, "count": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
FIELDS = ["name", "count", "tags"]
RIGHT = {"name": None, "count": 1}


def test_right() -> None:
    judged = judge(' {"count": 1,\n"name": null} ', RIGHT, VALIDATOR, FIELDS)
    assert (judged.fault, judged.detail, judged.parses, judged.schema_valid, judged.whole_match) == (
        None,
        "",
        True,
        True,
        True,
    )
    assert judged.fields == {"name": True, "count": True, "tags": True}, "absent where none is expected is right"
    assert not judged.wrong_but_valid


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ('```json\n{"name": null, "count": 1}\n```', "code_fence"),
        ('Sure! {"name": null, "count": 1}', "text_before"),
        ("see [1]: {", "text_before"),
        ('{"name": null, "count": 1} I hope this helps', "text_after"),
        ('{"name": null, "count": 1}{"name": null, "count": 1}', "text_after"),
        ('{"name": null, "count": 1}<|im_start|>', "text_after"),
        ('{"name": null, "cou', "syntax"),
        ("{'name': null}", "syntax"),
        ('{"name": null,}', "syntax"),
        ('{"name": "a\nb"}', "syntax"),
        ("yes", "syntax"),
        ('{"name": null, "count": 1, "count": 2}', "duplicate_key"),
        ('{"count": NaN}', "not_finite"),
        ('{"count": -Infinity}', "not_finite"),
        ('{"count": 1e999}', "not_finite"),
        (r'{"name": "\ud800"}', "lone_surrogate"),
        ('{"name": "\ud800"}', "lone_surrogate"),
        ("[" * 100_000, "too_deep"),
        ('{"a":' * 100_000, "too_deep"),
        ("1" * 5000, "syntax"),
    ],
)
def test_faults(output: str, fault: str) -> None:
    judged = judge(output, RIGHT, VALIDATOR, FIELDS)
    assert judged.fault == fault
    assert judged.detail
    assert [judged.parses, judged.schema_valid, judged.whole_match, judged.wrong_but_valid] == [False] * 4
    assert judged.fields == {"name": False, "count": False, "tags": False}
    assert judged.missing_keys == judged.invented_keys == []


def test_keys_missing_and_invented() -> None:
    judged = judge('{"name": null, "colour": "red"}', RIGHT, VALIDATOR, FIELDS)
    assert (judged.missing_keys, judged.invented_keys) == (["count"], ["colour"])
    assert judged.parses
    assert not judged.schema_valid
    assert judged.detail.startswith("at /: ")
    assert judged.fields == {"name": True, "count": False, "tags": True}


def test_valid_and_wrong() -> None:
    judged = judge('{"name": "x", "count": 1}', RIGHT, VALIDATOR, FIELDS)
    assert judged.wrong_but_valid
    assert judged.fields == {"name": False, "count": True, "tags": True}


def test_the_violation_says_where() -> None:
    judged = judge('{"name": null, "count": "one"}', RIGHT, VALIDATOR, FIELDS)
    assert judged.detail == 'at /count: "one" is not of type "integer"'


@pytest.mark.parametrize("output", ["[]", "3", '"text"', "null", "true"])
def test_json_that_is_no_object(output: str) -> None:
    judged = judge(output, RIGHT, VALIDATOR, FIELDS)
    assert judged.parses
    assert not judged.schema_valid
    assert not any(judged.fields.values())
    assert judged.missing_keys == [], "it lacks more than keys"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (1, 1.0, True),
        (1, "1", False),
        ("\u00e9", "e\u0301", False),
        ([1, [2]], [1, [2.0]], True),
        ([1, 2], [2, 1], False),
        ([1], [True], False),
        ({"a": 1, "b": None}, {"b": None, "a": 1}, True),
        ({"a": None}, {}, False),
        ({"a": {"b": 0}}, {"a": {"b": False}}, False),
        ({}, [], False),
        ("", None, False),
    ],
)
def test_equality_is_typed(one: Any, other: Any, same: bool) -> None:
    assert equal(one, other) is equal(other, one) is same


def nested(depth: int) -> str:
    return '{"name": ' + '{"a":' * depth + "0" + "}" * depth + ', "count": 1}'


@pytest.mark.parametrize("depth", [10, 100, 300, 800])
def test_deep_but_readable(depth: int) -> None:
    open_schema = jsonschema_rs.validator_for({"type": "object"})
    judged = judge(nested(depth), RIGHT, open_schema, FIELDS)
    assert judged.fields == {"name": False, "count": True, "tags": True}
    assert not judged.whole_match


def test_a_string_of_a_megabyte() -> None:
    big = "x" * (1 << 20)
    assert judge(json.dumps({"name": big, "count": 1}), {"name": big, "count": 1}, VALIDATOR, FIELDS).whole_match
    assert judge(big, RIGHT, VALIDATOR, FIELDS).fault == "syntax"
    assert judge("{" + big, RIGHT, VALIDATOR, FIELDS).fault == "syntax"


ANY_TEXT = st.text(st.characters()) | st.text('{}[]",:\\ud8001eE+-.nulltrsfaNI `')
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(ANY_TEXT)
def test_any_text_is_judged(output: str) -> None:
    judged = judge(output, RIGHT, VALIDATOR, FIELDS)
    assert judged.parses == (judged.fault is None)
    assert not (judged.whole_match and not judged.parses)


@given(JSON)
def test_what_is_dumped_is_right(value: Any) -> None:
    assert judge(json.dumps(value), value, VALIDATOR, []).whole_match
    assert equal(value, json.loads(json.dumps(value)))
