"""Near-duplicates: locality-sensitive hashing proposes pairs, their true Jaccard similarity decides.

Rows are numbers here, in order of priority, the highest first. What they are compared by is a `Side`: signatures, and
the shingles of those rows that have a rival worth comparing. What is compared are the rows that share a *bucket*: the
values of a band of their signatures. Where a band's bucket is large, as with rows that all begin with the same words,
its rows are proposed anew by the prefix filter, which is exact: of two sets at the threshold, both ordered with the
rarest shingles first, the beginnings have a shingle in common (Chaudhuri et al., 2006; Bayardo et al., 2007), and of
the smaller one a beginning half as long will do (Xiao et al., 2008). So rows that only share what all share are not
compared, and a bucket costs about as much as it has rows, not pairs.

The kernels are compiled by numba and give the same result on every machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.sets.components import find, union
from curate.text.kernel import in_threads, kernel
from curate.text.minhash import PERMUTATIONS, Signatures
from curate.text.words import Hashes, Offsets

MISSED = 1e-3
"""Chance that the bands propose no pair of just the threshold's similarity that is accepted at most."""
WIDEST = 4
"""Values per band at most. 32 bands of 4 propose a pair of similarity .6, .7, .8 with a chance of .988, .9998, 1 - 5e-8
(1 - (1 - s^4)^32; Leskovec et al., Mining of Massive Datasets, 3.4). False proposals cost a comparison, no more."""
SIGMAS = 4
"""A proposed pair whose estimated similarity is that many standard deviations below the threshold is not compared: of
the pairs at the threshold that passes over 3 in 100,000 (a MinHash estimate is binomial; Broder, 1997)."""

LARGE = 64
"""Rows of a band's bucket from which the prefix filter proposes instead: about where comparing all pairs of them costs
as much as it does."""
BATCH = 1 << 14
"""Rows whose bands one thread hashes at a time."""
COUNTERS = 1 << 22
"""How often a shingle occurs is counted by the last bits of its hash; two that share a counter only seem less rare."""
WEAK = 1 << 31
"""Bit of an entry of the prefix filter, above those of the row."""
DAMAGED = "The band tables name a row that is not there: the index is damaged. `assay index rebuild` makes it again."
"""Only the sizes of an index's files are looked at when it is opened, and kernels check no bounds."""
Tables = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


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
    in_threads(lambda begin: _enter(signatures, begin, tables), range(0, len(signatures), BATCH))
    in_threads(np.ndarray.sort, tables)
    return tables


def least_equal(threshold: float) -> int:
    """In how many of the 128 places two signatures must be equal for their rows to be worth comparing."""
    return int(PERMUTATIONS * threshold - SIGMAS * (PERMUTATIONS * threshold * (1 - threshold)) ** 0.5)


