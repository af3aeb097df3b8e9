"""Near-duplicates of earlier rows, which stand before all of a drop's and are compared where they lie in the index."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.sets.bands import Tables
from curate.sets.buckets import LARGE, by_row
from curate.sets.components import find, union
from curate.sets.keys import Flags, Numbers
from curate.sets.prefix_filter import COUNTERS, WEAK, count_shingles, prefixes
from curate.sets.similarity import Side, equal_places, jaccard, least_equal, shingles_of
from curate.text.kernel import in_threads, kernel, read_only
from curate.text.words import Hashes

DAMAGED = "The band tables name a row that is not there: the index is damaged. `assay index rebuild` makes it again."
"""Kernels check no bounds; that the files are as they were written says nothing of one that was written wrongly."""


def have_rivals_in(own: Tables, tables: Tables, live: Flags) -> Flags:
    """Which rows, by their own tables, share a bucket with a live row of an earlier side: shape (rows,)."""
    keys, positions = _located(own, tables)
    rivals = np.zeros(own.shape[1], np.bool_)
    _have_rivals_in(keys, positions, read_only(tables), live, rivals)
    return rivals


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
) -> tuple[Numbers, npt.NDArray[np.float64], Numbers]:
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
    theirs = read_only(_EarlierRows(earlier, tables, kept, live, earlier_answers, clusters))
    keys, positions = _located(own, tables)
    runs, buckets = _long_runs(theirs, keys, positions)
    ours = read_only(_NewRows(side, keys, positions, answers, runs))
    given = threshold, least_equal(threshold), by, similarity
    pairs, done = _against(theirs, buckets, ours, *given, 0, LARGE * len(answers))
    if done < len(answers):  # rows that are not alike share long buckets
        buckets = _rare_runs(theirs, buckets, ours, done, threshold)
        more, _ = _against(theirs, buckets, ours, *given, done, np.iinfo(np.int64).max)
        pairs = np.concatenate([pairs, more])
    return by, similarity, pairs


class _EarlierRows(NamedTuple):
    """See `remove_duplicates_of`."""

    side: Side
    tables: Tables
    kept: Flags
    live: Flags
    answers: Hashes
    clusters: Hashes


class _NewRows(NamedTuple):
    """See `remove_duplicates_of`, `_located` and `_long_runs`."""

    side: Side
    keys: Tables
    positions: Numbers
    answers: Hashes
    runs: Numbers


class _LongBuckets(NamedTuple):
    """Buckets of many earlier rows, and which new rows fall into them, ordered so that few are looked at.

    To be removed, a row is compared with the kept ones of its answer; to be tied to a cluster, with the rows of that
    cluster until one is similar.
    """

    offsets: Numbers
    """The buckets of new row r are own[offsets[r] : offsets[r + 1]]."""
    own: Numbers
    member_begins: Numbers
    """Bucket b's live rows by cluster are members[member_begins[b] : member_begins[b + 1]]."""
    members: Numbers
    member_ends: Numbers
    """Those of the cluster that members[at] is of end at member_ends[at]."""
    remover_begins: Numbers
    """Bucket b's kept rows by answer are removers[remover_begins[b] : remover_begins[b + 1]]."""
    removers: Numbers
    remover_answers: Hashes


