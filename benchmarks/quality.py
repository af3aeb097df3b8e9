"""What a deduplication is worth, exactly: removals without a kept row like them, and pairs it left.

The systems do not agree on what a word is. Here a removal counts as wrong only if no kept row reaches the threshold by
anybody's definition, and a pair counts as left only if it reaches it by everybody's: the doubt is theirs.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.sets.similarity import jaccard
from curate.text.words import Hashes, Offsets, ngrams, shingle_sets

Sets = tuple[Offsets, npt.NDArray[np.int64]]
"""Row i has the shingles [offsets[i] : offsets[i + 1]] of the second array: numbers, sorted, the rarest shingle's 0."""
Flags = npt.NDArray[np.bool_]

WORDS: dict[str, Callable[[str], Iterable[str]]] = {
    "text-dedup": lambda text: re.split(r"\W", text.lower()),
    "data-juicer": lambda text: filter(None, text.lower().split(" ")),
    "datatrove": lambda text: re.sub(r"[\W_]+", " ", re.sub(r"\d+(?:[.,]\d+)*", "0", text.lower())).split(),
    "daft": lambda text: re.sub(r"[^\w\s]|_", "", text.lower()).split(),
}
"""What each peer takes for words (datatrove also lets spaCy split them); the letters, digits and underscores that rensa
is given are Assay's."""


def definitions(texts: pa.Array, size: int) -> Iterator[Sets]:
    """The shingles of the texts as each system makes them."""
    yield by_rarity(*shingle_sets(texts, size))
    for split in WORDS.values():
        sets = [_shingles(list(map(hash, split(text))) or [0], size) for text in texts.to_pylist()]
        yield by_rarity(np.cumsum([0, *map(len, sets)]), np.concatenate(sets))


def _shingles(words: list[int], size: int) -> Hashes:
    return np.unique(ngrams(np.array(words, np.int64).view(np.uint64), min(size, len(words))))


def by_rarity(offsets: Offsets, values: Hashes) -> Sets:
    """Sets of hashes as sets of numbers."""
    _, names, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ranks = rank[names]
    for begin, end in pairwise(offsets.tolist()):
        ranks[begin:end].sort()
    return offsets, ranks


def judge(sets: list[Sets], kept: Flags, threshold: float) -> tuple[int, int]:
    """How many removed rows no kept row is like, and how many pairs of kept rows are alike.

    Args:
        sets: the same rows by several definitions.
        kept: shape (rows,).
        threshold: true Jaccard similarity from which two rows are alike.
    """
    supported = np.zeros(len(kept), np.bool_)
    left: set[tuple[int, int]] | None = None
    for offsets, ranks in sets:
        removed = np.flatnonzero(~kept & ~supported)
        supported[[row for row, _ in _alike(offsets, ranks, kept, removed, threshold, True)]] = True
        pairs = _alike(offsets, ranks, kept, np.flatnonzero(kept), threshold, False)
        pairs = {(row, other) for row, other in pairs if row < other}
        left = pairs if left is None else left & pairs
    return int(np.count_nonzero(~kept & ~supported)), len(left or ())


@njit(cache=True)
def _alike(offsets, ranks, kept, rows, threshold, first_only):  # type: ignore[no-untyped-def]
    """Pairs (row, kept row) at or above the threshold, all or one for each row, by prefix filtering: two such sets
    share one of their n - ceil(threshold n) + 1 rarest shingles (Chaudhuri et al., ICDE 2006)."""
    total = len(offsets) - 1
    lengths = np.diff(offsets)
    prefixes = lengths - np.ceil(threshold * lengths - 1e-9).astype(np.int64) + 1
    ends = np.zeros(ranks.max() + 2, np.int64)
    for row in range(total):
        if kept[row]:
            for at in range(offsets[row], offsets[row] + prefixes[row]):
                ends[ranks[at] + 1] += 1
    ends = np.cumsum(ends)
    begins = ends[:-1].copy()
    postings = np.empty(ends[-1], np.int64)
    for row in range(total):
        if kept[row]:
            for at in range(offsets[row], offsets[row] + prefixes[row]):
                postings[begins[ranks[at]]] = row
                begins[ranks[at]] += 1
    seen = np.full(total, -1, np.int64)
    pairs = [(0, 0) for _ in range(0)]
    for row in rows:
        mine = ranks[offsets[row] : offsets[row + 1]]
        done = False
        for rank in mine[: prefixes[row]]:
            for other in postings[ends[rank] : ends[rank + 1]]:
                if other == row or seen[other] == row or done:
                    continue
                seen[other] = row
                if min(lengths[row], lengths[other]) < threshold * max(lengths[row], lengths[other]) - 1e-9:
                    continue
                if jaccard(mine, ranks[offsets[other] : offsets[other + 1]]) >= threshold:
                    pairs.append((row, other))
                    done = first_only
            if done:
                break
    return pairs