@dataclass(frozen=True)
class Side:
    """What rows are compared by."""

    signatures: Signatures
    """Shape (rows, 128)."""
    begins: Offsets
    """Row r's shingles, sorted and distinct, are values[begins[r] : ends[r]]; none where they are not needed."""
    ends: Offsets
    values: Hashes

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The arrays as the kernels take them."""
        return self.signatures, self.begins, self.ends, self.values


@dataclass(frozen=True)
class Buckets:
    """Rows to be compared with each other: bucket b holds rows[begins[b] : begins[b + 1]], the weak ones last."""

    begins: Offsets
    rows: Rows
    weak: Flags
    """Whether a row is not to be compared with others of its bucket that are weak."""

    def __add__(self, other: "Buckets") -> "Buckets":
        begins = np.concatenate([self.begins, other.begins[1:] + self.begins[-1]])
        return Buckets(begins, np.concatenate([self.rows, other.rows]), np.concatenate([self.weak, other.weak]))


def band_buckets(tables: Tables) -> tuple[Buckets, Flags]:
    """The buckets of 2 to LARGE rows of all bands, and which rows are in larger ones: shape (rows,)."""
    crowded = np.zeros(tables.shape[1], np.bool_)
    begins, rows = _runs(tables, LARGE, crowded)
    return Buckets(begins, rows, np.zeros(len(rows), np.bool_)), crowded


def prefix_buckets(side: Side, crowded: Flags, threshold: float) -> Buckets:
    """Buckets that hold every pair at or above the threshold among the crowded rows, whose shingles must be there."""
    rows, counts = np.flatnonzero(crowded), np.zeros(COUNTERS, np.uint32)
    _count(*side.arrays[1:], rows, counts)
    entries = _prefixes(*side.arrays[1:], rows, counts, threshold)
    entries.sort()
    begins, found = _runs(entries[None], len(entries), np.zeros(len(crowded), np.bool_))
    weak = found >= WEAK
    useful, lengths = ~weak[begins[:-1]], np.diff(begins)
    inside = np.repeat(useful, lengths)
    begins = np.concatenate([[0], np.cumsum(lengths[useful])])
    return Buckets(begins, found[inside] & (WEAK - 1), weak[inside])


def have_rivals(signatures: Signatures, buckets: Buckets, threshold: float) -> Flags:
    """Which rows have another one worth comparing in their buckets: shape (rows,)."""
    rivals = np.zeros(len(signatures), np.bool_)
    _have_rivals(signatures, buckets.begins, buckets.rows, least_equal(threshold), rivals)
    return rivals


def have_rivals_in(own: Tables, tables: Tables, live: Flags) -> Flags:
    """Which rows, by their own tables, share a bucket with a live row of an earlier side: shape (rows,)."""
    keys, positions = _located(own, tables)
    rivals = np.zeros(own.shape[1], np.bool_)
    _have_rivals_in(keys, positions, tables, live, rivals)
    return rivals


def remove_near_duplicates(
    side: Side, buckets: Buckets, answers: Hashes, candidates: Flags, threshold: float
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """The greedy rule: a row goes if a kept row before it with an equal answer is at least as similar as the threshold.

    Args:
        side: rows in order of priority.
        buckets: where similar rows are found.
        answers: a hash of each row's answer; rows of different ones never remove each other.
        candidates: rows that are still there; others neither remove nor are removed.
        threshold: Jaccard similarity, in (0, 1].

    Returns:
        For each row the kept row that removes it (the first such row, -1: none), and their true similarity.
    """
    by = np.full(len(answers), -1, np.int64)
    similarity = np.zeros(len(answers))
    shared = _by_row(*_same_answer(buckets.begins, buckets.rows, buckets.weak, answers), len(answers))
    _remove(*side.arrays, answers, *shared, candidates, threshold, least_equal(threshold), by, similarity)
    return by, similarity


def remove_duplicates_of(
    earlier: Side,
    tables: Tables,
    kept: Flags,
    live: Flags,
    earlier_answers: Hashes,
    clusters: Hashes,
    side: Side,
    own: Tables,
    answers: Hashes,
    threshold: float,
) -> tuple[Rows, npt.NDArray[np.float64], Rows]:
    """Compare rows with those of earlier versions, which stand before all of them.

    Args:
        earlier: the earlier rows; their shingles are all there.
        tables: their `band_tables`.
        kept: which of these are published, so that they remove.
        live: which of these count at all.
        earlier_answers, answers: a hash of each row's answer, or zeros where the answer does not matter.
        clusters: a hash of each earlier row's cluster.
        side: the new rows; the shingles of those of `have_rivals_in` must be there.
        own: their `band_tables`.
        threshold: Jaccard similarity, in (0, 1].

    Returns:
        For each new row the first kept earlier row that removes it (-1: none), and their true similarity; and the
        pairs (new row, earlier row) that tie each new row to every earlier cluster it has a near-duplicate in.
    """
    by = np.full(len(answers), -1, np.int64)
    similarity = np.zeros(len(answers))
    keys, positions = _located(own, tables)
    theirs = tables, kept, live, earlier_answers, clusters
    runs, buckets = _long_runs(keys, positions, *theirs)
    ours = *side.arrays, keys, positions, answers, runs
    given = threshold, least_equal(threshold), by, similarity
    pairs, done = _against(*earlier.arrays, *theirs, *buckets, *ours, *given, 0, LARGE * len(answers))
    if done < len(answers):  # rows that are not alike share long buckets
        buckets = _rare_runs(earlier, kept, earlier_answers, clusters, buckets, side, runs, done, threshold)
        more, _ = _against(*earlier.arrays, *theirs, *buckets, *ours, *given, done, np.iinfo(np.int64).max)
        pairs = np.concatenate([pairs, more])
    return by, similarity, pairs


LongBuckets = tuple[Any, ...]
"""Buckets of many earlier rows, and which new rows fall into them, ordered so that few are looked at. To be removed, a
row is compared with the kept ones of its answer; to be tied to a cluster, with the rows of that cluster until one is
similar.

