"""Constrained decoding against the validator: whatever is chosen, a complete answer is JSON that fits the schema."""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.rows.renderer import Renderer
from curate.text import strict_json
from evaluation.ask.constrained import Constraint, by_case
from evaluation.judge.form import validator_of
from tests.tiny import ANSWERS, renderer_of

CONTRACTS = Path(__file__).parents[3] / "data_contracts"


@pytest.fixture(scope="module")
def renderer(model_folder: Path) -> Renderer:
    return renderer_of(model_folder)


def contract(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CONTRACTS / name / "target.schema.json").read_bytes())
    return schema


def said(constraint: Constraint, renderer: Renderer, seed: int, most: int = 200) -> tuple[str, bool]:
    """What a model says whose logits are random, and whether it came to an end."""
    draw = np.random.default_rng(seed)
    width = renderer.tokenizer.get_vocab_size() + 5
    matcher, tokens = constraint.matcher(), []
    for _ in range(most):
        (allowed,) = constraint.allowed([matcher], width)
        assert allowed.any()
        assert not allowed[-5:].any(), "there are no such tokens"
        token = int(np.where(allowed, draw.random(width), -1).argmax())
        if token == renderer.stop_token_id:
            return renderer.decode(tokens), True
        tokens.append(token)
        if constraint.ends(matcher, token):
            return renderer.decode(tokens), True
    return renderer.decode(tokens), False


def accepts(constraint: Constraint, renderer: Renderer, text: str) -> bool:
    """Whether a text can be said, token by token, and the stop token after it and not before."""
    matcher, width = constraint.matcher(), renderer.tokenizer.get_vocab_size()
    tokens = renderer.tokenizer.encode(text, add_special_tokens=False).ids
    for number, token in enumerate(tokens, 1):
        (allowed,) = constraint.allowed([matcher], width)
        if not allowed[token]:
            return False
        if constraint.ends(matcher, token):
            return number == len(tokens)
    return bool(constraint.allowed([matcher], width)[0][renderer.stop_token_id])


def test_targets_can_be_said_and_nothing_else(renderer: Renderer) -> None:
    constraint = Constraint(contract("licences"), renderer)
    for answer in ANSWERS:
        right = json.dumps(answer, ensure_ascii=False)
        assert accepts(constraint, renderer, right)
        for wrong in (right[:-1], right + " ", " " + right, right.replace(": ", ":"), right.replace("kind", "sort")):
            assert not accepts(constraint, renderer, wrong), wrong
        assert not accepts(constraint, renderer, json.dumps(dict(reversed(answer.items())))), "keys in another order"
    assert not accepts(constraint, renderer, json.dumps(ANSWERS[0] | {"license": "Not A Key"})), "against `pattern`"
    assert not accepts(constraint, renderer, json.dumps(ANSWERS[0] | {"category": "Other"})), "against `enum`"
    assert not accepts(constraint, renderer, json.dumps(ANSWERS[0] | {"copyleft": "weak"})), "against `if` and `then`"


@pytest.mark.parametrize("name", ["contracts", "licences", "ljp_criminal"])
def test_random_answers_fit_the_contract(renderer: Renderer, name: str) -> None:
    schema = contract(name)
    constraint = Constraint(schema, renderer)
    assert constraint.relaxed == (("uniqueItems",) if name == "contracts" else ())
    if name == "contracts":
        schema["properties"]["parties"].pop("uniqueItems")
    validator = validator_of(schema)
    ended = 0
    for seed in range(20):
        text, complete = said(constraint, renderer, seed)
        ended += complete
        assert not complete or validator.is_valid(strict_json.loads(text)), text
    assert ended


