"""How sure a number is: intervals, tests of two systems on the same rows, and how many rows would tell them apart.

Rows of one group (near-duplicates, one conversation) say much the same, so groups and not rows are drawn. Resampling is
done on counts: rows of equal outcome are alike, and so are groups made of the same such rows, so that a resample of
groups is one draw of a multinomial over the few kinds of groups there are, exactly, whatever the number of rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from math import gcd, lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.card.format import Difference, Interval, Rate, Test, Verdict

CONFIDENCE = 0.95
POWER = 0.8
"""Chance to find a difference of the size seen that the number of rows needed is reckoned for."""
FEWEST = 6
"""Rows that must all speak for the same system before an exact test says so: 2 / 2^6 is below 0.05, 2 / 2^5 is not."""
CELLS = 1 << 20
"""The most numbers that one step lays out at once."""
EXACT = 1 << 26
"""The most additions that an exact p is worth, a fraction of a second; beyond it, swaps are drawn."""
FINEST = 1000
"""The largest denominator of a difference that is taken for a fraction, and not for any number whatever."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""From counts of kinds of rows, shape (resamples, kinds), to a number for each resample, shape (resamples,)."""


@dataclass(frozen=True)
class Rows:
    """The rows that all systems answered, and which of them belong together.

    Args:
        groups: a name for each row; rows of one name are drawn together. None: each row is drawn by itself.
        resamples: of each interval.
        seed: of the draws; each interval and test begins with it anew.
    """

    groups: Sequence[Any] | None
    count: int
    resamples: int = 2000
    seed: int = 0

    @cached_property
    def numbers(self) -> Ints:
        """Each row's group as a number: shape (rows,)."""
        if self.groups is None:
            return np.arange(self.count)
        known: dict[Any, int] = {}
        return np.array([known.setdefault(group, len(known)) for group in self.groups], dtype=np.int64)

    @cached_property
    def total(self) -> int:
        """How many groups there are."""
        return int(self.numbers.max(initial=-1)) + 1

    @property
    def alone(self) -> bool:
        """Whether no two rows share a group."""
        return self.total == self.count

    def some(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """Only some of the rows: a mask of shape (rows,)."""
        if chosen.all():
            return self
        return Rows(self.numbers[chosen].tolist(), int(chosen.sum()), self.resamples, self.seed)

    def resampled(self, kinds: Ints) -> Iterable[Floats]:
        """How many rows of each kind there are in each resample of groups.

        Args:
            kinds: each row's kind, 0 to n - 1: shape (rows,).

        Returns:
            Arrays of shape (some resamples, n).
        """
        counts, made_of = (np.bincount(kinds), None) if self.alone else self._kinds_of_groups(kinds)
        draw = np.random.default_rng(self.seed)
        share = counts / counts.sum()
        for size in _steps(self.resamples, len(counts) if made_of is None else max(made_of.shape)):
            drawn = draw.multinomial(self.total, share, size=size)
            yield drawn.astype(np.float64) if made_of is None else drawn @ made_of

    def weighted(self, kinds: Ints) -> Iterable[Floats]:
        """As `resampled`, but each group has a random weight (Rubin's Bayesian bootstrap, 1981) instead of being drawn
        or not: no kind of row is ever gone."""
        counts, made_of = (np.bincount(kinds), None) if self.alone else self._kinds_of_groups(kinds)
        draw = np.random.default_rng(self.seed)
        for size in _steps(self.resamples, len(counts) if made_of is None else max(made_of.shape)):
            weights = draw.standard_gamma(counts, size=(size, len(counts)))
            yield weights if made_of is None else weights @ made_of

    def _kinds_of_groups(self, kinds: Ints) -> tuple[Ints, Any]:
        """How many groups there are of each kind of group, shape (m,); and of what rows one is made, sparse, (m, n)."""
        from scipy.sparse import coo_array

        many = int(kinds.max(initial=-1)) + 1
        # A group's signature: the sum of a random 64-bit number for each of its rows, equal for equal multisets.
        random = np.random.default_rng(0).integers(1 << 63, size=many, dtype=np.uint64)
        signatures = np.zeros(self.total, dtype=np.uint64)
        np.add.at(signatures, self.numbers, random[kinds])
        _, first, counts = np.unique(signatures, return_index=True, return_counts=True)
        number = np.full(self.total, -1)
        number[first] = np.arange(len(first))
        example = number[self.numbers]  # of the rows of one group of each kind, the kind
        chosen = example >= 0
        ones = np.ones(int(chosen.sum()))
        return counts, coo_array((ones, (example[chosen], kinds[chosen])), shape=(len(first), many)).tocsr()

    def sums(self, values: Floats) -> Floats:
        """Each group's sum of its rows' values: shape (rows, n) -> (groups, n)."""
        if self.alone:
            return values
        sums = np.zeros((self.total, values.shape[1]))
        np.add.at(sums, self.numbers, values)
        return sums

    def swapped(self, changes: Floats, draws: int) -> Iterable[Floats]:
        """What is changed if each group is swapped between two systems with probability one half.

        Args:
            changes: what swapping a row changes: shape (rows, n).
            draws: how many.

        Returns:
            The sums over all rows that are swapped: arrays of shape (some draws, n).
        """
        from scipy.sparse import csr_array

        sums = self.sums(changes)
        alike, counts = np.unique(sums[sums.any(axis=1)], axis=0, return_counts=True)
        # Of so many groups alike, as many are swapped as there are ones among so many random bits.
        octets = -(-counts // 8)
        bits = np.full(octets.sum(), 255, dtype=np.uint8)
        bits[np.cumsum(octets) - 1] >>= (8 * octets - counts).astype(np.uint8)
        of_octets = csr_array(np.repeat(alike, octets, axis=0))  # few numbers, and threads would cost more than they do
        draw = np.random.default_rng(self.seed)
        for size in _steps(draws, max(of_octets.shape)):
            random = draw.integers(256, size=(size, len(bits)), dtype=np.uint8)
            yield np.bitwise_count(random & bits).astype(np.float64) @ of_octets


def _steps(draws: int, width: int) -> Iterable[int]:
    step = max(1, CELLS // max(1, width))
    while draws > 0:
        yield min(step, draws)
        draws -= step


def rate(count: int, total: int) -> Rate:
    """A share with its 95% interval by Wilson's score method (1927), and the count.

    The value and the bounds are None where there is nothing to share.
    """
    if not total:
        return {"value": None, "low": None, "high": None, "count": 0}
    low, high = _wilson(count, total)
    return {"value": rounded(count / total), "low": rounded(low), "high": rounded(high), "count": count}


@cache  # measures of one scorecard have few counts, and one takes a fifth of a millisecond
def _wilson(count: int, total: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def share(outcomes: npt.NDArray[np.bool_], rows: Rows) -> Rate:
    """A share of rows with its interval, and the count.

    Wilson's interval where no two rows share a group, else that of `mean`.
    """
    count = int(np.count_nonzero(outcomes))
    if rows.alone:
        return rate(count, len(outcomes))
    return {**mean(outcomes.astype(np.float64), rows), "count": count}


def mean(values: Floats, rows: Rows) -> Interval:
    """A mean over rows of values from 0 to 1 with its bootstrap interval.

    Where all rows are 0, or all are 1, which leaves the bootstrap nothing to vary: Wilson's for as many rows as there
    are groups.
    """
    if not len(values):
        return {"value": None, "low": None, "high": None}
    if not values.any() or values.min() == 1:
        agreed = rate(rows.total if values.any() else 0, rows.total)
        return {"value": agreed["value"], "low": agreed["low"], "high": agreed["high"]}
    distinct, kinds = np.unique(values, return_inverse=True)
    return statistic(kinds, lambda counts: counts @ distinct / np.maximum(counts.sum(axis=1), 1), rows)


def ratio(part: Floats, whole: Floats, rows: Rows) -> Interval:
    """The share of what rows have several of, or none, with its interval.

    Wilson's where no row has more than one and no two rows share a group; where all are counted, or none, which leaves
    a bootstrap nothing to vary, Wilson's for as many rows as there are groups that have any; else the bootstrap's.

    Args:
        part: how many of each row's are counted: shape (rows,).
        whole: how many each row has: shape (rows,).
    """
    here = whole > 0
    part, whole, within = part[here], whole[here], rows.some(here)
    if not len(whole):
        return {"value": None, "low": None, "high": None}
    if within.alone and whole.max() == 1:
        agreed = rate(int(part.sum()), len(whole))
    elif not part.any() or (part == whole).all():
        agreed = rate(within.total if part.any() else 0, within.total)
    else:
        pairs, kinds = np.unique(np.stack([part, whole], axis=1), axis=0, return_inverse=True)
        return statistic(kinds, lambda counts: counts @ pairs[:, 0] / (counts @ pairs[:, 1]), within)
    return {"value": agreed["value"], "low": agreed["low"], "high": agreed["high"]}


def statistic(kinds: Ints, of: Statistic, rows: Rows) -> Interval:
    """Any number that is a function of how many rows there are of each kind, with its bootstrap interval."""
    drawn = np.concatenate([of(counts) for counts in rows.resampled(kinds)])
    low, high = _interval(drawn)
    return {"value": rounded(float(of(counted(kinds))[0])), "low": low, "high": high}


def _interval(drawn: Floats) -> tuple[float | None, float | None]:
    """The percentile interval of a bootstrap; of samples that give no number, nothing is said."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return rounded(float(low)), rounded(float(high))


def compared(one: Floats, other: Floats, rows: Rows, draws: int = 2000) -> Difference:
    """Two systems by a mean over the same rows.

    Args:
        one: an outcome for each row, shape (rows,); booleans as 0 and 1.
        other: the other system's.
        rows: which of them belong together.
        draws: of the test, where it is not exact.

    Returns:
        `difference` of the means with its paired bootstrap interval; `only_a`, `only_b`: rows in which only the one,
        only the other did better; the two-sided `p` of `test`; `rows_needed` to find a difference of this size.
        The test is the randomisation test: groups are swapped between the systems by chance. Where outcomes are 0 or 1
        and no two rows share a group, it is McNemar's. p is exact, over all ways to swap, unless these are too many
        to sum up; then it is estimated from draws.
    """
    apart, kinds = np.unique(one - other, return_inverse=True)
    counts = np.bincount(kinds, minlength=len(apart))
    only_a, only_b = int(counts[apart > 0].sum()), int(counts[apart < 0].sum())

    def difference(counted: Floats) -> Floats:
        drawn: Floats = counted @ apart / np.maximum(counted.sum(axis=1), 1)
        return drawn

    mcnemar_s = rows.alone and set(np.unique(np.abs(apart)).tolist()) <= {0.0, 1.0}
    p = exact_p(rows.sums((one - other)[:, None])[:, 0])
    if p is None:
        swaps = rows.swapped(-2 * (one - other)[:, None], draws)
        p = _drawn_p(float(np.mean(one - other)), ((counts @ apart + each[:, 0]) / counts.sum() for each in swaps))
    test: Test = "exact McNemar" if mcnemar_s else "randomisation"
    return _compared(kinds, difference, rows, test, p, only_a, only_b)


def compared_by(kinds: Ints, difference: Statistic, by_chance: Iterable[Floats], rows: Rows) -> Difference:
    """Two systems by any number that is a function of how many rows there are of each kind.

    Args:
        kinds: each row's kind, by both systems' outcomes: shape (rows,).
        difference: of the two numbers, given counts of kinds.
        by_chance: the difference in draws of `Rows.swapped`.
        rows: which of them belong together.
    """
    seen = float(difference(counted(kinds))[0])
    return _compared(kinds, difference, rows, "randomisation", _drawn_p(seen, by_chance))


def _compared(
    kinds: Ints,
    difference: Statistic,
    rows: Rows,
    test: Test,
    p: float,
    only_a: int | None = None,
    only_b: int | None = None,
) -> Difference:
    seen = float(difference(counted(kinds))[0])
    drawn = np.concatenate([difference(counts) for counts in rows.resampled(kinds)])
    low, high = _interval(drawn)
    return {
        "only_a": only_a,
        "only_b": only_b,
        "difference": round(seen, 6) + 0.0,
        "low": low,
        "high": high,
        "test": test,
        "p": _p(p),
        "rows_needed": rows_needed(seen, float(np.nanstd(drawn)), rows.count),
    }


def counted(kinds: Ints) -> Floats:
    """How many rows there are of each kind, as one sample: shape (1, kinds)."""
    return np.bincount(kinds)[None, :].astype(np.float64)


def _drawn_p(seen: float, by_chance: Iterable[Floats]) -> float:
    drawn = np.concatenate(list(by_chance))
    # The arrangement that was seen is one of those that chance could have given (Phipson and Smyth 2010).
    return float((1 + np.count_nonzero(np.abs(drawn) >= abs(seen) - 1e-12)) / (1 + len(drawn)))


def exact_p(differences: Floats) -> float | None:
    """Two-sided p of the randomisation test: the share of all 2^n ways to swap whose sum is as far from 0 as that seen.

    By the binomial distribution where all differences are of one size, else by the shift algorithm of Streitberg and
    Röhmel (1986), which counts the ways to each sum; both hold to the last digit, also where p is tiny.

    Args:
        differences: what the one system is ahead of the other in each group: shape (groups,).

    Returns:
        p; None where the differences are no multiples of one unit that would not take more than EXACT additions.
    """
    differences = differences[np.abs(differences) > 1e-12]
    units = _in_units(differences)
    if units is None:
        return None
    sizes = np.sort(np.abs(units))
    if not len(sizes) or sizes[0] == sizes[-1]:
        return mcnemar(int(np.count_nonzero(units > 0)), int(np.count_nonzero(units < 0)))
    total = int(sizes.sum())
    if len(sizes) * total > EXACT:
        return None
    ways = np.zeros(total + 1)  # the share of the ways in which those that are not swapped sum up to each number
    ways[0] = 1
    reached = 0
    for size in sizes.tolist():
        ways[: reached + 1] /= 2
        ways[size : reached + size + 1] += ways[: reached + 1].copy()
        reached += size
    return float(min(1.0, ways[np.abs(2 * np.arange(total + 1) - total) >= abs(units.sum())].sum()))


def _in_units(values: Floats) -> Ints | None:
    """The values as multiples of the largest unit that they all are multiples of; None where no unit is in sight."""
    sizes = np.unique(np.abs(values).round(12)).tolist()
    fractions = []
    unit = 1
    for size in sizes:
        fractions.append(Fraction(size).limit_denominator(FINEST))
        unit = lcm(unit, fractions[-1].denominator)
        if abs(fractions[-1] - Fraction(size)) > 1e-11 or unit > EXACT:
            return None
    common = gcd(*(int(each * unit) for each in fractions)) or 1
    return np.rint(values * unit / common).astype(np.int64)


@cache
def mcnemar(only_a: int, only_b: int) -> float:
    """The exact McNemar test: two-sided p that rows on which two systems differ fall so unevenly by chance."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def rows_needed(difference: float, error: float, rows: int) -> int | None:
    """How many such rows would show a difference of this size with a chance of POWER, at 95% confidence, two-sided.

    (z_0.975 + z_0.8)^2 times the variance of a row's difference (Connor 1987 for pairs of shares), over its square.
    None where there is no difference to show; FEWEST or more, for of rows that all say the same the variance is 0.

    Args:
        error: standard error of the difference on `rows` rows, groups taken into account.
    """
    if abs(difference) < 1e-9:
        return None
    z = _normal_quantile(0.5 + CONFIDENCE / 2) + _normal_quantile(POWER)
    return max(FEWEST, int(np.ceil(rows * (z * error / difference) ** 2)))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjustment (1979): p-values so that the chance of any false claim among them is bounded."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = _p(highest)
    return adjusted


def verdict(difference: float, p_adjusted: float) -> Verdict:
    """`better`, `worse` or `no difference shown`: nothing is claimed that chance would give as well."""
    if p_adjusted >= 1 - CONFIDENCE or difference == 0:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def _p(value: float) -> float:
    return float(f"{value:.3g}")


def rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6) + 0.0
