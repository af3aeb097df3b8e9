"""Fields that are classes: macro F1, each label by itself, confusion matrix, agreement of ordered labels, calibration.

A row whose output gives no label of the class (it is no JSON, the key is missing, the value is none of the labels)
counts as a miss of the right label, never as a hit of another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.card.format import Calibration, ClassScores, Difference, Interval, Kappa, LabelScores
from evaluation.card.statistics import CONFIDENCE, Floats, Ints, Rows, compared_by, counted, rounded, statistic

PRIOR = 0.3
"""Rows that each label has more, for an end of the interval of macro F1: so many that it holds the truth in about 95 of
100 samples where labels are skewed (`benchmarks.coverage`)."""
PRIOR_APART = 0.5
"""As PRIOR, of the difference of two systems that are never both right or both wrong; of others as much less as they
differ less."""
BINS = 10
"""Of the reliability table, of equal width: Guo et al. (2017) take 15, for more rows than there are here."""


@dataclass(frozen=True)
class Labels:
    """Right and given labels of one field as numbers."""

    names: tuple[str, ...]
    """The labels, those that the schema allows first, in its order."""
    wanted: Ints
    """The right label of each row: shape (rows,); -1 where the field is not expected."""

    @staticmethod
    def of(allowed: Sequence[str], wanted: Sequence[str | None]) -> "Labels":
        """The labels of a field: those allowed and, besides, those that are expected."""
        names = (*allowed, *sorted({label for label in wanted if label is not None} - set(allowed)))
        return Labels(names, numbers(names, wanted))

    def given(self, labels: Sequence[str | None]) -> Ints:
        """A system's labels as numbers, -1 for none of `names`."""
        return numbers(self.names, labels)


def numbers(names: Sequence[str], labels: Sequence[str | None]) -> Ints:
    number: dict[str | None, int] = {name: index for index, name in enumerate(names)}
    return np.array([number.get(label, -1) for label in labels], dtype=np.int64)


def scores(labels: Labels, given: Ints, rows: Rows, ordered: Sequence[str]) -> ClassScores:
    """What is said of a class: `macro_f1` over the labels that are expected of some row, `labels`, `confusion`
    ([expected, given, rows], null for none), and for ordered labels `kappa`, weighted by the square of the distance.

    `kappa` is over the rows that have a label at all; `kappa.rows` says how many these are.
    """
    here = labels.wanted >= 0
    wanted, answered = labels.wanted[here], given[here]
    within = rows.some(here)
    if not len(wanted):
        return {"macro_f1": {"value": None, "low": None, "high": None}, "labels": {}, "confusion": []}
    cells, kinds = np.unique(_cells(labels, wanted, answered), return_inverse=True)
    found: ClassScores = {
        "macro_f1": _interval_of_macro_f1(kinds, *_sides(labels, cells), within),
        "labels": _by_label(labels, wanted, answered),
        "confusion": [
            [labels.names[want], labels.names[give] if give >= 0 else None, int(count)]
            for (want, give), count in zip(
                zip(*(side.tolist() for side in _sides(labels, cells)), strict=True), np.bincount(kinds), strict=True
            )
        ],
    }
    if ordered:
        found["kappa"] = _kappa(labels, wanted, answered, within, ordered)
    return found


def _interval_of_macro_f1(kinds: Ints, wanted: Ints, given: Ints, rows: Rows) -> Interval:
    """Macro F1 with its 95% interval: for each end the Bayesian bootstrap with a prior that leans to it.

    Rare labels have few rows, often all right or all wrong, which leaves a bootstrap nothing to vary: its percentiles
    hold the truth in 85 to 93 of 100 samples, these in 93 to 98 (`benchmarks.coverage`). So each label has PRIOR rows
    more, for the lower end all wrong, for the upper one all right.
    """
    value = float(macro_f1(counted(kinds), wanted, given)[0])
    hits = _hits(wanted, given)
    draw = np.random.default_rng(rows.seed + 1)
    ends: list[list[Floats]] = [[], []]
    for weights in rows.weighted(kinds):
        right, total = (weights @ each for each in hits)
        lower, upper = draw.standard_gamma(PRIOR * rows.count / rows.total, size=(2, *right.shape))
        ends[0].append((right / (total + lower)).mean(axis=1))
        ends[1].append(((right + 2 * upper) / (total + 2 * upper)).mean(axis=1))
    tail = 0.5 - CONFIDENCE / 2
    low, high = np.quantile(np.concatenate(ends[0]), tail), np.quantile(np.concatenate(ends[1]), 1 - tail)
    return {"value": rounded(value), "low": rounded(min(float(low), value)), "high": rounded(max(float(high), value))}


