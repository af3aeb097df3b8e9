"""Coverage: which rows stand best for all of them, by facility location over their words.

The *coverage* of rows by chosen ones is the sum, over the rows, of the similarity to the nearest one chosen. It is
monotone and submodular, so rows chosen one after the other, each time the one that adds most, cover at least 1 - 1/e of
what the best choice does (Nemhauser, Wolsey and Fisher, 1978). What a row adds is looked at again only where it may
still be the most (Minoux, 1978), which changes nothing.

Two rows are as similar as the cosine of their words, each weighted by its rarity (TF-IDF: Spaerck Jones, 1972). Weights
are integers, so no sum depends on its order or on the machine.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.kernel import kernel
from curate.words import Hashes, Offsets

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

LENGTH = 1024
"""Length of a row's vector of weights, which are rounded to integers; a similarity of 1 is its square."""
COMMON, FEW = 0.1, 64
"""A word in more than this share of the rows, and in more than so many, tells none from the others."""


@dataclass(frozen=True)
class Vectors:
    """Rows as sparse vectors: row i has the weights [offsets[i] : offsets[i + 1]] at these words."""

    offsets: Ints
    words: Numbers
    weights: Numbers
    total: int
    """How many different words there are."""

    @staticmethod
    def of(rows: Ints, words: tuple[Offsets, Hashes]) -> "Vectors":
        """The vectors of some rows: a word weighs log(1 + n / rows that have it), and every row's length is LENGTH.

        Args:
            rows: numbers of n rows.
            words: the distinct words of all rows, see `curate.words.shingle_sets`.
        """
        offsets, hashes = words
        row_of, at = _entries(offsets, rows)
        _, word, counts = np.unique(hashes[at], return_inverse=True, return_counts=True)
        rarity = np.log1p(len(rows) / counts)
        rarity[counts > max(COMMON * len(rows), FEW)] = 0
        weights = rarity[word]
        lengths = np.sqrt(np.bincount(row_of, weights**2, len(rows)))
        lengths[lengths == 0] = 1
        rounded = np.rint(LENGTH * weights / lengths[row_of]).astype(np.int32)
        kept = (rounded > 0) & (counts > 1)[word]  # a word that one row alone has is like no other's
        bounds = np.concatenate([[0], np.cumsum(np.bincount(row_of[kept], minlength=len(rows)))])
        return Vectors(bounds, word[kept].astype(np.int32), rounded[kept], len(counts))

    def postings(self, rows: Ints) -> tuple[Ints, Numbers, Numbers]:
        """Which of these rows have a word: offsets by word, places in `rows`, weights there."""
        place, at = _entries(self.offsets, rows)
        by_word = np.argsort(self.words[at], kind="stable")
        counts = np.bincount(self.words[at], minlength=self.total)
        return np.concatenate([[0], np.cumsum(counts)]), place[by_word].astype(np.int32), self.weights[at][by_word]


