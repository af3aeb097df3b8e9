"""Bands: rows whose signatures have the same values in a band are proposed as similar (locality-sensitive hashing).

Leskovec et al., Mining of Massive Datasets, chapter 3.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.sets.keys import Numbers
from curate.text.kernel import in_threads, kernel, read_only
from curate.text.minhash import PERMUTATIONS, Signatures

MISSED = 1e-3
"""Chance that the bands propose no pair of just the threshold's similarity that is accepted at most."""
WIDEST = 4
"""Values per band at most. 32 bands of 4 propose a pair of similarity .6, .7, .8 with a chance of .988, .9998, 1 - 5e-8
(1 - (1 - s^4)^32; Leskovec et al., 3.4). False proposals cost a comparison, no more."""
BATCH = 1 << 14
"""Rows whose bands one thread hashes at a time."""
Tables = npt.NDArray[np.uint64]


def bands_for(threshold: float) -> int:
    """The least number of bands that misses a pair at the threshold with a chance of at most MISSED."""
    widths = [w for w in range(WIDEST, 0, -1) if (1 - threshold**w) ** (PERMUTATIONS // w) <= MISSED]
    return PERMUTATIONS // (widths[0] if widths else 1)


def band_tables(signatures: Signatures, bands: int) -> Tables:
    """Rows by what they have in a band: shape (bands, rows), each band sorted.

    An entry is key << 32 | row, the key being 32 bits of the hash of the band's values: rows of equal values in a band
    stand side by side in it. Two other rows do so by chance once in 2^32 times, which costs a comparison, no more.
    """
    rows = np.arange(len(signatures))
    tables, signatures = np.empty((bands, len(rows)), np.uint64), read_only(signatures)
    in_threads(lambda begin: _enter(signatures, rows, rows, begin, begin + BATCH, tables), rows[::BATCH].tolist())
    in_threads(np.ndarray.sort, tables)
    return tables


def band_entries(signatures: Signatures, rows: Numbers, numbers: Numbers, bands: int) -> Tables:
    """The entries of some rows, see `band_tables`, in the order given: shape (bands, rows).

    Args:
        signatures: of these and others.
        rows: which they are.
        numbers: what each is called in its entries, below 2^32.
    """
    entries = np.empty((bands, len(rows)), np.uint64)
    _enter(read_only(signatures), rows, numbers, 0, len(rows), entries)
    return entries


@njit(nogil=True, inline="always")
def _scramble(value):  # type: ignore[no-untyped-def]
    """MurmurHash3's 64-bit finalizer."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@kernel
def _enter(signatures, rows, numbers, begin, end, out):  # type: ignore[no-untyped-def]
    """The band entries of rows from `begin` to `end`."""
    bands = len(out)
    width = signatures.shape[1] // bands
    for at in range(begin, min(end, len(rows))):
        row, number = rows[at], np.uint64(numbers[at])
        for band in range(bands):
            key = np.uint64(band)
            for place in range(band * width, (band + 1) * width):
                key = _scramble(key ^ np.uint64(signatures[row, place]))
            out[band, at] = (key >> np.uint64(32) << np.uint64(32)) | number
