"""Contracts: what is derived from them, that the packaged ones are sound, and that a wrong one says what is wrong."""

import dataclasses
import json
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from curate.contract import Contract
from curate.errors import AssayError
from curate.odcs import common
from curate.recipe import Recipe, find_recipe
from curate.record import SPLITS
from tests.project import CONTRACT, TARGET_SCHEMA

PACKAGED = ["contracts", "guanaco", "instructions", "licences", "ljp_criminal"]
ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, document: Any, target: Any = TARGET_SCHEMA) -> Path:
    (folder / "contract.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    if target is not None:
        (folder / "target.schema.json").write_text(json.dumps(target), encoding="utf-8")
    return folder


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document = deepcopy(CONTRACT)
    change(document)
    return document


def test_every_packaged_contract_loads_by_name_and_by_folder() -> None:
    folders = sorted(path.parent.name for path in (ROOT / "data_contracts").glob("*/contract.yaml"))
    assert folders == PACKAGED
    for name in PACKAGED:
        contract = Contract.load(name)
        assert contract.name == name
        assert contract == Contract.load(ROOT / "data_contracts" / name)
        assert contract.purpose
        assert contract.limitations
        assert {"license", "attribution"} <= contract.properties.keys()
        assert (contract.target_schema is not None) == (name in ("contracts", "licences", "ljp_criminal"))
        assert all(field.description for field in contract.fields)
        assert all(rule["meta"]["description"] and rule["meta"]["dimension"] for rule in contract.expectations)


@pytest.mark.parametrize("name", PACKAGED)
def test_what_is_derived_of_a_packaged_contract_stays_as_it_was(name: str) -> None:
    golden = json.loads((Path(__file__).parent / "golden/contracts.json").read_text(encoding="utf-8"))[name]
    contract = Recipe.load(find_recipe(name)).held_to()
    assert contract.row_schema == golden["row_schema"]
    assert [dataclasses.asdict(field) for field in contract.fields] == golden["fields"]
    assert list(contract.expectations) == golden["expectations"]


SHORT = {"name": "short", "version": "1.0.0"}


def short(record: list[Any] | None = None, whole: list[Any] | None = None, **of_set: Any) -> dict[str, Any]:
    """A contract that says no more than this of its `record` and its `set`."""
    objects = [{"name": "record", "properties": record or []}, {"name": "set", "properties": whole or [], **of_set}]
    return SHORT | {"schema": objects}


def names(contract: Contract) -> list[str]:
    return [rule["meta"]["name"] for rule in contract.expectations]


def common_rules() -> list[str]:
    return [rule["name"] for column in common()["schema"][1]["properties"] for rule in column.get("quality", [])]


def test_a_contract_that_says_nothing_is_held_to_what_is_common(tmp_path: Path) -> None:
    contract = Contract.load(write(tmp_path, SHORT, target=None))
    assert names(contract) == common_rules()
    shares = ["train_share", "validation_share", "test_share"]
    of_all = ["ids_unique", "prompts_not_null", "rows_fit", "splits_present", *shares, "groups_whole", "clusters_whole"]
    assert names(contract) == of_all
    assert all(rule["meta"]["description"] and rule["meta"]["dimension"] for rule in contract.expectations)
    fields = [field.name for field in contract.fields if "." not in field.name]
    assert fields == ["id", "turns", "target", "reasoning", "group", "label", "language"]
    assert all(field.description for field in contract.fields)
    assert contract.row_schema["properties"]["target"] == {"type": "null"}
    turn = {"role": "user", "content": "?", "reasoning": None, "trained": None}
    record = {"id": "0" * 32, "turns": [turn], "target": None, "reasoning": None, "group": None}
    record |= {"label": None, "language": "en"}
    validator = jsonschema_rs.validator_for(contract.row_schema)
    assert validator.is_valid(record)
    for key, bad in {"id": "x", "turns": [], "target": {}, "language": None}.items():
        assert not validator.is_valid(record | {key: bad})
    assert not validator.is_valid(record | {"turns": [turn | {"content": " "}]})


def test_the_merged_document_is_full_odcs(tmp_path: Path) -> None:
    for contract in (Contract.load(write(tmp_path, SHORT, target=None)), *map(Contract.load, PACKAGED)):
        for key in ("apiVersion", "kind", "status", "version", "schema"):
            assert contract.document[key]
        assert contract.document["id"] == f"urn:assay:contract:{contract.name}"
        (tmp_path / "contract.yaml").write_text(yaml.safe_dump(contract.document), encoding="utf-8")
        again = Contract.load(write(tmp_path, contract.document, contract.target_schema))
        assert dataclasses.replace(again, sha256=contract.sha256) == contract, "merged once more, it stays as it is"
        (tmp_path / "target.schema.json").unlink(missing_ok=True)


def test_its_own_word_takes_the_place_of_the_common_one(tmp_path: Path) -> None:
    rows = {
        "name": "rows",
        "implementation": {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    }
    contain = "expect_column_distinct_values_to_contain_set"
    splits = {"name": "splits_present", "implementation": {"type": contain, "kwargs": {"value_set": ["train"]}}}
    language = {"name": "language", "description": "Korean.", "logicalTypeOptions": {"pattern": "^ko$"}}
    role = {"name": "role", "logicalTypeOptions": {"pattern": "^user$"}}
    roles = {"name": "roles", "logicalType": "string"}
    document = short(
        record=[{"name": "turns", "items": {"properties": [role]}}, language, roles],
        whole=[{"name": "split", "quality": [splits]}, {"name": "target.x", "quality": [rule()]}],
        quality=[rows],
    )
    contract = Contract.load(write(tmp_path, document, target=None))
    assert names(contract) == ["rows", *common_rules(), "a_rule"]
    by_name = {each["meta"]["name"]: each for each in contract.expectations}
    assert by_name["splits_present"]["type"] == contain
    assert by_name["splits_present"]["kwargs"] == {"column": "split", "value_set": ["train"]}
    assert by_name["splits_present"]["meta"]["description"] == "All three splits have rows, and there is no fourth."
    assert by_name["a_rule"]["kwargs"] == {"column": "target.x"}
    fields = {field.name: field for field in contract.fields}
    assert list(fields)[-6:] == ["target", "roles", "reasoning", "group", "label", "language"]
    assert (fields["language"].description, fields["language"].nullable) == ("Korean.", False)
    properties = contract.row_schema["properties"]
    assert properties["language"] == {"type": "string", "pattern": "^ko$"}
    assert properties["turns"]["minItems"] == 1
    assert properties["turns"]["items"]["properties"] == {
        "role": {"type": "string", "pattern": "^user$"},
        "content": {"type": "string", "pattern": "\\S"},
        "reasoning": {"type": ["string", "null"]},
        "trained": {"type": ["boolean", "null"]},
    }


def without(value: Any) -> dict[str, Any]:
    return short(customProperties=[{"property": "withoutRules", "value": value, "description": "As a test."}])


def test_a_set_is_not_held_to_the_common_rules_that_it_names(tmp_path: Path) -> None:
    contract = Contract.load(write(tmp_path, without(["splits_present"]), target=None))
    assert names(contract) == [name for name in common_rules() if name != "splits_present"]


def test_the_common_rules_are_about_splits_that_hold_rows(tmp_path: Path) -> None:
    contract = Contract.load(write(tmp_path, short(), target=None))
    assert contract.of_splits(SPLITS, shares=True) is contract

    def left_out(held: list[str], shares: bool) -> list[str]:
        return [name for name in names(contract) if name not in names(contract.of_splits(held, shares))]

    assert left_out(["train", "test"], True) == ["splits_present", "validation_share"]
    assert left_out(["train"], True) == ["splits_present", "train_share", "validation_share", "test_share"]
    assert left_out([*SPLITS], False) == ["train_share", "validation_share", "test_share"]


@pytest.mark.parametrize("value", [["split_present"], "splits_present", [1]])
def test_a_rule_to_be_left_out_must_be_there(tmp_path: Path, value: Any) -> None:
    with pytest.raises(
        AssayError, match=r"schema\.set\.withoutRules: expected a list of some of ids_unique, .*splits_pre"
    ):
        Contract.load(write(tmp_path, without(value), target=None))


def test_row_schema_is_derived_from_the_properties(tmp_path: Path) -> None:
    properties = [
        {"name": "id", "logicalType": "string", "required": True, "logicalTypeOptions": {"pattern": "^x"}},
        {"name": "group", "logicalType": "string", "description": "Documented, not checked."},
        {
            "name": "turns",
            "logicalType": "array",
            "required": True,
            "logicalTypeOptions": {"minItems": 1, "maxItems": 3},
            "items": {
                "logicalType": "object",
                "required": True,
                "properties": [
                    {"name": "role", "logicalType": "string", "required": True},
                    {"name": "content", "logicalType": "string", "logicalTypeOptions": {}},
                ],
            },
        },
    ]

    def change(document: dict[str, Any]) -> None:
        document["schema"][0]["properties"] = properties

    contract = Contract.load(write(tmp_path, changed(change), target=None))
    assert contract.target_schema is None
    assert contract.row_schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "record of demo",
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^x"},
            "turns": {
                "type": "array",
                "minItems": 1,
                "maxItems": 3,
                "items": {
                    "type": "object",
                    "properties": {
                        "role": {"type": "string"},
                        "content": {"type": "string"},
                        "reasoning": {"type": ["string", "null"]},
                        "trained": {"type": ["boolean", "null"]},
                    },
                    "required": ["role", "content", "reasoning", "trained"],
                    "additionalProperties": False,
                },
            },
            "target": {"type": "null"},
            "reasoning": {"type": ["string", "null"]},
            "group": {"type": ["string", "null"]},
            "label": {"type": ["string", "null"]},
            "language": {"type": "string", "pattern": "^[a-z]{2,3}$"},
        },
        "required": ["id", "turns", "target", "reasoning", "group", "label", "language"],
        "additionalProperties": False,
    }