def compared_macro_f1(labels: Labels, one: Ints, other: Ints, rows: Rows, draws: int = 2000) -> Difference:
    """Two systems by their macro F1 on the same rows; see `statistics.compared`. Its p is drawn: no sum over rows. Its
    interval is not that of resampled rows; see `_interval_of_macro_f1`.

    Args:
        labels: of the field.
        one: a system's labels as numbers: shape (rows,); or of several runs of it, (runs, rows), of which the mean of
            their macro F1 counts, and whose answers to a group of rows are swapped together. The interval is that of
            resampled rows then.
        other: the other system's, of as many runs.
        rows: which belong together; of one at least the field is expected.
        draws: of the test.
    """
    here = labels.wanted >= 0
    within = rows.some(here)
    cells = [_cells(labels, labels.wanted[here], given) for system in (one, other) for given in _runs(system)[:, here]]
    alike, kinds = np.unique(np.stack(cells, axis=1), axis=0, return_inverse=True)
    sides = [_sides(labels, part) for part in alike.T]
    runs = len(sides) // 2
    counts = np.bincount(kinds).astype(np.float64)

    def difference(counted: Floats) -> Floats:
        scores = [macro_f1(counted, *side) for side in sides]
        apart: Floats = np.mean(scores[:runs], axis=0) - np.mean(scores[runs:], axis=0)
        return apart

    def by_chance() -> Iterable[Floats]:
        hits = [np.hstack([each.toarray() for each in _hits(*side)]) for side in sides]
        mine, its = np.hstack(hits[:runs]), np.hstack(hits[runs:])
        have, both = counts @ mine, counts @ (mine + its)
        for moved in within.swapped((its - mine)[kinds], draws):
            changed = have + moved
            mine_f1, its_f1 = (
                np.mean([_mean_f1(each) for each in np.split(hit, runs, axis=1)], axis=0)
                for hit in (changed, both - changed)
            )
            yield mine_f1 - its_f1

    found = compared_by(kinds, difference, by_chance(), within)
    if runs > 1:
        return found
    low, high = _interval_of_difference(kinds, sides[0], sides[1], within)
    seen = found["difference"]
    return {**found, "low": rounded(min(low, seen)), "high": rounded(max(high, seen))}


def _interval_of_difference(
    kinds: Ints, one: tuple[Ints, Ints], other: tuple[Ints, Ints], rows: Rows
) -> tuple[float, float]:
    """The 95% interval of a difference of macro F1, paired: both systems have the same weights, and as
    `_interval_of_macro_f1` for each end rows more of each label, that but one of the two has right.

    How many more follows from the share of rows that but one has right, the mean over labels: two systems that say
    much the same cannot be far apart on rows that were not drawn either.

    Args:
        kinds: each row's kind: shape (rows,).
        one: the right and the given label of each kind, the one system's.
        other: the other system's; the right ones are the same.
        rows: which of them belong together.
    """
    wanted = one[0]
    counts = np.bincount(kinds)
    apart = np.bincount(wanted, counts * ((one[1] == wanted) != (other[1] == wanted)))
    share = float(np.mean([apart[label] / counts[wanted == label].sum() for label in np.unique(wanted)]))
    draw = np.random.default_rng(rows.seed + 1)
    ends: list[list[Floats]] = [[], []]
    for weights in rows.weighted(kinds):
        (right, total), (its_right, its_total) = ((weights @ each for each in _hits(*side)) for side in (one, other))
        lower, upper = draw.standard_gamma(PRIOR_APART * share * rows.count / rows.total, size=(2, *right.shape))
        ends[0].append((right / (total + lower) - (its_right + 2 * lower) / (its_total + 2 * lower)).mean(axis=1))
        ends[1].append(((right + 2 * upper) / (total + 2 * upper) - its_right / (its_total + upper)).mean(axis=1))
    tail = 0.5 - CONFIDENCE / 2
    low, high = np.quantile(np.concatenate(ends[0]), tail), np.quantile(np.concatenate(ends[1]), 1 - tail)
    return float(low), float(high)


def _runs(given: Ints) -> Ints:
    """Labels of one run or several: shape (runs, rows)."""
    return np.atleast_2d(given)


def _mean_f1(hits: Floats) -> Floats:
    """Macro F1 from `_hits` summed up, side by side, of labels that are all expected: shape (samples, 2 * labels)."""
    right, total = np.split(hits, 2, axis=1)
    mean: Floats = (right / total).mean(axis=1)
    return mean


def _cells(labels: Labels, wanted: Ints, given: Ints) -> Ints:
    """Each row's cell of the confusion matrix, whose first column is no label."""
    return wanted * (len(labels.names) + 1) + given + 1


def _sides(labels: Labels, cells: Ints) -> tuple[Ints, Ints]:
    return cells // (len(labels.names) + 1), cells % (len(labels.names) + 1) - 1


