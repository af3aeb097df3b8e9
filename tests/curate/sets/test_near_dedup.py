"""Near-duplicates within a drop against brute force over shingle sets."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sets.buckets import band_buckets, have_rivals
from curate.sets.components import roots
from curate.sets.near_dedup import link, remove_near_duplicates
from curate.sets.prefix_filter import prefix_buckets
from tests.sides import (
    clusters,
    corpora,
    greedy,
    sets_of,
    side_of,
    side_of_sets,
    similar,
    tables_of,
    thresholds,
    with_a_common_part,
)


@settings(max_examples=50)
@given(corpora, thresholds, st.booleans())
def test_removals_and_clusters_equal_brute_force(
    rows: list[tuple[str, int]], threshold: float, everywhere: bool
) -> None:
    texts, answers = [text for text, _ in rows], [answer for _, answer in rows]
    side = side_of(texts, threshold)
    sets = sets_of(side)
    there = np.ones(len(rows), np.bool_)
    buckets, crowded = band_buckets(tables_of(side, threshold))
    if everywhere:  # as if every row were in a large bucket
        buckets = prefix_buckets(side, np.ones(len(rows), np.bool_), threshold)
    else:
        assert not crowded.any()
    by, similarity = remove_near_duplicates(side, buckets, np.array(answers, np.uint64), there, there, threshold)
    assert by.tolist() == greedy(sets, answers, threshold)
    assert all(
        found == pytest.approx(similar(sets[row], sets[kept]))
        for row, (kept, found) in enumerate(zip(by, similarity, strict=True))
        if kept >= 0
    )
    parents = np.arange(len(rows))
    link(side, buckets, parents, threshold)
    assert roots(parents).tolist() == clusters(sets, threshold)
    rivals = have_rivals(side.signatures, buckets, threshold)
    assert all(rivals[row] for row, root in enumerate(roots(parents)) if root != row)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.7, 0.8, 0.9]))
def test_rows_with_a_common_part_equal_brute_force(seed: int, threshold: float) -> None:
    random = Random(seed)
    common = [random.getrandbits(64) for _ in range(30)]
    sets = with_a_common_part(random, 80, common)
    side, answers, there = side_of_sets(sets), [random.randrange(2) for _ in sets], np.ones(80, np.bool_)
    buckets = prefix_buckets(side, there, threshold)
    by, _ = remove_near_duplicates(side, buckets, np.array(answers, np.uint64), there, there, threshold)
    assert by.tolist() == greedy(sets, answers, threshold)
    parents = np.arange(80)
    link(side, buckets, parents, threshold)
    assert roots(parents).tolist() == clusters(sets, threshold)