def test_a_target_schema_may_refer_into_itself(tmp_path: Path) -> None:
    target = deepcopy(TARGET_SCHEMA)
    target |= {
        "properties": {"colour": {"$ref": "#/$defs/paint"}, "count": {"type": "integer"}},
        "$defs": {"paint": {"enum": ["red"]}},
    }
    validator = jsonschema_rs.validator_for(Contract.load(write(tmp_path, CONTRACT, target)).row_schema)
    record = {
        "id": "0" * 32,
        "turns": [{"role": "user", "content": "?", "reasoning": None, "trained": None}],
        "reasoning": None,
        "group": None,
        "label": None,
        "language": "en",
    }
    assert validator.is_valid(record | {"target": {"colour": "red", "count": 1}})
    assert not validator.is_valid(record | {"target": {"colour": "green", "count": 1}})


def test_a_contract_without_answer_schema_wants_no_target() -> None:
    assert Contract.load("guanaco").row_schema["properties"]["target"] == {"type": "null"}


def test_an_expectation_takes_its_column_from_the_property_it_stands_under() -> None:
    by_name = {rule["meta"]["name"]: rule for rule in Contract.load("licences").expectations}
    assert by_name["ids_unique"]["kwargs"] == {"column": "id"}
    assert "column" not in by_name["enough_rows"]["kwargs"]
    assert by_name["test_has_kinds"]["kwargs"]["row_condition"] == 'split == "test"'


