"""Buckets: which rows are worth comparing with each other, by the bands of their signatures."""

from dataclasses import dataclass

import numpy as np

from curate.sets.bands import Tables
from curate.sets.keys import Flags, Numbers
from curate.sets.similarity import equal_places, least_equal
from curate.text.kernel import kernel
from curate.text.minhash import Signatures
from curate.text.words import Offsets

LARGE = 64
"""Rows of a band's bucket from which the prefix filter proposes instead: about where comparing all pairs of them costs
as much as it does."""


@dataclass(frozen=True)
class Buckets:
    """Rows to be compared with each other: bucket b holds rows[begins[b] : begins[b + 1]], the weak ones last."""

    begins: Offsets
    rows: Numbers
    weak: Flags
    """Whether a row is not to be compared with others of its bucket that are weak."""

    def __add__(self, other: "Buckets") -> "Buckets":
        begins = np.concatenate([self.begins, other.begins[1:] + self.begins[-1]])
        return Buckets(begins, np.concatenate([self.rows, other.rows]), np.concatenate([self.weak, other.weak]))


def band_buckets(tables: Tables) -> tuple[Buckets, Flags]:
    """The buckets of 2 to LARGE rows of all bands, and which rows are in larger ones: shape (rows,)."""
    crowded = np.zeros(tables.shape[1], np.bool_)
    begins, rows = runs_of(tables, LARGE, crowded)
    return Buckets(begins, rows, np.zeros(len(rows), np.bool_)), crowded


def have_rivals(signatures: Signatures, buckets: Buckets, threshold: float) -> Flags:
    """Which rows have another one worth comparing in their buckets: shape (rows,)."""
    rivals = np.zeros(len(signatures), np.bool_)
    _have_rivals(signatures, buckets.begins, buckets.rows, least_equal(threshold), rivals)
    return rivals


@kernel
def runs_of(tables, largest, crowded):  # type: ignore[no-untyped-def]
    """Runs of 2 to `largest` entries of one key, as (begins, rows); marks the rows of longer ones in `crowded`."""
    counts = np.zeros(2, np.int64)  # buckets, rows
    begins = np.zeros(1, np.int64)
    rows = np.empty(0, np.int64)
    for fill in range(2):
        counts[:] = 0
        for table in tables:
            begin = 0
            while begin < len(table):
                key = table[begin] >> np.uint64(32)
                end = begin + 1
                while end < len(table) and table[end] >> np.uint64(32) == key:
                    end += 1
                if end - begin > largest:
                    for at in range(begin, end):
                        crowded[table[at] & np.uint64(0xFFFFFFFF)] = True
                elif end - begin > 1:
                    if fill:
                        for at in range(begin, end):
                            rows[counts[1] + at - begin] = table[at] & np.uint64(0xFFFFFFFF)
                        begins[counts[0] + 1] = counts[1] + end - begin
                    counts[0] += 1
                    counts[1] += end - begin
                begin = end
        if not fill:
            begins = np.zeros(counts[0] + 1, np.int64)
            rows = np.empty(counts[1], np.int64)
    return begins, rows


@kernel
def by_row(rows, buckets, total):  # type: ignore[no-untyped-def]
    """The buckets of each row, ascending, as (offsets of shape (total + 1,), buckets)."""
    offsets = np.zeros(total + 1, np.int64)
    for row in rows:
        offsets[row + 1] += 1
    for row in range(total):
        offsets[row + 1] += offsets[row]
    own = np.empty(len(rows), np.int64)
    ends = offsets[:-1].copy()
    for at in range(len(rows)):
        own[ends[rows[at]]] = buckets[at]
        ends[rows[at]] += 1
    return offsets, own


@kernel
def _have_rivals(signatures, begins, rows, least, rivals):  # type: ignore[no-untyped-def]
    for bucket in range(len(begins) - 1):
        members = rows[begins[bucket] : begins[bucket + 1]]
        for row in members:
            if rivals[row]:
                continue
            for other in members:
                if other != row and equal_places(signatures[row], signatures[other]) >= least:
                    rivals[row] = rivals[other] = True
                    break