offsets, own: the buckets of new row r are own[offsets[r] : offsets[r + 1]].
member_begins, members, member_ends: bucket b's live rows by cluster are members[member_begins[b] :
    member_begins[b + 1]], and those of the cluster that members[at] is of end at member_ends[at].
remover_begins, removers, remover_answers: likewise its kept rows by answer, and their answers.
"""


def _long_runs(
    keys: Tables, positions: Rows, tables: Tables, kept: Flags, live: Flags, answers: Hashes, clusters: Hashes
) -> tuple[Rows, LongBuckets]:
    """The buckets of more than LARGE earlier rows that new rows fall into.

    Returns:
        The number of each new row's long bucket in each band, -1 where it is in none: shape (bands, rows).
    """
    runs = np.full(positions.shape, -1, np.int64)
    members = [np.zeros(0, np.int64)]
    for own, table, key, position in zip(runs, tables, keys, positions, strict=True):
        crowded = np.flatnonzero(position + LARGE < len(table))
        crowded = crowded[(table[position[crowded] + LARGE] ^ key[crowded]) >> np.uint64(32) == 0]
        starts, number = np.unique(position[crowded], return_inverse=True)
        own[crowded] = len(members) - 1 + number
        for start in starts:
            end = np.searchsorted(table, table[start] | np.uint64(0xFFFFFFFF), "right")
            rows = (table[start:end] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            if rows[-1] >= len(live):
                raise IndexError(DAMAGED)
            members.append(rows[live[rows]])
    bands, crowded = np.nonzero(runs >= 0)
    own = _by_row(crowded, runs[bands, crowded], positions.shape[1])
    numbers = np.repeat(np.arange(len(members) - 1), [len(rows) for rows in members[1:]])
    return runs, (*own, *_ordered(len(members) - 1, numbers, np.concatenate(members), kept, answers, clusters))


def _rare_runs(
    earlier: Side,
    kept: Flags,
    answers: Hashes,
    clusters: Hashes,
    buckets: LongBuckets,
    side: Side,
    runs: Rows,
    done: int,
    threshold: float,
) -> LongBuckets:
    """What the prefix filter makes of the long buckets of the new rows from `done` on.

    A bucket is now one of the earlier rows that have a shingle among their rarest; the weak ones are one of their own.
    """
    _, _, begins, members, *_ = buckets
    ours = np.flatnonzero((runs[:, done:] >= 0).any(axis=0)) + done
    crowded = np.zeros(len(answers), np.bool_)
    for bucket in np.unique(runs[:, ours]).tolist():
        if bucket >= 0:
            crowded[members[begins[bucket] : begins[bucket + 1]]] = True
    theirs, counts = np.flatnonzero(crowded), np.zeros(COUNTERS, np.uint32)
    _count(*earlier.arrays[1:], theirs, counts)
    _count(*side.arrays[1:], ours, counts)
    mine = _prefixes(*side.arrays[1:], ours, counts, threshold)
    entries = np.sort(_prefixes(*earlier.arrays[1:], theirs, counts, threshold))
    rows = (mine & np.uint64(WEAK - 1)).astype(np.int64)
    bucket_of, strong = mine >> np.uint64(31), mine & np.uint64(WEAK) == 0  # the last bit tells weak ones
    wanted = np.concatenate([bucket_of & ~np.uint64(1), bucket_of[strong] | np.uint64(1)])
    rows = np.concatenate([rows, rows[strong]])
    entries = entries[np.isin(entries >> np.uint64(31), wanted)]
    known, number = np.unique(entries >> np.uint64(31), return_inverse=True)
    there = np.isin(wanted, known)
    own = _by_row(rows[there], np.searchsorted(known, wanted[there]), runs.shape[1])
    found = (entries & np.uint64(WEAK - 1)).astype(np.int64)
    return *own, *_ordered(len(known), number, found, kept, answers, clusters)


def _ordered(
    buckets: int, numbers: Rows, rows: Rows, kept: Flags, answers: Hashes, clusters: Hashes
) -> tuple[Any, ...]:
    """The members and removers of LongBuckets.

    Args:
        buckets: how many there are.
        numbers: the bucket of each of `rows`, ascending.
        rows: live earlier rows.
    """
    order = np.lexsort((clusters[rows], numbers))
    member, number = rows[order], numbers[order]
    last = np.ones(len(member), np.bool_)  # whether a cluster's rows end here
    last[:-1] = (clusters[member[1:]] != clusters[member[:-1]]) | (number[1:] != number[:-1])
    ends = np.flatnonzero(last) + 1
    member_ends = ends[np.searchsorted(ends, np.arange(len(member)), "right")]
    rows, numbers = rows[kept[rows]], numbers[kept[rows]]
    order = np.lexsort((answers[rows], numbers))
    remover = rows[order]
    begins = np.arange(buckets + 1)
    member_begins, remover_begins = np.searchsorted(number, begins), np.searchsorted(numbers, begins)
    return member_begins, member, member_ends, remover_begins, remover, answers[remover]


def link(side: Side, buckets: Buckets, parents: Rows, threshold: float) -> None:
    """Join all pairs of rows at or above the threshold in the union-find `parents` (see curate.sets.components)."""
    buckets_of = np.repeat(np.arange(len(buckets.begins) - 1), np.diff(buckets.begins))
    own = _by_row(buckets.rows, 2 * buckets_of + buckets.weak, len(parents))
    _link(*side.arrays, buckets.begins, buckets.rows, buckets.weak, *own, parents, threshold, least_equal(threshold))


def link_earlier(
    earlier: Side, tables: Tables, live: Flags, side: Side, own: Tables, parents: Rows, threshold: float
) -> Rows:
    """Join rows that are at least as similar as the threshold to one earlier row, in the union-find `parents`.

    Args:
        earlier, tables, live, side, own: as for `remove_duplicates_of`.

    Returns:
        Pairs (row, earlier row) that are that similar, a spanning tree of all there are: every earlier row that is
        similar to any row is in one.
    """
    joined = np.concatenate([parents, np.arange(len(parents), len(parents) + len(live))])
    pairs: Rows = _link_earlier(
        *earlier.arrays, tables, live, *side.arrays, *_located(own, tables), joined, threshold,
        least_equal(threshold),
    )  # fmt: skip
    parents[:] = joined[: len(parents)]  # the least is the root: none of these points to an earlier row
    return pairs


def _located(own: Tables, tables: Tables) -> tuple[Tables, Rows]:
    """The key of each row in each band, in the upper 32 bits, and where in the band's table it would stand: both of
    shape (bands, rows)."""
    keys, positions = np.empty(own.shape, np.uint64), np.empty(own.shape, np.int64)

    def locate(band: int) -> None:
        rows = own[band] & np.uint64(0xFFFFFFFF)
        keys[band, rows] = ascending = own[band] & ~np.uint64(0xFFFFFFFF)
        positions[band, rows] = np.searchsorted(tables[band], ascending)

    in_threads(locate, range(len(tables)))
    return keys, positions


@njit(nogil=True, inline="always")
def _scramble(value):  # type: ignore[no-untyped-def]
    """MurmurHash3's 64-bit finalizer."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@kernel
