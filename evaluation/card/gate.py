"""The gate: a recipe's thresholds that decide whether an adapter is promoted, and why not.

    evaluation:
      gate:
        - schema_valid >= 0.98
        - schema_valid.low >= 0.95                                  # the lower end of its interval
        - category.macro_f1 better than base, p < 0.05
        - category.accuracy not worse than majority, p < 0.05

`better than` holds if the tuned system is better and p is below the bound; `not worse than` unless it is worse and p is
below it, so that few rows let much pass: `rows_needed` in the scorecard says how many would tell.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from evaluation.card.format import Gate, GateRule, Scorecard, read_scorecard
from evaluation.card.scorecard import TUNED
from evaluation.settings import GATE

SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def others(rules: Sequence[str]) -> list[str]:
    """The systems that the tuned one is held against."""
    found = (GATE.fullmatch(rule) for rule in rules)
    return [each["other"] for each in found if each is not None and each["other"]]


def check(rules: Sequence[str], card: Scorecard) -> Gate | None:
    """Hold the tuned system of a scorecard to the rules; None where there are no rules or there is no such system.

    A rule about a measure that is not there is not passed.
    """
    if not rules or TUNED not in card["systems"]:
        return None
    checked = [_check(rule, card) for rule in rules]
    return {"passed": all(each["passed"] for each in checked), "rules": checked}


class NotPassedError(AssayError):
    """An adapter does not pass its recipe's gate: names each rule that does not hold, and why."""


def require(scorecard: Path) -> None:
    """Stop if the gate of a published scorecard is not passed.

    Raises:
        NotPassedError: it is not.
        AssayError: the scorecard is damaged.
    """
    gate = read_scorecard(scorecard)["gate"]
    if gate is not None and not gate["passed"]:
        failed = [f"  {each['rule']}: {each['why']}" for each in gate["rules"] if not each["passed"]]
        raise NotPassedError(
            f"The adapter does not pass the gate; its scorecard is {scorecard}.\n" + "\n".join(failed),
            remedy="Train longer or on more rows, or change `evaluation.gate` in the recipe if it asks too much.",
        )


def _check(rule: str, card: Scorecard) -> GateRule:
    parts = GATE.fullmatch(rule)
    if parts is None:
        raise AssayError(f"Gate: {rule!r} is no rule.", remedy="docs/evaluation.md shows what one looks like.")
    field, _, measure = parts["measure"].rpartition(".")
    judged = _against if parts["claim"] else _bound
    passed, why = judged(parts, field or None, measure, card)
    return {"rule": rule, "passed": passed, "why": why}


def _bound(parts: Any, field: str | None, measure: str, card: Scorecard) -> tuple[bool, str]:
    system = card["systems"][TUNED]
    measures: Mapping[str, Any] = system if field is None else system["fields"].get(field, {})
    found = measures.get(measure)
    if not isinstance(found, dict) or "value" not in found:
        return False, f"{TUNED} has no measure {parts['measure']}"
    value = found[(parts["bound"] or ".value")[1:]]
    if value is None:
        return False, "there was nothing to measure"
    return SIGNS[parts["sign"]](value, float(parts["number"])), f"it is {value:.4g}"


def _against(parts: Any, field: str | None, measure: str, card: Scorecard) -> tuple[bool, str]:
    wanted = {"a": TUNED, "b": parts["other"], "measure": measure, "field": field}
    pair = next((each for each in card["comparisons"] if wanted.items() <= each.items()), None)
    if pair is None:
        return False, f"{TUNED} and {parts['other']} are not compared in {parts['measure']}"
    clear = pair["p"] < float(parts["p"])
    if parts["claim"] == "better than":
        passed = clear and pair["difference"] > 0
    else:
        passed = not clear or pair["difference"] >= 0
    return passed, f"the difference is {pair['difference']:+.4g}, p = {pair['p']:.3g}"
