"""Near-duplicates: locality-sensitive hashing proposes pairs, their true Jaccard similarity decides."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.components import Components
from curate.shingles import jaccard

PERMUTATIONS = 128
BANDS = 32
"""32 bands of 4 values propose a pair of similarity .6, .7, .8 with a chance of .988, .9998, 1 - 5e-8
(1 - (1 - s^4)^32; Leskovec et al., Mining of Massive Datasets, 3.4). False proposals cost a comparison, no more."""
MARGIN = 4 * 0.5 / PERMUTATIONS**0.5
"""Four standard deviations of MinHash's estimate where it is widest (Broder, 1997): a proposed pair whose estimate is
that far below the threshold is not compared. Of the pairs at the threshold it passes over fewer than one in 30,000."""


class NearDuplicates:
    """Near-duplicates among rows in order of priority, the highest first.

    Rows with the same shingles are one *set*; sets are compared, so a thousand equal rows cost one comparison.

    Args:
        keys: columns `signature` (128 uint32 each) and `shingles` (sorted distinct uint64), see `duplicates.key_table`.
        threshold: Jaccard similarity, in (0, 1].
    """

    def __init__(self, keys: pa.Table, threshold: float) -> None:
        self.threshold = threshold
        shingles = keys["shingles"].combine_chunks()
        offsets = shingles.offsets.to_numpy()
        values = shingles.values.to_numpy()
        number_of: dict[bytes, int] = {}
        self._rows: list[list[int]] = []
        self._shingles: list[npt.NDArray[np.uint64]] = []
        self._set_of: list[int] = []
        for row in range(keys.num_rows):
            content = values[offsets[row] : offsets[row + 1]]
            number = number_of.setdefault(content.tobytes(), len(self._rows))
            if number == len(self._rows):
                self._rows.append([])
                self._shingles.append(content)
            self._rows[number].append(row)
            self._set_of.append(number)
        leaders = [rows[0] for rows in self._rows]
        packed = np.frombuffer(b"".join(keys["signature"].take(pa.array(leaders, pa.int64())).to_pylist()), np.uint32)
        self._signatures = packed.reshape(-1, PERMUTATIONS)
        self._buckets = [self._band(band) for band in range(BANDS)] if leaders else []
        self._components = Components(len(leaders))
        self._similarities: dict[tuple[int, int], float] = {}

    def _band(self, band: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """One band's buckets: sets sorted by bucket, each bucket's begin in them, each set's bucket."""
        width = PERMUTATIONS // BANDS
        part = np.ascontiguousarray(self._signatures[:, band * width : (band + 1) * width])
        _, bucket = np.unique(part.view(f"V{4 * width}").ravel(), return_inverse=True)
        begins = np.concatenate([[0], np.cumsum(np.bincount(bucket))])
        return np.argsort(bucket, kind="stable"), begins, bucket

    def _proposed(self, number: int) -> list[int]:
        """Other sets that share a bucket with this one and whose estimated similarity is not hopeless."""
        members: list[Any] = []
        for ordered, begins, bucket in self._buckets:
            begin, end = begins[bucket[number]], begins[bucket[number] + 1]
            if end - begin > 1:
                members.append(ordered[begin:end])
        if not members:
            return []
        others = np.unique(np.concatenate(members))
        estimate = np.mean(self._signatures[others] == self._signatures[number], axis=1)
        close = others[(estimate >= self.threshold - MARGIN) & (others != number)]
        return [int(other) for other in close]

    def _similarity(self, first: int, second: int) -> float:
        if first == second:
            return 1.0
        pair = (first, second) if first < second else (second, first)
        if pair not in self._similarities:
            self._similarities[pair] = jaccard(self._shingles[first], self._shingles[second])
        return self._similarities[pair]

    def removals(self, answers: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """Rows to remove, as (row, kept row, true similarity): a row goes if a kept row of higher priority and with an
        equal answer is at least as similar as the threshold. Also links what belongs together, see `links`.

        Args:
            answers: one for each row; rows with different answers never remove each other.
        """
        kept: dict[tuple[int, str], int] = {}
        proposed: dict[int, list[int]] = {}
        for row, number in enumerate(self._set_of):
            if number not in proposed:
                proposed[number] = self._proposed(number)
            rivals = [kept[key] for other in (number, *proposed[number]) if (key := (other, answers[row])) in kept]
            for rival in sorted(rivals):
                similarity = self._similarity(number, self._set_of[rival])
                if similarity >= self.threshold:
                    self._components.union(number, self._set_of[rival])
                    yield row, rival, similarity
                    break
            else:
                kept[number, answers[row]] = row
            if row == self._rows[number][0]:
                self._link(number, proposed[number])

    def _link(self, number: int, proposed: list[int]) -> None:
        """Join the set with every similar one; those joined already need no comparison."""
        for other in proposed:
            if (
                self._components.find(other) != self._components.find(number)
                and self._similarity(number, other) >= self.threshold
            ):
                self._components.union(number, other)

    def links(self) -> Iterator[tuple[int, int]]:
        """Pairs of rows whose connected components are the clusters; complete once `removals` has run out."""
        for number, rows in enumerate(self._rows):
            leader = self._rows[self._components.find(number)][0]
            yield from ((leader, row) for row in rows if row != leader)
