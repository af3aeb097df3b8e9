"""Statistics over rows and seeds, against a loop over resamples and against all swaps there are."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from sklearn.metrics import f1_score

from evaluation.card.classes import Labels
from evaluation.card.statistics import Rows
from evaluation.experiment.manifest import ExperimentManifest
from evaluation.experiment.over_seeds import MacroF1, Means, by_seed, difference, interval, turn
from evaluation.experiment.report import write_reports
from evaluation.experiment.result import (
    NOT_KNOWN,
    Against,
    ArmResult,
    ExperimentResult,
    Score,
    compared_with,
    scores,
)
from evaluation.experiment.tables import tables

GROUPS = [0, 0, 1, 2, 3, 3, 4, 5, 6, 7]
ROWS = Rows(GROUPS, len(GROUPS), 4000, 1)
DRAW = np.random.default_rng(3)
ONE = (DRAW.random((3, 10)) < np.array([[0.8], [0.5], [0.6]])).astype(float)
OTHER = (DRAW.random((3, 10)) < 0.3).astype(float)
NAMES = ("a", "b", "c")
WANTED = ["a", "a", "b", "c", "c", None, "a", "b", "b", "a"]


def by_loop(values: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """The pigeonhole bootstrap, one resample after the other: groups and seeds are drawn, answers counted."""
    draw = np.random.default_rng(7)
    members = [[row for row, group in enumerate(GROUPS) if group == each] for each in sorted(set(GROUPS))]
    seeds = len(values)
    means = []
    for _ in range(draws):
        rows = [row for each in draw.integers(len(members), size=len(members)) for row in members[each]]
        each = values[:, rows].mean(axis=1)
        wider = each.mean() + np.sqrt(seeds / (seeds - 1)) * (each - each.mean())
        means.append(wider[draw.integers(seeds, size=seeds)].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("values", [ONE, OTHER, ONE - OTHER], ids=["one", "other", "difference"])
def test_an_interval_is_that_of_drawing_groups_and_seeds(values: np.ndarray) -> None:
    found = interval(Means(values), ROWS)
    low, high = by_loop(values)
    assert found["value"] == pytest.approx(values.mean(), abs=1e-6)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))


def test_a_difference_is_paired() -> None:
    assert difference(Means(ONE), Means(OTHER), ROWS) == interval(Means(ONE - OTHER), ROWS)
    assert difference(Means(ONE), Means(ONE), ROWS) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_p_is_the_share_of_all_swaps_of_groups() -> None:
    apart = (ONE - OTHER).mean(axis=0)
    sums = [sum(apart[row] for row, group in enumerate(GROUPS) if group == each) for each in sorted(set(GROUPS))]
    seen = abs(sum(sums))
    signs = product((1, -1), repeat=8)
    swaps = [abs(sum(sign * each for sign, each in zip(way, sums, strict=True))) for way in signs]
    share = sum(swapped >= seen - 1e-9 for swapped in swaps) / len(swaps)
    assert Means(ONE).p(Means(OTHER), ROWS) == pytest.approx(share, rel=5e-3)


def test_one_seed_is_drawn_by_its_rows_alone() -> None:
    found = interval(Means(ONE[:1]), ROWS)
    assert by_seed(Means(ONE[:1]), 10) == [found["value"]]
    assert found["low"] < found["value"] < found["high"]  # type: ignore[operator]


def test_where_nothing_varies_the_interval_is_wilsons() -> None:
    found = interval(Means(np.zeros((2, 10))), ROWS)
    assert (found["value"], found["low"]) == (0.0, 0.0)
    assert found["high"] == pytest.approx(0.3244, abs=1e-3)  # of 0 of 8 groups


def f1(wanted: np.ndarray, given: np.ndarray) -> float:
    """Macro F1 of three labels, mean over the seeds."""
    each = [
        [2 * ((wanted == n) & (row == n)).sum() / ((wanted == n).sum() + (row == n).sum()) for n in range(3)]
        for row in given
    ]
    return float(np.mean(each))


def test_macro_f1_is_the_mean_over_seeds_of_scikit_learns() -> None:
    labels = Labels.of(NAMES, WANTED)
    given = DRAW.integers(-1, 3, size=(2, 3, 10))
    one, other = (MacroF1(labels, each) for each in given)
    here = labels.wanted >= 0
    wanted = labels.wanted[here]
    right = [f1_score(wanted, each[here], labels=[0, 1, 2], average="macro") for each in given[0]]
    assert by_seed(one, 10) == pytest.approx(right, abs=1e-6)
    assert interval(one, ROWS)["value"] == pytest.approx(np.mean(right), abs=1e-6)
    seen = f1(wanted, given[0][:, here]) - f1(wanted, given[1][:, here])
    as_far = []
    for flips in product((0, 1), repeat=8):
        flipped = np.array(flips)[GROUPS].astype(bool)
        sides = [np.where(flipped, given[at], given[1 - at])[:, here] for at in (0, 1)]
        as_far.append(abs(f1(wanted, sides[0]) - f1(wanted, sides[1])) >= abs(seen) - 1e-9)
    assert one.p(other, ROWS) == pytest.approx(np.mean(as_far), abs=0.04)


def test_a_class_that_no_row_is_expected_to_have_is_not_known() -> None:
    """Nor is it in resamples that draw none of the few rows that are: these do not count as wholly wrong."""
    nothing = Labels.of(NAMES, [None] * 10)
    given = DRAW.integers(-1, 3, size=(2, 2, 10))
    arms = {"a": {"kind.macro_f1": MacroF1(nothing, given[0]), "whole_match": Means(ONE[:2])}}
    arms["b"] = {"kind.macro_f1": MacroF1(nothing, given[1]), "whole_match": Means(OTHER[:2])}
    assert scores(arms["a"], ROWS)["kind.macro_f1"] == Score(value=None, low=None, high=None, by_seed=[None, None])
    found = compared_with("a", arms, ROWS)["b"]
    assert found["kind.macro_f1"] == Against(**NOT_KNOWN)
    assert found["whole_match"].p == found["whole_match"].p_adjusted, "the other is no test to adjust for"
    few = Labels.of(NAMES, [*["a"] * 2, *[None] * 8])
    right = MacroF1(few, np.zeros((2, 10), dtype=np.int64))
    assert interval(right, ROWS) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_what_is_not_known_is_told_as_that(tmp_path: Path) -> None:
    metric = "kind.macro_f1"
    known: dict[str, Any] = {
        "changes": {}, "x": None, "dataset": "demo/0", "left_out": 0, "rows": [8], "tokens": [9], "seconds": [1.0],
        "memory_mib": [5], "validation": [[]], "turns": [None], "adapters": ["demo/0"], "scorecards": ["demo/0"],
        "scores": {metric: Score(value=None, low=None, high=None, by_seed=[None])},
    }  # fmt: skip
    arms = {"a": ArmResult(against={}, **known), "b": ArmResult(against={metric: Against(**NOT_KNOWN)}, **known)}
    result = ExperimentResult(
        name="demo", confidence=0.95, rows=6, groups=6, refused=0, seeds=[0], metrics=[metric], baseline="a",
        axis=None, tests=0, arms=arms,
    )  # fmt: skip
    of_scores, differences, _ = tables(result)
    assert [row[1] for row in of_scores.rows] == ["not known", "not known"]
    assert differences.rows == [["b", metric, "not known", "", "", "not known"]]
    asked = {"dataset": {"name": "demo", "version": "0", "manifest_sha256": ""}, "rows_sha256": ""}
    inputs = {"method": 1, "settings": {}, "asked": asked, "arms": {}}
    told = {"name": "demo", "version": "0", "schema_version": 1, "inputs": inputs, "result": {}, "files": {}}
    write_reports(tmp_path, ExperimentManifest.model_validate(told), result)
    page = (tmp_path / "report.html").read_text()
    assert page.count(">not known</td>") == 4
    assert "None" not in page
    assert "nan" not in page
    document = json.loads(json.dumps(result.model_dump(mode="json"), allow_nan=False))
    jsonschema.validate(document, ExperimentResult.model_json_schema())


@pytest.mark.parametrize(
    ("losses", "at"), [([], None), ([2.0], None), ([2.0, 1.0, 0.9], None), ([2.0, 0.8, 0.9], 1), ([1.0, 2.0], 0)]
)
def test_where_validation_turns(losses: list[float], at: int | None) -> None:
    assert turn(losses) == at
