"""How sure a measure of an arm is, whose adapters were trained with several seeds and asked the same rows.

Rows and seeds are crossed: every adapter answers every row. Both are drawn with replacement, independently of each
other, which is the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1(2), 386-411): a resample weighs an
answer by how often its group of rows was drawn times how often its seed was. Rows of one group are drawn together.
A sample of few seeds varies less than the seeds do, by (n - 1) / n; so each seed's distance from the mean of the seeds
is taken times the square root of n / (n - 1) (Davison and Hinkley 1997, section 2.3). One seed leaves nothing to draw:
the interval is then of the rows alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.card.classes import Labels, compared_macro_f1, macro_f1
from evaluation.card.format import Interval
from evaluation.card.statistics import CELLS, CONFIDENCE, Floats, Ints, Rows, compared, mean, rounded

Measure = Callable[[Floats], Floats]
"""From weights of the rows, shape (samples, rows), to the measure by each seed: (samples, seeds)."""


@dataclass(frozen=True)
class Means:
    """A measure that is a mean over rows."""

    values: Floats
    """By seed and row: shape (seeds, rows)."""

    def __call__(self, weights: Floats) -> Floats:
        means: Floats = weights @ self.values.T / np.maximum(weights.sum(axis=1, keepdims=True), 1)
        return means

    def p(self, other: "Means", rows: Rows) -> float:
        """Two-sided p of the randomisation test that swaps an arm's answers to a group of rows, of all seeds at once,
        with the other's; exact where `statistics.compared` can."""
        return compared(self.values.mean(axis=0), other.values.mean(axis=0), rows, rows.resamples)["p"]


@dataclass(frozen=True)
class MacroF1:
    """Macro F1 of a field that is a class."""

    labels: Labels
    given: Ints
    """Labels as numbers, by seed and row: shape (seeds, rows)."""

    def __call__(self, weights: Floats) -> Floats:
        here = self.labels.wanted >= 0
        wanted = self.labels.wanted[here]
        return np.stack([macro_f1(weights[:, here], wanted, given[here]) for given in self.given], axis=1)

    def p(self, other: "MacroF1", rows: Rows) -> float | None:
        """As of `Means`; drawn. None where the field is expected of no row."""
        if not (self.labels.wanted >= 0).any():
            return None
        return compared_macro_f1(self.labels, self.given, other.given, rows, rows.resamples)["p"]


def by_seed(measure: Measure, count: int) -> list[float | None]:
    """The measure of each seed over `count` rows; None where it has no number."""
    return [None if np.isnan(each) else round(float(each), 6) for each in measure(np.ones((1, count)))[0]]


def interval(measure: Measure, rows: Rows) -> Interval:
    """The mean over the seeds with its 95% percentile interval; None for a measure that has no number. Where
    seeds differ much it may reach beyond what a share can be."""
    if isinstance(measure, Means) and np.isin(measure.values, (0.0, 1.0)).all() and np.ptp(measure.values) == 0:
        return mean(measure.values[0], rows)  # Wilson's: nothing varies
    seeds = measure(np.ones((1, rows.count)))[0]
    value = float(seeds.mean())
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    drawn = np.concatenate([_mean_of_seeds(measure(weights), drawn) for weights, drawn in _draws(rows, len(seeds))])
    low, high = np.nanquantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return {"value": rounded(value), "low": rounded(float(low)), "high": rounded(float(high))}


def difference(one: Measure, other: Measure, rows: Rows) -> Interval:
    """What one arm is ahead of the other, on the same rows and seeds, with its interval."""
    return interval(lambda weights: one(weights) - other(weights), rows)


def _mean_of_seeds(measured: Floats, drawn: Floats) -> Floats:
    """The mean over the seeds of each resample: both of shape (samples, seeds); `drawn` says how often a seed was."""
    count = measured.shape[1]
    middle = measured.mean(axis=1, keepdims=True)
    wider = np.sqrt(count / (count - 1)) if count > 1 else 1.0
    means: Floats = middle[:, 0] + wider * ((measured - middle) * drawn).sum(axis=1) / count
    return means


def _draws(rows: Rows, seeds: int) -> Iterator[tuple[Floats, Floats]]:
    """Resamples: how often each row is drawn, (some, rows), and how often each seed, (some, seeds)."""
    draw = np.random.default_rng(rows.seed)
    left, step = rows.resamples, max(1, CELLS // max(1, rows.count))
    while left > 0:
        size = min(step, left)
        groups = draw.multinomial(rows.total, np.full(rows.total, 1 / rows.total), size=size)
        drawn = draw.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        yield groups[:, rows.numbers].astype(np.float64), drawn.astype(np.float64)
        left -= size


def turn(losses: Sequence[float]) -> int | None:
    """At which validation, the first being before training, the loss is least, if it is higher at the last."""
    least = min(range(len(losses)), key=lambda at: losses[at], default=0)
    return least if losses and losses[least] < losses[-1] else None
