"""How sure a number is: intervals, tests of two systems on the same rows, and how many rows would tell them apart.

Rows of one group (near-duplicates, one conversation) say much the same, so groups and not rows are drawn. Resampling is
done on counts: rows of equal outcome are alike, and so are groups made of the same such rows, so that a resample of
groups is one draw of a multinomial over the few kinds of groups there are, exactly, whatever the number of rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
POWER = 0.8
"""Chance to find a difference of the size seen that the number of rows needed is reckoned for."""
FEWEST = 6
"""Rows that must all speak for the same system before an exact test says so: 2 / 2^6 is below 0.05, 2 / 2^5 is not."""
CELLS = 1 << 22
"""The most numbers that one step lays out at once."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""From counts of kinds of rows, shape (resamples, kinds), to a number for each resample, shape (resamples,)."""


@dataclass(frozen=True)
class Rows:
    """The rows that all systems answered, and which of them belong together.

    Args:
        groups: a name for each row; rows of one name are drawn together. None: each row is drawn by itself.
        resamples: of each interval and test.
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

    def kinds_of_groups(self, kinds: Ints) -> tuple[Ints, Any]:
        """Groups that are made of the same kinds of rows, counted.

        Args:
            kinds: each row's kind, 0 to n - 1: shape (rows,).

        Returns:
            How many groups there are of each kind of group, shape (m,); and what one is made of, sparse, shape (m, n).
        """
        from scipy.sparse import coo_array, eye_array

        many = int(kinds.max(initial=-1)) + 1
        if self.alone:
            return np.bincount(kinds, minlength=many), eye_array(many, format="csr")
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

    def resampled(self, kinds: Ints) -> Iterable[Floats]:
        """How many rows of each kind there are in each resample of groups: arrays of shape (some resamples, kinds)."""
        counts, made_of = self.kinds_of_groups(kinds)
        draw = np.random.default_rng(self.seed)
        share = counts / counts.sum()
        for size in self._steps(made_of):
            yield draw.multinomial(self.total, share, size=size) @ made_of

    def swapped(self, kinds: Ints) -> Iterable[Floats]:
        """How many rows of each kind are swapped if each group is swapped with probability one half."""
        counts, made_of = self.kinds_of_groups(kinds)
        draw = np.random.default_rng(self.seed)
        for size in self._steps(made_of):
            yield draw.binomial(counts, 0.5, size=(size, len(counts))) @ made_of

    def _steps(self, made_of: Any) -> Iterable[int]:
        step = max(1, CELLS // max(made_of.shape))
        left = self.resamples
        while left > 0:
            yield min(step, left)
            left -= step


def rate(count: int, total: int) -> dict[str, Any]:
    """A share with its 95% interval by Wilson's score method (1927), and the count.

    The value and the bounds are None where there is nothing to share.
    """
    if not total:
        return {"value": None, "low": None, "high": None, "count": 0}
    low, high = _wilson(count / total, total)
    return {"value": _rounded(count / total), "low": _rounded(low), "high": _rounded(high), "count": count}


def _wilson(share: float, total: float) -> tuple[float, float]:
    z = _normal_quantile(0.5 + CONFIDENCE / 2)
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    return max(0.0, middle - half) if share else 0.0, min(1.0, middle + half) if share < 1 else 1.0


def share(outcomes: npt.NDArray[np.bool_], rows: Rows) -> dict[str, Any]:
    """A share of rows with its interval, and the count.

    Wilson's interval where no two rows share a group, else that of `mean`.
    """
    count = int(np.count_nonzero(outcomes))
    if rows.alone:
        return rate(count, len(outcomes))
    return mean(outcomes.astype(np.float64), rows) | {"count": count}


def mean(values: Floats, rows: Rows) -> dict[str, Any]:
    """A mean over rows of values from 0 to 1 with its bootstrap interval.

    Where all rows are 0, or all are 1, which leaves the bootstrap nothing to vary: Wilson's for as many rows as there
    are groups.
    """
    if not len(values):
        return {"value": None, "low": None, "high": None}
    if not values.any() or values.min() == 1:
        agreed = rate(rows.total if values.any() else 0, rows.total)
        return {name: agreed[name] for name in ("value", "low", "high")}
    distinct, kinds = np.unique(values, return_inverse=True)
    return statistic(kinds, lambda counts: counts @ distinct / np.maximum(counts.sum(axis=1), 1), rows)


def statistic(kinds: Ints, of: Statistic, rows: Rows) -> dict[str, Any]:
    """Any number that is a function of how many rows there are of each kind, with its bootstrap interval."""
    drawn = np.concatenate([of(counts) for counts in rows.resampled(kinds)])
    low, high = _interval(drawn)
    return {"value": _rounded(float(of(np.bincount(kinds)[None, :].astype(np.float64))[0])), "low": low, "high": high}


def _interval(drawn: Floats) -> tuple[float | None, float | None]:
    """The percentile interval of a bootstrap; of samples that give no number, nothing is said."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return _rounded(float(low)), _rounded(float(high))


