"""Batches: rows that may be similar, with their shingles, as many at a time as memory is to hold.

A circle is never divided, so what is true of all rows is found batch by batch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.sets.ahead import ahead
from curate.sets.bands import band_tables, bands_for
from curate.sets.buckets import Buckets, band_buckets
from curate.sets.components import join, roots
from curate.sets.keys import Flags, Numbers
from curate.sets.near_dedup import link, remove_near_duplicates
from curate.sets.prefix_filter import prefix_buckets
from curate.sets.rivals import Circles
from curate.sets.signed import Part, gathered, numbered
from curate.sets.similarity import Side
from curate.text.minhash import PERMUTATIONS, Signatures
from curate.text.words import Hashes

BATCH = 256 << 20
"""Bytes of signatures and shingles that are in memory at a time; only a circle of more is there whole."""


class Batch(NamedTuple):
    """Rows to be compared with each other, and with no others."""

    numbers: Numbers
    """What they are called, ascending."""
    side: Side
    buckets: Buckets


class Batches:
    """All rows that may be similar to others.

    Args: see `Circles`.
    """

    def __init__(self, parts: Sequence[Part], numbers: Numbers, threshold: float, folder: Path | None) -> None:
        self._threshold = threshold
        circles = Circles(parts, numbers, threshold, folder)
        there = circles.rival | circles.crowded
        weights = weights_of(parts, np.where((numbers >= 0) & there[numbers], numbers, -1), len(there))
        batch_of = np.where(there, 0, -1)
        if weights.sum() > BATCH:
            if circles.crowded.any():
                circles.join_crowded()
            batch_of = _dealt(roots(circles.parents), circles.rival, weights)
        self._crowded = circles.crowded
        del circles, there, weights
        self._kept = collected(parts, numbers, batch_of, folder)
        self._only: Batch | None = self._made(self._kept.pop()) if len(self._kept) == 1 else None

    def __iter__(self) -> Iterator[Batch]:
        if self._only is not None:
            yield self._only
        for each in self._kept:
            yield self._made(each)

    def _made(self, kept: "Collected") -> Batch:
        numbers, side = kept.read()
        crowded = self._crowded[numbers]
        buckets, _ = band_buckets(band_tables(side.signatures, bands_for(self._threshold)))
        if crowded.any():
            buckets += prefix_buckets(side, crowded, self._threshold)
        return Batch(numbers, side, buckets)

    def link(self, parents: Numbers, threshold: float) -> None:
        """See `near_dedup.link`; the threshold is no less than that by which they are batches."""
        for numbers, side, buckets in self:
            own = np.arange(len(numbers))
            link(side, buckets, own, threshold)
            join(parents, numbers, numbers[roots(own)])

    def remove_near_duplicates(
        self, answers: Hashes, candidates: Flags, removing: Flags, apart: Hashes
    ) -> tuple[Numbers, npt.NDArray[np.float64]]:
        """See `near_dedup.remove_near_duplicates`."""
        by, similarity = np.full(len(answers), -1, np.int64), np.zeros(len(answers))
        one, other = (apart >> np.uint64(32)).astype(np.int64), (apart & np.uint64(0xFFFFFFFF)).astype(np.int64)
        for numbers, side, buckets in self:
            here = np.isin(one, numbers) & np.isin(other, numbers)
            pairs = [np.searchsorted(numbers, each[here]).astype(np.uint64) for each in (one, other)]
            found, similarity[numbers] = remove_near_duplicates(
                *(side, buckets, answers[numbers], candidates[numbers], removing[numbers], self._threshold),
                pairs[0] << np.uint64(32) | pairs[1],
            )
            by[numbers] = np.where(found >= 0, numbers[found], -1)
        return by, similarity


def _read(some: tuple[Part, Numbers, Numbers]) -> tuple[Numbers, Signatures, Numbers, Hashes]:
    """The numbers of some rows of a part, and what they are compared by."""
    part, rows, own = some
    return own, part.signatures()[rows], *part.shingles(rows)


def weights_of(parts: Sequence[Part], numbers: Numbers, count: int) -> Numbers:
    """About how many bytes each row takes, by its number: 0 of those that have none.

    Args:
        numbers: see `Circles`.
        count: how many there are.
    """
    weights = np.zeros(count, np.int64)
    for part, rows, own in numbered(parts, numbers):
        weights[own] = 4 * PERMUTATIONS + 8 * part.lengths(rows)
    return weights


def collected(parts: Sequence[Part], numbers: Numbers, batch_of: Numbers, folder: Path | None) -> list["Collected"]:
    """What rows are compared by, batch by batch.

    Args:
        parts, numbers, folder: see `Circles`.
        batch_of: the batch of each number; -1 where it is in none.
    """
    count = int(batch_of.max(initial=-1)) + 1
    found = [Collected(TemporaryFile(dir=folder) if count > 1 else None) for _ in range(count)]  # noqa: SIM115
    wanted = np.where((numbers >= 0) & (batch_of[numbers] >= 0), numbers, -1) if count else numbers[:0]
    for own, signatures, offsets, values in ahead(_read, numbered(parts, wanted)):
        for batch in np.unique(batch_of[own]).tolist():
            mine = np.flatnonzero(batch_of[own] == batch)
            found[batch].add(own[mine], signatures[mine], *_some(offsets, values, mine))
    return found


def _dealt(root: Numbers, there: Flags, weights: Numbers) -> Numbers:
    """The batch of each row, -1 of one that is not there: circles in the order of their first rows, BATCH bytes each
    batch."""
    rows = np.flatnonzero(there)
    _, circle = np.unique(root[rows], return_inverse=True)
    sizes = np.bincount(circle, weights[rows]).astype(np.int64)
    batch = (np.cumsum(sizes) - sizes) // BATCH
    found = np.full(len(there), -1)
    found[rows] = np.unique(batch[circle], return_inverse=True)[1]
    return found


def _some(offsets: Numbers, values: Hashes, rows: Numbers) -> tuple[Numbers, Hashes]:
    """How many shingles some of the rows have, and these."""
    lengths = np.diff(offsets)
    if len(rows) == len(lengths):
        return lengths, values
    return lengths[rows], gathered(values, offsets[rows], lengths[rows])


class Collected:
    """The rows of a batch as they come.

    Args:
        file: that is to hold them; memory does where there is none.
    """

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._pieces: list[tuple[Numbers, Signatures, Numbers, Hashes]] = []
        self._rows = self._values = self._count = 0

    def add(self, numbers: Numbers, signatures: Signatures, lengths: Numbers, values: Hashes) -> None:
        self._rows += len(numbers)
        self._values += len(values)
        self._count += 1
        if self._file is None:
            self._pieces.append((numbers, signatures, lengths, values))
        else:
            for array in (numbers, signatures, lengths, values):
                np.save(self._file, array)

    def _read(self) -> Iterator[tuple[Numbers, Signatures, Numbers, Hashes]]:
        if self._file is None:
            while self._pieces:
                yield self._pieces.pop(0)
            return
        self._file.seek(0)
        for _ in range(self._count):
            yield np.load(self._file), np.load(self._file), np.load(self._file), np.load(self._file)

    def read(self) -> tuple[Numbers, Side]:
        """The rows' numbers, ascending, and what they are compared by. What is in memory is given once."""
        numbers, lengths = np.empty(self._rows, np.int64), np.empty(self._rows, np.int64)
        signatures = np.empty((self._rows, PERMUTATIONS), np.uint32)
        values = np.empty(self._values, np.uint64)
        row = value = 0
        for own, signed, counts, hashes in self._read():
            rows = slice(row, row := row + len(own))
            numbers[rows], signatures[rows], lengths[rows] = own, signed, counts
            values[value : value + len(hashes)] = hashes
            value += len(hashes)
        order = np.argsort(numbers)
        ends = np.cumsum(lengths)
        return numbers[order], Side(signatures[order], (ends - lengths)[order], ends[order], values)
