"""Near-duplicates: locality-sensitive hashing proposes pairs, their true Jaccard similarity decides.

Rows are numbers here, in order of priority, the highest first. What they are compared by is a `Side`: signatures, and
the shingles of those rows that have a rival worth comparing. What is compared are the rows that share a *bucket*: the
values of a band of their signatures. Where a band's bucket is large, as with rows that all begin with the same words,
its rows are proposed anew by the prefix filter, so that a bucket costs about as much as it has rows, not pairs.
"""

import numpy as np
import numpy.typing as npt

from curate.sets.buckets import Buckets, by_row
from curate.sets.components import find, union
from curate.sets.keys import Flags, Numbers
from curate.sets.similarity import Side, equal_places, jaccard, least_equal, shingles_of
from curate.text.kernel import kernel
from curate.text.words import Hashes

NONE_APART = np.zeros(0, np.uint64)


def remove_near_duplicates(
    side: Side,
    buckets: Buckets,
    answers: Hashes,
    candidates: Flags,
    removing: Flags,
    threshold: float,
    apart: Hashes = NONE_APART,
) -> tuple[Numbers, npt.NDArray[np.float64]]:
    """The greedy rule: a row goes if a kept row before it with an equal answer is at least as similar as the threshold.

    Args:
        side: rows in order of priority.
        buckets: where similar rows are found.
        answers: a hash of each row's answer; rows of different ones never remove each other.
        candidates: rows that are still there; others neither remove nor are removed.
        removing: which of these may remove others.
        threshold: Jaccard similarity, in (0, 1].
        apart: pairs of rows that never remove each other, both ways: one row times 2^32 plus the other, ascending.

    Returns:
        For each row the kept row that removes it (the first such row, -1: none), and their true similarity.
    """
    by = np.full(len(answers), -1, np.int64)
    similarity = np.zeros(len(answers))
    shared = by_row(*_same_answer(buckets.begins, buckets.rows, buckets.weak, answers), len(answers))
    _remove(side, answers, *shared, candidates, removing, threshold, least_equal(threshold), apart, by, similarity)
    return by, similarity


def link(side: Side, buckets: Buckets, parents: Numbers, threshold: float) -> None:
    """Join all pairs of rows at or above the threshold in the union-find `parents` (see curate.sets.components)."""
    buckets_of = np.repeat(np.arange(len(buckets.begins) - 1), np.diff(buckets.begins))
    own = by_row(buckets.rows, 2 * buckets_of + buckets.weak, len(parents))
    _link(side, buckets.begins, buckets.rows, buckets.weak, *own, parents, threshold, least_equal(threshold))


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
def _remove(side, answers, offsets, buckets, candidates, removing, threshold, least, apart, by, similarity):  # type: ignore[no-untyped-def]
    signatures = side.signatures
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
                        if answers[row] == answers[other] and equal_places(signatures[row], signatures[other]) >= least:
                            rivals[count] = other
                            count += 1
                    entry = before[entry]
        for other in np.sort(rivals[:count]):
            if len(apart):
                pair = np.uint64(row) << np.uint64(32) | np.uint64(other)
                place = np.searchsorted(apart, pair)
                if place < len(apart) and apart[place] == pair:
                    continue
            true = jaccard(shingles_of(side, row), shingles_of(side, other), threshold)
            if true >= threshold:
                by[row], similarity[row] = other, true
                break
        if by[row] < 0 and removing[row]:
            for at in range(offsets[row], offsets[row + 1]):
                row_of[at] = row
                before[at] = last[buckets[at]]
                last[buckets[at]] = at


@kernel
def _link(side, buckets, rows, weak, offsets, own, parents, threshold, least):  # type: ignore[no-untyped-def]
    """Bucket by bucket. Its rows are held in groups that are joined already, so that a bucket of a thousand rows that
    are all alike costs a thousand comparisons; only rows that are not similar are compared each with each. Weak rows
    come last and are in no group: the others after them are weak too."""
    signatures = side.signatures
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
                    if equal_places(signatures[row], signatures[other]) >= least:
                        mine, its = own[offsets[row] : offsets[row + 1]], own[offsets[other] : offsets[other + 1]]
                        compared = _share_before(mine, its, bucket)
                        joined = (
                            not compared
                            and jaccard(shingles_of(side, row), shingles_of(side, other), threshold) >= threshold
                        )
                        if joined:
                            union(parents, row, other)
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
