"""Values that prompts have to hold, counted by system."""

import json
from typing import Any

import pytest

from curate.grounding import Grounding
from evaluation.card.format import schema
from evaluation.card.scorecard import TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.card.ungrounded import grounds_of
from evaluation.judge.answer import Generated
from evaluation.judge.structured import Judge

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": ["string", "null"]},
        "kind": {"enum": ["lease", "loan"]},
        "clauses": {
            "type": "array",
            "items": {"type": "object", "properties": {"date": {"type": "string", "format": "date"}}},
        },
    },
}
ROWS = [
    {"turns": [{"role": "user", "content": "LEASE of 5 March 2019 between Acme and Bolt"}], "language": "en"},
    {"turns": [{"role": "user", "content": "Loan, dated 2020-01-01"}], "language": None},
]
WANTED = [
    {"title": "Lease", "kind": "lease", "clauses": [{"date": "2019-03-05"}]},
    {"title": "Loan", "kind": "loan", "clauses": [{"date": "2021-01-01"}]},
]


def card_of(*outputs: str) -> Any:
    judge = Judge(SCHEMA)
    grounds = grounds_of(Grounding.of_schema(SCHEMA), ROWS)
    answers = judged([Generated(each) for each in outputs], WANTED, judge)
    rows = TestRows.of(Rows(None, 2, 100), judge, WANTED)
    card = scorecard({"one": answers}, rows, grounds=grounds, expected=WANTED)
    assert list(schema().iter_errors(card)) == []
    return card


def test_by_field_what_prompts_do_not_hold() -> None:
    said = {"title": "Rent", "kind": "loan", "clauses": [{"date": "2019-03-05"}, {"date": "2018-01-01"}], "note": "x"}
    card = card_of(json.dumps(said), "no JSON")
    found = card["systems"]["one"]["ungrounded"]
    assert (found["values"], found["count"], found["value"]) == (4, 3, 0.75), "and a value of a key of its own"
    by_field = {name: (each["values"], each["count"]) for name, each in found["fields"].items()}
    assert by_field == {"title": (1, 1), "clauses[].date": (2, 1)}, "what is chosen from a list need not be there"
    assert (card["ungrounded"]["values"], card["ungrounded"]["count"]) == (4, 1), "the right answers do it too"
    assert card["ungrounded"]["fields"]["clauses[].date"]["value"] == 0.5


def test_who_says_nothing_invents_nothing() -> None:
    found = card_of("{}", json.dumps({"title": None}))["systems"]["one"]["ungrounded"]
    assert found == {"values": 0, "count": 0, "value": None, "low": None, "high": None, "fields": {}}


@pytest.mark.parametrize("properties", [{}, {"kind": {"enum": ["a"]}}, {"sure": {"type": "boolean"}}])
def test_nothing_is_said_where_prompts_need_not_hold_any(properties: dict[str, Any]) -> None:
    assert grounds_of(Grounding.of_schema({"type": "object", "properties": properties}), ROWS) is None
    assert grounds_of(Grounding.of_schema(SCHEMA), [{"id": "x"}]) is None, "a version that does not tell its turns"
