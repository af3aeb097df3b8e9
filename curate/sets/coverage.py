"""Coverage: which rows stand best for all of them, by facility location over their words or their embeddings.

The *coverage* of rows by chosen ones is the sum, over the rows, of the similarity to the nearest one chosen. It is
monotone and submodular, so rows chosen one after the other, each time the one that adds most, cover at least 1 - 1/e of
what the best choice does (Nemhauser, Wolsey and Fisher, 1978). What a row adds is looked at again only where it may
still be the most (Minoux, 1978), which changes nothing.

Two rows are as similar as the cosine of their words, each weighted by its rarity (TF-IDF: Spaerck Jones, 1972), or of
their embeddings; below 0 counts as 0. Weights are integers, so no sum depends on its order or on the machine.
"""

import heapq
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from curate.text.kernel import kernel
from curate.text.words import Hashes, Offsets

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

LENGTH = 1024
"""Length of a row's vector of weights, which are rounded to integers; a similarity of 1 is its square."""
COMMON, FEW = 0.1, 64
"""A word in more than this share of the rows, and in more than so many, tells none from the others."""
BLOCK = 512
"""Embeddings compared at a time with all of a sample: at most 16 MiB of products."""


class Covering(Protocol):
    """How far a sample is covered by the rows chosen so far."""

    batch: ClassVar[int]
    """Of how many rows it is best asked at a time."""

    def gains(self, rows: Ints) -> Ints:
        """What each of these rows would add."""

    def take(self, row: int) -> None:
        """Choose a row."""


class Similar(Protocol):
    """Rows of which any two are more or less alike."""

    @property
    def rows(self) -> int: ...

    def covering(self, sample: Ints) -> Covering:
        """A sample that nothing covers yet."""

    def nearest(self, chosen: Ints) -> tuple[Ints, Ints]:
        """For each row the place in `chosen` of the one it is most like, -1 where it is like none; and how much."""


class Sparse(NamedTuple):
    """A matrix in compressed sparse rows: row i has values[offsets[i] : offsets[i + 1]] in the columns there."""

    offsets: Ints
    columns: Numbers
    values: Numbers


@dataclass(frozen=True)
class Vectors:
    """Rows as sparse vectors."""

    weights: Sparse
    """Of shape (rows, words)."""
    words: int
    """How many different words there are."""

    @staticmethod
    def of(rows: Ints, words: tuple[Offsets, Hashes]) -> "Vectors":
        """The vectors of some rows: a word weighs log(1 + n / rows that have it), and every row's length is LENGTH.

        Args:
            rows: numbers of n rows.
            words: the distinct words of all rows, see `curate.text.words.shingle_sets`.
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
        return Vectors(Sparse(bounds, word[kept].astype(np.int32), rounded[kept]), len(counts))

    @property
    def rows(self) -> int:
        return len(self.weights.offsets) - 1

    def covering(self, sample: Ints) -> Covering:
        return _CoveredWords(self, sample)

    def nearest(self, chosen: Ints) -> tuple[Ints, Ints]:
        found: tuple[Ints, Ints] = _nearest(self.weights, self.postings(chosen), len(chosen))
        return found

    def postings(self, rows: Ints) -> Sparse:
        """Which of these rows have a word, and its weight there: of shape (words, len(rows))."""
        place, at = _entries(self.weights.offsets, rows)
        words = self.weights.columns[at]
        by_word = np.argsort(words, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(words, minlength=self.words))])
        return Sparse(offsets, place[by_word].astype(np.int32), self.weights.values[at][by_word])


@dataclass(frozen=True)
class Embeddings:
    """Rows as vectors of whole numbers, of length LENGTH or 0: shape (rows, dimensions).

    No sum of their products, nor any part of one, is beyond what float32 holds exactly (Cauchy and Schwarz).
    """

    vectors: Floats

    @staticmethod
    def of(rows: Ints, vectors: Floats) -> "Embeddings":
        """Those of some rows.

        Args:
            rows: numbers of rows.
            vectors: of all rows, each of length 1 or 0, see `curate.sets.semantic.embed`.
        """
        return Embeddings(np.rint(LENGTH * vectors[rows]))

    @property
    def rows(self) -> int:
        return len(self.vectors)

    def covering(self, sample: Ints) -> Covering:
        return _CoveredEmbeddings(self, sample)

    def nearest(self, chosen: Ints) -> tuple[Ints, Ints]:
        place, similarity = np.full(self.rows, -1, np.int64), np.zeros(self.rows, np.int64)
        for begin in range(0, self.rows, BLOCK):
            rows = np.arange(begin, min(begin + BLOCK, self.rows))
            found = self.like(rows, chosen)
            best = found.argmax(axis=1)  # of equals the first
            similarity[rows] = found[np.arange(len(rows)), best]
            place[rows] = np.where(similarity[rows] > 0, best, -1)
        return place, similarity

    def like(self, rows: Ints, others: Ints) -> Floats:
        """How much each of these rows is like each of the others, 0 to LENGTH**2."""
        found: Floats = np.clip(self.vectors[rows] @ self.vectors[others].T, 0, LENGTH**2)
        return found


def _entries(offsets: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The entries of some rows, one after the other: the place in `rows` of each, and where it stands."""
    lengths = np.diff(offsets)[rows]
    place = np.repeat(np.arange(len(rows)), lengths)
    return place, np.arange(len(place)) + np.repeat(offsets[rows] - np.cumsum(lengths) + lengths, lengths)


