"""The prefix filter: which of many rows are worth comparing, by their rarest shingles.

It is exact: of two sets at the threshold, both ordered with the rarest shingles first, the beginnings have a shingle in
common (Chaudhuri et al., 2006; Bayardo et al., 2007), and of the smaller one a beginning half as long will do (Xiao et
al., 2008). So rows that only share what all share are not compared.
"""

import numpy as np

from curate.sets.buckets import Buckets, runs_of
from curate.sets.keys import Flags
from curate.sets.similarity import Side, shingles_of
from curate.text.kernel import kernel, read_only

COUNTERS = 1 << 22
"""How often a shingle occurs is counted by the last bits of its hash; two that share a counter only seem less rare."""
WEAK = 1 << 31
"""Bit of an entry of the prefix filter, above those of the row."""


def prefix_buckets(side: Side, crowded: Flags, threshold: float) -> Buckets:
    """Buckets that hold every pair at or above the threshold among the crowded rows, whose shingles must be there."""
    side, rows, counts = read_only(side), np.flatnonzero(crowded), np.zeros(COUNTERS, np.uint32)
    count_shingles(side, rows, counts)
    entries = prefixes(side, rows, counts, threshold)
    entries.sort()
    begins, found = runs_of(entries[None], len(entries), np.zeros(len(crowded), np.bool_))
    weak = found >= WEAK
    useful, lengths = ~weak[begins[:-1]], np.diff(begins)
    inside = np.repeat(useful, lengths)
    begins = np.concatenate([[0], np.cumsum(lengths[useful])])
    return Buckets(begins, found[inside] & (WEAK - 1), weak[inside])


@kernel
def count_shingles(side, rows, counts):  # type: ignore[no-untyped-def]
    """Count how often each shingle occurs in the rows; those whose hashes end alike share a counter."""
    for row in rows:
        for shingle in shingles_of(side, row):
            counts[shingle & np.uint64(COUNTERS - 1)] += 1


@kernel
def prefixes(side, rows, counts, threshold):  # type: ignore[no-untyped-def]
    """For each row the entries (32 bits of the shingle) << 32 | row of its rarest shingles, as many as must have one in
    common with those of any row at the threshold; shingles that occur once are left out. Entries that are needed only
    for smaller rows' sake have the bit WEAK: two of them need not meet."""
    entries = np.empty(1024, np.uint64)
    total = 0
    for row in rows:
        own = shingles_of(side, row)
        # By rarity and then by hash: upper and lower halves of a number that is sorted.
        ordered = np.empty(len(own), np.uint64)
        for at in range(len(own)):
            count = np.uint64(counts[own[at] & np.uint64(COUNTERS - 1)])
            ordered[at] = count << np.uint64(32) | own[at] >> np.uint64(32)
        ordered.sort()
        strong = _prefix(ordered, 2 * threshold / (1 + threshold))
        for at in range(_prefix(ordered, threshold)):
            if ordered[at] >> np.uint64(32) > 1:
                if total == len(entries):
                    longer = np.empty(2 * len(entries), np.uint64)
                    longer[:total] = entries
                    entries = longer
                weak = np.uint64(WEAK if at >= strong else 0)
                entries[total] = ordered[at] << np.uint64(32) | weak | np.uint64(row)
                total += 1
    return entries[:total].copy()


@kernel
def _prefix(ordered, share):  # type: ignore[no-untyped-def]
    """How many of a row's shingles must have one among them that is shared, if that share of all of them is shared."""
    size = len(ordered) - np.int64(np.ceil(share * len(ordered) - 1e-9)) + 1
    while size < len(ordered) and ordered[size] == ordered[size - 1]:
        size += 1  # shingles that look the same here stand on one side
    return size
