"""Signatures against datasketch, bit for bit."""

import numpy as np
import pyarrow as pa
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from curate.text.minhash import PERMUTATIONS, signatures, text_signatures
from curate.text.words import shingle_sets
from tests.curate.text.test_words import TEXTS


def reference(values: list[int]) -> np.ndarray:
    sketch = MinHash(num_perm=PERMUTATIONS, scheme="affine32", hashfunc=lambda value: value & 0xFFFFFFFF)
    sketch.update_batch(values)
    return sketch.hashvalues


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=40), max_size=8))
def test_any_sets(sets: list[list[int]]) -> None:
    offsets = np.cumsum([0, *map(len, sets)])
    values = np.array([value for each in sets for value in each], np.uint64)
    for found, each in zip(signatures(offsets, values), sets, strict=True):
        assert np.array_equal(found, reference(each))


@given(st.lists(st.text(), max_size=6), st.integers(1, 6))
def test_texts_give_the_signatures_of_their_shingles(texts: list[str], size: int) -> None:
    array = pa.array(TEXTS + texts, pa.string())
    offsets, values = shingle_sets(array, size)
    assert np.array_equal(text_signatures(array, size), signatures(offsets, values))
    assert np.array_equal(text_signatures(array, size)[-1], reference(values[offsets[-2] :].tolist()))


def test_stored_signatures_load_into_datasketch() -> None:
    array = pa.array(["one two three four five six seven", "one two three four five six seven eight"])
    stored = text_signatures(array, 2).tobytes()
    first, second = (
        MinHash(hashvalues=values, scheme="affine32") for values in np.frombuffer(stored, np.uint32).reshape(2, -1)
    )
    offsets, values = shingle_sets(array, 2)
    assert first.jaccard(second) == first.jaccard(
        MinHash(hashvalues=reference(values[offsets[1] :].tolist()), scheme="affine32")
    )
    assert 0.6 < first.jaccard(second) < 1
