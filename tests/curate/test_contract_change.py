"""Which changes of a contract break readers: each by hand, and by trying values against both schemas."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contract import Contract
from curate.contract_change import ContractChange, contract_change
from curate.schema_change import Change, schema_changes
from tests.curate.test_contract import PACKAGED, TARGET_SCHEMA, short, write


def rule(name: str, type_: str, severity: str | None = None, **kwargs: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name, "implementation": {"type": type_, "kwargs": kwargs}}
    return said | ({"severity": severity} if severity else {})


BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
CONTAIN, EQUAL = "expect_column_distinct_values_to_contain_set", "expect_column_distinct_values_to_equal_set"
QUANTILES = "expect_column_quantile_values_to_be_between"


RANGES: dict[str, Any] = {"quantiles": [0.5, 0.9], "value_ranges": [[5, 50], [9, 90]]}


def document() -> dict[str, Any]:
    """A contract with one of everything."""
    record = [
        {"name": "turns", "logicalTypeOptions": {"minItems": 1, "maxItems": 3}},
        {"name": "label", "required": True, "logicalTypeOptions": {"maxLength": 9}},
    ]
    whole = [
        {
            "name": "tokens",
            "quality": [
                rule("rows_fit", BETWEEN, min_value=1, max_value=100, mostly=0.9),
                rule("usual", QUANTILES, quantile_ranges=RANGES),
            ],
        },
        {"name": "label", "unique": True, "quality": [rule("labels", IN_SET, value_set=["a", "b"])]},
        {"name": "language", "quality": [rule("present", CONTAIN, value_set=["en", "ko"])]},
        {
            "name": "target.colour",
            "logicalType": "string",
            "quality": [rule("hint", EQUAL, "warning", value_set=["red"])],
        },
    ]
    return short(record, whole) | {"customProperties": [{"property": "license", "value": "mit"}]}


def of(folder: Path, said: dict[str, Any], target: Any = TARGET_SCHEMA) -> Contract:
    return Contract.load(write(folder, said, target))


def find(said: dict[str, Any], where: str) -> dict[str, Any]:
    """The part of a document that a path of names leads to."""
    part: Any = said["schema"]
    for name in where.split("/"):
        found = part if isinstance(part, list) else part.get("properties", []) + part.get("quality", [])
        part = next(item for item in found if item["name"] == name)
    found_part: dict[str, Any] = part
    return found_part


def put(where: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    """What changes arguments of a rule; None takes one away."""

    def change(said: dict[str, Any]) -> None:
        arguments = find(said, where)["implementation"]["kwargs"]
        arguments.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del arguments[name]

    return change


CASES: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str, bool]] = {
    "a bound raised": (put("set/tokens/rows_fit", max_value=101), "set.rows_fit", "max_value: 100 -> 101", True),
    "a bound lowered": (put("set/tokens/rows_fit", max_value=99), "set.rows_fit", "max_value: 100 -> 99", False),
    "a bound taken away": (put("set/tokens/rows_fit", min_value=None), "set.rows_fit", "min_value: 1 -> none", True),
    "fewer rows asked": (put("set/tokens/rows_fit", mostly=0.8), "set.rows_fit", "mostly: 0.9 -> 0.8", True),
    "all rows asked": (put("set/tokens/rows_fit", mostly=None), "set.rows_fit", "mostly: 0.9 -> 1", False),
    "a setting for a number": (
        put("set/tokens/rows_fit", max_value="fit.max_tokens"),
        "set.rows_fit",
        "max_value: 100 -> fit.max_tokens",
        True,
    ),
    "a range wider": (
        put("set/tokens/usual", quantile_ranges=RANGES | {"value_ranges": [[5, 50], [8, 90]]}),
        "set.usual",
        "0.9 quantile: 9 -> 8",
        True,
    ),
    "a range narrower": (
        put("set/tokens/usual", quantile_ranges=RANGES | {"value_ranges": [[5, 40], [9, 90]]}),
        "set.usual",
        "0.5 quantile: 50 -> 40",
        False,
    ),
    "another value may be": (
        put("set/label/labels", value_set=["a", "b", "c"]),
        "set.labels",
        "value_set: with c",
        True,
    ),
    "a value may not be": (put("set/label/labels", value_set=["a"]), "set.labels", "value_set: without b", False),
    "a value need not be": (
        put("set/language/present", value_set=["en"]),
        "set.present",
        "value_set: without ko",
        True,
    ),
    "a value must be": (
        put("set/language/present", value_set=["en", "ko", "de"]),
        "set.present",
        "value_set: with de",
        False,
    ),
    "a rule no longer asked": (
        lambda d: find(d, "set/label")["quality"].clear(),
        "set.labels",
        "no longer asked",
        True,
    ),
    "a warning no longer told": (
        lambda d: find(d, "set/target.colour")["quality"].clear(),
        "set.hint",
        "no longer asked",
        False,
    ),
    "a warning of other values": (
        put("set/target.colour/hint", value_set=["red", "blue"]),
        "set.hint",
        "value_set: with blue",
        False,
    ),
    "a rule asked now": (
        lambda d: find(d, "set/language")["quality"].append(rule("more", IN_SET, value_set=["en"])),
        "set.more",
        "asked now",
        False,
    ),
    "only a warning now": (
        lambda d: find(d, "set/label/labels").update(severity="warning"),
        "set.labels",
        "severity: a warning now",
        True,
    ),
    "an error now": (
        lambda d: find(d, "set/target.colour/hint").pop("severity"),
        "set.hint",
        "severity: an error now",
        False,
    ),
    "another expectation": (
        lambda d: find(d, "set/language/present")["implementation"].update(type=EQUAL),
        "set.present",
        f"{CONTAIN} -> {EQUAL}",
        True,
    ),
    "no longer unique": (lambda d: find(d, "set/label").pop("unique"), "set.label", "unique: True -> not asked", True),
    "a common rule left out": (
        lambda d: find(d, "set").update(customProperties=[{"property": "withoutRules", "value": ["ids_unique"]}]),
        "set.ids_unique",
        "no longer asked",
        True,
    ),
    "null where there was none": (
        lambda d: find(d, "record/label").update(required=False),
        "record.label",
        "type: string -> null or string",
        True,
    ),
    "more turns": (
        lambda d: find(d, "record/turns")["logicalTypeOptions"].update(maxItems=4),
        "record.turns",
        "maxItems: 3 -> 4",
        True,
    ),
    "fewer turns": (
        lambda d: find(d, "record/turns")["logicalTypeOptions"].update(minItems=2),
        "record.turns",
        "minItems: 1 -> 2",
        False,
    ),
    "longer texts": (
        lambda d: find(d, "record/label")["logicalTypeOptions"].pop("maxLength"),
        "record.label",
        "maxLength: 9 -> none",
        True,
    ),
    "another licence": (
        lambda d: d["customProperties"][0].update(value="gpl-3.0"),
        "customProperties",
        "license: mit -> gpl-3.0",
        True,
    ),
    "another owner": (lambda d: d.update(team={"name": "b"}), "team", "other words", False),
    "another purpose": (lambda d: d.update(description={"purpose": "x"}), "description", "other words", False),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_and_whether_it_breaks(tmp_path: Path, case: str) -> None:
    change, key, said, breaks = CASES[case]
    new = document()
    change(new)
    found = contract_change(of(tmp_path, document()), of(tmp_path, new)).changes
    assert found == (Change(key, said, breaks),)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_same_contract_has_no_change(name: str) -> None:
    assert contract_change(Contract.load(name), Contract.load(name)).changes == ()


def test_keys_of_an_answer(tmp_path: Path) -> None:
    old, new = deepcopy(TARGET_SCHEMA), deepcopy(TARGET_SCHEMA)
    old["properties"]["size"] = {"type": "number"}  # type: ignore[index]
    new["properties"] |= {  # type: ignore[operator]
        "size": {"type": "integer"},
        "colour": {"enum": ["red", "black"]},
        "note": {"type": "string"},
    }
    del new["properties"]["count"]  # type: ignore[attr-defined]
    new |= {"required": ["colour"]}
    found = contract_change(of(tmp_path, short(), old), of(tmp_path, short(), new))
    assert {(each.key, each.said, each.breaks) for each in found.changes} == {
        ("record.target.count", "removed", True),
        ("record.target.note", "added", False),
        ("record.target.size", "type: number -> integer", False),
        ("record.target.colour", "values: black may be there now", True),
        ("record.target.colour", "values: green, blue may no longer be there", False),
    }


@pytest.mark.parametrize(
    ("old", "new", "breaks", "asked"),
    [
        ("1.2.0", "1.2.0", False, None),
        ("1.2.0", "1.3.0", True, "2.0.0"),
        ("1.2.0", "2.0.0", True, None),
        ("1.2.0", "0.9.0", True, "2.0.0"),
        ("spring", "spring", True, "another than spring"),
        ("spring", "autumn", True, None),
    ],
)
def test_a_breaking_change_asks_for_a_new_major_version(old: str, new: str, breaks: bool, asked: str | None) -> None:
    assert ContractChange(old, new, (Change("x", "y", breaks),)).version_asked == asked


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    taller = deepcopy(tree)
    taller["$defs"]["node"]["properties"]["next"] = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}  # type: ignore[index]
    titled = tree | {"title": "A tree."}
    assert list(schema_changes("x", tree, titled, tree, titled)) == [Change("x", "title: other words", False)]
    assert any(change.breaks for change in schema_changes("x", tree, taller, tree, taller))


BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "null", ["integer", "null"], ["string", "integer"]]),
        "enum": st.lists(st.sampled_from([0, 1, 2, "a", "bb", None]), min_size=1, max_size=3, unique_by=repr),
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 3),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b$"]),
        "multipleOf": st.sampled_from([1, 2, 4]),
    },
)
KEYS = st.fixed_dictionaries(
    {"properties": st.dictionaries(st.sampled_from("xy"), BOUNDS, max_size=2)},
    optional={
        "type": st.just("object"),
        "required": st.lists(st.sampled_from("xy"), unique=True, max_size=2),
        "additionalProperties": st.one_of(st.booleans(), BOUNDS),
        "items": BOUNDS,
        "minItems": st.integers(0, 2),
    },
)
SCHEMAS = st.one_of(BOUNDS, KEYS)
PLAIN = [None, -2, -1, 0, 1, 2, 3, 4, 1.5, "", "a", "b", "ab", "bb", "aab", "aaaa"]
VALUES = [
    *PLAIN,
    *([each] for each in PLAIN), [], [0, 0, 0],
    *({"x": each} for each in PLAIN), *({"y": each} for each in PLAIN), {}, {"x": 1, "y": "a"}, {"z": 0}, {"z": "bb"},
]  # fmt: skip


@given(SCHEMAS, SCHEMAS)
def test_what_is_called_harmless_lets_nothing_more_through(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Tried on many values: one that only the new schema takes must have been told."""
    changes = list(schema_changes("x", old, new, old, new))
    before, after = jsonschema_rs.validator_for(old), jsonschema_rs.validator_for(new)
    more = [value for value in VALUES if after.is_valid(value) and not before.is_valid(value)]
    if more and not any(change.said == "added" for change in changes):  # a key that was none breaks no reader
        assert any(change.breaks for change in changes), json.dumps([old, new, more[:3]])
    if old == new:
        assert changes == []


def test_grounding_that_asks_less_breaks_a_reader(tmp_path: Path) -> None:
    contracts = []
    for number, how in enumerate([None, "verbatim", "none"]):
        said = {"property": "grounding", "value": how, "description": "Why."}
        key = {"name": "colour"} | ({"customProperties": [said]} if how else {})
        (tmp_path / str(number)).mkdir()
        whole = short([{"name": "target", "required": True, "properties": [key]}], [])
        contracts.append(of(tmp_path / str(number), whole))
    plain, stated, free = contracts
    told = [(change.key, change.said, change.breaks) for change in contract_change(plain, stated).changes]
    assert told == [("record.target.colour", "grounding: as the schema says -> verbatim", False)]
    told = [(change.key, change.said, change.breaks) for change in contract_change(stated, free).changes]
    assert told == [("record.target.colour", "grounding: verbatim -> none", True)]
