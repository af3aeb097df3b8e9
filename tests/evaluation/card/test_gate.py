"""The gate: what its rules mean, and what is no rule."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from curate.errors import AssayError
from evaluation.card.format import SCHEMA_VERSION
from evaluation.card.gate import check, require
from evaluation.settings import EvaluationSettings
from tests.manifests import scorecard_manifest, sealed

CARD: dict[str, Any] = {
    "systems": {
        "majority": {},
        "tuned": {
            "schema_valid": {"value": 0.97, "low": 0.93, "high": 0.99},
            "fields": {"a.b": {"macro_f1": {"value": 0.5, "low": None, "high": 0.6}}},
            "ungrounded": {"value": 0.1, "low": 0.05, "high": 0.2, "values": 30, "count": 3, "fields": {}},
            "tokens_out": 3,
        },
    },
    "comparisons": [
        {"a": "tuned", "b": "majority", "measure": "macro_f1", "field": "a.b", "difference": -0.1, "p": 0.04},
        {"a": "tuned", "b": "base", "measure": "schema_valid", "field": None, "difference": 0.2, "p": 0.001},
    ],
}


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ("schema_valid >= 0.97", True),
        ("schema_valid > 0.97", False),
        ("schema_valid.low >= 0.93", True),
        ("schema_valid.high<1", True),
        ("schema_valid <= 0.5", False),
        ("ungrounded <= 0.1", True),
        ("ungrounded.high <= 0.1", False),
        ("a.b.macro_f1 >= 0.5", True),
        ("a.b.macro_f1.low >= 0.1", False),
        ("a.b.macro_f1 not worse than majority, p < 0.05", False),
        ("a.b.macro_f1 not worse than majority, p < 0.01", True),
        ("a.b.macro_f1 better than majority, p < 0.05", False),
        ("schema_valid better than base, p < .05", True),
        ("schema_valid better than base, p < 0.0001", False),
        ("schema_valid better than nobody, p < 0.05", False),
        ("colour.accuracy >= 0", False),
        ("tokens_out >= 0", False),
        ("fields >= 0", False),
    ],
)
def test_rules(rule: str, passed: bool) -> None:
    settings = EvaluationSettings.model_validate({"gate": [rule]})
    found = check(settings.gate, CARD)
    assert found is not None
    assert found["passed"] is passed
    assert found["rules"][0]["why"]


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "schema_valid",
        "schema_valid >= ",
        "schema_valid >= x",
        "schema_valid == 1",
        "__import__('os').system('x') >= 1",
        "schema_valid >= 1; 2",
        "a better than b",
        "a better than b, p < 2",
        "a not  worse than b, p < 0.05",
    ],
)
def test_what_is_no_rule_is_found_when_the_recipe_is_read(rule: str) -> None:
    with pytest.raises(ValidationError, match="expected `MEASURE >= NUMBER`"):
        EvaluationSettings.model_validate({"gate": [rule]})


def test_without_rules_or_a_tuned_system_there_is_no_gate() -> None:
    assert check([], CARD) is None
    assert check(["schema_valid >= 1"], {"systems": {"base": {}}}) is None


def test_a_gate_not_passed_is_an_error_that_says_why(tmp_path: Path) -> None:
    def hold(gate: Any) -> None:
        card = {"schema_version": SCHEMA_VERSION, "gate": gate, "systems": {}}
        (tmp_path / "scorecard.json").write_text(json.dumps(card))
        (tmp_path / "manifest.json").write_text(json.dumps(sealed(scorecard_manifest(scores=card))))
        require(tmp_path)

    with pytest.raises(AssayError, match=r"schema_valid >= 0.98: it is 0.97") as caught:
        hold(check(["schema_valid >= 0.5", "schema_valid >= 0.98"], CARD))
    assert "0.5:" not in str(caught.value)
    hold(None)
    hold(check(["schema_valid >= 0.5"], CARD))
