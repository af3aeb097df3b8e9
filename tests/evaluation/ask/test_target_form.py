"""The form of targets: what a perfect model would say is what the grammar takes, whatever the schema's own order."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.rows.renderer import Renderer
from evaluation.ask.constrained import Constraint
from evaluation.ask.forbidden import Forbidden
from evaluation.ask.target_form import TargetForm
from evaluation.judge.form import validator_of
from tests.evaluation.ask.test_constrained import SCALARS, contract, nested, said
from tests.tiny import ANSWERS, renderer_of

Json = Any


@pytest.fixture(scope="module")
def renderer(model_folder: Path) -> Renderer:
    return renderer_of(model_folder)


def closed(**properties: Json) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


INTEGER, NUMBER, STRING = {"type": "integer"}, {"type": "number"}, {"type": "string"}
AB = closed(a=INTEGER, b=INTEGER)
LINKED = closed(value=INTEGER, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})
ORDERS: dict[str, tuple[Json, list[str]]] = {
    "at the root": (AB, ['{"b": 1, "a": 2}']),
    "deeper": (closed(x=AB, y=INTEGER), ['{"y": 1, "x": {"b": 1, "a": 2}}']),
    "in items": ({"type": "array", "items": AB}, ['[{"b": 1, "a": 2}, {"b": 3, "a": 4}]']),
    "in a tuple": ({"prefixItems": [AB, {"type": "null"}]}, ['[{"b": 1, "a": 2}, null]']),
    "behind a reference": ({"$defs": {"ab": AB}, "$ref": "#/$defs/ab"}, ['{"b": 1, "a": 2}']),
    "in a definition": ({"$defs": {"ab": AB}, **closed(x={"$ref": "#/$defs/ab"})}, ['{"x": {"b": 1, "a": 2}}']),
    "recursive": (
        {"$defs": {"node": LINKED}, "$ref": "#/$defs/node"},
        ['{"next": {"next": null, "value": 1}, "value": 2}'],
    ),
    "recursive by the root": (
        {"type": "object", "properties": {"value": INTEGER, "next": {"$ref": "#"}}, "required": ["value"]},
        ['{"next": {"next": {"value": 3}, "value": 1}, "value": 2}', '{"value": 2}'],
    ),
    "in allOf": (
        {"allOf": [{"properties": {"a": INTEGER}}, {"properties": {"b": INTEGER}, "required": ["a", "b"]}]},
        ['{"b": 1, "a": 2}'],
    ),
    "an object or null": ({"anyOf": [AB, {"type": "null"}]}, ['{"b": 1, "a": 2}', "null"]),
    "each alternative its own": (
        {"anyOf": [closed(t={"const": "x"}, a=INTEGER), closed(t={"const": "y"}, a=INTEGER)]},
        ['{"a": 1, "t": "x"}', '{"t": "y", "a": 2}', '{"t": "y", "a": 3}'],
    ),
    "optional keys": (
        {"properties": {"a": INTEGER, "b": INTEGER, "c": INTEGER}, "additionalProperties": False},
        ['{"c": 1, "b": 2}', '{"b": 2, "a": 1}', '{"c": 1, "a": 1}', "{}", '{"c": 1, "b": 2, "a": 3}'],
    ),
    "a key that no property names": (
        {"properties": {"a": INTEGER}, "required": ["a"], "additionalProperties": STRING},
        ['{"z": "x", "a": 1}', '{"z": "x", "a": 1, "y": "w"}'],
    ),
    "a required key that no property names": (
        {"properties": {"a": INTEGER}, "required": ["a", "q"]},
        ['{"q": true, "a": 1}'],
    ),
    "a key of a pattern": (
        {"properties": {"a": INTEGER}, "patternProperties": {"^p": NUMBER}, "additionalProperties": False},
        ['{"p1": 1.5, "a": 1}'],
    ),
    "names that pointers escape": (closed(**{"a/b": INTEGER, "~": AB}), ['{"~": {"b": 1, "a": 1}, "a/b": 2}']),
    "two conditions": (
        {
            **closed(k={"enum": ["x", "y"]}, v={"type": "integer"}),
            "if": {"properties": {"k": {"const": "x"}}, "required": ["k"]},
            "then": {"properties": {"v": {"const": 1}}},
        },
        ['{"v": 1, "k": "x"}', '{"v": 5, "k": "y"}'],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_keys_stand_in_the_targets_order(renderer: Renderer, name: str) -> None:
    schema, targets = ORDERS[name]
    before = deepcopy(schema)
    plain, constraint = Constraint(schema, renderer), Constraint(schema, renderer, targets)
    assert any(plain.forbids(target) for target in targets)
    assert [constraint.forbids(target) for target in targets] == [None] * len(targets)
    assert constraint.reordered
    assert constraint.relaxed == ()
    assert schema == before
    validator = validator_of(schema)
    for seed in range(5):
        text, complete = said(constraint, renderer, seed)
        assert not complete or validator.is_valid(json.loads(text)), text


def test_with_properties_reversed_the_right_answers_are_the_same(renderer: Renderer) -> None:
    schema = contract("licences")
    targets = [json.dumps(answer) for answer in ANSWERS]
    turned = schema | {"properties": dict(reversed(schema["properties"].items()))}
    assert Constraint(schema, renderer, targets).reordered == ()
    constraint = Constraint(turned, renderer, targets)
    assert constraint.reordered == ("/",)
    assert [constraint.forbids(target) for target in targets] == [None] * 3
    assert constraint.relaxed == ()
    wrong = json.dumps(ANSWERS[0] | {"copyleft": "weak"})
    assert constraint.forbids(wrong) == Forbidden("/copyleft", 'the string "weak" cannot be said, or not so spelled')
    assert list(TargetForm.of(turned, targets).schema["properties"]) == list(schema["properties"]), "for a server too"


def turned(value: Json) -> Json:
    """With the keys of each object in another order, the same for all."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in sorted(value, key=lambda name: name[::-1], reverse=True)}
    return [turned(each) for each in value] if isinstance(value, list) else value