def compared(one: Floats, other: Floats, rows: Rows) -> dict[str, Any]:
    """Two systems by a mean over the same rows.

    Args:
        one: an outcome for each row, shape (rows,); booleans as 0 and 1.
        other: the other system's.

    Returns:
        `difference` of the means with its paired bootstrap interval; `only_a`, `only_b`: rows in which only the one,
        only the other did better; the two-sided `p` of `test`; `rows_needed` to find a difference of this size.
        Where outcomes are 0 or 1 and no two rows share a group, the test is McNemar's, exact. Else it is the
        randomisation test of which that is a special case: groups are swapped between the systems by chance.
    """
    apart, kinds = np.unique(one - other, return_inverse=True)
    counts = np.bincount(kinds, minlength=len(apart))
    only_a, only_b = int(counts[apart > 0].sum()), int(counts[apart < 0].sum())

    def difference(counted: Floats) -> Floats:
        drawn: Floats = counted @ apart / np.maximum(counted.sum(axis=1), 1)
        return drawn

    def exchanged(swapped: Floats) -> Floats:
        drawn: Floats = (counts - 2 * swapped) @ apart / counts.sum()
        return drawn

    found = _compared(kinds, difference, exchanged, rows)
    if rows.alone and set(np.unique(np.abs(apart)).tolist()) <= {0.0, 1.0}:
        found |= {"test": "exact McNemar", "p": _p(mcnemar(only_a, only_b))}
    return {"only_a": only_a, "only_b": only_b} | found


def compared_by(kinds: Ints, difference: Statistic, swapped: Statistic, rows: Rows) -> dict[str, Any]:
    """Two systems by any number that is a function of how many rows there are of each kind.

    Args:
        kinds: each row's kind, by both systems' outcomes: shape (rows,).
        difference: of the two numbers, given counts of kinds.
        swapped: the difference once so many rows of each kind are swapped between the systems.
    """
    return {"only_a": None, "only_b": None} | _compared(kinds, difference, swapped, rows)


def _compared(kinds: Ints, difference: Statistic, swapped: Statistic, rows: Rows) -> dict[str, Any]:
    seen = float(difference(np.bincount(kinds)[None, :].astype(np.float64))[0])
    drawn = np.concatenate([difference(counts) for counts in rows.resampled(kinds)])
    low, high = _interval(drawn)
    by_chance = np.concatenate([swapped(counts) for counts in rows.swapped(kinds)])
    # The arrangement that was seen is one of those that chance could have given (Phipson and Smyth 2010).
    p = (1 + np.count_nonzero(np.abs(by_chance) >= abs(seen) - 1e-12)) / (1 + len(by_chance))
    return {
        "difference": _rounded(seen),
        "low": low,
        "high": high,
        "test": "randomisation",
        "p": _p(float(p)),
        "rows_needed": rows_needed(seen, float(np.nanstd(drawn)), rows.count),
    }


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


def verdict(difference: float, p_adjusted: float) -> str:
    """`better`, `worse` or `no difference shown`: nothing is claimed that chance would give as well."""
    if p_adjusted >= 1 - CONFIDENCE or difference == 0:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def _p(value: float) -> float:
    return float(f"{value:.3g}")


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6) + 0.0
