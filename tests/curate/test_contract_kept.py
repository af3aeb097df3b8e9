"""Everything that a contract says is kept, or refused by its name; and nothing need be said twice."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from curate.contract import Contract
from curate.errors import AssayError
from curate.recipe import Recipe, find_recipe
from tests.curate.test_contract import CONTRACT, PACKAGED, TARGET_SCHEMA, short, write

IDS = {
    "contracts": "4253bde530d3a9efba363ab8789aa56fd9a5e00c5894ea21afeaea60aad4bb4b",
    "guanaco": "80e43052f3178207ffa1e28d38554f935e5e282a656c906f0aae24876824d024",
    "instructions": "3ff1705e5a970589aab4736b1bf166eea087d7f0015e4e5df31f15d9a53fd4ac",
    "licences": "10dd6c01971b254baf07d1835147a37c4bb50305a59e3ce036f8cbfcf5c3e8df",
    "ljp_criminal": "ed0f3e6bbafa61123dd5eaf83219b3a0d4b57566b1e2b53f4ea462c57265be76",
}


VALUES = {"metric": "invalidValues", "arguments": {"validValues": ["red", "blue"]}, "mustBe": 0}


@pytest.mark.parametrize("name", PACKAGED)
def test_what_a_packaged_contract_is_known_by_stays_as_it_was(name: str) -> None:
    """It goes into the version of every set that is held to it."""
    assert Recipe.load(find_recipe(name)).held_to().sha256 == IDS[name]


def rule(type_: str, name: str = "a_rule", **kwargs: Any) -> dict[str, Any]:
    return {"name": name, "implementation": {"type": type_, "kwargs": kwargs}}


def test_the_token_bound_is_the_recipe_s(tmp_path: Path) -> None:
    between = rule("expect_column_values_to_be_between", "rows_fit", min_value=4, max_value="fit.max_tokens")
    folder = write(tmp_path, short(whole=[{"name": "tokens", "quality": [between]}]), target=None)
    contracts = [Contract.load(folder, bound) for bound in (64, 128)]
    found = [next(each for each in one.expectations if each["meta"]["name"] == "rows_fit") for one in contracts]
    assert [each["kwargs"]["max_value"] for each in found] == [64, 128]
    assert contracts[0].sha256 != contracts[1].sha256
    between["implementation"]["kwargs"]["max_value"] = 64
    same = Contract.load(write(tmp_path, short(whole=[{"name": "tokens", "quality": [between]}]), target=None))
    assert same.sha256 == contracts[0].sha256, "as if it were written here"


def test_a_setting_that_no_rule_may_name_is_an_error(tmp_path: Path) -> None:
    between = rule("expect_column_values_to_be_between", max_value="fit.model")
    with pytest.raises(AssayError, match=r"a_rule\.implementation: 'max_value'"):
        Contract.load(write(tmp_path, short(whole=[{"name": "tokens", "quality": [between]}]), target=None))


def test_a_rule_takes_its_values_from_where_the_row_s_are_listed(tmp_path: Path) -> None:
    in_set = "expect_column_distinct_values_to_be_in_set"
    label = {"name": "label", "quality": [VALUES]}
    columns = [
        {"name": "target.colour", "quality": [rule(in_set, "colours")]},
        {"name": "label", "quality": [rule(in_set, "labels")]},
    ]
    contract = Contract.load(write(tmp_path, short(record=[label], whole=columns)))
    found = {each["meta"]["name"]: each["kwargs"] for each in contract.expectations}
    assert found["colours"] == {"column": "target.colour", "value_set": ["red", "green", "blue"]}
    assert found["labels"] == {"column": "label", "value_set": ["red", "blue"]}
    assert contract.row_schema["properties"]["label"] == {"type": ["string", "null"], "enum": ["red", "blue", None]}
    with pytest.raises(
        AssayError, match=r"set\.target\.count\.quality\.a_rule.*names no 'value_set', and .* no `enum`"
    ):
        Contract.load(write(tmp_path, short(whole=[{"name": "target.count", "quality": [rule(in_set)]}])))


def test_the_types_of_an_answer_s_keys_come_from_its_schema(tmp_path: Path) -> None:
    target = {
        "type": "object",
        "properties": {
            "day": {"type": ["string", "null"], "format": "date", "description": "When."},
            "parts": {"type": "array", "items": {"type": "string"}},
            "level": {"$ref": "#/$defs/level"},
            "size": {"enum": ["s", "l"]},
            "either": {"type": ["string", "integer"]},
        },
        "$defs": {"level": {"type": "integer"}},
    }
    own = {"name": "target", "required": True, "properties": [{"name": "level", "description": "How high."}]}
    contract = Contract.load(write(tmp_path, short(record=[own]), target))
    documented = next(each for each in contract.document["schema"][0]["properties"] if each["name"] == "target")
    assert {each.pop("name"): each for each in documented["properties"]} == {
        "day": {"logicalType": "string", "logicalTypeOptions": {"format": "date"}, "description": "When."},
        "parts": {"logicalType": "array", "required": True, "items": {"logicalType": "string", "required": True}},
        "level": {"logicalType": "integer", "required": True, "description": "How high."},
        "size": {"logicalType": "string", "required": True},
        "either": {"required": True},
    }
    assert next(field.name for field in contract.fields if field.name.startswith("target.")) == "target.day"


def test_the_answer_s_schema_comes_from_the_contract_where_there_is_no_file(tmp_path: Path) -> None:
    keys = [
        {"name": "colour", "logicalType": "string", "required": True, "quality": [VALUES]},
        {"name": "count", "logicalType": "integer", "logicalTypeOptions": {"minimum": 0}},
    ]
    contract = Contract.load(write(tmp_path, short(record=[{"name": "target", "properties": keys}]), target=None))
    assert contract.target_schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "colour": {"type": "string", "enum": ["red", "blue"]},
            "count": {"type": ["integer", "null"], "minimum": 0},
        },
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    validator = jsonschema_rs.validator_for(contract.row_schema["properties"]["target"])
    assert validator.is_valid({"colour": "red", "count": None})
    assert not validator.is_valid({"colour": "green", "count": 1})
    assert not validator.is_valid(None)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("count", {"logicalType": "string"}, r"count\.logicalType: .*has integer, not string: say the same in both"),
        (
            "count",
            {"logicalType": "integer", "logicalTypeOptions": {"minimum": 3}},
            r"count\.logicalTypeOptions\.minimum: .*has 'none'",
        ),
        ("maybe", {"logicalType": "string", "required": True}, r"maybe\.required: .*allows null"),
        ("free", {"logicalType": "string"}, r"free\.logicalType: .*has no type"),
        ("list", {"logicalType": "array", "items": {"logicalType": "string", "unique": True}}, r"items\.unique: only"),
        ("list", {"logicalType": "array", "items": {"logicalType": "number"}}, r"items\.logicalType: .*has string"),
        ("count", {"quality": [VALUES]}, r"count\.quality: .*lists the values in its own `enum`"),
    ],
)
def test_a_contradiction_between_the_two_files_is_named(
    tmp_path: Path, key: str, change: dict[str, Any], message: str
) -> None:
    target = deepcopy(TARGET_SCHEMA)
    more = {"maybe": {"type": ["string", "null"]}, "free": {}, "list": {"type": "array", "items": {"type": "string"}}}
    target["properties"] = {**TARGET_SCHEMA["properties"], **more}  # type: ignore[dict-item]
    own = {"name": "target", "properties": [{"name": key} | change]}
    with pytest.raises(AssayError, match=message):
        Contract.load(write(tmp_path, short(record=[own]), target))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"servers": [{"server": "s", "type": "local", "path": "x", "format": "json"}]},
            r"^servers: .*recipe's `drop`",
        ),
        ({"slaDefaultElement": "set"}, r"^slaDefaultElement: not understood"),
    ],
)
def test_a_key_that_is_kept_nowhere_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(AssayError) as caught:
        Contract.load(write(tmp_path, CONTRACT | change))
    assert re.search(message, str(caught.value).partition("contract.yaml: ")[2])


@pytest.mark.parametrize(
    ("record", "whole", "message"),
    [
        ([], [{"name": "id", "primaryKey": True}], r"schema\.set\.id\.primaryKey: not understood, .*`unique: true`"),
        ([], [{"name": "id", "encryptedName": "x"}], r"schema\.set\.id\.encryptedName: not understood, .*`pii`"),
        ([], [{"name": "id", "partitioned": True}], r"schema\.set\.id\.partitioned: not understood"),
        ([], [{"name": "id", "physicalType": "CHAR"}], r"schema\.set\.id\.physicalType: not understood"),
        ([{"name": "group", "physicalName": "g"}], [], r"schema\.record\.group\.physicalName: not understood"),
        ([], [{"name": "id", "quality": [rule("expect_column_values_to_be_unique") | {"schedule": "0 2 * * *"}]}],
         r"schema\.set\.id\.quality\.a_rule\.schedule: not understood"),
        ([], [{"name": "id", "quality": [rule("expect_column_values_to_be_unique") | {"severity": "bad"}]}],
         r"a_rule\.severity: expected one of error, fail, critical, warning, warn, info, found 'bad'"),
        ([{"name": "turns", "unique": True}], [], r"schema\.record\.turns\.unique: the set has no column of it"),
        ([{"name": "turns", "items": {"unique": True}}], [], r"schema\.record\.turns\.items\.unique: the set has no"),
        ([{"name": "label", "logicalTypeOptions": {"format": "postcode"}}], [], r"format: 'postcode' is none"),
        ([], [{"name": "tokens", "logicalTypeOptions": {"format": "i32"}}], r"tokens\.logicalTypeOptions\.format: of"),
        ([], [{"name": "target.x", "logicalType": "array"}], r"schema\.set\.target\.x\.logicalType: .*JSON text"),
        ([], [{"name": "target.x", "logicalType": "date"}], r"schema\.set\.target\.x\.logicalType: a column"),
        ([], [{"name": "label", "logicalTypeOptions": {"pattern": "(?=a)"}}], r"pattern: .*is no pattern of RE2"),
    ],
)  # fmt: skip
def test_a_promise_that_nothing_keeps_is_refused(
    tmp_path: Path, record: list[Any], whole: list[Any], message: str
) -> None:
    with pytest.raises(AssayError, match=message) as caught:
        Contract.load(write(tmp_path, short(record=record, whole=whole), target=None))
    assert caught.value.remedy


def test_what_is_said_to_people_is_taken(tmp_path: Path) -> None:
    about: dict[str, Any] = {
        "domain": "support", "tenant": "acme", "dataProduct": "tickets", "tags": ["a"],
        "team": {"name": "Curation", "members": [{"username": "ana", "role": "owner"}]},
        "support": [{"channel": "#data", "url": "https://example.org"}],
        "roles": [{"role": "reader", "access": "read"}],
        "price": {"priceAmount": 0, "priceCurrency": "EUR", "priceUnit": "copy"},
        "slaProperties": [{"property": "freshness", "value": 1, "unit": "d"}],
    }  # fmt: skip
    contract = Contract.load(write(tmp_path, short() | about, target=None))
    assert {key: contract.document[key] for key in about} == about
    assert contract.answerable == (
        "Team: Curation, ana (owner). Support: https://example.org. Roles: reader (read). Price: 0 EUR copy. "
        "Service levels: freshness 1 d."
    )
    apart = {"team", "support", "roles", "price", "slaProperties"}
    less = {key: value for key, value in about.items() if key not in apart}
    known_by = Contract.load(write(tmp_path, short() | less, target=None)).sha256
    assert known_by == contract.sha256, "who answers for the data changes no row"


def test_keywords_of_the_set_are_rules_of_its_columns(tmp_path: Path) -> None:
    own = [
        {"name": "label", "unique": True, "logicalTypeOptions": {"maxLength": 3}},
        {"name": "target.count", "logicalType": "integer", "required": True, "logicalTypeOptions": {"minimum": 1}},
    ]
    record = [{"name": "target", "properties": [{"name": "colour", "unique": True}]}, {"name": "group", "unique": True}]
    named = {(each.column, each.keyword) for each in Contract.load(write(tmp_path, short())).columns}
    assert {("id", "required"), ("tokens", "logicalType")} <= named
    assert {("id", "unique"), ("prompt", "required")}.isdisjoint(named), "stated rules say it: ids_unique, ..."
    more = {
        (each.column, each.keyword, each.value) for each in Contract.load(write(tmp_path, short(record, own))).columns
    }
    assert more - {each for each in more if each[:2] in named} == {
        ("label", "unique", True), ("label", "maxLength", 3), ("group", "unique", True),
        ("target.colour", "unique", True),
        ("target.count", "logicalType", "integer"), ("target.count", "required", True), ("target.count", "minimum", 1),
    }  # fmt: skip