SPACED = {
    "type": "object",
    "properties": {
        "a": closed(a={"type": "boolean"}, **{"b b": {"type": "boolean"}}),
        "b b": {"anyOf": [{"type": "boolean"}]},
    },
    "required": ["a", "b b"],
    "additionalProperties": False,
}
"""A key that is no part of a URI as it stands."""


@settings(deadline=None, max_examples=30)
@example(schema=SPACED, seeds=[0, 1, 2])
@given(schema=st.recursive(SCALARS, nested, max_leaves=8), seeds=st.lists(st.integers(0, 2**32), max_size=4))
def test_whatever_fits_can_be_said_in_another_order(renderer: Renderer, schema: Json, seeds: list[int]) -> None:
    plain = Constraint(schema, renderer)
    fit = [json.loads(text) for seed in seeds for text, complete in [said(plain, renderer, seed, 500)] if complete]
    targets = [json.dumps(turned(value), ensure_ascii=False) for value in fit]
    constraint = Constraint(schema, renderer, targets)
    for target in targets:
        assert constraint.forbids(target) is None, (target, constraint.forbids(target))


SPELLED: dict[str, tuple[Json, list[str], tuple[str, ...]]] = {
    "a whole number with a point": (closed(n=INTEGER), ['{"n": 1.0}'], ("/n: integer",)),
    "a whole number as a power": (closed(n=INTEGER), ['{"n": 1e5}'], ("/n: integer",)),
    "a small share": (
        closed(n={"type": "number", "minimum": 0, "maximum": 1}),
        ['{"n": 1e-05}', '{"n": 0.5}'],
        ("/n: maximum", "/n: minimum"),
    ),
    "minus nothing": (closed(n={"type": "integer", "minimum": 0}), ['{"n": -0}'], ("/n: minimum",)),
    "an escaped letter": (closed(s=STRING), ['{"s": "caf\\u00e9"}'], ()),
    "an escaped letter under a pattern": (
        closed(s={"type": "string", "pattern": "^[a-zé]+$"}),
        ['{"s": "caf\\u00e9"}'],
        ("/s: pattern",),
    ),
    "a pair of surrogates": (closed(s=STRING), ['{"s": "\\ud83d\\ude00"}'], ()),
    "a control character": (closed(s=STRING), ['{"s": "\\u0001\\n\\""}'], ()),
    "no white space": (closed(a=INTEGER, b=INTEGER), ['{"a":1,"b":2}'], ()),
    "indented": (closed(a=INTEGER, b=AB), [json.dumps({"a": 1, "b": {"a": 1, "b": 2}}, indent=2)], ()),
    "in an array": (closed(x={"type": "array", "items": INTEGER}), ['{"x": [1, 2.0]}'], ("/x/*: integer",)),
}


