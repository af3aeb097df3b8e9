"""How well splits meet their ratios: what was reached, and a proven bound of what no assignment can better."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from curate.record import SPLITS
from curate.sets.deal import CELLS, MILLION, Flags, Ints, Kinds


def bound(kinds: Kinds, held: Ints, wanted: Ints, open_to: Flags) -> Ints:
    """A lower bound of the deviation of every assignment: shape (3,), in all, by label and the sum of both.

    The deviation of a column (a label, or all rows) is half the sum over the splits of |rows - wanted|, which is the
    sum of what the splits have too much, since both add up to the same.

    Proof. Take any assignment. It puts the k largest components somewhere; all 3^k ways are tried here, so one of them
    is a part of it. Let a split hold f rows of a column then, want q, and let g divide what every component still to
    come has of the column, K g rows in all. In the end the split holds f + n g for a whole n >= 0, where the n of the
    splits add up to K, and has max(0, f + n g - q) too much: convex in n, so the sum is least where each next g rows go
    where they add least. The first max(0, floor((q - f) / g)) steps of a split add nothing; what remains of K, at most
    two steps, adds least on the splits with the cheapest next steps. The columns' minima, added up, are no more than
    what the assignment has of all columns together; and the least of that over the 3^k ways, no more than what it has.
    With all components among the k largest nothing remains, and the bound is the optimum.

    Args:
        held: rows of each column that stand already, shape (3, columns).
        wanted: shape (3, columns), in millionths of a row.
        open_to: splits whose ratio is not 0, shape (3,).
    """
    splits = np.flatnonzero(open_to)
    every = np.repeat(np.arange(len(kinds.copies)), kinds.copies)
    largest = every[: max(0, int(np.log(CELLS / kinds.columns) / np.log(max(2, len(splits)))))]
    left = kinds.copies - np.bincount(largest, minlength=len(kinds.copies))
    ways = len(splits) ** len(largest)
    has = np.broadcast_to(held, (ways, *held.shape)).copy()
    ways_of = np.indices((len(splits),) * len(largest)).reshape(len(largest), ways)
    for where, rows in zip(ways_of, kinds.dense(largest), strict=True):
        has[np.arange(ways), splits[where]] += rows
    divisor = np.zeros(kinds.columns, dtype=np.int64)
    remaining = np.repeat(left > 0, np.diff(np.append(kinds.begins, len(kinds.column))))
    np.gcd.at(divisor, kinds.column[remaining], kinds.rows[remaining])
    step = np.where(divisor == 0, 1, divisor) * MILLION
    steps = (wanted.sum(axis=0) - has[0].sum(axis=0) * MILLION) // step

    has *= MILLION
    free = np.where(open_to[:, None], np.clip((wanted - has) // step, 0, None), 0)
    too_much = np.clip(has - wanted, 0, None).sum(axis=1)
    after = np.clip(has + (free + 1) * step - wanted, 0, None) - np.clip(has + free * step - wanted, 0, None)
    after = np.sort(np.where(open_to[:, None], after, np.iinfo(np.int64).max // 4), axis=1)
    short = steps - free.sum(axis=1)
    too_much += np.where(short >= 1, after[:, 0], 0) + np.where(short >= 2, after[:, 1], 0)
    in_all, by_label = too_much[:, -1], too_much[:, :-1].sum(axis=1)
    return np.array([in_all.min(), by_label.min(), (in_all + by_label).min()])


def balance(counts: Ints, wanted: Ints, ratios: Ints, labels: Sequence[str | None], bound: Ints) -> dict[str, Any]:
    """How well the ratios are met.

    splits: of each split rows, share and ratio; labels: of each label (null: rows without one), the most frequent
    first, rows and shares; deviation: the rows in a wrong split, as a share of all rows: in all (how many would have to
    change their split for the ratios to hold), by label (the same, label by label), and the sum of both, which the
    split makes small; least_possible: a bound that no assignment of these components goes below.

    Args:
        counts: rows of each column in each split, shape (3, columns); the last column is all rows.
        wanted: the same as the ratios would have it, in millionths of a row.
        bound: see `bound`.
    """
    rows = counts.sum(axis=0)
    off = np.abs(counts * MILLION - wanted).sum(axis=0) // 2
    measured = np.array([off[-1], off[:-1].sum(), off.sum()])

    def shares(column: int) -> list[float]:
        return [round(count / max(int(rows[column]), 1), 6) for count in counts[:, column].tolist()]

    def deviations(values: Ints) -> dict[str, float]:
        found = [round(value / (max(int(rows[-1]), 1) * MILLION), 9) for value in values.tolist()]
        return dict(zip(("in_all", "by_label", "sum"), found, strict=True))

    order = sorted(
        (column for column in range(len(labels)) if rows[column]), key=lambda column: (-rows[column], column)
    )
    return {
        "splits": {
            name: {"rows": int(count), "share": share, "ratio": ratio / MILLION}
            for name, count, share, ratio in zip(SPLITS, counts[:, -1], shares(-1), ratios.tolist(), strict=True)
        },
        "labels": [
            {
                "label": labels[column],
                "rows": int(rows[column]),
                "shares": dict(zip(SPLITS, shares(column), strict=True)),
            }
            for column in order
        ],
        "deviation": deviations(measured),
        "least_possible": deviations(bound),
    }
