"""Splits as numbers, a byte a row: one split by its place in SPLITS, several as bits."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.record import SPLITS

Codes = npt.NDArray[np.int8]
"""A split for each row, by its place in SPLITS; -1 where it has none."""
Masks = npt.NDArray[np.uint8]
"""Splits for each row: a bit for each, by its place in SPLITS."""

ALONE = np.array([-1 if mask.bit_count() != 1 else mask.bit_length() - 1 for mask in range(1 << len(SPLITS))], np.int8)
"""The split that a mask holds, where it holds one alone."""
SEVERAL = np.array([mask.bit_count() > 1 for mask in range(1 << len(SPLITS))])
"""Whether a mask holds several."""


@cache
def _names() -> pa.Array:
    return pa.array(SPLITS)


def codes_of(names: pa.Array | pa.ChunkedArray) -> Codes:
    """The splits of these names; -1 for what names none."""
    if pa.types.is_dictionary(names.type):
        array = whole(names) if isinstance(names, pa.ChunkedArray) else names
        indices = pc.fill_null(array.indices, len(array.dictionary)).to_numpy()
        codes: Codes = np.append(codes_of(array.dictionary), np.int8(-1))[indices]
        return codes
    return np.asarray(pc.fill_null(pc.index_in(names, value_set=_names()), -1)).astype(np.int8)


def names_of(codes: Codes) -> pa.Array:
    """The names of splits; null for -1."""
    return _names().take(pa.array(codes, mask=codes < 0))


def masks_of(codes: Codes) -> Masks:
    """Each split alone."""
    masks: Masks = np.array([*(1 << code for code in range(len(SPLITS))), 0], np.uint8)[codes]
    return masks


def splits_in(mask: int) -> frozenset[str]:
    """The names of the splits that a mask holds."""
    return frozenset(name for place, name in enumerate(SPLITS) if mask >> place & 1)


def joined(size: int, places: npt.NDArray[Any], masks: Masks) -> Masks:
    """The masks at each of `size` places, joined."""
    found = np.zeros(size, np.uint8)
    np.bitwise_or.at(found, places, masks)
    return found
