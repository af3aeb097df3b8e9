"""Similarity: the kernel against the definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.sets.similarity import jaccard
from tests.sides import similar


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40), min_size=1))
def test_jaccard_equals_the_definition(first: set[int], second: set[int]) -> None:
    arrays = [np.array(sorted(each), np.uint64) for each in (first, second)]
    assert jaccard(*arrays) == similar(first, second)