def test_the_hash_covers_both_files_and_what_is_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {Contract.load(write(tmp_path, CONTRACT)).sha256}
    (tmp_path / "contract.yaml").write_text("# A remark.\n" + (tmp_path / "contract.yaml").read_text())
    assert {Contract.load(tmp_path).sha256} == hashes
    hashes.add(Contract.load(write(tmp_path, CONTRACT | {"version": "1.0.1"})).sha256)
    hashes.add(Contract.load(write(tmp_path, CONTRACT, TARGET_SCHEMA | {"title": "other"})).sha256)
    reordered = dict(reversed(TARGET_SCHEMA.items()))
    hashes.add(Contract.load(write(tmp_path, CONTRACT, reordered)).sha256)
    changed_rule = common()
    changed_rule["schema"][1]["properties"][-1]["quality"][0]["description"] = "Another."
    monkeypatch.setattr("curate.contract.common", lambda: changed_rule)
    hashes.add(Contract.load(write(tmp_path, CONTRACT)).sha256)
    assert len(hashes) == 5


@pytest.mark.parametrize(
    "category",
    json.loads((ROOT / "data_contracts/licences/target.schema.json").read_text())["properties"]["category"]["enum"],
)
def test_copyleft_follows_from_the_category(category: str) -> None:
    schema = Contract.load("licences").target_schema
    assert schema is not None
    right = {"Copyleft": "strong", "Copyleft Limited": "weak"}.get(category, "none")
    for copyleft in ("none", "weak", "strong"):
        answer = {"license": "mit", "category": category, "kind": "text", "copyleft": copyleft}
        assert jsonschema_rs.is_valid(schema, answer) == (copyleft == right)


