"""JSON Schemas from elsewhere: they refer to nothing outside, and what they ask of a value has an end."""

import json
from typing import Any

import jsonschema_rs
import pytest

from curate import json_schema
from curate.json_schema import MOST_STEPS, validator_of

TREE = {"$id": "http://example.org/tree", "type": "object", "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}}
METASCHEMA = {"properties": {"schema": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}


def doubling(times: int, keyword: str, reference: str, name: str | None = None) -> dict[str, Any]:
    """A schema whose definitions each refer twice to the one before."""
    definitions: dict[str, Any] = {}
    for number in range(times + 1):
        before = [{"$ref": reference.format(number - 1)} for _ in range(2)] if number else [{"type": "string"}]
        twice = {"not": {"allOf": before}} if keyword == "not" else {keyword: before}
        definitions[f"a{number}"] = twice | ({name: f"a{number}"} if name else {})
    return {"$id": "http://example.org/s", "$defs": definitions, "$ref": reference.format(times)}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "not"])
@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("#/$defs/a{}", None),
        ("http://example.org/s#/%24defs/a{}", None),
        ("#a{}", "$anchor"),
        ("a{}", "$id"),
        ("http://example.org/a{}", "$id"),
    ],
)
def test_references_that_double_are_refused(keyword: str, reference: str, name: str | None) -> None:
    validator_of(doubling(8, keyword, reference, name))
    with pytest.raises(ValueError, match=rf"it holds one value to .* subschemas by references; at most {MOST_STEPS:,}"):
        validator_of(doubling(40, keyword, reference, name))


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x", "file:///etc/hostname", "x.json", "urn:x", "//h/x#/a"])
@pytest.mark.parametrize("key", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize("within", [{}, {"$id": "http://example.org/s"}])
def test_a_reference_leads_nowhere_else(within: dict[str, Any], key: str, reference: str) -> None:
    with pytest.raises(ValueError, match="which is not in it, and nothing is fetched"):
        validator_of(within | {"properties": {"a": {"items": {key: reference}}}})


@pytest.mark.parametrize("schema", [TREE, METASCHEMA, True, {"enum": [{"$ref": "http://127.0.0.1:9/x"}]}])
def test_what_is_in_it_or_well_known_is_followed(schema: Any) -> None:
    assert validator_of(schema) is not None


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?=(a+)+$)b", r"^(a|aa)+\1$", r"^(a*)*\1b$"])
def test_a_pattern_has_an_end(pattern: str) -> None:
    assert not validator_of({"pattern": pattern}).is_valid("a" * 50_000 + "c")


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    deep: Any = {"type": "string"}
    for _ in range(100_000):
        deep = {"items": deep}
    with pytest.raises(ValueError, match=r"[Rr]ecursion|nested"):
        validator_of(deep)
    chain = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(3_000)} | {"a3000": {}}
    with pytest.raises(ValueError, match="refers from one definition to the next, too deeply"):
        validator_of(json.loads(json.dumps({"$defs": chain, "$ref": "#/$defs/a0"})))


def recursive(*variants: dict[str, Any]) -> dict[str, Any]:
    return {"$defs": {"x": {"anyOf": list(variants)}}, "$ref": "#/$defs/x"}


ITEMS = {"type": "array", "items": {"$ref": "#/$defs/x"}}
FIELD = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}
TERMS = [
    {"type": "object", "properties": {"op": {"const": op}, "l": {"$ref": "#/$defs/x"}, "r": {"$ref": "#/$defs/x"}}}
    for op in "+-*/^"
]


def nested(depth: int, within: Any, *, key: str | None = None) -> Any:
    for _ in range(depth):
        within = [within] if key is None else {"op": "^", key: within}
    return within


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        (recursive(ITEMS | {"maxItems": 9}, ITEMS | {"maxItems": 8}), None),
        (recursive(FIELD | {"maxProperties": 1}, FIELD | {"maxProperties": 0}), "a"),
        ({"$defs": {"x": {"allOf": [ITEMS, ITEMS]}}, "$ref": "#/$defs/x"}, None),
        ({"$dynamicAnchor": "x", "oneOf": [{"items": {"$dynamicRef": "#x"}, "minItems": n} for n in (1, 2)]}, None),
        (recursive(*TERMS), "l"),
    ],
)
@pytest.mark.parametrize("depth", [30, 190])
def test_a_recursion_that_doubles_with_each_level_has_an_end(
    schema: dict[str, Any], key: str | None, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_schema, "SECONDS", 0.2)
    validator = validator_of(schema)
    value = nested(depth, "no", key=key)
    assert not validator.is_valid(value)
    [violation] = validator.violations(value, 100)
    assert (violation.kind, violation.path) == ("time", [])
    assert violation.message == "holding it to the schema takes more than 0.2 s: it is nested too deeply"


@pytest.mark.parametrize("depth", [3, 10, 100])
def test_an_honest_recursion_is_followed_to_its_end(depth: int) -> None:
    json_like = validator_of(recursive(ITEMS, {"type": "object", "additionalProperties": {"$ref": "#/$defs/x"}}))
    assert json_like.is_valid(nested(depth, []))
    assert json_like.is_valid(nested(depth, {}, key="a")) is False, "op is neither"
    expressions = validator_of(recursive({"type": "number"}, *TERMS))
    assert expressions.is_valid(nested(depth, 1, key="r"))


def test_a_value_that_is_deep_is_told_its_faults_as_a_flat_one_is() -> None:
    schema = {"$defs": {"x": {"items": {"$ref": "#/$defs/x"}, "type": "array"}}, "$ref": "#/$defs/x"}
    twice = schema | {"$defs": {"x": {"items": {"allOf": [{"$ref": "#/$defs/x"}]}, "not": ITEMS | {"maxItems": 0}}}}
    for each in (schema, twice, recursive(ITEMS, ITEMS | {"maxItems": 1})):
        for depth in (1, 5, 9, 12):
            value = nested(depth, [], key=None) if each is twice else nested(depth, "no")
            told = jsonschema_rs.validator_for(each).iter_errors(value)
            wanted = [[list(error.instance_path), list(error.schema_path), error.message] for error in told]
            found = validator_of(each).violations(value, 100)
            assert [[error.path, error.rule, error.message] for error in found] == wanted
