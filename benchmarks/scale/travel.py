"""Which of a pair's rows travels, and as what: text, shingles, or first a sketch that tells who need not.

One row of a pair is at home, the other one travels to it, once to each worker. Four ways, each with the same
result: the pair's true similarity, or 0 where the estimate or the bound passes it over (`curate.sets.near_dedup`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.scale.network import Array, Network
from curate.sets.duplicates import Duplicates
from curate.sets.similarity import Side, equal_places, jaccard, least_equal, shingles_of
from curate.text.kernel import kernel
from curate.text.minhash import PERMUTATIONS, text_signatures
from curate.text.minhash import signatures as signatures_of
from curate.text.words import shingle_sets, utf8


class Travel:
    """The exchanges between those that hold rows and those that compare them.

    Args:
        texts: that this worker holds; the first has the number `begin`.
        holder: who holds rows.
    """

    def __init__(
        self, network: Network, texts: pa.Array, begin: int, holder: Callable[[Array], Array], settings: Duplicates
    ) -> None:
        self.network, self.texts, self.begin, self.holder = network, texts, begin, holder
        self.words, self.threshold = settings.shingle_words, settings.threshold
        self.least = least_equal(settings.threshold)
        self.counts: dict[str, int] = {}

    def similarities(self, firsts: Array, seconds: Array, signatures: Array, step: Callable[[str], Any]) -> Array:
        """Of pairs whose first row is here: shape (pairs,)."""
        far = self.holder(seconds) != self.network.number
        away, place = np.unique(seconds[far], return_inverse=True)
        here = np.unique(np.concatenate([firsts, seconds[~far]]))
        self.counts = {"rows that travel": len(away)}
        offsets, values = shingle_sets(self.texts.take(pa.array(here - self.begin)), self.words)
        one = np.searchsorted(here, firsts)
        other = np.empty(len(seconds), np.int64)
        other[~far], other[far] = np.searchsorted(here, seconds[~far]), len(here) + place

        def compared(*travelled: Array) -> Array:
            """Their signatures, offsets and shingles join those that are here."""
            side = _joined((signatures[here - self.begin], offsets, values), travelled)
            return similarities(side, one, other, self.threshold, self.least)

        with step("compare"):
            found = compared(*self._as_texts("texts", away))
        with step("(instead) other ways to travel"):
            ways = [compared(*self._as_shingles("(instead) shingles", away))]
            for name, passing in (("sketches", self._by_sketch), ("prefixes", self._by_prefix)):
                passed = np.unique(
                    place[passing(away, one[far], place, signatures[here - self.begin], (offsets, values))]
                )
                self.counts[f"rows that travel after {name}"] = len(passed)
                some = self._as_shingles(f"(instead) shingles after {name}", away[passed])
                ways.append(compared(*_spread(some, passed, len(away))))
        if any(not np.array_equal(way, found) for way in ways):
            raise SystemExit("Rows that have travelled in another way were found unlike.")
        return found

    def _as_texts(self, kind: str, rows: Array) -> tuple[Array, Array, Array]:
        """Texts, compressed by zstd; shingles are made of them again."""
        asked = self.network.route(f"{kind}: asked", rows.astype(np.uint32), self.holder(rows))
        parcels = [_zstd(self.texts.take(pa.array(each.astype(np.int64) - self.begin))) for each in asked]
        texts = pa.concat_arrays([_texts(each) for each in self.network.exchange(kind, parcels)])
        return text_signatures(texts, self.words), *shingle_sets(texts, self.words)

    def _as_shingles(self, kind: str, rows: Array) -> tuple[Array, Array, Array]:
        """Shingles, eight bytes each; the signature is made of them again."""

        def answer(asked: Array) -> bytes:
            offsets, values = shingle_sets(self.texts.take(pa.array(asked.astype(np.int64) - self.begin)), self.words)
            return np.diff(offsets).astype("<u4").tobytes() + values.tobytes()

        told, asked = self._told(kind, rows, answer)
        lengths, values = zip(*(_cut(each, count, "<u8") for each, count in zip(told, asked, strict=True)), strict=True)
        offsets = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
        every = np.concatenate(values)
        return signatures_of(offsets, every), offsets, every

    def _told(self, kind: str, rows: Array, answer: Callable[[Array], bytes]) -> tuple[list[bytes], list[int]]:
        """What each worker answers of rows, which ascend, and how many it was asked for."""
        holder = self.holder(rows)
        asked = self.network.route(f"{kind}: asked", rows.astype(np.uint32), holder)
        told = self.network.exchange(kind, [answer(each) for each in asked])
        return told, np.bincount(holder, minlength=self.network.size).tolist()

    def _by_sketch(self, away: Array, one: Array, place: Array, signatures: Array, sets: tuple[Array, Array]) -> Array:
        """Which pairs may be similar by one byte of each value of their signatures: never fewer than by all four."""
        kind = "(instead) sketches"
        told, _ = self._told(kind, away, lambda rows: self._signed(rows).astype(np.uint8).tobytes())
        heard = np.frombuffer(b"".join(told), np.uint8).reshape(len(away), PERMUTATIONS)
        return np.flatnonzero(at_least_equal(signatures.astype(np.uint8)[one], heard[place], self.least))

    def _signed(self, rows: Array) -> Array:
        return text_signatures(self.texts.take(pa.array(rows.astype(np.int64) - self.begin)), self.words)

    def _by_prefix(self, away: Array, one: Array, place: Array, signatures: Array, sets: tuple[Array, Array]) -> Array:
        """Which pairs share one of the least hashes that similar sets must share one of: four bytes each."""
        kind = "(instead) prefixes"

        def answer(asked: Array) -> bytes:
            offsets, values = shingle_sets(self.texts.take(pa.array(asked.astype(np.int64) - self.begin)), self.words)
            lengths, least = _prefixes(offsets, values, self.threshold)
            return lengths.astype("<u4").tobytes() + least.astype("<u4").tobytes()

        told, asked = self._told(kind, away, answer)
        lengths, heard = zip(*(_cut(each, count, "<u4") for each, count in zip(told, asked, strict=True)), strict=True)
        theirs = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
        own, values = _prefixes(*sets, self.threshold)
        mine = np.concatenate([[0], np.cumsum(own)])
        return np.flatnonzero(meet(mine, values, theirs, np.concatenate(heard).astype(np.uint64), one, place))


def _zstd(texts: pa.Array) -> bytes:
    """Lengths and UTF-8 of texts, compressed, after their number and size."""
    data, bounds = utf8(texts)
    raw = np.diff(bounds).astype("<u4").tobytes() + data[bounds[0] : bounds[-1]].tobytes()
    return np.array([len(texts), len(raw)], "<u8").tobytes() + pa.compress(raw, codec="zstd", asbytes=True)


def _texts(parcel: bytes) -> pa.Array:
    count, size = np.frombuffer(parcel, "<u8", 2).tolist()
    raw = pa.decompress(parcel[16:], size, codec="zstd")
    offsets = np.cumsum(np.append(0, np.frombuffer(raw, "<u4", count)), dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets), raw.slice(4 * count)]
    return pa.Array.from_buffers(pa.large_string(), count, buffers)


def _cut(parcel: bytes, count: int, dtype: str) -> tuple[Array, Array]:
    """Lengths, and all values one after the other."""
    return np.frombuffer(parcel, "<u4", count), np.frombuffer(parcel[4 * count :], dtype)


def _joined(here: Sequence[Array], travelled: Sequence[Array]) -> Side:
    signatures, offsets, values = (
        np.concatenate([here[0], travelled[0]]),
        np.concatenate([here[1], here[1][-1] + travelled[1][1:]]),
        np.concatenate([here[2], travelled[2]]),
    )
    return Side(signatures, offsets[:-1].copy(), offsets[1:].copy(), values)


def _spread(some: tuple[Array, Array, Array], places: Array, count: int) -> tuple[Array, Array, Array]:
    """Signatures and sets of some of `count` rows; the others' sets are empty, and their signatures like nothing."""
    signatures = np.full((count, some[0].shape[1]), 0xFFFFFFFF, np.uint32)
    signatures[places] = some[0]
    lengths = np.zeros(count, np.int64)
    lengths[places] = np.diff(some[1])
    return signatures, np.concatenate([[0], np.cumsum(lengths)]), some[2]