def macro_f1(counts: Floats, wanted: Ints, given: Ints) -> Floats:
    """Mean F1 over the labels that are expected of some row.

    Args:
        counts: rows in each cell of the confusion matrix: shape (samples, cells).
        wanted: the right label of each cell: shape (cells,).
        given: its given label, -1 for none.

    Returns:
        One number for each sample. A label that a sample neither expects nor gives is left out of its mean; NaN where
        that leaves none.
    """
    right, total = (counts @ each for each in _hits(wanted, given))
    with np.errstate(invalid="ignore"):
        each = np.where(total > 0, right / np.maximum(total, 1), np.nan)
        mean: Floats = np.nansum(each, axis=1) / (total > 0).sum(axis=1)
    return mean


def _hits(wanted: Ints, given: Ints) -> tuple[Any, Any]:
    """What a row of each cell adds to 2 TP, and to 2 TP + FP + FN, of each label that is expected of some row.

    Sparse, of shape (cells, labels).
    """
    from scipy.sparse import csr_array

    present = np.unique(wanted)
    expects, gives = wanted[:, None] == present, given[:, None] == present
    return csr_array(2.0 * (expects & gives)), csr_array(expects.astype(np.float64) + gives)


def _by_label(labels: Labels, wanted: Ints, given: Ints) -> dict[str, LabelScores]:
    found: dict[str, LabelScores] = {}
    for number in np.unique(wanted).tolist():
        expects, gives = int((wanted == number).sum()), int((given == number).sum())
        right = int(((wanted == number) & (given == number)).sum())
        found[labels.names[number]] = {
            "rows": expects,
            "precision": round(right / gives, 6) if gives else None,
            "recall": round(right / expects, 6),
            "f1": round(2 * right / (expects + gives), 6),
        }
    return found


def _kappa(labels: Labels, wanted: Ints, given: Ints, rows: Rows, ordered: Sequence[str]) -> Kappa:
    rank = numbers(ordered, labels.names)
    both = (given >= 0) & (rank[wanted] >= 0) & (rank[given] >= 0)
    if not both.any():
        return {"value": None, "low": None, "high": None, "rows": 0}
    size = len(ordered)
    cells, kinds = np.unique(rank[wanted[both]] * size + rank[given[both]], return_inverse=True)
    found = statistic(kinds, lambda counts: weighted_kappa(counts, cells // size, cells % size, size), rows.some(both))
    return {**found, "rows": int(both.sum())}


def weighted_kappa(counts: Floats, wanted: Ints, given: Ints, size: int) -> Floats:
    """Cohen's kappa with quadratic weights (1968) for each sample; NaN where all agree by necessity.

    Args:
        counts: rows in each cell: shape (samples, cells).
        wanted: rank of each cell's right label, 0 to size - 1: shape (cells,).
        given: rank of its given label.
    """
    ranks = np.arange(size)
    total = np.maximum(counts.sum(axis=1), 1)
    rows_ = counts @ (wanted[:, None] == ranks).astype(np.float64) / total[:, None]
    columns = counts @ (given[:, None] == ranks).astype(np.float64) / total[:, None]
    seen = counts @ ((wanted - given) ** 2) / total
    # The mean squared distance of two independent draws, from the margins' first and second moments.
    chance = rows_ @ ranks**2 + columns @ ranks**2 - 2 * (rows_ @ ranks) * (columns @ ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: Floats = np.where(chance > 1e-12, 1 - seen / chance, np.nan)
    return kappa


def calibration(confidence: Floats, right: "np.ndarray[Any, np.dtype[np.bool_]]") -> Calibration:
    """How far a system's confidence in its answers is from how often they are right.

    Args:
        confidence: 0 to 1 for each row; NaN where there is none.
        right: whether the row's answer is right.

    Returns:
        `rows`, `ece` (expected calibration error: the mean distance over BINS of equal width, Guo et al. 2017),
        `brier`, and `bins`: [from, to, rows, mean confidence, share right].
    """
    known = ~np.isnan(confidence)
    confidence, hit = confidence[known], right[known].astype(np.float64)
    if not len(confidence):
        return {"rows": 0, "ece": None, "brier": None, "bins": []}
    number = np.minimum((np.clip(confidence, 0, 1) * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(number, minlength=BINS)
    sure = np.bincount(number, confidence, BINS) / np.maximum(counts, 1)
    hits = np.bincount(number, hit, BINS) / np.maximum(counts, 1)
    return {
        "rows": len(confidence),
        "ece": round(float(np.sum(counts * np.abs(sure - hits)) / len(confidence)), 6),
        "brier": round(float(np.mean((confidence - hit) ** 2)), 6),
        "bins": [
            [
                index / BINS,
                (index + 1) / BINS,
                int(counts[index]),
                round(float(sure[index]), 6),
                round(float(hits[index]), 6),
            ]
            for index in np.flatnonzero(counts).tolist()
        ],
    }
