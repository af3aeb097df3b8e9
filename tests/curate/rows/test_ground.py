"""The stage `ground`: what becomes of values that their prompts do not hold, and that no row or value is lost."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.grounding import Grounding
from curate.record import content_id, dicts
from curate.rows.ground import Ground, Grounds, ground
from curate.stage import Outcome
from tests.records import layouts, record, table_of

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "signed": {"type": ["string", "null"], "format": "date"},
        "parties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "kind": {"enum": ["lease", "loan"]},
    },
    "required": ["title", "signed", "parties", "kind"],
}
GROUNDING = Grounding(
    {"title": "normalised", "signed": "date", "parties[]": "normalised", "kind": "enum"}, nullable=("signed",)
)
PROMPT = "LEASE AGREEMENT of the 5th day of March, 2019 between Acme Inc. and Jane Doe."
ANSWER = {"title": "Lease Agreement", "signed": "2019-03-05", "parties": ["ACME, INC", "Jane Doe"], "kind": "lease"}


def stage(policy: str) -> Grounds:
    return Grounds.model_validate({"policy": policy, "grounding": GROUNDING, "target_schema": SCHEMA})


def row(**changes: Any) -> dict[str, Any]:
    answer = json.dumps(ANSWER | changes, ensure_ascii=False)
    return record(PROMPT, id=content_id([], answer), target=answer, language="en")


def grounded(policy: str, *rows: dict[str, Any]) -> Outcome:
    outcomes = [ground(table, stage(policy)) for table in layouts(rows)]
    first = outcomes[0]
    for other in outcomes[1:]:
        assert other.kept.to_pylist() == first.kept.to_pylist()
        assert other.rejected.to_pylist() == first.rejected.to_pylist()
        assert other.counters == first.counters
    assert first.kept.num_rows + first.rejected.num_rows == len(rows)
    return first


def test_values_are_kept_by_default_and_yaml_null_is_the_policy() -> None:
    assert not Ground().runs
    assert Ground.model_validate({"policy": None}).policy == "null"
    assert Ground.model_validate({"policy": None}).runs


@pytest.mark.parametrize("policy", ["quarantine", "null", "flag"])
def test_what_is_grounded_stays_as_it_is(policy: str) -> None:
    plain, without = row(), record("Hello", ("assistant", "Hi"), id="b")
    outcome = grounded(policy, plain, without)
    assert outcome.kept["target"].to_pylist() == [plain["target"], None]
    assert outcome.counters == {"grounded.title": 1, "grounded.signed": 1, "grounded.parties[]": 2}
    assert outcome.rejected.num_rows == 0


def test_a_row_goes_to_quarantine_with_what_is_most_like_it() -> None:
    outcome = grounded("quarantine", row(), row(parties=["Acme Inc", "John Doe"], signed="2019-03-06"))
    (gone,) = outcome.rejected.to_pylist()
    assert (gone["stage"], gone["reason"]) == ("ground", "ungrounded")
    evidence = json.loads(gone["evidence"])
    assert evidence == {
        "field": "signed",
        "value": "2019-03-06",
        "how": "date",
        "nearest": "5th day of March, 2019",
        "similarity": 0.667,
        "turn": 0,
        "begin": PROMPT.index("5th"),
        "end": PROMPT.index(", 2019") + 6,
        "others": [{"field": "parties[]", "value": "John Doe"}],
    }
    assert outcome.counters["ungrounded.parties[]"] == 1
    assert "ungrounded" not in outcome.kept.column_names


def test_null_takes_its_place_or_a_list_goes_without_it() -> None:
    changed, broken, neither = (
        row(parties=["Acme Inc", "John Doe"], signed="2019-03-06"),
        row(parties=["John Doe"]),
        row(title="Loan Agreement"),
    )
    outcome = grounded("null", changed, broken, neither)
    (kept,) = outcome.kept.to_pylist()
    assert json.loads(kept["target"]) == ANSWER | {"parties": ["Acme Inc"], "signed": None}
    assert kept["target"] == json.dumps(json.loads(kept["target"]))
    assert kept["id"] == changed["id"]
    assert [(each["field"], each["value"], each["became"]) for each in kept["ungrounded"]] == [
        ("signed", "2019-03-06", "null"),
        ("parties[]", "John Doe", "null"),
    ]
    assert outcome.rejected["id"].to_pylist() == [broken["id"], neither["id"]]
    assert outcome.counters["null"] == 1


def test_flags_are_listed_and_the_answer_stays() -> None:
    flagged = row(title="Loan Agreement")
    outcome = grounded("flag", row(), flagged)
    assert outcome.kept["target"].to_pylist() == [row()["target"], flagged["target"]]
    assert [len(each) for each in outcome.kept["ungrounded"].to_pylist()] == [0, 1]
    (found,) = outcome.kept["ungrounded"].to_pylist()[1]
    assert PROMPT[found["begin"] : found["end"]] == found["nearest"] == "LEASE AGREEMENT"
    assert (found["became"], found["turn"], found["page"]) == ("flag", 0, None)


def test_evidence_says_on_which_page_it_is() -> None:
    middle = PROMPT.index("5th") + 2
    places = [
        {"turn": 0, "page": 3, "begin": 100, "end": 100 + middle, "file": None},
        {"turn": 0, "page": 4, "begin": 100 + middle, "end": 100 + len(PROMPT), "file": None},
    ]
    source = {"drop": None, "file": "a.pdf", "row": 0, "places": places}
    outcome = grounded("flag", row(title="Loan Agreement", parties=["John Doe"]) | {"source": source})
    (found,) = outcome.kept["ungrounded"].to_pylist()
    assert [(each["field"], each["page"]) for each in found] == [("title", 3), ("parties[]", 4)]


@given(st.lists(st.sampled_from(["Acme Inc", "Jane Doe", "John Doe", "Zed"]), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_after_null_everything_is_grounded(parties: list[str]) -> None:
    outcome = ground(table_of([row(parties=parties, signed="2020-01-01")]), stage("null"))
    again = ground(outcome.kept.drop_columns(["ungrounded"]), stage("quarantine"))
    assert again.rejected.num_rows == 0
    kept = [json.loads(each["target"])["parties"] for each in dicts(outcome.kept)]
    there = [each for each in parties if each in ("Acme Inc", "Jane Doe")]
    assert kept == ([there] if there else [])


def test_no_rows() -> None:
    for policy in ("quarantine", "null", "flag"):
        outcome = ground(table_of([]), stage(policy))
        assert outcome.kept.num_rows == outcome.rejected.num_rows == 0
        assert isinstance(outcome.kept, pa.Table)