def _enter(signatures, begin, out):  # type: ignore[no-untyped-def]
    """The band entries of the BATCH rows from `begin` on."""
    bands = len(out)
    width = signatures.shape[1] // bands
    for row in range(begin, min(begin + BATCH, len(signatures))):
        for band in range(bands):
            key = np.uint64(band)
            for at in range(band * width, (band + 1) * width):
                key = _scramble(key ^ np.uint64(signatures[row, at]))
            out[band, row] = (key >> np.uint64(32) << np.uint64(32)) | np.uint64(row)


@kernel
def _runs(tables, largest, crowded):  # type: ignore[no-untyped-def]
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
def _count(begins, ends, values, rows, counts):  # type: ignore[no-untyped-def]
    """Count how often each shingle occurs in the rows; those whose hashes end alike share a counter."""
    for row in rows:
        for at in range(begins[row], ends[row]):
            counts[values[at] & np.uint64(COUNTERS - 1)] += 1


@kernel
def _prefixes(begins, ends, values, rows, counts, threshold):  # type: ignore[no-untyped-def]
    """For each row the entries (32 bits of the shingle) << 32 | row of its rarest shingles, as many as must have one in
    common with those of any row at the threshold; shingles that occur once are left out. Entries that are needed only
    for smaller rows' sake have the bit WEAK: two of them need not meet."""
    entries = np.empty(1024, np.uint64)
    total = 0
    for row in rows:
        own = values[begins[row] : ends[row]]
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


