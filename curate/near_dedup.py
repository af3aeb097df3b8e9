"""Near-duplicates: locality-sensitive hashing proposes pairs, their true Jaccard similarity decides.

Rows are numbers here, in order of priority, the highest first. What they are compared by is a `Side`: signatures, the
sorted tables of their bands, and the shingles of those rows that have a rival worth comparing. The kernels take the
arrays of sides; all are compiled by numba and give the same result on every machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.components import find, union
from curate.minhash import PERMUTATIONS, Signatures
from curate.words import Hashes, Offsets

MISSED = 1e-3
"""Chance that the bands propose no pair of just the threshold's similarity that is accepted at most."""
WIDEST = 4
"""Values per band at most. 32 bands of 4 propose a pair of similarity .6, .7, .8 with a chance of .988, .9998, 1 - 5e-8
(1 - (1 - s^4)^32; Leskovec et al., Mining of Massive Datasets, 3.4). False proposals cost a comparison, no more."""
MARGIN = 5 * 0.5 / PERMUTATIONS**0.5
"""Five standard deviations of MinHash's estimate where it is widest (Broder, 1997): a proposed pair whose estimate is
that far below the threshold is not compared; fewer than one in a million pairs at the threshold are passed over."""

Tables = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]


def bands_for(threshold: float) -> int:
    """The least number of bands that misses a pair at the threshold with a chance of at most MISSED."""
    widths = [w for w in range(WIDEST, 0, -1) if (1 - threshold**w) ** (PERMUTATIONS // w) <= MISSED]
    return PERMUTATIONS // (widths[0] if widths else 1)


def band_tables(signatures: Signatures, bands: int) -> Tables:
    """Rows by what they have in a band: shape (bands, rows), each band sorted.

    An entry is key << 32 | row, the key being 32 bits of the hash of the band's values: rows of equal values in a band
    stand side by side in it. Two other rows do so by chance once in 2^32 times, which costs a comparison, no more.
    """
    tables = np.empty((bands, len(signatures)), np.uint64)
    _band_entries(signatures, tables)
    tables.sort(axis=1)
    return tables


def least_equal(threshold: float) -> int:
    """In how many of the 128 places two signatures must be equal for their rows to be worth comparing."""
    return int(np.ceil((threshold - MARGIN) * PERMUTATIONS))


@dataclass(frozen=True)
class Side:
    """What rows are compared by."""

    signatures: Signatures
    """Shape (rows, 128)."""
    tables: Tables
    """See `band_tables`: shape (bands, rows)."""
    begins: Offsets
    """Row r's shingles, sorted and distinct, are values[begins[r] : ends[r]]; none where they are not needed."""
    ends: Offsets
    values: Hashes

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays as the kernels take them."""
        return self.signatures, self.tables, self.begins, self.ends, self.values


def have_rivals(signatures: Signatures, tables: Tables, threshold: float) -> npt.NDArray[np.bool_]:
    """Which rows have another one worth comparing: shape (rows,). Only of these the shingles are needed."""
    rivals = np.zeros(len(signatures), np.bool_)
    _have_rivals(signatures, tables, least_equal(threshold), rivals)
    return rivals


def have_rivals_in(signatures: Signatures, earlier: Side, live: Any, threshold: float) -> npt.NDArray[np.bool_]:
    """Which rows have one worth comparing among the live rows of an earlier side: shape (rows,)."""
    rivals = np.zeros(len(signatures), np.bool_)
    keys = _keys(signatures, len(earlier.tables))
    _have_rivals_in(signatures, keys, earlier.signatures, earlier.tables, live, least_equal(threshold), rivals)
    return rivals


def remove_near_duplicates(
    side: Side, answers: Hashes, candidates: npt.NDArray[np.bool_], threshold: float
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """The greedy rule: a row goes if a kept row before it with an equal answer is at least as similar as the threshold.

    Args:
        side: rows in order of priority.
        answers: a hash of each row's answer; rows of different ones never remove each other.
        candidates: rows that are still there; others neither remove nor are removed.
        threshold: Jaccard similarity, in (0, 1].

    Returns:
        For each row the kept row that removes it (the first such row, -1: none), and their true similarity.
    """
    by = np.full(len(answers), -1, np.int64)
    similarity = np.zeros(len(answers))
    entries, buckets = _same_answer_buckets(side.tables, answers)
    _remove(*side.arrays, entries, buckets, candidates, threshold, least_equal(threshold), by, similarity)
    return by, similarity


def remove_duplicates_of(
    earlier: Side,
    kept: npt.NDArray[np.bool_],
    live: npt.NDArray[np.bool_],
    earlier_answers: Hashes,
    clusters: Hashes,
    side: Side,
    answers: Hashes,
    threshold: float,
) -> tuple[Rows, npt.NDArray[np.float64], Rows]:
    """Compare rows with those of earlier versions, which stand before all of them.

    Args:
        earlier: the earlier rows; their shingles are all there.
        kept: which of these are published, so that they remove.
        live: which of these count at all.
        earlier_answers, answers: a hash of each row's answer, or zeros where the answer does not matter.
        clusters: a hash of each earlier row's cluster.
        side: the new rows; the shingles of those of `have_rivals_in` must be there.
        threshold: Jaccard similarity, in (0, 1].

    Returns:
        For each new row the first kept earlier row that removes it (-1: none), and their true similarity; and the
        pairs (new row, earlier row) that tie each new row to every earlier cluster it has a near-duplicate in.
    """
    by = np.full(len(answers), -1, np.int64)
    similarity = np.zeros(len(answers))
    pairs = _against(
        *earlier.arrays,
        kept,
        live,
        earlier_answers,
        clusters,
        *side.arrays,
        _keys(side.signatures, len(earlier.tables)),
        answers,
        threshold,
        least_equal(threshold),
        by,
        similarity,
    )
    return by, similarity, pairs


def link(side: Side, parents: Rows, threshold: float) -> None:
    """Join all pairs of rows at or above the threshold in the union-find `parents` (see curate.components)."""
    _link(*side.arrays, parents, threshold, least_equal(threshold))


def _keys(signatures: Signatures, bands: int) -> Tables:
    """The key of each row in each band, in the upper 32 bits: shape (bands, rows)."""
    keys = np.empty((bands, len(signatures)), np.uint64)
    _band_entries(signatures, keys)
    return keys & ~np.uint64(0xFFFFFFFF)


def _same_answer_buckets(tables: Tables, answers: Hashes) -> tuple[Offsets, npt.NDArray[np.int32]]:
    """For each row the buckets it shares with another row of the same answer.

    Returns:
        Offsets of shape (rows + 1,) into the numbers of the buckets, which run from 0.
    """
    sorted_again = np.empty_like(tables[0])
    offsets = np.zeros(len(answers) + 1, np.int64)
    shared = []
    number = 0
    for table in tables:
        _with_answers(table, answers, sorted_again)
        sorted_again.sort()
        rows, buckets, number = _shared(sorted_again, number)
        shared.append((rows, buckets))
        offsets[1:] += np.bincount(rows, minlength=len(answers))
    np.cumsum(offsets, out=offsets)
    flat = np.empty(offsets[-1], np.int32)
    ends = offsets[:-1].copy()
    for rows, buckets in shared:
        _fill(rows, buckets, ends, flat)
    return offsets, flat


@njit(cache=True, nogil=True, inline="always")
def _scramble(value):  # type: ignore[no-untyped-def]
    """MurmurHash3's 64-bit finalizer."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@njit(cache=True, nogil=True)
def _band_entries(signatures, out):  # type: ignore[no-untyped-def]
    bands = len(out)
    width = signatures.shape[1] // bands
    for row in range(len(signatures)):
        for band in range(bands):
            key = np.uint64(band)
            for at in range(band * width, (band + 1) * width):
                key = _scramble(key ^ np.uint64(signatures[row, at]))
            out[band, row] = (key >> np.uint64(32) << np.uint64(32)) | np.uint64(row)


@njit(cache=True, nogil=True)
def _with_answers(table, answers, out):  # type: ignore[no-untyped-def]
    """The entries of a band, their keys made of answer and key."""
    for at in range(len(table)):
        row = table[at] & np.uint64(0xFFFFFFFF)
        key = _scramble((table[at] >> np.uint64(32)) ^ answers[row])
        out[at] = (key >> np.uint64(32) << np.uint64(32)) | row


@njit(cache=True, nogil=True)
def _run(table, begin):  # type: ignore[no-untyped-def]
    """Where the run of entries of one key ends that begins at `begin`."""
    key = table[begin] >> np.uint64(32)
    end = begin + 1
    while end < len(table) and table[end] >> np.uint64(32) == key:
        end += 1
    return end


@njit(cache=True, nogil=True)
def _shared(table, number):  # type: ignore[no-untyped-def]
    """Rows that share their key with another, and the number of the bucket, counted on from `number`."""
    rows = np.empty(len(table), np.int32)
    buckets = np.empty(len(table), np.int32)
    count = 0
    begin = 0
    while begin < len(table):
        end = _run(table, begin)
        if end - begin > 1:
            for at in range(begin, end):
                rows[count] = np.int32(table[at] & np.uint64(0xFFFFFFFF))
                buckets[count] = number
                count += 1
            number += 1
        begin = end
    return rows[:count].copy(), buckets[:count].copy(), number


@njit(cache=True, nogil=True)
def _fill(rows, buckets, ends, flat):  # type: ignore[no-untyped-def]
    for at in range(len(rows)):
        flat[ends[rows[at]]] = buckets[at]
        ends[rows[at]] += 1


@njit(cache=True, nogil=True)
def _equal(first, second):  # type: ignore[no-untyped-def]
    """In how many places two signatures are equal."""
    count = np.uint32(0)
    for at in range(PERMUTATIONS):
        count += np.uint32(first[at] == second[at])
    return count


@njit(cache=True, nogil=True)
def jaccard(first, second):  # type: ignore[no-untyped-def]
    """Jaccard similarity of two sets of sorted, distinct hashes: size of the intersection over size of the union."""
    i, j, common = 0, 0, 0
    while i < len(first) and j < len(second):
        a, b = first[i], second[j]
        common += a == b
        i += a <= b
        j += b <= a
    return common / (len(first) + len(second) - common)


@njit(cache=True, nogil=True)
def _have_rivals(signatures, tables, least, rivals):  # type: ignore[no-untyped-def]
    for table in tables:
        begin = 0
        while begin < len(table):
            end = _run(table, begin)
            for at in range(begin, end):
                row = table[at] & np.uint64(0xFFFFFFFF)
                if rivals[row]:
                    continue
                for other_at in range(begin, end):
                    other = table[other_at] & np.uint64(0xFFFFFFFF)
                    if other != row and _equal(signatures[row], signatures[other]) >= least:
                        rivals[row] = rivals[other] = True
                        break
            begin = end


@njit(cache=True, nogil=True)
def _have_rivals_in(signatures, keys, theirs, tables, live, least, rivals):  # type: ignore[no-untyped-def]
    for row in range(len(signatures)):
        for band in range(len(tables)):
            key = keys[band, row]
            at = np.searchsorted(tables[band], key)
            while (
                not rivals[row] and at < tables.shape[1] and tables[band, at] >> np.uint64(32) == key >> np.uint64(32)
            ):
                other = tables[band, at] & np.uint64(0xFFFFFFFF)
                rivals[row] = live[other] and _equal(signatures[row], theirs[other]) >= least
                at += 1
            if rivals[row]:
                break


@njit(cache=True, nogil=True)
def _remove(  # type: ignore[no-untyped-def]
    signatures, tables, begins, ends, values, offsets, buckets, candidates, threshold, least, by, similarity
):
    last = np.full(len(buckets) // 2 + 1, -1, np.int64)  # entry of the row kept last in each bucket
    before = np.full(len(buckets), -1, np.int64)  # entry of the row kept before that one
    row_of = np.empty(len(buckets), np.int64)
    seen = np.full(len(by), -1, np.int64)
    rivals = np.empty(len(by), np.int64)
    for row in range(len(by)):
        if not candidates[row]:
            continue
        count = 0
        for at in range(offsets[row], offsets[row + 1]):
            entry = last[buckets[at]]
            while entry >= 0:
                other = row_of[entry]
                if seen[other] != row:
                    seen[other] = row
                    if _equal(signatures[row], signatures[other]) >= least:
                        rivals[count] = other
                        count += 1
                entry = before[entry]
        for other in np.sort(rivals[:count]):
            true = jaccard(values[begins[row] : ends[row]], values[begins[other] : ends[other]])
            if true >= threshold:
                by[row], similarity[row] = other, true
                break
        if by[row] < 0:
            for at in range(offsets[row], offsets[row + 1]):
                row_of[at] = row
                before[at] = last[buckets[at]]
                last[buckets[at]] = at


@njit(cache=True, nogil=True)
def _link(signatures, tables, begins, ends, values, parents, threshold, least):  # type: ignore[no-untyped-def]
    """Bucket by bucket. Its rows are held in groups that are joined already, so that a bucket of a thousand rows that
    are all alike costs a thousand comparisons; only rows that are not similar are compared each with each."""
    rows = tables.shape[1]
    following = np.empty(rows, np.int64)  # by place in the table: the next row of the group
    heads = np.empty(rows, np.int64)
    tails = np.empty(rows, np.int64)
    for table in tables:
        begin = 0
        while begin < rows:
            end = _run(table, begin)
            groups = 0
            for at in range(begin, end if end - begin > 1 else begin):
                row = np.int64(table[at] & np.uint64(0xFFFFFFFF))
                mine = at  # head of the group the row belongs to
                tail = at
                following[at] = -1
                left = 0
                for group in range(groups):
                    member = heads[group]
                    joined = find(parents, np.int64(table[member] & np.uint64(0xFFFFFFFF))) == find(parents, row)
                    while not joined and member >= 0:
                        other = np.int64(table[member] & np.uint64(0xFFFFFFFF))
                        if (
                            _equal(signatures[row], signatures[other]) >= least
                            and jaccard(values[begins[row] : ends[row]], values[begins[other] : ends[other]])
                            >= threshold
                        ):
                            union(parents, row, other)
                            joined = True
                        member = following[member]
                    if joined:
                        following[tail] = heads[group]
                        tail = tails[group]
                    else:
                        heads[left], tails[left] = heads[group], tails[group]
                        left += 1
                heads[left], tails[left] = mine, tail
                groups = left + 1
            begin = end


@njit(cache=True, nogil=True)
def _against(  # type: ignore[no-untyped-def]
    signatures,
    tables,
    begins,
    ends,
    values,
    kept,
    live,
    answers,
    clusters,
    new_signatures,
    new_tables,
    new_begins,
    new_ends,
    new_values,
    new_keys,
    new_answers,
    threshold,
    least,
    by,
    similarity,
):
    seen = np.full(len(signatures), -1, np.int64)
    rivals = np.empty(len(signatures), np.int64)
    pairs = np.empty((len(new_answers), 2), np.int64)
    pairs_count = 0
    for row in range(len(new_answers)):
        count = 0
        for band in range(len(tables)):
            key = new_keys[band, row]
            at = np.searchsorted(tables[band], key)
            while at < tables.shape[1] and tables[band, at] >> np.uint64(32) == key >> np.uint64(32):
                other = np.int64(tables[band, at] & np.uint64(0xFFFFFFFF))
                if seen[other] != row:
                    seen[other] = row
                    if live[other] and _equal(new_signatures[row], signatures[other]) >= least:
                        rivals[count] = other
                        count += 1
                at += 1
        first_pair = pairs_count
        mine = new_values[new_begins[row] : new_ends[row]]
        for other in np.sort(rivals[:count]):
            removes = by[row] < 0 and kept[other] and answers[other] == new_answers[row]
            tied = False
            for at in range(first_pair, pairs_count):
                tied = tied or clusters[pairs[at, 1]] == clusters[other]
            if tied and not removes:
                continue
            true = jaccard(mine, values[begins[other] : ends[other]])
            if true < threshold:
                continue
            if removes:
                by[row], similarity[row] = other, true
            if not tied:
                if pairs_count == len(pairs):
                    longer = np.empty((2 * len(pairs), 2), np.int64)
                    longer[:pairs_count] = pairs
                    pairs = longer
                pairs[pairs_count, 0], pairs[pairs_count, 1] = row, other
                pairs_count += 1
    return pairs[:pairs_count].copy()