def cover(rows: Similar, sample: Ints, candidates: int, count: int) -> tuple[Ints, Ints]:
    """Choose `count` of the first `candidates` rows, each time the one that adds most, of equals the first.

    Args:
        rows: n rows.
        sample: m rows that are to be covered, ascending; with all rows it is the coverage as defined above. Else each
            stands for n / m rows, of which it is but one itself: the similarity to the nearest *other* row chosen
            counts n / m - 1 times, that to the nearest one once. As a sum of two coverages it keeps what is said above.
        candidates: at least `count`.

    Returns:
        The rows in the order they were chosen, and what each added, in units of 1 / (m LENGTH**2).
    """
    covering = rows.covering(sample)
    bounds = [(-gain, row) for row, gain in enumerate(covering.gains(np.arange(candidates)).tolist())]
    heapq.heapify(bounds)
    seen = np.zeros(candidates, np.int64)  # how many rows were chosen when a row's gain was last looked at
    chosen: list[int] = []
    gains: list[int] = []
    while len(chosen) < count:
        asked: list[int] = []
        while bounds and len(asked) < covering.batch and seen[bounds[0][1]] < len(chosen):
            asked.append(heapq.heappop(bounds)[1])  # what it added before, it adds at most now
        if asked:
            seen[asked] = len(chosen)
            for row, gain in zip(asked, covering.gains(np.array(asked)).tolist(), strict=True):
                heapq.heappush(bounds, (-gain, row))
        else:
            less, row = heapq.heappop(bounds)
            covering.take(row)
            chosen.append(row)
            gains.append(-less)
    return np.array(chosen, np.int64), np.array(gains, np.int64)


def nearest_of(rows: Similar, chosen: Ints) -> tuple[Ints, Ints]:
    """Which of the chosen rows each row is most like, of equals the first, and how much, to LENGTH**2.

    A row that is chosen is most like itself; one that is like none has -1 and 0.
    """
    place, similarity = rows.nearest(chosen)
    nearest = np.where(place >= 0, chosen[place], -1)
    nearest[chosen], similarity[chosen] = chosen, LENGTH**2
    return nearest, similarity


class _Covered:
    """What both kinds keep of a sample."""

    def __init__(self, rows: int, sample: Ints) -> None:
        self.place = np.full(rows, -1, np.int64)
        """Of each row in the sample, -1 if it is not there."""
        self.place[sample] = np.arange(len(sample))
        self.best = np.zeros(len(sample), np.int64)
        """Similarity of each sampled row to the nearest other one that is chosen."""
        self.taken = np.zeros(len(sample), np.bool_)
        self.rest = rows - len(sample)
        """How many rows a sampled one stands for besides itself, times the sample's size."""


