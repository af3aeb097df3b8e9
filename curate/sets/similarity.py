"""How similar two rows are: estimated by their signatures, and truly, by their shingles.

The kernels are compiled by numba and give the same result on every machine.
"""

from typing import NamedTuple

import numpy as np

from curate.text.kernel import kernel
from curate.text.minhash import PERMUTATIONS, Signatures
from curate.text.words import Hashes, Offsets

SIGMAS = 4
"""A pair whose estimated similarity is that many standard deviations below the threshold is not compared: of the pairs
at the threshold that passes over 3 in 100,000 (a MinHash estimate is binomial; Broder, 1997)."""


class Side(NamedTuple):
    """What rows are compared by."""

    signatures: Signatures
    """Shape (rows, 128)."""
    begins: Offsets
    """Row r's shingles, sorted and distinct, are values[begins[r] : ends[r]]; none where they are not needed."""
    ends: Offsets
    values: Hashes


def least_equal(threshold: float) -> int:
    """In how many of the 128 places two signatures must be equal for their rows to be worth comparing."""
    return int(PERMUTATIONS * threshold - SIGMAS * (PERMUTATIONS * threshold * (1 - threshold)) ** 0.5)


@kernel
def shingles_of(side, row):  # type: ignore[no-untyped-def]
    """A row's shingles."""
    return side.values[side.begins[row] : side.ends[row]]


@kernel
def equal_places(first, second):  # type: ignore[no-untyped-def]
    """In how many places two signatures are equal."""
    count = np.uint32(0)
    for at in range(PERMUTATIONS):
        count += np.uint32(first[at] == second[at])
    return count


@kernel
def jaccard(first, second, least=0.0):  # type: ignore[no-untyped-def]
    """Jaccard similarity of two sets of sorted, distinct hashes: size of the intersection over size of the union.

    Once it is certain to be less than `least`, 0 is given.
    """
    size = len(first) + len(second)
    most_missing = size - 2 * (least / (1 + least)) * size + 1e-6  # values of one set alone, if it is to reach `least`
    i, j, common = 0, 0, 0
    while i < len(first) and j < len(second):
        stop = min(i + 16, len(first))  # to look whether it can still be reached only now and then
        while i < stop and j < len(second):
            a, b = first[i], second[j]
            common += a == b
            i += a <= b
            j += b <= a
        if i + j - 2 * common > most_missing:
            return 0.0
    return common / (size - common)