@kernel
def _same_answer(begins, rows, weak, answers):  # type: ignore[no-untyped-def]
    """Rows that share a bucket with another row of the same answer, and the number of what they share, twice, plus one
    where they are weak in it."""
    found = np.empty(len(rows), np.int64)
    shared = np.empty(len(rows), np.int64)
    total, number = 0, 0
    for bucket in range(len(begins) - 1):
        members = rows[begins[bucket] : begins[bucket + 1]]
        flags = weak[begins[bucket] : begins[bucket + 1]]
        alike = True
        for row in members:
            alike = alike and answers[row] == answers[members[0]]
        if not alike:
            if len(members) == 2:
                continue
            order = np.argsort(answers[members], kind="mergesort")
            members, flags = members[order], flags[order]
        begin = 0
        while begin < len(members):
            end = begin + 1
            while end < len(members) and answers[members[end]] == answers[members[begin]]:
                end += 1
            if end - begin > 1 and not flags[begin]:
                for at in range(begin, end):
                    found[total], shared[total] = members[at], 2 * number + flags[at]
                    total += 1
                number += 1
            begin = end
    return found[:total].copy(), shared[:total].copy()


@kernel
def _by_row(rows, buckets, total):  # type: ignore[no-untyped-def]
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
def _share_before(first, second, bucket):  # type: ignore[no-untyped-def]
    """Whether two rows have been compared in a bucket before this one; they are given by twice the numbers of theirs,
    plus one where they are weak."""
    i, j = 0, 0
    while first[i] >> 1 < bucket and second[j] >> 1 < bucket:
        if first[i] >> 1 == second[j] >> 1 and not first[i] & second[j] & 1:
            return True
        i, j = i + (first[i] >> 1 <= second[j] >> 1), j + (second[j] >> 1 <= first[i] >> 1)
    return False


@kernel
def _equal(first, second):  # type: ignore[no-untyped-def]
    """In how many places two signatures are equal."""
    count = np.uint32(0)
    for at in range(PERMUTATIONS):
        count += np.uint32(first[at] == second[at])
    return count


@kernel
def jaccard(first, second, least=0.0):  # type: ignore[no-untyped-def]
    """Jaccard similarity of two sets of sorted, distinct hashes: size of the intersection over size of the union.

    Once it is certain to be less than `least`, 0 is given.
    """
    size = len(first) + len(second)
    most_missing = size - 2 * (least / (1 + least)) * size + 1e-6  # values of one set alone, if it is to reach `least`
    i, j, common = 0, 0, 0
    while i < len(first) and j < len(second):
        stop = min(i + 16, len(first))  # to look whether it can still be reached only now and then
        while i < stop and j < len(second):
            a, b = first[i], second[j]
            common += a == b
            i += a <= b
            j += b <= a
        if i + j - 2 * common > most_missing:
            return 0.0
    return common / (size - common)


@kernel
def _have_rivals(signatures, begins, rows, least, rivals):  # type: ignore[no-untyped-def]
    for bucket in range(len(begins) - 1):
        members = rows[begins[bucket] : begins[bucket + 1]]
        for row in members:
            if rivals[row]:
                continue
            for other in members:
                if other != row and _equal(signatures[row], signatures[other]) >= least:
                    rivals[row] = rivals[other] = True
                    break


@kernel
def _have_rivals_in(keys, positions, tables, live, rivals):  # type: ignore[no-untyped-def]
    for band in range(len(tables)):
        for row in range(len(rivals)):
            at = positions[band, row]
            while (
                not rivals[row] and at < tables.shape[1] and (tables[band, at] ^ keys[band, row]) >> np.uint64(32) == 0
            ):
                other = np.int64(tables[band, at] & np.uint64(0xFFFFFFFF))
                if other >= len(live):
                    raise IndexError(DAMAGED)
                rivals[row] = live[other]
                at += 1