class _CoveredWords(_Covered):
    batch: ClassVar[int] = 4

    def __init__(self, vectors: Vectors, sample: Ints) -> None:
        super().__init__(vectors.rows, sample)
        work = np.zeros(len(sample), np.int64), np.empty(len(sample), np.int64)
        self._fixed = vectors.weights, vectors.postings(sample), *work, self.place, self.best, self.taken, self.rest

    def gains(self, rows: Ints) -> Ints:
        found: Ints = _gains(rows, *self._fixed)
        return found

    def take(self, row: int) -> None:
        _take(row, *self._fixed)


class _CoveredEmbeddings(_Covered):
    batch: ClassVar[int] = 32

    def __init__(self, vectors: Embeddings, sample: Ints) -> None:
        super().__init__(vectors.rows, sample)
        self._vectors = vectors
        self._sample = sample

    def gains(self, rows: Ints) -> Ints:
        gains = np.empty(len(rows), np.int64)
        best, counts = self.best.astype(np.float32), self.rest + len(self._sample) * ~self.taken
        for begin in range(0, len(rows), BLOCK):
            these = rows[begin : begin + BLOCK]
            more = np.maximum(self._vectors.like(these, self._sample) - best, 0)
            place, own = self.place[these], np.flatnonzero(self.place[these] >= 0)
            more[own, place[own]] = 0
            gains[begin : begin + BLOCK] = more @ counts.astype(np.float64)  # exact: below 2**53
            gains[begin + own] += (LENGTH**2 - self.best[place[own]]) * len(self._sample)
        return gains

    def take(self, row: int) -> None:
        found = self._vectors.like(np.array([row]), self._sample)[0].astype(np.int64)
        if self.place[row] >= 0:
            found[self.place[row]] = 0
            self.taken[self.place[row]] = True
        np.maximum(self.best, found, out=self.best)


@kernel
def _products(row, weights, postings, sums, touched):  # type: ignore[no-untyped-def]
    """Add a row's products with the rows of the postings to `sums`; gives how many it has any with: `touched`."""
    _, words, mine = weights
    bounds, places, others = postings
    count = 0
    for at in range(weights.offsets[row], weights.offsets[row + 1]):
        for entry in range(bounds[words[at]], bounds[words[at] + 1]):
            place = places[entry]
            if sums[place] == 0:
                touched[count] = place
                count += 1
            sums[place] += np.int64(mine[at]) * others[entry]
    return count


@kernel
def _gains(rows, weights, postings, sums, touched, place, best, taken, rest):  # type: ignore[no-untyped-def]
    """What each of the rows adds to the coverage; leaves `sums` at 0."""
    one, size = LENGTH * LENGTH, len(best)
    gains = np.zeros(len(rows), np.int64)
    for number in range(len(rows)):
        row = rows[number]
        found = _products(row, weights, postings, sums, touched)
        for at in range(found):
            other = touched[at]
            more = min(sums[other], one) - best[other]
            sums[other] = 0
            if more > 0 and other != place[row]:
                gains[number] += more * (rest if taken[other] else rest + size)
        if place[row] >= 0:
            gains[number] += (one - best[place[row]]) * size
    return gains


@kernel
def _take(row, weights, postings, sums, touched, place, best, taken, rest):  # type: ignore[no-untyped-def]
    one = LENGTH * LENGTH
    found = _products(row, weights, postings, sums, touched)
    for at in range(found):
        other = touched[at]
        if other != place[row]:
            best[other] = max(best[other], min(sums[other], one))
        sums[other] = 0
    if place[row] >= 0:
        taken[place[row]] = True


@kernel
def _nearest(weights, postings, size):  # type: ignore[no-untyped-def]
    one, rows = LENGTH * LENGTH, len(weights.offsets) - 1
    sums = np.zeros(size, np.int64)
    touched = np.empty(size, np.int64)
    nearest = np.full(rows, -1, np.int64)
    scores = np.zeros(rows, np.int64)
    for row in range(rows):
        found = _products(row, weights, postings, sums, touched)
        for entry in range(found):
            other = touched[entry]
            score = min(sums[other], one)
            sums[other] = 0
            if score > scores[row] or (score == scores[row] and other < nearest[row]):
                nearest[row], scores[row] = other, score
    return nearest, scores
