"""Values counted: right, wrong, omitted and invented, with precision and recall."""

import json
from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_
from hypothesis import strategies as st

from evaluation.card.format import schema
from evaluation.card.scorecard import TestRows, judged, scorecard
from evaluation.card.statistics import Rows, ratio
from evaluation.judge.accepted import Accepted
from evaluation.judge.answer import Generated
from evaluation.judge.fields import Tally, fields_of, likeness
from evaluation.judge.form import ABSENT
from evaluation.judge.structured import Judge
from evaluation.judge.values import counted, paths_of, says

CLAUSE = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["renewal", "notice"]},
        "date": {"type": ["string", "null"], "format": "date"},
        "parties": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": ["string", "null"]},
        "amount": {"type": "number"},
        "parties": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "uniqueItems": True},
        "clauses": {"type": "array", "items": CLAUSE},
    },
}
FIELDS = {field.name: field for field in fields_of(SCHEMA, {})}


def counts(name: str, given: Any, wanted: Any) -> dict[str, Tally]:
    return dict(zip(paths_of(FIELDS[name]), counted(FIELDS[name], given, wanted), strict=True))


@pytest.mark.parametrize(
    ("given", "wanted", "tally"),
    [
        ("Lease", "LEASE ", Tally(right=1)),
        ("Lease", "Loan", Tally(wrong=1)),
        ({"a": 1}, "Loan", Tally(wrong=1)),
        *((nothing, "Loan", Tally(omitted=1)) for nothing in (ABSENT, None, "", " ")),
        *(("Loan", nothing, Tally(invented=1)) for nothing in (ABSENT, None, "")),
        *((None, nothing, Tally()) for nothing in (ABSENT, None, "")),
    ],
)
def test_a_field_that_is_no_list(given: Any, wanted: Any, tally: Tally) -> None:
    assert counts("title", given, wanted) == {"title": tally}


def test_nought_and_false_are_values() -> None:
    assert says(0)
    assert says(False)
    assert counts("amount", 0, 0.0) == {"amount": Tally(right=1)}
    assert counts("amount", None, 0) == {"amount": Tally(omitted=1)}


@pytest.mark.parametrize(
    ("given", "wanted", "tally"),
    [
        (["b", "A "], ["a", "b"], Tally(right=2)),
        (["a", "a"], ["a"], Tally(right=1, invented=1)),
        (["a", None, ""], ["a", "c"], Tally(right=1, omitted=1)),
        ("a", ["a"], Tally(omitted=1)),
        (["x"], ABSENT, Tally(invented=1)),
    ],
)
def test_items_of_a_list_in_any_order(given: Any, wanted: Any, tally: Tally) -> None:
    assert counts("parties", given, wanted) == {"parties[]": tally}


def test_what_a_set_says_twice_is_said_once() -> None:
    assert counts("tags", ["a", "a", "b"], ["a", "a"]) == {"tags[]": Tally(right=1, invented=1)}


def test_objects_are_scored_by_key_in_any_order_and_depth() -> None:
    renewal = {"kind": "renewal", "date": "2020-01-01", "parties": [{"name": "Acme"}, {"name": "Bolt"}]}
    notice = {"kind": "notice", "date": None, "parties": []}
    said = [{"kind": "notice", "date": "1999-12-31"}, renewal | {"parties": [{"name": "bolt"}, {"name": "Cord"}]}]
    assert counts("clauses", said, [renewal, notice]) == {
        "clauses[].kind": Tally(right=2),
        "clauses[].date": Tally(right=1, invented=1),
        "clauses[].parties[].name": Tally(right=1, omitted=1, invented=1),
    }


def in_all_ways(given: list[Any], wanted: list[Any]) -> float:
    """The greatest sum of likeness, by trying all ways to pair."""
    short, long = sorted((given, wanted), key=len)
    likenesses = [[likeness(FIELDS["clauses"], one, other) for other in long] for one in short]
    ways = permutations(range(len(long)), len(short))
    return max(sum(likenesses[one][other] for one, other in enumerate(way)) for way in ways)


NAMES = st.sampled_from(["Acme", "acme ", "Bolt", "", None])
CLAUSES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"kind": st.sampled_from(["renewal", "notice"]), "date": NAMES, "parties": st.just([])}
    ),
    max_size=4,
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "title": NAMES,
        "amount": st.one_of(st.none(), st.integers(0, 2)),
        "parties": st.one_of(st.none(), st.lists(NAMES, max_size=4)),
        "tags": st.lists(NAMES, max_size=4),
        "clauses": CLAUSES,
    },
)


def said_in(answer: Any) -> Counter[str]:
    """How many values an answer has at each path, by walking it."""
    found: Counter[str] = Counter()
    for name, value in answer.items():
        if name == "clauses":
            found.update(f"clauses[].{key}" for clause in value for key in clause if says(clause[key]))
        elif isinstance(value, list):
            items = [" ".join(each.lower().split()) for each in value if says(each)]
            found[f"{name}[]"] += len(set(items)) if name == "tags" else len(items)
        else:
            found[name] += says(value)
    return found