@pytest.mark.parametrize("name", SPELLED)
def test_spellings_of_targets_can_be_said(renderer: Renderer, name: str) -> None:
    schema, targets, given_up = SPELLED[name]
    assert any(Constraint(schema, renderer).forbids(target) for target in targets) or name == "a control character"
    constraint = Constraint(schema, renderer, targets)
    assert [constraint.forbids(target) for target in targets] == [None] * len(targets)
    assert constraint.relaxed == given_up


@pytest.mark.parametrize(
    ("schema", "answer", "at", "why"),
    [
        (AB, '{"b": 1, "a": 2}', "", 'the key "b" cannot stand first'),
        (closed(x=AB), '{"x": {"a": 1, "c": 2}}', "/x", 'the key "c" cannot stand behind "a"'),
        (closed(s=STRING), '{"s": "a\\/b"}', "/s", r'the string "a\/b" cannot be said, or not so spelled'),
        (closed(s=STRING), '{"s": "a\x7fb"}', "/s", 'the string "a\x7fb" cannot be said, or not so spelled'),
        (closed(n={"enum": [1, 2]}), '{"n": 2.0}', "/n", "the number 2.0 cannot be said, or not so spelled"),
        ({"type": "array", "items": AB}, '[{"a": 1, "b": 2}, {"a": 1}]', "/1", "it cannot end here"),
        (AB, '{"a": 1,  "b": 2}', "/a", "white space"),
        (AB, '{"a": 1', "", "more has to follow its end"),
        (AB, "<think>so</think>{}", "", "'<' cannot stand here"),
    ],
)
def test_what_cannot_be_said_is_told(renderer: Renderer, schema: Json, answer: str, at: str, why: str) -> None:
    assert Constraint(schema, renderer).forbids(answer) == Forbidden(at, why)


def test_where_targets_disagree_most_of_them_say_the_order(renderer: Renderer) -> None:
    most, few = ['{"b": 1, "a": 2}', '{"b": 3, "a": 2}'], '{"a": 1, "b": 5}'
    constraint = Constraint(AB, renderer, [few, *most])
    assert [constraint.forbids(each) for each in most] == [None, None]
    assert constraint.forbids(few) == Forbidden("", 'the key "a" cannot stand first')


def test_targets_that_are_no_json_say_nothing(renderer: Renderer) -> None:
    targets = ["no", "[" * 5000, '{"a": ']
    assert Constraint(AB, renderer, targets).forbids('{"a": 1, "b": 2}') is None


def test_a_map_keeps_its_keys_free(renderer: Renderer) -> None:
    schema = {"type": "object", "additionalProperties": INTEGER}
    constraint = Constraint(schema, renderer, ['{"x": 1, "y": 2}', '{"y": 1, "x": 2}'])
    for answer in ('{"y": 1, "x": 2}', '{"new": 1, "x": 2}'):
        assert constraint.forbids(answer) is None
    assert constraint.reordered == ()
