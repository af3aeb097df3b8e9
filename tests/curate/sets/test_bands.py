"""Bands: how many they are, and that their tables hold every row by its values."""

import itertools

import numpy as np
import pytest

from curate.sets.bands import bands_for
from tests.sides import side_of, tables_of


@pytest.mark.parametrize(
    ("threshold", "bands"), [(1.0, 32), (0.8, 32), (0.7, 32), (0.6, 42), (0.5, 64), (0.2, 128), (0.1, 128)]
)
def test_bands_miss_few_at_the_threshold(threshold: float, bands: int) -> None:
    assert bands_for(threshold) == bands


def test_tables_hold_every_row_in_every_band_by_its_values() -> None:
    side = side_of(["a b c d", "a b c d", "a b c e f", "x"], 0.8)
    tables = tables_of(side, 0.8)
    assert tables.shape == (32, 4)
    assert np.all(np.diff(tables.astype(object), axis=1) > 0)
    for band, table in enumerate(tables):
        assert sorted((table & 0xFFFFFFFF).tolist()) == [0, 1, 2, 3]
        values = side.signatures[:, 4 * band : 4 * band + 4]
        key_of = {int(entry & 0xFFFFFFFF): int(entry >> 32) for entry in table.tolist()}
        for first, second in itertools.combinations(range(4), 2):
            assert (key_of[first] == key_of[second]) == np.array_equal(values[first], values[second])
