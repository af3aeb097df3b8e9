"""How parts of an answer are found and compared."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from evaluation.judge.fields import Field, _common_subsequence, compare, equal, fields_of, moment
from evaluation.judge.form import ABSENT
from evaluation.settings import FieldRule

SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "level": {"enum": [2, 0, 1]},
        "yes": {"type": "boolean"},
        "amount": {"type": ["number", "null"]},
        "day": {"type": "string", "format": "date"},
        "name": {"anyOf": [{"$ref": "#/$defs/text"}, {"type": "null"}]},
        "tags": {"type": "array", "uniqueItems": True},
        "steps": {"type": "array"},
        "point": {"type": "array", "prefixItems": [{"type": "number"}]},
        "party": {"$ref": "#/$defs/party"},
        "any": True,
    },
    "$defs": {
        "text": {"type": "string"},
        "party": {"type": "object", "properties": {"city": {"type": "string"}, "of": {"$ref": "#/$defs/party"}}},
    },
}


def test_kinds_follow_from_the_schema() -> None:
    fields = fields_of(SCHEMA, {})
    assert {field.name: field.rule.kind for field in fields} == {
        **{"kind": "class", "level": "class", "yes": "class", "amount": "number", "day": "date", "name": "text"},
        **{"tags": "set", "steps": "list", "point": "value", "party.city": "text", "party.of": "value", "any": "value"},
    }
    labels = {field.name: field.labels for field in fields if field.labels}
    assert labels == {"kind": ("a", "b"), "level": ("0", "1", "2"), "yes": ("false", "true")}
    assert next(field for field in fields if field.name == "level").rule.order == ["0", "1", "2"], "numbers are ordered"


def test_a_recipe_may_say_otherwise() -> None:
    rules = {"party": rule("value"), "steps": rule("set"), "kind": rule("class", order=["b", "a"])}
    kinds = {field.name: field for field in fields_of(SCHEMA, rules)}
    assert "party.city" not in kinds
    assert kinds["party"].rule.kind == "value"
    assert kinds["steps"].rule.kind == "set"
    assert kinds["kind"].labels == ("b", "a")
    with pytest.raises(AssayError, match=r"evaluation.fields.colour: .*no such field"):
        fields_of(SCHEMA, {"colour": rule("text")})


def rule(kind: str, **more: Any) -> FieldRule:
    return FieldRule.model_validate({"as": kind, **more})


@pytest.mark.parametrize(
    ("kind", "given_", "wanted", "exact", "match", "score"),
    [
        ("text", "Foo  bar ", "foo bar", False, True, 1),
        ("text", "ＡＢＣ", "abc", False, True, 1),
        ("text", "e\u0301", "\u00e9", False, True, 1),
        ("text", "foo", "bar", False, False, 0),
        ("text", 1, "1", False, False, 0),
        ("text", None, None, True, True, 1),
        ("text", ABSENT, None, False, False, 0),
        ("text", ABSENT, ABSENT, True, True, 1),
        ("number", 1, 1.0, True, True, 1),
        ("number", 1, True, False, False, 0),
        ("number", "1", 1, False, False, 0),
        ("date", "2020/1/5", "2020-01-05", False, True, 1),
        ("date", "2020-01-05T00:00:00Z", "2020-01-05", False, True, 1),
        ("date", "05/01/2020", "2020-01-05", False, False, 0),
        ("date", "2020-13-05", "2020-12-05", False, False, 0),
        ("set", ["b", "A", "b"], ["a", "b"], False, True, 1),
        ("set", ["a", "c"], ["a", "b"], False, False, 0.5),
        ("set", [], [], True, True, 1),
        ("set", [], ["a"], False, False, 0),
        ("set", "a", ["a"], False, False, 0),
        ("set", [1, True], [True, 1.0], False, True, 1),
        ("list", ["a", "b", "c"], ["a", "c", "b"], False, False, 2 / 3),
        ("list", [{"x": [1]}], [{"x": [1.0]}], True, True, 1),
        ("list", [{"x": 1}], [{"x": True}], False, False, 0),
        ("class", "A", "a", False, False, 0),
        ("value", {"a": 1}, {"a": 1.0}, True, True, 1),
    ],
)
def test_comparison(kind: str, given_: Any, wanted: Any, exact: bool, match: bool, score: float) -> None:
    found = compare(Field(("f",), rule(kind)), given_, wanted)
    assert (found.exact, found.match) == (exact, match)
    assert found.score == pytest.approx(score)


@pytest.mark.parametrize(
    ("given_", "wanted", "match"),
    [
        (100, 101, True),
        (100, 102.1, False),
        (10**400, 10**400 + 1, True),
        (10**400, 1.5, False),
        (-1e308, 1e308, False),
    ],
)
def test_numbers_within_tolerance(given_: Any, wanted: Any, match: bool) -> None:
    assert compare(Field(("f",), rule("number", tolerance=2)), given_, wanted).match is match


def test_numbers_within_a_share() -> None:
    field = Field(("f",), rule("number", relative=0.25))
    assert [compare(field, value, 12).match for value in (9, 15, 8, 16)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        (1, True, False),
        (0, False, False),
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
    ],
)
def test_equality_is_typed(one: Any, other: Any, same: bool) -> None:
    assert equal(one, other) is equal(other, one) is same


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_longest_common_subsequence(one: list[int], other: list[int]) -> None:
    """Against the textbook's table."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert _common_subsequence(one, other) == table[-1][-1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["class", "number", "date", "text", "set", "list", "value"]


@given(JSON, JSON, st.sampled_from(KINDS))
def test_any_two_values_are_compared(one: Any, other: Any, kind: str) -> None:
    field = Field(("f",), rule(kind, relative=0.1))
    found = compare(field, one, other)
    assert found.exact <= found.match <= (found.score == 1)
    assert 0 <= found.score <= 1
    assert compare(field, one, json.loads(json.dumps(one))).exact


@given(JSON)
def test_any_schema_has_fields(schema: Any) -> None:
    fields_of({"properties": {"a": schema}}, {})
    if isinstance(schema, dict):
        fields_of(schema, {})


def test_moments() -> None:
    assert moment("2020-01-05T12:00:00+02:00") == moment("2020-01-05T10:00:00Z")
    assert moment("２０２０年１月５日") == moment("2020-01-05")
    assert moment("today") is None
    assert moment("0001-01-01T00:00:00+23:59") is None


@pytest.mark.parametrize("leaf", [{"type": "string"}, {"type": "object", "properties": {}}])
def test_references_that_multiply_are_bounded(leaf: dict[str, Any]) -> None:
    """Ten references on each of sixteen levels: 10^16 places in a schema of 2 kB."""
    levels = {
        f"l{n}": {"type": "object", "properties": {f"p{k}": {"$ref": f"#/$defs/l{n + 1}"} for k in range(10)}}
        for n in range(16)
    }
    schema = {"$ref": "#/$defs/l0", "$defs": levels | {"l16": leaf}}
    with pytest.raises(AssayError, match="describes more than 10,000 places") as error:
        fields_of(schema, {})
    assert error.value.remedy