@kernel
def _remove(  # type: ignore[no-untyped-def]
    signatures, begins, ends, values, answers, offsets, buckets, candidates, threshold, least, by, similarity
):
    last = np.full(len(buckets) + 2, -1, np.int64)  # entry of the row kept last in each bucket, strong and weak ones
    before = np.full(len(buckets), -1, np.int64)  # entry of the row kept before that one
    row_of = np.empty(len(buckets), np.int64)
    seen = np.full(len(by), -1, np.int64)
    rivals = np.empty(len(by), np.int64)
    for row in range(len(by)):
        if not candidates[row]:
            continue
        count = 0
        for at in range(offsets[row], offsets[row + 1]):
            strong = buckets[at] & ~1
            for chain in range(strong, strong + 2 - (buckets[at] & 1)):
                entry = last[chain]
                while entry >= 0:
                    other = row_of[entry]
                    if seen[other] != row:
                        seen[other] = row
                        # By chance rows of different answers may share a bucket.
                        if answers[row] == answers[other] and _equal(signatures[row], signatures[other]) >= least:
                            rivals[count] = other
                            count += 1
                    entry = before[entry]
        for other in np.sort(rivals[:count]):
            true = jaccard(values[begins[row] : ends[row]], values[begins[other] : ends[other]], threshold)
            if true >= threshold:
                by[row], similarity[row] = other, true
                break
        if by[row] < 0:
            for at in range(offsets[row], offsets[row + 1]):
                row_of[at] = row
                before[at] = last[buckets[at]]
                last[buckets[at]] = at


@kernel
def _link(  # type: ignore[no-untyped-def]
    signatures, begins, ends, values, buckets, rows, weak, offsets, own, parents, threshold, least
):
    """Bucket by bucket. Its rows are held in groups that are joined already, so that a bucket of a thousand rows that
    are all alike costs a thousand comparisons; only rows that are not similar are compared each with each. Weak rows
    come last and are in no group: the others after them are weak too."""
    following = np.empty(len(rows), np.int64)  # by place in `rows`: the next row of the group
    heads = np.empty(len(rows), np.int64)
    tails = np.empty(len(rows), np.int64)
    for bucket in range(len(buckets) - 1):
        groups = 0
        for at in range(buckets[bucket], buckets[bucket + 1]):
            row = rows[at]
            tail = at  # of the group the row belongs to, which begins with the row
            following[at] = -1
            left = 0
            for group in range(groups):
                member = heads[group]
                joined = find(parents, rows[member]) == find(parents, row)
                while not joined and member >= 0:
                    other = rows[member]
                    if _equal(signatures[row], signatures[other]) >= least:
                        mine, its = own[offsets[row] : offsets[row + 1]], own[offsets[other] : offsets[other + 1]]
                        if not _share_before(mine, its, bucket):  # else they have been compared there
                            one, two = values[begins[row] : ends[row]], values[begins[other] : ends[other]]
                            if jaccard(one, two, threshold) >= threshold:
                                union(parents, row, other)
                                joined = True
                    member = following[member]
                if joined and not weak[at]:
                    following[tail] = heads[group]
                    tail = tails[group]
                else:
                    heads[left], tails[left] = heads[group], tails[group]
                    left += 1
            if not weak[at]:
                heads[left], tails[left] = at, tail
                left += 1
            groups = left


