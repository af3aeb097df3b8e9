"""Intervals, tests and adjustments against published numbers, brute force and other libraries."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.card.statistics import (
    EXACT,
    Floats,
    Rows,
    compared,
    exact_p,
    holm,
    mcnemar,
    mean,
    rate,
    rows_needed,
    share,
    verdict,
)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_intervals_are_wilson_s(count: int, total: int, low: float, high: float) -> None:
    found = rate(count, total)
    assert found["value"] == pytest.approx(count / total, abs=1e-6)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found["count"] == count


def test_a_rate_of_nothing() -> None:
    nothing = {"value": None, "low": None, "high": None}
    assert rate(0, 0) == nothing | {"count": 0}
    assert mean(np.zeros(0), Rows(None, 0)) == nothing
    assert share(np.zeros(0, np.bool_), Rows(None, 0)) == nothing | {"count": 0}


GROUPS = np.array(["a", "a", "a", "b", "c", "c", "d", "e", "e", "e", "e", "f", "g", "h", "h"])


def test_the_bootstrap_is_that_of_drawing_groups() -> None:
    """Against drawing the groups one by one, 20,000 times."""
    values = np.array([1.0, 0.5, 1, 0, 0, 0.5, 1, 0.25, 1, 1, 0, 0, 1, 0.5, 0.5])
    found = mean(values, Rows(GROUPS.tolist(), len(values), resamples=20_000, seed=1))
    draw = np.random.default_rng(7)
    members = [values[name == GROUPS] for name in np.unique(GROUPS)]
    means = [
        np.concatenate([members[each] for each in draw.integers(len(members), size=len(members))]).mean()
        for _ in range(20_000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["value"] == pytest.approx(values.mean(), abs=1e-6)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_the_bootstrap_is_scipy_s_where_rows_are_alone() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).random(60).round(2)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    found = mean(values, Rows(None, 60, resamples=20_000))
    assert (found["low"], found["high"]) == (pytest.approx(theirs.low, abs=4e-3), pytest.approx(theirs.high, abs=4e-3))


def test_rows_that_say_the_same_widen_the_interval() -> None:
    outcomes = np.repeat(np.random.default_rng(0).random(40) < 0.5, 25)
    alone = share(outcomes, Rows(None, 1000))
    grouped = share(outcomes, Rows(np.repeat(np.arange(40), 25).tolist(), 1000))
    assert grouped["value"] == alone["value"]
    assert grouped["high"] - grouped["low"] > 4 * (alone["high"] - alone["low"])


@pytest.mark.parametrize("right", [False, True])
def test_where_all_rows_agree_groups_are_what_counts(right: bool) -> None:
    found = share(np.full(len(GROUPS), right), Rows(GROUPS.tolist(), len(GROUPS)))
    of_groups = rate(8 if right else 0, 8)
    assert (found["low"], found["high"]) == (of_groups["low"], of_groups["high"])
    assert found["count"] == (15 if right else 0)
    assert mean(np.full(20, float(right)), Rows(None, 20))["low" if right else "high"] == pytest.approx(
        0.8389 if right else 0.1611, abs=5e-5
    )


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """95% intervals of 400 samples of 60 groups of one to four alike rows."""
    draw = np.random.default_rng(5)
    covered = 0
    for seed in range(400):
        sizes = draw.integers(1, 5, size=60)
        outcomes = np.repeat(draw.random(60) < 0.7, sizes)
        found = share(outcomes, Rows(np.repeat(np.arange(60), sizes).tolist(), len(outcomes), 400, seed))
        covered += found["low"] <= 0.7 <= found["high"]
    assert 0.9 <= covered / 400 <= 0.98


def test_mcnemar_is_exact() -> None:
    """Only one right in 2 rows, only the other in 10: 2 * (1 + 12 + 66) / 2**12."""
    one = np.array([1.0] * 2 + [0] * 10 + [1] * 30)
    other = np.array([0.0] * 2 + [1] * 10 + [1] * 30)
    found = compared(one, other, Rows(None, 42))
    assert (found["only_a"], found["only_b"], found["test"]) == (2, 10, "exact McNemar")
    assert found["p"] == pytest.approx(158 / 4096, rel=1e-2)
    assert found["difference"] == pytest.approx(-8 / 42, abs=1e-6)
    assert found["low"] < found["difference"] < found["high"] < 0
    assert compared(other, one, Rows(None, 42))["p"] == found["p"]
    assert mcnemar(0, 0) == 1.0


def test_randomisation_with_rows_alone_is_mcnemar() -> None:
    """Halved outcomes are no longer 0 or 1, so the groups are swapped by chance: the same p, but for that."""
    one, other = np.array([1.0] * 4 + [0] * 13 + [1] * 30), np.array([0.0] * 4 + [1] * 13 + [1] * 30)
    found = compared(one / 2, other / 2, Rows(None, 47))
    assert found["test"] == "randomisation"
    assert found["p"] == pytest.approx(mcnemar(4, 13), rel=1e-2)


def test_groups_are_swapped_whole() -> None:
    """Brute force: all ways to swap five groups."""
    one = np.array([1.0, 1, 1, 0, 1, 1, 0, 1, 1, 0])
    other = np.array([0.0, 0, 0, 0, 1, 0, 1, 0, 0, 1])
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4, 4])
    by_group = np.bincount(groups, one - other)
    found = compared(one, other, Rows(groups.tolist(), 10))
    assert found["p"] == pytest.approx(of_all_ways(by_group), rel=1e-2)
    assert found["test"] == "randomisation"


def of_all_ways(differences: Floats) -> float:
    """p by all 2^n ways to swap n groups, those that tie with what was seen counted."""
    signs = np.array(list(product([1, -1], repeat=len(differences)))).reshape(2 ** len(differences), -1)
    sums = signs @ np.asarray(differences, dtype=np.float64)
    return float(np.mean(np.abs(sums) >= abs(np.sum(differences)) - 1e-9))


UNITS = st.lists(st.integers(-4, 4), max_size=10)
SHARES = st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, 2 / 3, -0.8, 0.2, -1 / 3, 0.8 - 2 / 3]), max_size=10)


@given(st.one_of(UNITS, SHARES))
def test_exact_p_is_that_of_all_ways_to_swap(differences: list[float]) -> None:
    found = exact_p(np.array(differences, dtype=np.float64))
    assert found == pytest.approx(of_all_ways(np.array(differences)), rel=1e-12)


def test_differences_of_one_size_are_those_of_the_sign_test() -> None:
    """2 / 2^400, which no number of draws would find; and more groups than could be counted up one by one."""
    assert exact_p(np.full(400, 0.25)) == pytest.approx(2.0**-399, rel=1e-6)
    many = np.where(np.arange(20_000) < 10_200, 3.0, -3.0)
    assert len(many) * 3 * len(many) > EXACT
    assert exact_p(many) == pytest.approx(0.00481, rel=1e-2)  # the normal's, 2 * (1 - Phi(399 / sqrt(20000)))


def test_differences_that_have_no_unit_have_no_exact_p() -> None:
    draw = np.random.default_rng(4)
    assert exact_p(draw.normal(size=30)) is None
    assert exact_p(np.array([np.sqrt(2), 1.0])) is None
    assert exact_p(draw.integers(1, 1_000_000, size=100).astype(np.float64)) is None, "too many sums"


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(40), 3).tolist()])
def test_exact_p_is_what_drawn_swaps_come_to(groups: list[int] | None) -> None:
    draw = np.random.default_rng(8)
    one, other = draw.choice([0, 0.5, 2 / 3, 1], p=[0.2, 0.2, 0.2, 0.4], size=120), draw.choice([0, 0.5, 1], size=120)
    rows = Rows(groups, 120)
    exact = compared(one, other, rows)
    seen = (one - other).sum()
    swaps = np.concatenate(list(rows.swapped(-2 * (one - other)[:, None], 40_000)))
    drawn = np.mean(np.abs(seen + swaps) >= abs(seen) - 1e-9)
    assert 0.001 < exact["p"] < 0.5
    assert drawn == pytest.approx(exact["p"], abs=4 * np.sqrt(exact["p"] / 40_000))
    assert compared(one, other, rows, draws=10)["p"] == exact["p"], "draws have no part in it"
    assert compared(other, one, rows)["p"] == exact["p"]


def test_where_there_is_no_exact_p_swaps_are_drawn() -> None:
    """Against all ways to swap ten groups of two rows."""
    draw = np.random.default_rng(6)
    one, other = draw.random(20) + 0.2, draw.random(20)
    groups = np.repeat(np.arange(10), 2)
    assert exact_p(np.bincount(groups, one - other)) is None
    found = compared(one, other, Rows(groups.tolist(), 20), draws=40_000)
    wanted = of_all_ways(np.bincount(groups, one - other))
    assert 0.001 < wanted < 0.9
    assert found["p"] == pytest.approx(wanted, abs=4 * np.sqrt(wanted / 40_000))


def test_swaps_are_drawn_by_fair_coins() -> None:
    """Ten groups of three rows alike, five of one row, and one that changes nothing: by mean, variance and range."""
    changes = np.array([[1.0, 2.0]] * 30 + [[-1.0, 0.5]] * 5 + [[0.0, 0.0]])
    groups = [*np.repeat(np.arange(10), 3).tolist(), *range(10, 16)]
    drawn = np.concatenate(list(Rows(groups, 36, seed=3).swapped(changes, 100_000)))
    assert drawn.shape == (100_000, 2)
    assert drawn.mean(axis=0) == pytest.approx([15 - 2.5, 30 + 1.25], abs=0.1)
    assert drawn.var(axis=0) == pytest.approx([(10 * 9 + 5) / 4, (10 * 36 + 5 * 0.25) / 4], rel=0.02)
    assert (drawn[:, 0].min(), drawn[:, 0].max()) == (-5, 30)


def test_equal_systems_are_not_told_apart() -> None:
    values = np.array([0.0, 1, 1])
    found = compared(values, values, Rows(None, 3))
    assert (found["difference"], found["p"], found["rows_needed"]) == (0.0, 1.0, None)


def test_few_rows_that_all_say_the_same_are_too_few() -> None:
    """Three rows leave the bootstrap nothing to vary; six that all speak for one system are the fewest that show it."""
    for count, verdict_ in ((3, "no difference shown"), (5, "no difference shown"), (6, "better")):
        found = compared(np.ones(count), np.zeros(count), Rows(None, count))
        assert (verdict(found["difference"], found["p"]), found["rows_needed"]) == (verdict_, 6)


def test_rows_needed_is_connor_s() -> None:
    """Connor (1987), Biometrics 43:207, for pairs of shares: the null variance aside, the same number."""
    draw = np.random.default_rng(2)
    one, other = (draw.random((2, 400)) < [[0.75], [0.65]]).astype(float)
    apart = one - other
    found = compared(one, other, Rows(None, 400))
    z = 1.959964 + 0.841621
    assert found["rows_needed"] == pytest.approx(z**2 * apart.var() / apart.mean() ** 2, rel=0.1)


def test_so_many_rows_show_it_four_times_in_five() -> None:
    draw = np.random.default_rng(11)
    kinds = np.array([1.0, -1.0, 0.0])
    needed = rows_needed(0.1, float(np.sqrt((0.3 - 0.01) / 100)), 100)
    assert needed is not None
    shown = 0
    for _ in range(300):
        apart = draw.choice(kinds, size=needed, p=[0.2, 0.1, 0.7])
        shown += mcnemar(int((apart > 0).sum()), int((apart < 0).sum())) < 0.05
    assert 0.7 < shown / 300 < 0.88


def test_holm() -> None:
    """Holm (1979): 0.01 x 4, 0.013 x 3, 0.03 x 2 raised to the one before it, 0.04."""
    assert holm([0.03, 0.01, 0.04, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_nothing_is_claimed_without_proof() -> None:
    assert verdict(0.3, 0.06) == "no difference shown"
    assert (verdict(0.3, 0.04), verdict(-0.3, 0.04)) == ("better", "worse")


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_seeded_and_whatever_the_rows(rows: list[tuple[int, bool, bool]]) -> None:
    groups = [group for group, *_ in rows]
    one, other = (np.array([row[place] for row in rows], dtype=float) for place in (1, 2))
    found = compared(one, other, Rows(groups, len(rows), 200))
    assert found == compared(one, other, Rows(groups, len(rows), 200))
    assert 0 < found["p"] <= 1
    assert found["low"] <= found["difference"] + 1e-6
    assert found["difference"] <= found["high"] + 1e-6