def _entries(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The entries of some rows, one after the other: the place in `rows` of each, and where it stands."""
    lengths = np.diff(offsets)[rows]
    place = np.repeat(np.arange(len(rows)), lengths)
    return place, np.arange(len(place)) + np.repeat(offsets[rows] - np.cumsum(lengths) + lengths, lengths)


def cover(vectors: Vectors, sample: Ints, candidates: int, count: int) -> tuple[Ints, Ints]:
    """Choose `count` of the first `candidates` rows, each time the one that adds most, of equals the first.

    Args:
        vectors: of n rows.
        sample: m rows that are to be covered, ascending; with all rows it is the coverage as defined above. Else each
            stands for n / m rows, of which it is but one itself: the similarity to the nearest *other* row chosen
            counts n / m - 1 times, that to the nearest one once. As a sum of two coverages it keeps what is said above.
        candidates: at least `count`.

    Returns:
        The rows in the order they were chosen, and what each added, in units of 1 / (m LENGTH**2).
    """
    rows = len(vectors.offsets) - 1
    place = np.full(rows, -1, np.int64)
    place[sample] = np.arange(len(sample))
    sparse = vectors.offsets, vectors.words, vectors.weights
    chosen, gains = _cover(*sparse, *vectors.postings(sample), place, len(sample), candidates, count)
    return chosen, gains


def nearest_of(vectors: Vectors, chosen: Ints) -> tuple[Ints, Ints]:
    """Which of the chosen rows each row is most like, of equals the first, and how much, to LENGTH**2.

    A row that is chosen is most like itself; one that is like none has -1 and 0.
    """
    sparse = vectors.offsets, vectors.words, vectors.weights
    place, similarity = _nearest(*sparse, *vectors.postings(chosen), len(chosen))
    nearest = np.where(place >= 0, chosen[place], -1)
    nearest[chosen], similarity[chosen] = chosen, LENGTH**2
    return nearest, similarity


@kernel
def _products(begin, end, words, weights, bounds, places, others, sums, touched):  # type: ignore[no-untyped-def]
    """Add a row's products with the rows of the postings to `sums`; gives how many it has any with: `touched`."""
    count = 0
    for at in range(begin, end):
        for entry in range(bounds[words[at]], bounds[words[at] + 1]):
            place = places[entry]
            if sums[place] == 0:
                touched[count] = place
                count += 1
            sums[place] += np.int64(weights[at]) * others[entry]
    return count


@kernel
def _gain(place, count, sums, touched, best, taken, rest):  # type: ignore[no-untyped-def]
    """What a row adds to the coverage, given its products; sets `sums` back to 0.

    Args:
        place: of the row in the sample, -1 if it is not there.
        rest: how many rows a sampled one stands for besides itself, times the sample's size.
    """
    one, size = LENGTH * LENGTH, len(best)
    gain = np.int64(0)
    for at in range(count):
        other = touched[at]
        more = min(sums[other], one) - best[other]
        sums[other] = 0
        if more > 0 and other != place:
            gain += more * (rest if taken[other] else rest + size)
    return gain + (one - best[place]) * size if place >= 0 else gain


@kernel
def _cover(offsets, words, weights, bounds, places, others, place, size, candidates, count):  # type: ignore[no-untyped-def]
    one, rest = LENGTH * LENGTH, len(place) - size
    best = np.zeros(size, np.int64)  # similarity of each sampled row to the nearest other one that is chosen
    taken = np.zeros(size, np.bool_)
    sums = np.zeros(size, np.int64)
    touched = np.empty(size, np.int64)
    heap = [(0, 0) for _ in range(0)]  # numba is told by it what the entries are
    for row in range(candidates):
        found = _products(offsets[row], offsets[row + 1], words, weights, bounds, places, others, sums, touched)
        heap.append((-_gain(place[row], found, sums, touched, best, taken, rest), row))
    heapq.heapify(heap)
    chosen = np.empty(count, np.int64)
    gains = np.empty(count, np.int64)
    at = 0
    while at < count:
        _, row = heapq.heappop(heap)
        found = _products(offsets[row], offsets[row + 1], words, weights, bounds, places, others, sums, touched)
        gain = _gain(place[row], found, sums, touched, best, taken, rest)
        if len(heap) and heap[0] < (-gain, row):  # what another one added before, it adds at most now
            heapq.heappush(heap, (-gain, row))
            continue
        found = _products(offsets[row], offsets[row + 1], words, weights, bounds, places, others, sums, touched)
        for entry in range(found):
            other = touched[entry]
            if other != place[row]:
                best[other] = max(best[other], min(sums[other], one))
            sums[other] = 0
        if place[row] >= 0:
            taken[place[row]] = True
        chosen[at], gains[at] = row, gain
        at += 1
    return chosen, gains


@kernel
def _nearest(offsets, words, weights, bounds, places, others, size):  # type: ignore[no-untyped-def]
    one = LENGTH * LENGTH
    sums = np.zeros(size, np.int64)
    touched = np.empty(size, np.int64)
    nearest = np.full(len(offsets) - 1, -1, np.int64)
    scores = np.zeros(len(offsets) - 1, np.int64)
    for row in range(len(offsets) - 1):
        found = _products(offsets[row], offsets[row + 1], words, weights, bounds, places, others, sums, touched)
        for entry in range(found):
            other = touched[entry]
            score = min(sums[other], one)
            sums[other] = 0
            if score > scores[row] or (score == scores[row] and other < nearest[row]):
                nearest[row], scores[row] = other, score
    return nearest, scores
