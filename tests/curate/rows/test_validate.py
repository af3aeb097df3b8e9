"""The row contract as a stage."""

import json
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contract import Contract
from curate.record import SCHEMA
from curate.rows.validate import MESSAGE_CHARACTERS, validate

ANSWER = {"license": "mit", "category": "Permissive", "kind": "notice", "copyleft": "none"}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "id": "0" * 32,
        "turns": [{"role": "user", "content": "Licensed under MIT"}],
        "target": json.dumps(ANSWER),
        "group": None,
        "label": "Permissive",
        "language": "en",
        "source": {"drop": "d", "file": "f", "row": 0},
        "meta": [("k", "v")],
    } | changes


def table(*records: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(records), schema=SCHEMA)


def rejected(name: str, *records: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    outcome = validate(table(*records), Contract.load(name).row_schema)
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(records)
    assert set(outcome.rejected["stage"].to_pylist()) <= {"validate"}
    return [(row["reason"], json.loads(row["evidence"])) for row in outcome.rejected.to_pylist()]


def target(**changes: Any) -> dict[str, Any]:
    return record(target=json.dumps(ANSWER | changes))


def talk(*roles: str, **changes: Any) -> dict[str, Any]:
    turns = [{"role": role, "content": f"turn {number}"} for number, role in enumerate(roles)]
    return record(turns=turns, target=None) | changes


def test_good_records_are_kept_with_all_their_columns() -> None:
    rows = table(record(), target(license=None)).append_column("cluster", pa.array(["a", "b"]))
    outcome = validate(rows, Contract.load("licences").row_schema)
    assert outcome.kept.equals(rows)
    assert outcome.rejected.num_rows == 0


def test_no_records() -> None:
    assert rejected("licences") == []


def test_a_rejected_record_is_quarantined_whole() -> None:
    bad = target(kind="poem")
    outcome = validate(table(record(), bad), Contract.load("licences").row_schema)
    assert outcome.kept.num_rows == 1
    assert outcome.rejected.select(SCHEMA.names).equals(table(bad))


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"category": "Beerware"}, "target/category", '"Beerware" is not one of'),
        ({"kind": "poem"}, "target/kind", '"poem" is not one of'),
        ({"copyleft": "strong"}, "target/copyleft", '"none" was expected'),
        ({"category": "Copyleft"}, "target/copyleft", '"strong" was expected'),
        ({"license": "MIT License"}, "target/license", "does not match"),
        ({"license": 7}, "target/license", "is not of type"),
        ({"note": "x"}, "target", "'note' was unexpected"),
    ],
)
def test_target_schema(changes: dict[str, Any], path: str, message: str) -> None:
    [(reason, evidence)] = rejected("licences", target(**changes))
    assert reason == "target_schema"
    assert evidence["instance_path"] == path
    assert message in evidence["message"]
    assert evidence["schema_path"].startswith("properties/target/")
    assert evidence["errors"] == 1


def test_a_missing_key_and_a_missing_target() -> None:
    few = {key: ANSWER[key] for key in ("license", "category", "copyleft")}
    (first, seen), (second, none) = rejected("licences", record(target=json.dumps(few)), record(target=None))
    assert (first, second) == ("target_schema", "target_schema")
    assert '"kind" is a required property' in seen["message"]
    assert 'null is not of type "object"' in none["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "Expecting value"),
        ('{"license": "mit", "license": "gpl-2.0"}', "duplicate key 'license'"),
        ('{"license": NaN}', "NaN is not JSON"),
        ("", "Expecting value"),
    ],
)
def test_target_not_json(text: str, message: str) -> None:
    [(reason, evidence)] = rejected("licences", record(target=text))
    assert reason == "target_not_json"
    assert message in evidence["message"]
    assert evidence["target"] == text


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"id": "short"}, "id"),
        ({"label": None}, "label"),
        ({"language": "english"}, "language"),
        ({"turns": []}, "turns"),
        ({"turns": None}, "turns"),
        ({"turns": [{"role": "user", "content": " \n"}]}, "turns/0/content"),
        ({"turns": [{"role": "user", "content": None}]}, "turns/0/content"),
        ({"turns": [{"role": "assistant", "content": "hi"}]}, "turns/0/role"),
        ({"turns": [{"role": "user", "content": "a"}] * 2}, "turns"),
    ],
)
def test_record_schema(changes: dict[str, Any], path: str) -> None:
    [(reason, evidence)] = rejected("licences", record(**changes))
    assert (reason, evidence["instance_path"]) == ("record_schema", path)


def test_of_several_faults_those_of_the_target_come_first() -> None:
    [(reason, evidence)] = rejected("licences", record(id="short", target="{}"))
    assert reason == "target_schema"
    assert evidence["errors"] == 5  # four keys and the id


def test_a_message_that_repeats_a_whole_document_is_shortened() -> None:
    [(_, evidence)] = rejected("licences", target(license="X" * 10_000))
    assert len(evidence["message"]) == MESSAGE_CHARACTERS + 1


@pytest.mark.parametrize(
    ("roles", "fine"),
    [
        (["user", "assistant"], True),
        (["user", "assistant", "user", "assistant"], True),
        (["user"], False),
        (["assistant", "user"], False),
        (["user", "assistant", "user"], False),
        (["user", "user", "assistant"], False),
        (["user", "assistant", "assistant"], False),
        (["system", "user", "assistant"], False),
        ([], False),
    ],
)
def test_turns_of_a_conversation_alternate_and_the_assistant_ends(roles: list[str], fine: bool) -> None:
    assert (rejected("guanaco", talk(*roles)) == []) == fine
    assert (rejected("instructions", talk(*roles)) == []) == (roles == ["user", "assistant"])


def test_a_conversation_has_no_target() -> None:
    [(reason, _)] = rejected("guanaco", talk("user", "assistant", target="{}"))
    assert reason == "target_schema"


def test_dates_are_days_of_the_calendar() -> None:
    answer = {
        "document_name": "A",
        "parties": ["B"],
        "agreement_date": None,
        "effective_date": None,
        "governing_law": None,
    }
    cases = {"2020-02-29": True, "2019-02-29": False, "2020-2-29": False, "29/02/2020": False, None: True}
    records = [record(target=json.dumps(answer | {"agreement_date": day})) for day in cases]
    found = validate(table(*records), Contract.load("contracts").row_schema)
    kept = [json.loads(text)["agreement_date"] for text in found.kept["target"].to_pylist()]
    assert kept == [day for day, fine in cases.items() if fine]


values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(list(ANSWER.values()))
answers = st.dictionaries(st.sampled_from([*ANSWER, "extra"]), values) | st.builds(
    lambda key, value: ANSWER | {key: value}, st.sampled_from([*ANSWER, "extra"]), values
)


@given(st.lists(answers, min_size=1, max_size=20))
def test_agrees_with_the_reference_validator(found: list[dict[str, Any]]) -> None:
    contract = Contract.load("licences")
    assert contract.target_schema is not None
    reference = jsonschema.Draft202012Validator(contract.target_schema)
    outcome = validate(table(*(record(target=json.dumps(answer)) for answer in found)), contract.row_schema)
    kept = [json.loads(text) for text in outcome.kept["target"].to_pylist()]
    assert kept == [answer for answer in found if reference.is_valid(answer)]