def test_licence_keys_of_scancode_fit_the_pattern(licence_data: Path) -> None:
    schema = Contract.load("licences").target_schema
    assert schema is not None
    keys = [path.stem for path in (licence_data / "licenses").glob("*.LICENSE")]
    assert len(keys) > 2000
    key = jsonschema_rs.validator_for(schema["properties"]["license"])
    assert [name for name in keys if not key.is_valid(name)] == []
    assert not key.is_valid("MIT License")


def rule(**changes: Any) -> dict[str, Any]:
    good = {"type": "expect_column_values_to_be_unique", "kwargs": {}}
    return {"name": "a_rule", "type": "custom", "engine": "greatExpectations", "implementation": good} | changes


def with_rules(*rules: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["schema"][1]["properties"][0]["quality"] = list(rules)

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown key": (lambda d: d.update(descripton={}), r"\(top\): .*'descripton' was unexpected"),
    "missing key": (lambda d: d.pop("version"), r"\(top\): \"version\" is a required property"),
    "no name": (lambda d: d.pop("name"), "name: expected the contract's name"),
    "no list": (lambda d: d.update(schema="record"), r"schema: .*is not of type \"array\""),
    "no object": (lambda d: d["schema"].append("set"), r"schema\.2: .*is not of type \"object\""),
    "no properties": (lambda d: d["schema"][1].update(properties=None), r"set\.properties: null is not of type"),
    "no names": (
        lambda d: d["schema"][0]["properties"][0].pop("name"),
        r"record\.properties\..*\"name\" is a required",
    ),
    "unknown option": (
        lambda d: d["schema"][0]["properties"][0]["logicalTypeOptions"].update(minimumItems=1),
        r"schema\.record\.properties\.turns\.logicalTypeOptions: .*minimumItems",
    ),
    "no such field": (
        lambda d: d["schema"][0]["properties"].append({"name": "turn", "logicalType": "string"}),
        r"schema\.record\.turn: no such field; expected some of group, id, label",
    ),
    "type that JSON has not": (
        lambda d: d["schema"][0]["properties"].append({"name": "label", "logicalType": "date"}),
        r"schema\.record\.label\.logicalType: expected a type that JSON has, found date",
    ),
    "rule on a row": (
        lambda d: d["schema"][0]["properties"][0].update(quality=[rule()]),
        r"schema\.record\.turns\.quality: rules for rows are logicalTypeOptions",
    ),
    "a key that target.schema.json has not": (
        lambda d: d["schema"][0]["properties"][1]["properties"].append({"name": "size"}),
        r"schema\.record\.target\.properties: .*documented but not there \['size'\]",
    ),
    "other engine": (
        with_rules(rule(engine="soda")),
        r"schema\.set\.id\.quality\.a_rule: expected .*greatExpectations",
    ),
    "no kwargs": (with_rules(rule(implementation={"type": "expect_x"})), r"a_rule\.implementation: expected `type"),
    "a date": (lambda d: d.update(version=date(2024, 1, 1)), "version: 2024-01-01 is read as a date; put it in quotes"),
    "a key that is no text": (
        lambda d: d.update(customProperties=[{"property": "x", "value": {1: 2}}]),
        r"customProperties\.0\.value: the key 1 is no text; put it in quotes",
    ),
    "a number too large": (
        lambda d: d.update(customProperties=[{"property": "x", "value": 10**40}]),
        r"customProperties\.0\.value: expected a number between -2\^63 and 2\^63",
    ),
    "a number without end": (
        lambda d: d.update(customProperties=[{"property": "x", "value": float("nan")}]),
        r"customProperties\.0\.value: expected a number",
    ),
    "a type that is no name": (
        with_rules(rule(implementation={"type": {}, "kwargs": {}})),
        r"a_rule\.implementation\.type: \{\} is not about the one column",
    ),
    "a column compared with another type's constant": (
        with_rules(
            rule(
                implementation={
                    "type": "expect_column_values_to_be_unique",
                    "kwargs": {"row_condition": 'tokens == "5"', "condition_parser": "pandas"},
                }
            )
        ),
        r"kwargs\.row_condition: 'tokens' is of type integer, and cannot be compared with \"5\"",
    ),
    "name taken": (with_rules(rule(), rule()), r"a_rule\.name: expected a name that no other rule has"),
    "column of another set": (
        with_rules(
            rule(
                implementation={
                    "type": "expect_column_pair_values_to_be_equal",
                    "kwargs": {"column_A": "tokns", "column_B": "id"},
                }
            )
        ),
        r"a_rule\.implementation\.type: expect_column_pair_values_to_be_equal is not about the one column",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_contract_names_file_key_and_what_was_expected(tmp_path: Path, case: str) -> None:
    change, message = WRONG[case]
    with pytest.raises(AssayError, match=message) as caught:
        Contract.load(write(tmp_path, changed(change)))
    assert str(caught.value).startswith(str(tmp_path / "contract.yaml"))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("contract.yaml", "name: [", "contract.yaml: .*not readable as YAML"),
        ("contract.yaml", "- 1", "contract.yaml: .*expected keys and values, found list"),
        ("contract.yaml", "!!python/object/apply:os.getcwd []", "contract.yaml: .*could not determine a constructor"),
        ("target.schema.json", "{", "target.schema.json: .*expected a JSON Schema"),
        ("target.schema.json", '{"type": "objekt"}', "target.schema.json: .*expected a JSON Schema: .*objekt"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    write(tmp_path, CONTRACT)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(AssayError, match=message):
        Contract.load(tmp_path)


@pytest.mark.parametrize(
    ("schema", "message"),
    [("true", "found True, which is not an object"), ('{"a":' * 5000 + "1" + "}" * 5000, "maximum recursion depth")],
)
def test_a_target_schema_that_is_no_object_or_too_deep_is_named(tmp_path: Path, schema: str, message: str) -> None:
    (write(tmp_path, CONTRACT) / "target.schema.json").write_text(schema)
    with pytest.raises(AssayError, match=rf"target\.schema\.json: \(whole file\): .*{message}"):
        Contract.load(tmp_path)


def test_an_option_that_makes_no_schema_is_named(tmp_path: Path) -> None:
    document = deepcopy(CONTRACT)
    role = document["schema"][0]["properties"][0]["items"]["properties"][0]
    role["logicalTypeOptions"] = {"pattern": "("}
    with pytest.raises(AssayError, match=r"schema\.record: expected what makes a JSON Schema: .*regex"):
        Contract.load(write(tmp_path, document))


def test_a_contract_may_have_any_name(tmp_path: Path) -> None:
    schema = Contract.load(write(tmp_path, CONTRACT | {"name": "[1] é"})).row_schema
    assert not jsonschema_rs.validator_for(schema).is_valid({"turns": []})


def test_a_required_target_of_which_nothing_is_said_is_an_error_not_a_free_answer(tmp_path: Path) -> None:
    document = short(record=[{"name": "target", "required": True}])
    with pytest.raises(AssayError, match=r"schema\.record\.target: is required, but neither"):
        Contract.load(write(tmp_path, document, target=None))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AssayError, match="licenses: no such contract") as caught:
        Contract.load("licenses")
    assert "contracts, guanaco, instructions, licences, ljp_criminal" in caught.value.remedy


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("[{name: sets, quality: []}]", "schema.sets: expected the objects `record` and `set`, and no other"),
        ("[{name: set}, {name: set}]", "schema.set: named twice"),
        (
            "[{name: record, properties: [{name: group, logicalType: string}, {name: group, logicalType: string}]}]",
            "schema.record.properties.group: named twice",
        ),
    ],
)
def test_nothing_that_a_contract_says_is_passed_over(tmp_path: Path, schema: str, message: str) -> None:
    (tmp_path / "contract.yaml").write_text(f'name: mine\nversion: "1"\nschema: {schema}\n')
    with pytest.raises(AssayError) as error:
        Contract.load(tmp_path)
    assert message in error.value.message


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text('name: mine\nversion: "1"\nname: yours\n')
    with pytest.raises(AssayError, match="the key 'name' is given twice"):
        Contract.load(tmp_path)