@given_(ANSWERS, ANSWERS)
def test_every_value_given_and_every_value_expected_is_counted_once(given: Any, wanted: Any) -> None:
    judge = Judge(SCHEMA)
    found = judge(json.dumps(given), wanted).values
    for field, tallies in zip(judge.fields, found, strict=True):
        for path, each in zip(paths_of(field), tallies, strict=True):
            assert each.right + each.wrong + each.invented == said_in(given)[path]
            assert each.right + each.wrong + each.omitted == said_in(wanted)[path]
    same = judge(json.dumps(wanted), wanted).values
    assert sum(each.right for tallies in same for each in tallies) == said_in(wanted).total()
    none = judge("no JSON", wanted).values
    assert sum(each.omitted for tallies in none for each in tallies) == said_in(wanted).total()


@given_(CLAUSES, CLAUSES)
def test_objects_are_paired_as_the_best_of_all_ways_to_pair_them(given: Any, wanted: Any) -> None:
    keys = [[{key: value for key, value in each.items() if says(value)} for each in side] for side in (given, wanted)]
    found = counted(FIELDS["clauses"], *keys)
    right = sum(each.right for each in found)
    by_any = max_right(*keys)
    assert right <= by_any
    if all(set(each) == {"kind", "date"} for side in keys for each in side):  # then likeness is the share that is right
        assert right == by_any == 2 * in_all_ways(*keys)


def max_right(given: list[Any], wanted: list[Any]) -> int:
    """The most fields that are right, by trying all ways to pair."""
    short, long = sorted((given, wanted), key=len)

    def right(one: Any, other: Any) -> int:
        return sum(each.right for each in counted(FIELDS["clauses"], [one], [other]))

    ways = permutations(range(len(long)), len(short))
    return max(sum(right(short[one], long[other]) for one, other in enumerate(way)) for way in ways)


def test_what_is_accepted_is_right() -> None:
    judge = Judge(SCHEMA)
    accepted = Accepted({("title",): ["Rent"], ("parties",): [["a", "b", "c"]]}, frozenset({("amount",)}))
    wanted = {"title": "Lease", "amount": 3, "parties": ["a"]}
    found = judge(json.dumps({"title": "Rent", "parties": ["b", "c"]}), wanted, accepted=accepted).values
    assert found[:3] == ((Tally(right=1),), (Tally(right=1),), (Tally(right=2, omitted=1),))


def test_the_scorecard_says_precision_and_recall() -> None:
    judge = Judge(SCHEMA)
    wanted = [{"title": "Lease", "parties": ["a", "b"]}, {"title": "Loan"}, {"title": None}, {"title": "Sale"}]
    said = [
        *({"title": "lease", "parties": ["b", "c"]}, {"title": "Gift"}, {"title": "Deed", "clauses": [{"kind": "x"}]}),
        {},
    ]
    answers = judged([Generated(json.dumps(each)) for each in said], wanted, judge)
    card = scorecard({"one": answers}, TestRows.of(Rows(None, 4, 100), judge, wanted))
    assert list(schema().iter_errors(card)) == []
    system = card["systems"]["one"]
    title = system["fields"]["title"]["values"]["title"]
    assert [title[name] for name in ("right", "wrong", "omitted", "invented")] == [1, 1, 1, 1]
    assert [title[name]["value"] for name in ("precision", "recall", "f1")] == pytest.approx([1 / 3] * 3, abs=1e-6)
    parties = system["fields"]["parties"]["values"]["parties[]"]
    assert (parties["precision"]["value"], parties["recall"]["value"]) == (0.5, 0.5)
    assert system["fields"]["clauses"]["values"]["clauses[].kind"]["recall"]["value"] is None, "none is expected"
    assert [system["values"][name] for name in ("right", "wrong", "omitted", "invented")] == [2, 1, 2, 3]


def test_a_ratio_s_interval_is_wilson_s_where_rows_have_one_each_and_no_row_without_counts() -> None:
    from scipy.stats import binomtest

    part, whole = np.array([1.0, 0, 1, 1, 0, 0]), np.array([1.0, 1, 1, 1, 0, 0])
    found = ratio(part, whole, Rows(None, 6, 200))
    wilson = binomtest(3, 4).proportion_ci(0.95, method="wilson")
    assert (found["value"], found["low"], found["high"]) == pytest.approx((0.75, wilson.low, wilson.high), abs=1e-6)
    assert ratio(part * 0, whole * 0, Rows(None, 6, 200)) == {"value": None, "low": None, "high": None}
    several = ratio(part * 3, whole * 4, Rows([1, 1, 2, 2, 3, 3], 6, 200))
    assert several["value"] == pytest.approx(9 / 16)
    assert several["low"] is not None
    assert several["low"] < 9 / 16
    certain = ratio(whole * 3, whole * 3, Rows(None, 6, 200))
    low = binomtest(4, 4).proportion_ci(0.95, method="wilson").low
    assert (certain["value"], certain["low"], certain["high"]) == pytest.approx((1.0, low, 1.0), abs=1e-6)