SCALARS = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"], "maxLength": 8}]),
    st.lists(
        st.sampled_from(["a", "b c", 'say "so"', "é", "号", 1, 2.5, None, True]), min_size=1, max_size=4, unique_by=str
    ).map(lambda values: {"enum": values}),
    st.tuples(st.integers(-50, 50), st.integers(0, 100)).map(
        lambda pair: {"type": "integer", "minimum": pair[0], "maximum": pair[0] + pair[1]}
    ),
    st.sampled_from(["^[a-z]{2,4}$", "^(x|yy)[0-9]?$", r"^\d{4}-\d{2}$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    objects = st.tuples(
        st.dictionaries(st.sampled_from(["a", "b b", "ключ", 'c"']), inner, min_size=1, max_size=3), st.randoms()
    ).map(
        lambda pair: {
            "type": "object",
            "properties": pair[0],
            "required": pair[1].sample(sorted(pair[0]), pair[1].randint(0, len(pair[0]))),
            "additionalProperties": False,
        }
    )
    lists = st.tuples(inner, st.integers(0, 2)).map(
        lambda pair: {"type": "array", "items": pair[0], "minItems": pair[1], "maxItems": 3}
    )
    return st.one_of(objects, lists, st.lists(inner, min_size=1, max_size=2).map(lambda branches: {"anyOf": branches}))


@settings(deadline=None, max_examples=60)
@given(schema=st.recursive(SCALARS, nested, max_leaves=6), seed=st.integers(0, 2**32))
def test_whatever_is_chosen_fits(renderer: Renderer, schema: dict[str, Any], seed: int) -> None:
    constraint = Constraint(schema, renderer)
    assert constraint.relaxed == ()
    text, complete = said(constraint, renderer, seed, most=10_000)
    assert complete, "nothing in these schemas is without end"
    value = strict_json.loads(text)
    assert validator_of(schema).is_valid(value), text
    written = re.sub(r"(?<!\w)-0(?![\d.])", "0", text)  # which JSON lets an integer be
    assert written == json.dumps(value, ensure_ascii=False)


CONDITIONS = st.fixed_dictionaries(
    {
        "if": st.dictionaries(
            st.sampled_from(["a", "b"]),
            st.sampled_from([{"const": 1}, {"const": "x"}, {"enum": ["x", True]}, {"not": {"const": "y"}}, True]),
            min_size=1,
        ).map(lambda tests: {"properties": tests, "required": sorted(tests)})
    },
    optional={
        key: st.sampled_from([{"properties": {"c": {"const": "z"}}}, {"properties": {"c": {"minLength": 2}}}, {}])
        for key in ("then", "else")
    },
)


@settings(deadline=None, max_examples=80)
@given(conditions=st.lists(CONDITIONS, max_size=3), beside=st.one_of(st.just({}), CONDITIONS))
def test_conditions_by_case_allow_the_same(conditions: list[dict[str, Any]], beside: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "y", 1]}, "b": {"type": "boolean"}, "c": {"type": "string"}},
        "required": ["a", "b"],
        "allOf": [{"maxProperties": 3}, *conditions],
        **beside,
    }
    rewritten = by_case(schema)
    assert '"if"' not in json.dumps(rewritten) or not (conditions or beside)
    before, after = validator_of(schema), validator_of(rewritten)
    for a, b, c in product(["x", "y", 1, 2], [False, True, "x"], ["z", "zz", "", None]):
        value = {"a": a, "b": b} | ({} if c is None else {"c": c})
        assert before.is_valid(value) == after.is_valid(value), value


@pytest.mark.parametrize(
    ("condition", "of_draft", "held"),
    [
        ({"format": "date"}, "https://json-schema.org/draft/2020-12/schema", {"when": "2026-02-01", "size": 1}),
        ({"format": "date"}, "https://json-schema.org/draft/2020-12/schema", {"when": "some day", "size": 9}),
        ({"dependencies": {"a": ["b"]}}, "http://json-schema.org/draft-07/schema#", {"when": {"a": 1}, "size": 9}),
    ],
)
def test_conditions_are_decided_as_answers_are_judged(
    condition: dict[str, Any], of_draft: str, held: dict[str, Any]
) -> None:
    """Formats are checked, and by the draft that the whole schema names."""
    schema = {
        "$schema": of_draft,
        "type": "object",
        "properties": {"when": {"enum": ["2026-02-01", "some day", {"a": 1}]}, "size": {"enum": [1, 9]}},
        "required": ["when", "size"],
        "if": {"properties": {"when": condition}},
        "then": {"properties": {"size": {"const": 1}}},
        "else": {"properties": {"size": {"const": 9}}},
    }
    rewritten = by_case(schema)
    assert rewritten != schema
    for size in (1, 9):
        value = held | {"size": size}
        assert validator_of(schema).is_valid(value) == validator_of(rewritten).is_valid(value) == (size == held["size"])


def test_conditions_that_are_left_as_they_are() -> None:
    for asked in ({"properties": {"free": {"const": 1}}}, {"minProperties": 1}, True, {"required": ["free"]}):
        schema = {
            "properties": {"free": {"type": "string"}, "a": {"enum": [1]}},
            "required": ["free", "a"],
            "if": asked,
        }
        assert by_case(schema) is schema


def test_what_is_not_held_to_is_told(renderer: Renderer) -> None:
    schema = {
        "type": "object",
        "properties": {"names": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}},
        "oneOf": [{"required": ["names"]}, {"required": ["other"]}],
        "if": True,
        "then": True,
    }
    assert Constraint(schema, renderer).relaxed == ("if", "oneOf", "then", "uniqueItems")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "http://192.0.2.1/schema.json"}, "192.0.2.1"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "incompatible types"),
        ({"enum": []}, "Unsatisfiable"),
    ],
)
def test_a_schema_that_makes_no_grammar(renderer: Renderer, schema: dict[str, Any], said: str) -> None:
    with pytest.raises(AssayError, match=said):
        Constraint(schema, renderer)


def test_the_stop_token_where_more_could_follow(renderer: Renderer) -> None:
    constraint = Constraint({"type": "integer", "minimum": 0, "maximum": 99}, renderer)
    matcher, width, stop = constraint.matcher(), renderer.tokenizer.get_vocab_size(), renderer.stop_token_id
    four, two = (renderer.tokenizer.token_to_id(digit) for digit in "42")
    assert not constraint.allowed([matcher], width)[0][stop], "nothing is no number"
    assert not constraint.ends(matcher, four)
    allowed = constraint.allowed([matcher, None], width)
    assert allowed[0][stop], "4 is one"
    assert allowed[0][two], "so is 42"
    assert allowed[1].all()
    assert constraint.ends(matcher, two), "and nothing can follow that"
    with pytest.raises(AssayError, match="can no longer be held"):
        constraint.ends(matcher, two)