def _prefixes(offsets: Array, values: Array, threshold: float) -> tuple[Array, Array]:
    """The least hashes of each set, as many as must have one in common with those of a set at the threshold: how many,
    and the upper halves of all."""
    sizes = np.diff(offsets)
    lengths = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    inside = np.arange(len(values)) < np.repeat(offsets[:-1] + lengths, sizes)
    return lengths, values[inside] >> np.uint64(32)


@kernel
def similarities(side, firsts, seconds, threshold, least):  # type: ignore[no-untyped-def]
    """True similarities of pairs of a side's rows; 0 below the threshold, and where signatures agree too little."""
    out = np.zeros(len(firsts))
    for at in range(len(firsts)):
        one, other = firsts[at], seconds[at]
        if equal_places(side.signatures[one], side.signatures[other]) >= least:
            true = jaccard(shingles_of(side, one), shingles_of(side, other), threshold)
            out[at] = true if true >= threshold else 0.0
    return out


@kernel
def at_least_equal(firsts, seconds, least):  # type: ignore[no-untyped-def]
    """Which pairs of sketches are equal in as many places."""
    out = np.zeros(len(firsts), np.bool_)
    for at in range(len(firsts)):
        out[at] = equal_places(firsts[at], seconds[at]) >= least
    return out


@kernel
def meet(mine, values, theirs, others, firsts, seconds):  # type: ignore[no-untyped-def]
    """Which pairs of ascending sets have a value in common."""
    out = np.zeros(len(firsts), np.bool_)
    for at in range(len(firsts)):
        i, j = mine[firsts[at]], theirs[seconds[at]]
        while i < mine[firsts[at] + 1] and j < theirs[seconds[at] + 1] and not out[at]:
            out[at] = values[i] == others[j]
            less = values[i] <= others[j]
            j += values[i] >= others[j]
            i += less
    return out
