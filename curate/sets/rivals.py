"""Rivals: which of all rows are worth comparing with each other, found without what they are compared by at hand.

Of each row a *sketch* is at hand, the last bits of its signature's values: two that are like each other may belong to
similar rows. What a band holds lies on the disk, and is sorted there a piece at a time. Rows that share a bucket and
have sketches like each other are of one *circle*, through others too: whatever is similar is of one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock

import numpy as np
import numpy.typing as npt

from curate.sets import band_file
from curate.sets.band_file import BandFile
from curate.sets.bands import bands_for
from curate.sets.buckets import LARGE
from curate.sets.components import find, union
from curate.sets.keys import Numbers
from curate.sets.prefix_filter import COUNTERS, WEAK, count_shingles, prefixes
from curate.sets.signed import Part, numbered
from curate.sets.similarity import Side, least_equal
from curate.text.kernel import in_threads, kernel, read_only

BITS = 4
"""Of each value of a signature that a sketch has: two that differ look alike once in 2^BITS times."""

Sketches = npt.NDArray[np.uint64]
"""Shape (rows, 2 * BITS): bit b of a row's values 0 to 63, and of 64 to 127, in the words 2 b and 2 b + 1."""


class Circles:
    """Rows in order of priority, by their numbers, and which of them may be similar.

    Args:
        parts: what the rows are compared by.
        numbers: of each row of all parts, in their order; -1 where it is not compared.
        threshold: Jaccard similarity, in (0, 1].
        folder: on the disk that is to hold what memory is not to; files have no name there.
    """

    def __init__(self, parts: Sequence[Part], numbers: Numbers, threshold: float, folder: Path | None) -> None:
        self._parts, self._numbers, self._threshold, self._folder = parts, numbers, threshold, folder
        self._least = least_equal(threshold)
        size = int(numbers.max(initial=-1)) + 1
        self.parents = np.arange(size)
        """A union-find, see `curate.sets.components`: rows of different components are not similar, but for crowded
        ones."""
        self.rival = np.zeros(size, np.bool_)
        """Which rows are of a circle with others."""
        self.crowded = np.zeros(size, np.bool_)
        """Which rows share a bucket with more than LARGE others."""
        self._sketches = np.zeros((size, 2 * BITS), np.uint64)
        self._join_by_bands()

    def _join_by_bands(self) -> None:
        bands, size, lock = bands_for(self._threshold), len(self.parents), Lock()
        begins = np.cumsum([0, *(part.rows for part in self._parts)])
        before = np.append(0, np.cumsum(self._numbers >= 0))[begins]  # numbered rows before each part
        with BandFile(self._folder, bands, size) as file:

            def enter(place: int) -> None:
                numbers = self._numbers[begins[place] : begins[place + 1]]
                rows = np.flatnonzero(numbers >= 0)
                if len(rows):
                    signatures = self._parts[place].signatures()
                    sketch(read_only(signatures), rows, numbers[rows], self._sketches)
                    file.enter(signatures, rows, numbers[rows], int(before[place]))

            def join(piece: tuple[int, int, int]) -> None:
                entries = file.sorted_piece(*piece)
                with lock:
                    join_runs(entries, LARGE, self._sketches, self._least, self.parents, self.rival, self.crowded)

            in_threads(enter, range(len(self._parts)))
            in_threads(join, file.pieces())

    def join_crowded(self) -> None:
        """Join also those crowded rows that may be similar: what the prefix filter proposes of them."""
        counts = np.zeros(COUNTERS, np.uint32)
        for side, _ in self._crowded_sides():
            count_shingles(read_only(side), np.arange(len(side.begins)), counts)
        with TemporaryFile(dir=self._folder) as file:
            total = 0
            for side, numbers in self._crowded_sides():
                entries = prefixes(read_only(side), np.arange(len(numbers)), counts, self._threshold)
                rows = numbers[(entries & np.uint64(WEAK - 1)).astype(np.int64)].astype(np.uint64)
                file.write((entries & ~np.uint64(WEAK - 1) | rows).data)
                total += len(entries)
            file.flush()
            ranges = -(-total // band_file.PIECE)
            for number in range(ranges):
                entries = band_file.sorted_piece(file, 0, total, number, ranges)
                join_long_runs(entries, self._sketches, self._least, self.parents, self.rival)

    def _crowded_sides(self) -> Iterator[tuple[Side, Numbers]]:
        """The shingles of the crowded rows, part by part, and their numbers."""
        nothing = np.empty((0, 128), np.uint32)
        crowded = np.where(self.crowded[self._numbers] & (self._numbers >= 0), self._numbers, -1)
        for part, rows, numbers in numbered(self._parts, crowded):
            offsets, values = part.shingles(rows)
            yield Side(nothing, offsets[:-1], offsets[1:], values), numbers


@kernel
def sketch(signatures, rows, numbers, out):  # type: ignore[no-untyped-def]
    """Write the sketches of some rows at their numbers."""
    for at in range(len(rows)):
        for bit in range(BITS):
            for half in range(2):
                word = np.uint64(0)
                for place in range(64):
                    value = np.uint64(signatures[rows[at], 64 * half + place])
                    word |= (value >> np.uint64(bit) & np.uint64(1)) << np.uint64(place)
                out[numbers[at], 2 * bit + half] = word


@kernel
def _ones(word):  # type: ignore[no-untyped-def]
    """How many bits of a word are set (Warren, Hacker's Delight, 5-1)."""
    word -= word >> np.uint64(1) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (word >> np.uint64(2) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64(word * np.uint64(0x0101010101010101) >> np.uint64(56))


@kernel
def most_equal(sketches, first, second):  # type: ignore[no-untyped-def]
    """In how many places two rows' signatures are equal at most."""
    differ = 0
    for half in range(2):
        word = np.uint64(0)
        for bit in range(BITS):
            word |= sketches[first, 2 * bit + half] ^ sketches[second, 2 * bit + half]
        differ += _ones(word)
    return 128 - differ


@kernel
def _run_end(entries, begin):  # type: ignore[no-untyped-def]
    """Where the entries of the key end that stands at a place."""
    end = begin + 1
    while end < len(entries) and entries[end] >> np.uint64(32) == entries[begin] >> np.uint64(32):
        end += 1
    return end


@kernel
def join_runs(entries, largest, sketches, least, parents, rival, crowded):  # type: ignore[no-untyped-def]
    """Join the rows of runs of at most `largest` entries of one key that look alike; mark those of longer ones."""
    begin = 0
    while begin < len(entries):
        end = _run_end(entries, begin)
        if end - begin > largest:
            for at in range(begin, end):
                crowded[entries[at] & np.uint64(0xFFFFFFFF)] = True
            begin = end
        for at in range(begin + 1, end):
            row = np.int64(entries[at] & np.uint64(0xFFFFFFFF))
            for before in range(begin, at):
                other = np.int64(entries[before] & np.uint64(0xFFFFFFFF))
                if find(parents, row) != find(parents, other) and most_equal(sketches, row, other) >= least:
                    union(parents, row, other)
                    rival[row] = rival[other] = True
        begin = end


@kernel
def join_long_runs(entries, sketches, least, parents, rival):  # type: ignore[no-untyped-def]
    """The same for runs of any length of what `prefixes` gives, whose weak rows come last and do not meet.

    A run's rows are held in groups that are joined already, as in `near_dedup.link`: a thousand rows that are all alike
    cost a thousand comparisons."""
    rows = np.empty(1024, np.int64)
    begin = 0
    while begin < len(entries):
        end = _run_end(entries, begin)
        if end - begin > len(rows):
            rows = np.empty(2 * (end - begin), np.int64)
        following = np.full(end - begin, -1)
        heads = np.empty(end - begin, np.int64)
        tails = np.empty(end - begin, np.int64)
        groups = 0
        for at in range(end - begin):
            row = np.int64(entries[begin + at] & np.uint64(WEAK - 1))
            weak = entries[begin + at] & np.uint64(WEAK) != 0
            rows[at] = row
            tail, left = at, 0
            for group in range(groups):
                member = heads[group]
                joined = find(parents, rows[member]) == find(parents, row)
                while not joined and member >= 0:
                    joined = most_equal(sketches, row, rows[member]) >= least
                    if joined:
                        union(parents, row, rows[member])
                        rival[row] = rival[rows[member]] = True
                    member = following[member]
                if joined and not weak:
                    following[tail] = heads[group]
                    tail = tails[group]
                else:
                    heads[left], tails[left] = heads[group], tails[group]
                    left += 1
            if not weak:
                heads[left], tails[left] = at, tail
                left += 1
            groups = left
        begin = end