def _long_runs(earlier: _EarlierRows, keys: Tables, positions: Numbers) -> tuple[Numbers, _LongBuckets]:
    """The buckets of more than LARGE earlier rows that new rows fall into.

    Returns:
        The number of each new row's long bucket in each band, -1 where it is in none: shape (bands, rows).
    """
    runs = np.full(positions.shape, -1, np.int64)
    members = [np.zeros(0, np.int64)]
    for own, table, key, position in zip(runs, earlier.tables, keys, positions, strict=True):
        crowded = np.flatnonzero(position + LARGE < len(table))
        crowded = crowded[(table[position[crowded] + LARGE] ^ key[crowded]) >> np.uint64(32) == 0]
        starts, number = np.unique(position[crowded], return_inverse=True)
        own[crowded] = len(members) - 1 + number
        for start in starts:
            end = np.searchsorted(table, table[start] | np.uint64(0xFFFFFFFF), "right")
            rows = (table[start:end] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            if rows[-1] >= len(earlier.live):
                raise IndexError(DAMAGED)
            members.append(rows[earlier.live[rows]])
    bands, crowded = np.nonzero(runs >= 0)
    own = by_row(crowded, runs[bands, crowded], positions.shape[1])
    numbers = np.repeat(np.arange(len(members) - 1), [len(rows) for rows in members[1:]])
    return runs, _ordered(own, len(members) - 1, numbers, np.concatenate(members), earlier)


def _rare_runs(
    earlier: _EarlierRows, buckets: _LongBuckets, new: _NewRows, done: int, threshold: float
) -> _LongBuckets:
    """What the prefix filter makes of the long buckets of the new rows from `done` on.

    A bucket is now one of the earlier rows that have a shingle among their rarest; the weak ones are one of their own.
    """
    ours = np.flatnonzero((new.runs[:, done:] >= 0).any(axis=0)) + done
    crowded = np.zeros(len(earlier.answers), np.bool_)
    for bucket in np.unique(new.runs[:, ours]).tolist():
        if bucket >= 0:
            crowded[buckets.members[buckets.member_begins[bucket] : buckets.member_begins[bucket + 1]]] = True
    theirs, counts = np.flatnonzero(crowded), np.zeros(COUNTERS, np.uint32)
    count_shingles(earlier.side, theirs, counts)
    count_shingles(new.side, ours, counts)
    mine = prefixes(new.side, ours, counts, threshold)
    entries = np.sort(prefixes(earlier.side, theirs, counts, threshold))
    rows = (mine & np.uint64(WEAK - 1)).astype(np.int64)
    bucket_of, strong = mine >> np.uint64(31), mine & np.uint64(WEAK) == 0  # the last bit tells weak ones
    wanted = np.concatenate([bucket_of & ~np.uint64(1), bucket_of[strong] | np.uint64(1)])
    rows = np.concatenate([rows, rows[strong]])
    entries = entries[np.isin(entries >> np.uint64(31), wanted)]
    known, number = np.unique(entries >> np.uint64(31), return_inverse=True)
    there = np.isin(wanted, known)
    own = by_row(rows[there], np.searchsorted(known, wanted[there]), new.runs.shape[1])
    found = (entries & np.uint64(WEAK - 1)).astype(np.int64)
    return _ordered(own, len(known), number, found, earlier)


def _ordered(
    own: tuple[Numbers, Numbers], buckets: int, numbers: Numbers, rows: Numbers, earlier: _EarlierRows
) -> _LongBuckets:
    """Buckets with their members and removers in order.

    Args:
        own: the buckets of each new row, as `by_row` gives them.
        buckets: how many there are.
        numbers: the bucket of each of `rows`, ascending.
        rows: live earlier rows.
    """
    kept, answers, clusters = earlier.kept, earlier.answers, earlier.clusters
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
    return read_only(_LongBuckets(*own, member_begins, member, member_ends, remover_begins, remover, answers[remover]))


def link_earlier(
    earlier: Side, tables: Tables, live: Flags, side: Side, own: Tables, parents: Numbers, threshold: float
) -> Numbers:
    """Join rows that are at least as similar as the threshold to one earlier row, in the union-find `parents`.

    Args:
        earlier, tables, live, side, own: as for `remove_duplicates_of`.

    Returns:
        Pairs (row, earlier row) that are that similar, a spanning tree of all there are: every earlier row that is
        similar to any row is in one.
    """
    joined = np.concatenate([parents, np.arange(len(parents), len(parents) + len(live))])
    theirs = read_only(earlier), read_only(tables), live
    ours = read_only(side), *_located(own, tables)
    pairs: Numbers = _link_earlier(*theirs, *ours, joined, threshold, least_equal(threshold))
    parents[:] = joined[: len(parents)]  # the least is the root: none of these points to an earlier row
    return pairs


def _located(own: Tables, tables: Tables) -> tuple[Tables, Numbers]:
    """The key of each row in each band, in the upper 32 bits, and where in the band's table it would stand: both of
    shape (bands, rows)."""
    keys, positions = np.empty(own.shape, np.uint64), np.empty(own.shape, np.int64)

    def locate(band: int) -> None:
        rows = own[band] & np.uint64(0xFFFFFFFF)
        keys[band, rows] = ascending = own[band] & ~np.uint64(0xFFFFFFFF)
        positions[band, rows] = np.searchsorted(tables[band], ascending)

    in_threads(locate, range(len(tables)))
    return keys, positions


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
def _against(earlier, buckets, new, threshold, least, by, similarity, first_row, most):  # type: ignore[no-untyped-def]
    """Compare the new rows from `first_row` on until, with all of one, `most` comparisons are made in long buckets.

    Returns the pairs, and the first row that was not compared."""
    # Taken apart only once: each time that an array is taken out of a tuple its references are counted.
    (signatures, begins, ends, values), tables, kept, live, answers, clusters = earlier
    offsets, own, _, _, _, remover_begins, removers, remover_answers = buckets
    (new_signatures, new_begins, new_ends, new_values), keys, positions, new_answers, runs = new
    seen = np.full(len(signatures), -1, np.int64)
    apart = np.full(len(signatures), -1, np.int64)  # the last new row that is known not to be similar to each
    rivals = np.empty(len(signatures), np.int64)
    pairs = np.empty((len(by), 2), np.int64)
    pairs_count, compared, row = 0, 0, first_row
    while row < len(by) and compared < most:
        count = 0
        for run in own[offsets[row] : offsets[row + 1]]:
            at, end = remover_begins[run], remover_begins[run + 1]
            at = _first(remover_answers, at, end, new_answers[row])
            while at < end and remover_answers[at] == new_answers[row]:
                other = removers[at]
                if seen[other] != row:
                    seen[other] = row
                    compared += 1
                    if equal_places(new_signatures[row], signatures[other]) >= least:
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
                    if live[other] and equal_places(new_signatures[row], signatures[other]) >= least:
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
        if offsets[row] < offsets[row + 1]:
            pairs, pairs_count, more = _tie(
                row, earlier, buckets, new, threshold, least, apart, pairs, first_pair, pairs_count
            )
            compared += more
        row += 1
    return pairs[:pairs_count].copy(), row


@kernel
def _tie(row, earlier, buckets, new, threshold, least, apart, pairs, first, count):  # type: ignore[no-untyped-def]
    """Pair a new row with one similar row of each cluster in its long buckets, but of those that `pairs` ties it to.

    Args:
        first, count: where in `pairs` its own begin, and all of them end.

    Returns the pairs, how many they are, and how many comparisons were made."""
    clusters, members, signatures = earlier.clusters, buckets.members, earlier.side.signatures
    mine, compared = new.side.signatures[row], 0
    for run in buckets.own[buckets.offsets[row] : buckets.offsets[row + 1]]:
        at = buckets.member_begins[run]
        while at < buckets.member_begins[run + 1]:
            end = buckets.member_ends[at]  # of the members of one cluster
            tied = _is_tied(clusters[members[at]], clusters, pairs[first:count])
            while at < end and not tied:
                other = members[at]
                if apart[other] != row:
                    compared += 1
                    if equal_places(mine, signatures[other]) >= least:
                        true = jaccard(shingles_of(new.side, row), shingles_of(earlier.side, other), threshold)
                        tied = true >= threshold
                        if tied:
                            pairs = _with_pair(pairs, count, row, other)
                            count += 1
                apart[other] = row
                at += 1
            at = end
    return pairs, count, compared


@kernel
def _link_earlier(earlier, tables, live, side, keys, positions, parents, threshold, least):  # type: ignore[no-untyped-def]
    count = len(side.signatures)
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
                if (
                    equal_places(side.signatures[row], earlier.signatures[other]) >= least
                    and jaccard(shingles_of(side, row), shingles_of(earlier, other), threshold) >= threshold
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
