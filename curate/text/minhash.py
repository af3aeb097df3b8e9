"""MinHash signatures (Broder, 1997), bit for bit those of datasketch's scheme "affine32" with 128 permutations."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.text.kernel import kernel, read_only
from curate.text.words import Hashes, Offsets, shingles

PERMUTATIONS = 128
BATCH = 512
"""Texts whose shingles are there at a time: they fit into a core's cache."""

Signatures = npt.NDArray[np.uint32]


def text_signatures(texts: pa.Array, size: int) -> Signatures:
    """The signature of each text's shingles of `size` words: shape (texts, 128).

    Args:
        texts: string or large_string array without nulls.
    """
    out = np.empty((len(texts), PERMUTATIONS), np.uint32)
    for begin in range(0, len(texts), BATCH):
        offsets, values = shingles(texts.slice(begin, BATCH), size)
        _signatures(read_only(offsets), read_only(values), *_permutations(), out[begin : begin + BATCH])
    return out


def signatures(offsets: Offsets, values: Hashes) -> Signatures:
    """The signature of each set of 64-bit hashes, of which the scheme takes the low 32 bits: shape (sets, 128).

    Args:
        offsets: set i is values[offsets[i] : offsets[i + 1]].
    """
    out = np.empty((len(offsets) - 1, PERMUTATIONS), np.uint32)
    _signatures(read_only(offsets), read_only(values), *_permutations(), out)
    return out


@cache
def _permutations() -> tuple[Signatures, Signatures]:
    """Factors (odd) and summands of datasketch's permutations h -> a h + b modulo 2^32.

    Drawn as datasketch draws them for its seed 1; importing it, and scipy with it, takes most of a second.
    """
    draw = np.random.RandomState(1)
    factors = draw.randint(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, draw.randint(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)


@kernel
def _lowest(values, count, factors, summands, lowest):  # type: ignore[no-untyped-def]
    """The least value of each permutation; each hash is mixed by MurmurHash3's 32-bit finalizer before."""
    lowest[:] = np.uint32(0xFFFFFFFF)
    for at in range(count):
        mixed = np.uint32(values[at])
        mixed = np.uint32((mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        mixed = np.uint32((mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed = np.uint32(mixed ^ (mixed >> np.uint32(16)))
        for k in range(PERMUTATIONS):
            lowest[k] = min(lowest[k], np.uint32(factors[k] * mixed + summands[k]))


@kernel
def _signatures(offsets, values, factors, summands, out):  # type: ignore[no-untyped-def]
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        _lowest(values[begin:end], end - begin, factors, summands, out[row])
