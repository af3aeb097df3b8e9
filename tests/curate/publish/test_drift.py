"""Drift: the index by hand, the tests by scipy as the oracle, and what bounds make of them."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from curate.publish.drift import LEAST_SHARE, Before, check_drift, drift, stability


def column(*values: Any) -> pa.ChunkedArray:
    return pa.chunked_array([values]) if values else pa.chunked_array([pa.nulls(0)])


def test_the_index_by_hand() -> None:
    """Shares of a 0.5, 0.3, 0.2 against 0.4, 0.4, 0.2."""
    expected = 0.1 * math.log(0.5 / 0.4) + -0.1 * math.log(0.3 / 0.4)
    assert expected == pytest.approx(0.0510825624)
    assert stability(np.array([50, 30, 20]), np.array([4, 4, 2])) == pytest.approx(expected)
    new = column(*["a"] * 5, *["b"] * 3, *["c"] * 2)
    old = column(*["c"] * 2, *["b"] * 4, *["a"] * 4)
    assert drift("psi", new, old) == pytest.approx(expected)


def test_a_value_that_is_new_counts_as_if_it_had_been_rare() -> None:
    found = drift("psi", column("a", "b"), column("a", "a"))
    expected = (0.5 - 1) * math.log(0.5) + (0.5 - LEAST_SHARE) * math.log(0.5 / LEAST_SHARE)
    assert found == pytest.approx(expected)


def test_null_is_a_value() -> None:
    assert drift("psi", column("a", None), column("a", None)) == 0
    expected = (0.5 - 0.25) * math.log(0.5 / 0.25) + (0.5 - 0.75) * math.log(0.5 / 0.75)
    assert drift("psi", column("a", None), column("a", "a", "a", None)) == pytest.approx(expected)


def test_numbers_are_compared_between_the_tenths_of_the_old_ones() -> None:
    """Of 1 to 10 the tenths are 1 to 9, so each number has a range of its own; 11 and 99 are in that of 10."""
    old = column(*range(1, 11))
    assert drift("psi", column(*range(1, 10), 99), old) == 0
    expected = (0.2 - 0.1) * math.log(0.2 / 0.1) + (LEAST_SHARE - 0.1) * math.log(LEAST_SHARE / 0.1)
    assert drift("psi", column(*range(2, 11), 11), old) == pytest.approx(expected)
    assert drift("psi", column(5, None), column(5, None)) == 0
    assert drift("psi", column(1.0, 2.0), column(1, 2)) == 0


def test_texts_are_compared_by_their_words() -> None:
    old = column("The red box", "the box, THE box")  # the 3, box 3, red 1
    assert drift("psi", column("box the", "the red box the box"), old, texts=True) == 0
    found = drift("psi", column("the ball"), old, texts=True)  # the 1/2, box 0, red 0, others 1/2
    pairs = [(1 / 2, 3 / 7), (LEAST_SHARE, 3 / 7), (LEAST_SHARE, 1 / 7), (1 / 2, LEAST_SHARE)]
    assert found == pytest.approx(sum((p - q) * math.log(p / q) for p, q in pairs))
    assert drift("psi", column("猫は好き"), column("好きは猫"), texts=True) == 0, "a script without spaces"
    assert drift("psi", column("a"), column(), texts=True) == pytest.approx((1 - 1e-4) * math.log(1e4))


NUMBERS = st.lists(st.integers(-5, 5), min_size=2, max_size=30)


@given(NUMBERS, NUMBERS)
def test_the_two_sample_tests_are_scipy_s(new: list[int], old: list[int]) -> None:
    found = scipy.stats.ks_2samp(new, old, method="asymp")
    assert drift("ks", column(*new), column(*old, None)) == pytest.approx(found.statistic)
    assert drift("ks_p_value", column(*new), column(*old)) == pytest.approx(found.pvalue)
    values = sorted({*new, *old})
    if len(values) == 1:
        assert (drift("cramers_v", column(*new), column(*old)), drift("chi2_p_value", column(*new), column(*old))) == (
            0,
            1,
        )
        return
    counts = [[Counter(each)[value] for value in values] for each in (new, old)]
    told = scipy.stats.chi2_contingency(counts, correction=False)
    assert drift("chi2_p_value", column(*new), column(*old)) == pytest.approx(told.pvalue)
    v = scipy.stats.contingency.association(np.array(counts), method="cramer")
    assert drift("cramers_v", column(*new), column(*old)) == pytest.approx(v)


@given(NUMBERS, NUMBERS)
def test_the_statistics_are_bounded_and_none_of_what_is_the_same(new: list[int], old: list[int]) -> None:
    for measure in ("ks", "cramers_v"):
        assert 0 <= drift(measure, column(*new), column(*old)) <= 1 + 1e-9
        assert drift(measure, column(*new), column(*reversed(new))) == pytest.approx(0)
    assert drift("psi", column(*new), column(*old)) >= 0
    text = [str(each) for each in new]
    assert drift("psi", column(*text), column(*text, *text)) == pytest.approx(0)


def test_values_where_there_were_none_have_drifted_as_far_as_can_be() -> None:
    assert drift("ks", column(1), column()) == drift("ks", column(), column(1)) == 1
    assert drift("ks_p_value", column(1), column()) == 0
    assert (drift("ks", column(), column()), drift("ks_p_value", column(), column())) == (0, 1)
    assert (drift("cramers_v", column("a"), column()), drift("chi2_p_value", column("a"), column())) == (1, 0)


def rule(measure: str, **bounds: float) -> dict[str, Any]:
    return {"kwargs": {"column": "label", "measure": measure} | bounds, "meta": {"name": "stable"}}


def test_a_rule_holds_within_its_bounds_and_where_there_is_nothing_before() -> None:
    flat = pa.table({"label": [*["a"] * 5, *["b"] * 3, *["c"] * 2]})
    before = Before("0123456789abcdef", pa.table({"label": [*["a"] * 4, *["b"] * 4, *["c"] * 2]}))
    kept = check_drift(flat, rule("psi", max_value=0.0511), before)
    assert (kept.success, kept.observed) == (True, "0.05108 against version 0123456789abcdef")
    assert kept.expected == "population stability index against the version before at most 0.0511"
    assert not check_drift(flat, rule("psi", max_value=0.0510), before).success
    assert not check_drift(flat, rule("chi2_p_value", min_value=0.99), before).success
    alone = check_drift(flat, rule("psi", max_value=0), None)
    assert (alone.success, alone.observed) == (True, "not applicable: there is no earlier version")
    gone = check_drift(pa.table({"id": ["a"]}), rule("psi", max_value=0.1), before)
    assert not gone.success, "a column that is no longer there holds null"