@kernel
def _against(  # type: ignore[no-untyped-def]
    signatures,
    begins,
    ends,
    values,
    tables,
    kept,
    live,
    answers,
    clusters,
    offsets,
    own,
    member_begins,
    members,
    member_ends,
    remover_begins,
    removers,
    remover_answers,
    new_signatures,
    new_begins,
    new_ends,
    new_values,
    keys,
    positions,
    new_answers,
    runs,
    threshold,
    least,
    by,
    similarity,
    first_row,
    most,
):
    """Compare the new rows from `first_row` on until, with all of one, `most` comparisons are made in long buckets.

    Returns the pairs, and the first row that was not compared."""
    seen = np.full(len(signatures), -1, np.int64)
    apart = np.full(len(signatures), -1, np.int64)  # the last new row that is known not to be similar to each
    rivals = np.empty(len(signatures), np.int64)
    pairs = np.empty((len(new_answers), 2), np.int64)
    pairs_count, compared, row = 0, 0, first_row
    while row < len(new_answers) and compared < most:
        count = 0
        for run in own[offsets[row] : offsets[row + 1]]:
            at, end = remover_begins[run], remover_begins[run + 1]
            at = _first(remover_answers, at, end, new_answers[row])
            while at < end and remover_answers[at] == new_answers[row]:
                other = removers[at]
                if seen[other] != row:
                    seen[other] = row
                    compared += 1
                    if _equal(new_signatures[row], signatures[other]) >= least:
                        rivals[count] = other
                        count += 1
                at += 1
        for band in range(len(tables)):
            if runs[band, row] >= 0:
                continue
            at = positions[band, row]
            while at < tables.shape[1] and (tables[band, at] ^ keys[band, row]) >> np.uint64(32) == 0:
                other = np.int64(tables[band, at] & np.uint64(0xFFFFFFFF))
                if other >= len(seen):
                    raise IndexError(DAMAGED)
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
            tied = _is_tied(clusters[other], clusters, pairs[first_pair:pairs_count])
            if tied and not removes:
                continue
            true = jaccard(mine, values[begins[other] : ends[other]], threshold)
            if true < threshold:
                continue
            if removes:
                by[row], similarity[row] = other, true
            if not tied:
                pairs = _with_pair(pairs, pairs_count, row, other)
                pairs_count += 1
        for run in own[offsets[row] : offsets[row + 1]]:
            at = member_begins[run]
            while at < member_begins[run + 1]:
                end = member_ends[at]  # of the members of one cluster
                tied = _is_tied(clusters[members[at]], clusters, pairs[first_pair:pairs_count])
                while at < end and not tied:
                    other = members[at]
                    if apart[other] != row:
                        compared += 1
                        if _equal(new_signatures[row], signatures[other]) >= least:
                            tied = jaccard(mine, values[begins[other] : ends[other]], threshold) >= threshold
                            if tied:
                                pairs = _with_pair(pairs, pairs_count, row, other)
                                pairs_count += 1
                    apart[other] = row
                    at += 1
                at = end
        row += 1
    return pairs[:pairs_count].copy(), row


@kernel
def _link_earlier(  # type: ignore[no-untyped-def]
    signatures,
    begins,
    ends,
    values,
    tables,
    live,
    new_signatures,
    new_begins,
    new_ends,
    new_values,
    keys,
    positions,
    parents,
    threshold,
    least,
):
    count = len(new_signatures)
    pairs = np.empty((count, 2), np.int64)
    pairs_count = 0
    root_of = np.full(tables.shape, -1, np.int64)  # by a bucket's begin: a row, if the whole bucket is joined with it
    for row in range(count):
        for band in range(len(tables)):
            at = positions[band, row]
            if at == tables.shape[1] or (tables[band, at] ^ keys[band, row]) >> np.uint64(32):
                continue
            if root_of[band, at] >= 0 and find(parents, root_of[band, at]) == find(parents, row):
                continue
            whole = True
            while at < tables.shape[1] and (tables[band, at] ^ keys[band, row]) >> np.uint64(32) == 0:
                other = np.int64(tables[band, at] & np.uint64(0xFFFFFFFF))
                if other >= len(live):
                    raise IndexError(DAMAGED)
                at += 1
                if not live[other] or find(parents, row) == find(parents, count + other):
                    continue
                one, two = new_values[new_begins[row] : new_ends[row]], values[begins[other] : ends[other]]
                if (
                    _equal(new_signatures[row], signatures[other]) >= least
                    and jaccard(one, two, threshold) >= threshold
                ):
                    union(parents, row, count + other)
                    pairs = _with_pair(pairs, pairs_count, row, other)
                    pairs_count += 1
                else:
                    whole = False
            if whole:
                root_of[band, positions[band, row]] = row
    return pairs[:pairs_count].copy()


@kernel
def _first(values, begin, end, least):  # type: ignore[no-untyped-def]
    """Where, from `begin` to `end`, sorted values reach `least`. (To load a kernel that calls numpy's takes .2 s.)"""
    while begin < end:
        middle = (begin + end) // 2
        if values[middle] < least:
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel
def _is_tied(cluster, clusters, pairs):  # type: ignore[no-untyped-def]
    for other in pairs[:, 1]:  # noqa: SIM110  numba compiles no generator expression
        if clusters[other] == cluster:
            return True
    return False


@kernel
def _with_pair(pairs, count, row, other):  # type: ignore[no-untyped-def]
    """`pairs` with one more, in an array twice as long where it is full."""
    if count == len(pairs):
        longer = np.empty((2 * len(pairs), 2), np.int64)
        longer[:count] = pairs
        pairs = longer
    pairs[count, 0], pairs[count, 1] = row, other
    return pairs
