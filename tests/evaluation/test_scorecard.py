"""Rates, intervals and paired tests against published and hand-made numbers."""

import pytest

from evaluation.generate import Generated
from evaluation.scorecard import Answer, compare, majority, rate, scorecard
from evaluation.structured import Judgement


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_wilson_s(count: int, total: int, low: float, high: float) -> None:
    found = rate(count, total)
    assert found["value"] == pytest.approx(count / total, abs=1e-6)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found["count"] == count


def test_a_rate_of_nothing() -> None:
    assert rate(0, 0) == {"value": None, "low": None, "high": None, "count": 0}


def test_mcnemar_is_exact() -> None:
    """Only one right in 2 rows, only the other in 10: 2 * (1 + 12 + 66) / 2**12."""
    one = [True] * 2 + [False] * 10 + [True] * 30
    other = [False] * 2 + [True] * 10 + [True] * 30
    assert compare(one, other) == {"only_a": 2, "only_b": 10, "p": pytest.approx(158 / 4096, rel=1e-2)}
    assert compare(other, one)["p"] == compare(one, other)["p"]
    assert compare(one, one) == {"only_a": 0, "only_b": 0, "p": 1.0}
    assert 0 < compare([True] * 60, [False] * 60)["p"] < 1e-15, "small, but not nothing"


def test_majority_takes_each_field_by_itself() -> None:
    targets = [{"a": 1, "b": None}, {"a": 1, "b": "x"}, {"a": True, "b": "y"}, {"b": None}]
    assert majority(targets, ["a", "b", "c"]) == {"a": 1, "b": None}
    assert majority([{"a": "y"}, {"a": "x"}], ["a"]) == {"a": "x"}, "a tie goes by the value, not by the order"
    assert majority([{"a": [2]}, {"a": [2]}, {"a": [1]}], ["a"]) == {"a": [2]}


def judged(a: bool, valid: bool = True, **more: object) -> Answer:
    judgement = Judgement(None, "", schema_valid=valid, whole_match=a and valid, fields={"a": a}, **more)
    return Answer(Generated("{}", tokens=5, seconds=1.0), judgement, judgement.whole_match)


def test_scorecard() -> None:
    cut = Answer(Generated("{", 9, True, 3.0), Judgement("syntax", "", fields={"a": False}), False)
    tuned = [judged(True), judged(False), judged(True, valid=False, invented_keys=["z"]), cut]
    guess = Answer(Generated("{}"), Judgement(None, "", True, False, ["a"], [], {"a": False}), False)
    card = scorecard({"majority": [guess] * 4, "tuned": tuned}, ["a"])
    assert card["rows"] == 4
    system = card["systems"]["tuned"]
    counts = {name: value["count"] for name, value in system.items() if isinstance(value, dict) and "count" in value}
    assert counts == {
        "parses": 3,
        "schema_valid": 2,
        "whole_match": 1,
        "wrong_but_valid": 1,
        "missing_keys": 0,
        "invented_keys": 1,
        "truncated": 1,
    }
    assert system["fields"]["a"]["accuracy"]["value"] == 0.5
    assert system["faults"] == {"syntax": 1}
    assert system["tokens_out"] == 24
    assert system["latency_seconds"] == {"p50": 1.0, "p95": pytest.approx(2.7)}
    assert card["systems"]["majority"]["latency_seconds"] is None
    assert card["systems"]["majority"]["missing_keys"]["count"] == 4
    assert [(each["a"], each["b"], each["measure"], each["field"]) for each in card["comparisons"]] == [
        ("tuned", "majority", "schema_valid", None),
        ("tuned", "majority", "whole_match", None),
        ("tuned", "majority", "accuracy", "a"),
    ]
    assert card["comparisons"][2] == {
        **{"a": "tuned", "b": "majority", "measure": "accuracy", "field": "a", "test": "exact McNemar"},
        **{"only_a": 2, "only_b": 0, "p": 0.5},
    }


def test_plain_chat_has_no_form() -> None:
    answers = [Answer(Generated("yes", 1, False, 0.5), None, True), Answer(Generated("no", 1, True, 0.5), None, False)]
    card = scorecard({"base": answers, "tuned": answers}, None)
    assert set(card["systems"]["base"]) == {
        *("exact_match", "truncated", "fields", "faults", "tokens_out", "latency_seconds")
    }
    assert card["systems"]["base"]["exact_match"]["value"] == 0.5
    assert [each["measure"] for each in card["comparisons"]] == ["exact_match"]
