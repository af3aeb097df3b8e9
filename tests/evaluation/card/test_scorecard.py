"""What scorecard.json says, counted by hand on made answers, and that it is what its schema says."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from evaluation.card.format import schema
from evaluation.card.scorecard import SystemInfo, TestRows, judged, scorecard
from evaluation.card.statistics import Rows
from evaluation.judge.answer import Answer, Generated
from evaluation.judge.structured import Judge
from evaluation.settings import Price

SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["x", "y", "z"]},
        "level": {"enum": [0, 1, 2]},
        "tags": {"type": "array", "uniqueItems": True},
        "at": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    "required": ["kind", "level"],
    "additionalProperties": False,
}
JUDGE = Judge(SCHEMA)
RIGHT: list[dict[str, Any]] = [
    {"kind": "x", "level": 0, "tags": ["a"]},
    {"kind": "x", "level": 2, "tags": ["a", "b"]},
    {"kind": "y", "level": 1, "tags": []},
    {"kind": "y", "level": 1, "tags": [], "at": {"city": "Rome"}},
]


def answers(*outputs: Any, seconds: float | None = 1.0) -> list[Answer]:
    made = []
    for output, right in zip(outputs, RIGHT, strict=True):
        text = output if isinstance(output, str) else json.dumps(output)
        judgement = JUDGE(text, right, cut_off=text.endswith("…"))
        made.append(Answer(Generated(text, 5, text.endswith("…"), seconds), judgement, judgement.whole_match))
    return made


def rows_of(rows: Rows | None = None, **more: Any) -> TestRows:
    return TestRows.of(rows or Rows(None, 4, 200), JUDGE, RIGHT, **more)


TUNED = answers(RIGHT[0], RIGHT[1] | {"tags": ["b"]}, f"Sure: {json.dumps(RIGHT[2])}", '{"kind": "y", …')
BASE = answers(*["no idea"] * 4)


def counts(system: dict[str, Any]) -> dict[str, int]:
    return {name: each["count"] for name, each in system.items() if isinstance(each, dict) and each.get("count")}


def test_systems() -> None:
    card = scorecard({"base": BASE, "tuned": TUNED}, rows_of())
    assert list(schema().iter_errors(card)) == []
    assert card["rows"] == card["groups"] == 4
    tuned = card["systems"]["tuned"]
    assert counts(tuned) == {
        **{"parses": 2, "extracts": 3, "schema_valid": 2, "extracted_valid": 3, "whole_match": 1, "rules_match": 1},
        **{"extracted_match": 2, "wrong_but_valid": 1, "truncated": 1},
    }
    assert tuned["form"] == {"valid": 2, "text_before": 1, "syntax": 1}
    assert sum(card["systems"]["base"]["form"].values()) == 4
    assert tuned["fields"]["tags"]["accuracy"]["count"] == 1
    assert tuned["fields"]["tags"]["f1"]["value"] == pytest.approx((1 + 2 / 3) / 4)
    assert tuned["fields"]["kind"]["macro_f1"]["value"] == pytest.approx((1 + 0) / 2)
    assert tuned["fields"]["kind"]["confusion"] == [["x", "x", 2], ["y", None, 2]]
    assert tuned["fields"]["level"]["kappa"] == {"value": 1.0, "low": 1.0, "high": 1.0, "rows": 2}
    assert tuned["fields"]["at.city"]["accuracy"]["count"] == 2, "absent where none is expected is right"
    assert tuned["tokens_out"] == 20
    assert tuned["latency_seconds"] == {"p50": 1.0, "p95": 1.0}


def test_comparisons_are_adjusted_and_claim_nothing_of_four_rows() -> None:
    card = scorecard({"majority": BASE, "base": BASE, "tuned": TUNED}, rows_of())
    pairs = {(each["a"], each["b"]) for each in card["comparisons"]}
    assert pairs == {("tuned", "majority"), ("tuned", "base")}
    names = {(each["measure"], each["field"]) for each in card["comparisons"]}
    assert {
        ("schema_valid", None),
        ("whole_match", None),
        ("accuracy", "kind"),
        ("f1", "tags"),
        ("macro_f1", "kind"),
    } <= names
    assert card["tests"] == len(card["comparisons"])
    assert all(each["p"] <= each["p_adjusted"] for each in card["comparisons"])
    assert {each["verdict"] for each in card["comparisons"]} == {"no difference shown"}
    valid = next(each for each in card["comparisons"] if each["measure"] == "schema_valid")
    assert (valid["only_a"], valid["only_b"], valid["p"], valid["difference"]) == (2, 0, 0.5, 0.5)


def test_however_many_systems_are_compared_chance_is_drawn_often_enough_to_tell() -> None:
    wanted = [RIGHT[0], RIGHT[2]] * 20
    said = {"right": wanted, **{f"wrong_{number}": [RIGHT[0]] * 40 for number in range(10)}}
    systems = {
        name: judged([Generated(json.dumps(value)) for value in values], wanted, JUDGE) for name, values in said.items()
    }
    everyone = TestRows.of(Rows(None, 40, 100), JUDGE, wanted)
    card = scorecard(systems, everyone, pairs=[("right", name) for name in said if name != "right"])
    assert card["tests"] > 40, "by 100 draws no p could be below 0.05 after the adjustment"
    by_f1 = [each for each in card["comparisons"] if (each["measure"], each["field"]) == ("macro_f1", "kind")]
    assert {each["test"] for each in by_f1} == {"randomisation"}
    assert {each["verdict"] for each in by_f1} == {"better"}


def test_slices_calibration_groups_and_official() -> None:
    masks = {"language": {"ko": np.array([True, True, False, False]), "de": np.array([False, False, True, True])}}
    card = scorecard(
        {"tuned": TUNED},
        rows_of(Rows(["g", "g", "h", "h"], 4, 200), slices=masks),
        official={"tuned": {"score": 0.5}},
        confidence={"tuned": np.array([0.9, 0.8, 0.2, np.nan])},
    )
    assert list(schema().iter_errors(card)) == []
    system = card["systems"]["tuned"]
    assert system["slices"]["language"]["ko"]["rows"] == 2
    assert [system["slices"]["language"][name]["schema_valid"]["value"] for name in ("ko", "de")] == [1.0, 0.0]
    assert card["groups"] == 2
    assert system["calibration"]["rows"] == 3
    assert system["official"] == {"score": 0.5}
    assert card["comparisons"] == []


def test_the_same_whatever_the_order_of_systems() -> None:
    one = scorecard({"tuned": TUNED, "base": BASE}, rows_of())
    other = scorecard({"base": BASE, "tuned": TUNED}, rows_of())
    assert one["systems"] == other["systems"]
    assert one["comparisons"] == other["comparisons"]


def test_no_rows() -> None:
    card = scorecard({"tuned": []}, TestRows.of(Rows(None, 0, 100), JUDGE, []))
    assert list(schema().iter_errors(card)) == []
    assert card["systems"]["tuned"]["parses"] == {"value": None, "low": None, "high": None, "count": 0}


def test_plain_chat_has_no_form() -> None:
    made = [Answer(Generated("yes", 1, False, 0.5), None, True), Answer(Generated("no", 1, True, 0.5), None, False)]
    card = scorecard({"base": made, "tuned": made}, TestRows(Rows(None, 2, 100)))
    assert list(schema().iter_errors(card)) == []
    system = card["systems"]["base"]
    assert set(system) == {
        "exact_match",
        "truncated",
        "fields",
        "form",
        "slices",
        "tokens_in",
        "tokens_out",
        "latency_seconds",
    }
    assert system["exact_match"]["value"] == 0.5
    assert [each["measure"] for each in card["comparisons"]] == ["exact_match"]


SETTINGS = {"model": "base", "shots": 4, "choose": "fixed", "rows": "all", "constrained": True, "quantization": "nf4"}


def test_what_a_system_is_and_costs() -> None:
    """Four answers of five tokens to prompts of 1,000, in two seconds, at 10 and 30 a million."""
    made = [
        Answer(replace(each.generated, tokens_in=1000, logprob=math.log(sure)), each.judgement, each.exact)
        for each, sure in zip(TUNED, (0.9, 0.9, 0.1, 0.1), strict=True)
    ]
    info = {"tuned": SystemInfo(SETTINGS, 2.0, Price(input=10, output=30), 1), "base": SystemInfo(SETTINGS)}
    card = scorecard({"tuned": made, "base": BASE}, rows_of(), info=info)
    assert list(schema().iter_errors(card)) == []
    tuned, base = card["systems"]["tuned"], card["systems"]["base"]
    assert (tuned["tokens_in"], tuned["tokens_out"], tuned["tokens_per_second"]) == (4000, 20, 10.0)
    assert tuned["cost"] == pytest.approx(4000 * 10e-6 + 20 * 30e-6)
    assert (tuned["settings"], tuned["fewer_shots"]) == (SETTINGS, 1)
    # One of the two that it is sure of is right, none of the others.
    assert tuned["calibration"]["bins"] == [[0.1, 0.2, 2, 0.1, 0.0], [0.9, 1.0, 2, 0.9, 0.5]]
    assert tuned["calibration"]["ece"] == pytest.approx((0.1 + 0.4) / 2)
    assert (base["cost"], base["tokens_per_second"]) == (None, None)
    assert "calibration" not in base, "its answers have no probability"
    settings = tuned | {"settings": SETTINGS | {"model": {"url": "http://h/v1", "model": "m", "key": "K"}}}
    assert not schema().is_valid(card | {"systems": {"tuned": settings}})


def test_the_schema_is_strict() -> None:
    card = scorecard({"tuned": TUNED}, rows_of())
    for broken in (card | {"more": 1}, card | {"schema_version": 2}, card | {"rows": -1}):
        assert not schema().is_valid(broken)
    system = card["systems"]["tuned"]
    assert not schema().is_valid(card | {"systems": {"tuned": system | {"form": {"nonsense": 1}}}})
