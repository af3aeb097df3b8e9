"""Measures of classes against scikit-learn."""

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, cohen_kappa_score, confusion_matrix, f1_score

from benchmarks.coverage import confusion, covered
from evaluation.card.classes import Labels, calibration, compared_macro_f1, scores
from evaluation.card.statistics import Rows

NAMES = ["a", "b", "c", "d"]
PAIRS = st.lists(
    st.tuples(st.sampled_from(NAMES[:3]), st.sampled_from([*NAMES, "other", None])), min_size=1, max_size=40
)


@given(PAIRS)
def test_like_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    wanted, given_ = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    labels = Labels.of(NAMES, wanted)
    found = scores(labels, labels.given(given_), Rows(None, len(pairs), 100), NAMES)
    present = sorted(set(wanted))
    theirs = [label if label in NAMES else "(none)" for label in given_]
    macro = f1_score(wanted, theirs, labels=present, average="macro", zero_division=0)
    assert found["macro_f1"]["value"] == pytest.approx(macro, abs=1e-6)
    each = dict(zip(present, f1_score(wanted, theirs, labels=present, average=None, zero_division=0), strict=True))
    assert {name: label["f1"] for name, label in found["labels"].items()} == pytest.approx(each, abs=1e-6)
    matrix = confusion_matrix(wanted, theirs, labels=[*NAMES, "(none)"])
    for want, give, rows in found["confusion"]:
        assert matrix[NAMES.index(want), NAMES.index(give) if give else 4] == rows
    assert sum(rows for *_, rows in found["confusion"]) == len(pairs)

    both = [(want, give) for want, give in pairs if give in NAMES]
    assert found["kappa"]["rows"] == len(both)
    if both:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kappa = cohen_kappa_score(*zip(*both, strict=True), labels=NAMES, weights="quadratic")
        if np.isnan(kappa):
            assert found["kappa"]["value"] is None
        else:
            assert found["kappa"]["value"] == pytest.approx(kappa, abs=1e-6)


def test_the_interval_is_that_of_resampled_rows() -> None:
    draw = np.random.default_rng(1)
    wanted = draw.choice(NAMES, size=80, p=[0.5, 0.3, 0.15, 0.05]).tolist()
    given_ = [want if draw.random() < 0.7 else str(draw.choice(NAMES)) for want in wanted]
    labels = Labels.of(NAMES, wanted)
    found = scores(labels, labels.given(given_), Rows(None, 80, 5_000), ())["macro_f1"]
    samples = []
    for _ in range(1_000):
        rows = draw.integers(80, size=80)
        some, theirs = [wanted[row] for row in rows], [given_[row] for row in rows]
        samples.append(f1_score(some, theirs, labels=sorted({*some, *theirs}), average="macro", zero_division=0))
    low, high = np.quantile(samples, [0.025, 0.975])
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))


def test_systems_are_compared_by_macro_f1() -> None:
    wanted = ["a"] * 50 + ["b"] * 50
    labels = Labels.of(NAMES, wanted)
    good, bad = labels.given(wanted), labels.given(["a"] * 95 + [None] * 5)
    rows = Rows(None, 100, 1_000)
    found = compared_macro_f1(labels, good, bad, rows)
    assert found["difference"] == pytest.approx(
        1 - f1_score(wanted, ["a"] * 95 + ["-"] * 5, labels=["a", "b"], average="macro", zero_division=0), abs=1e-6
    )
    assert found["p"] < 0.01
    assert found["low"] > 0
    assert compared_macro_f1(labels, good, good, rows)["p"] == 1.0
    back = compared_macro_f1(labels, bad, good, rows)
    assert (back["difference"], back["p"]) == (-found["difference"], pytest.approx(found["p"], abs=0.01))


def test_p_of_macro_f1_is_that_of_all_ways_to_swap() -> None:
    """Brute force: scikit-learn's macro F1 of all 2^9 ways to swap two systems' rows, rows of a group together."""
    wanted = ["a", "a", "a", "a", "b", "b", "b", "c", "c", "c", "a", "b"]
    one = ["a", "a", "a", "b", "b", "b", "c", "c", None, "c", "a", "b"]
    other = ["b", "a", None, "b", "a", "d", "c", "b", "c", "a", "a", "a"]
    groups = np.array([0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8])

    def apart(swap: tuple[bool, ...]) -> float:
        sides = [[*zip(one, other, strict=True)], [*zip(other, one, strict=True)]]
        mine, its = zip(*(sides[swap[group]][row] for row, group in enumerate(groups)), strict=True)
        first, second = (
            f1_score(wanted, [each or "-" for each in side], labels=["a", "b", "c"], average="macro", zero_division=0)
            for side in (mine, its)
        )
        return abs(first - second)

    seen = apart((False,) * 9)
    exact = np.mean([apart(swap) >= seen - 1e-12 for swap in product([False, True], repeat=9)])
    labels = Labels.of(NAMES, wanted)
    rows = Rows(groups.tolist(), len(wanted), 200)
    found = compared_macro_f1(labels, labels.given(one), labels.given(other), rows, draws=40_000)
    assert 0.02 < exact < 0.9
    assert found["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000))


def test_a_field_that_no_row_expects() -> None:
    labels = Labels.of(NAMES, [None, None])
    assert scores(labels, labels.given(["a", None]), Rows(None, 2, 100), NAMES)["labels"] == {}


def test_calibration() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15, np.nan, 1.0])
    right = np.array([True, True, True, False, False, False, True, True])
    found = calibration(confidence, right)
    assert found["rows"] == 7
    # Of the bin from 0.9: five rows, confidence 0.96 on average, 0.8 right; from 0.1: two rows, 0.15, none right.
    assert found["ece"] == pytest.approx((5 * 0.16 + 2 * 0.15) / 7)
    assert found["bins"] == [[0.1, 0.2, 2, 0.15, 0.0], [0.9, 1.0, 5, 0.96, 0.8]]
    known = ~np.isnan(confidence)
    assert found["brier"] == pytest.approx(brier_score_loss(right[known], confidence[known]), abs=1e-6)
    assert calibration(np.array([np.nan]), np.array([True]))["ece"] is None


def test_the_interval_of_macro_f1_holds_the_truth() -> None:
    """As the benchmark, with few samples: the percentiles of the bootstrap hold it in 86 of 100 here."""
    share, width = covered(confusion("even", 0.3), 96, 200)["scorecard"]
    assert 0.93 <= share <= 1
    assert width < 0.3


def test_the_ends_hold_the_value_where_all_rows_agree() -> None:
    wanted = np.array([0, 0, 0, 1])
    for said, value in ((wanted, 1.0), (1 - wanted, 0.0)):
        found = scores(Labels(("a", "b"), wanted), said, Rows(None, 4, 500), ())["macro_f1"]
        assert found["value"] == value
        assert (found["low"] if value else found["high"]) not in (0.0, 1.0)
        assert (found["high"] if value else found["low"]) == value
