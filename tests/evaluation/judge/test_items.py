"""Lists of objects: items are paired by their fields, and scored by them."""

import json
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_
from hypothesis import strategies as st

from curate.errors import AssayError
from evaluation.card.format import schema
from evaluation.card.scorecard import TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.judge.answer import Generated
from evaluation.judge.fields import Compared, Field, Tally, compare, fields_of
from evaluation.judge.form import ABSENT
from evaluation.judge.items import PAIRS, aligned
from evaluation.judge.structured import Judge
from evaluation.settings import FieldRule

PARTY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "role": {"enum": ["buyer", "seller"]}, "share": {"type": "number"}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"parties": {"type": "array", "items": {"$ref": "#/$defs/p"}}},
}
SCHEMA["$defs"] = {"p": PARTY}


def field(kind: str = "set", **rules: Any) -> Field:
    named = {"parties": {"as": kind}} | {f"parties.*.{name}": rule for name, rule in rules.items()}
    [found] = fields_of(SCHEMA, {name: FieldRule.model_validate(rule) for name, rule in named.items()})
    return found


A, B = {"name": "Acme", "role": "buyer", "share": 0.5}, {"name": "Bolt", "role": "seller", "share": 0.25}


def scored(given: Any, wanted: Any, kind: str = "set", **rules: Any) -> tuple[Compared, dict[str, Tally]]:
    of = field(kind, **rules)
    found = compare(of, given, wanted)
    return found, dict(zip((each.name for each in of.items), found.items, strict=True))


def test_parties_that_differ_in_case_only_are_right() -> None:
    found, by_field = scored([B | {"name": "BOLT"}, A | {"name": " acme"}], [A, B])
    assert (found.exact, found.match, found.score) == (False, True, 1.0)
    assert by_field == {name: Tally(right=2) for name in ("name", "role", "share")}


def test_order_counts_where_the_rule_says_list() -> None:
    assert scored([B, A], [A, B], "set")[0].match
    found, by_field = scored([B, A], [A, B], "list")
    assert (found.match, found.score) == (False, 0.5)
    assert by_field["name"] == Tally(right=1, omitted=1, invented=1)


def test_wrong_omitted_and_invented_are_told_apart() -> None:
    found, by_field = scored([A | {"name": "Other"}, {"name": "New"}], [A, B])
    assert by_field["name"] == Tally(wrong=1, omitted=1, invented=1)
    assert by_field["role"] == Tally(right=1, omitted=1)
    assert found.score == pytest.approx(2 * (2 / 3) / 4)
    missing = {key: A[key] for key in ("name", "share")}
    found, by_field = scored([missing], [A])
    assert by_field == {"name": Tally(right=1), "role": Tally(omitted=1), "share": Tally(right=1)}
    assert (found.match, found.score) == (False, pytest.approx(2 / 3))
    assert scored([A | {"note": "x"}], [A])[0].score == 0.75, "a key of its own costs as much as a field"


@pytest.mark.parametrize("given", [ABSENT, None, "Acme", {"name": "Acme"}, [], [1, "x"]])
def test_what_is_no_list_of_objects_omits_them_all(given: Any) -> None:
    found, by_field = scored(given, [A, B])
    assert (found.exact, found.match, found.score) == (False, False, 0.0)
    assert by_field == {name: Tally(omitted=2) for name in ("name", "role", "share")}


def test_rules_of_an_item_s_fields() -> None:
    near = A | {"share": 0.52}
    assert not scored([near], [A])[0].match
    assert scored([near], [A], share={"as": "number", "tolerance": 0.05})[0].match
    with pytest.raises(AssayError, match=r"parties\.\*\.age: the target schema has no such field") as error:
        field(age={"as": "number"})
    assert "parties.*.name" in error.value.remedy


def test_the_whole_scorecard_tells_items() -> None:
    judge = Judge(SCHEMA)
    expected: list[Any] = [{"parties": [A, B]}, {"parties": [A]}, {"parties": [A]}, {}]
    outputs = [json.dumps({"parties": [A, B]}), json.dumps({"parties": [A | {"name": "x"}, B]}), "no", "{}"]
    answers = judged([Generated(each) for each in outputs], expected, judge)
    card = scorecard({"one": answers}, TestRows.of(Rows(None, 4, 100), judge, expected))
    assert list(schema().iter_errors(card)) == []
    found = card["systems"]["one"]["fields"]["parties"]
    assert found["items"]["name"] == {"right": 2, "wrong": 1, "omitted": 1, "invented": 1}
    assert found["items"]["role"] == {"right": 3, "wrong": 0, "omitted": 1, "invented": 1}
    assert found["accuracy"]["count"] == 2


SCORES = st.integers(0, 4).flatmap(
    lambda rows: st.integers(0, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.sampled_from([0, 0.25, 0.5, 1.0]), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        )
    )
)


def best(scores: Any, ordered: bool) -> float:
    """By trying all ways to pair."""
    rows, columns = scores.shape
    if rows > columns:
        return best(scores.T, ordered)
    ways = permutations([*range(columns), *[-1] * rows], rows)
    kept = (way for way in ways if not ordered or (met := [place for place in way if place >= 0]) == sorted(set(met)))
    return max((sum(scores[row, place] for row, place in enumerate(way) if place >= 0) for way in kept), default=0.0)


@given_(SCORES, st.booleans())
def test_pairs_are_those_of_the_greatest_sum(table: list[list[float]], ordered: bool) -> None:
    scores = np.array(table).reshape(len(table), len(table[0]) if table else 0)
    pairs = aligned(range(scores.shape[0]), range(scores.shape[1]), lambda one, other: scores[one, other], ordered)
    assert sum(score for _, score in pairs) == pytest.approx(best(scores, ordered))
    for side in (0, 1):
        places = [pair[side] for pair, _ in pairs]
        assert len(set(places)) == len(places)
        assert not ordered or places == sorted(places)


def test_long_lists_are_bounded() -> None:
    many = [{"name": str(number)} for number in range(int(PAIRS**0.5) + 1)]
    assert scored([each | {"name": each["name"] + " "} for each in many], many)[0].score == 1.0
    assert scored(many[::-1], many)[0].score < 0.1
