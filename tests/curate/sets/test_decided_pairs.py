"""Pairs of rows that people have decided on, against brute force."""

from itertools import combinations
from random import Random

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sets.decided_pairs import DecidedPairs, Group
from curate.sets.near_dedup import remove_near_duplicates
from curate.sets.prefix_filter import prefix_buckets
from tests.sides import side_of_sets, similar, with_a_common_part

PLACES = st.integers(0, 9)
PAIRS = st.lists(st.tuples(PLACES, PLACES).filter(lambda pair: pair[0] < pair[1]), max_size=6, unique=True)


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=40))
def test_rows_that_are_not_the_same_never_remove_each_other(seed: int, different: list[tuple[int, int]]) -> None:
    random = Random(seed)
    sets = with_a_common_part(random, 40, [random.getrandbits(64) for _ in range(30)])
    side, there = side_of_sets(sets), np.ones(40, np.bool_)
    apart = DecidedPairs((), [pair for pair in different if pair[0] != pair[1]]).apart(np.arange(40))
    cut = {frozenset(pair) for pair in different}
    by, _ = remove_near_duplicates(
        *(side, prefix_buckets(side, there, 0.5), np.zeros(40, np.uint64), there, there, 0.5, apart)
    )
    expected: list[int] = []
    for row, each in enumerate(sets):
        kept = [other for other in range(row) if expected[other] < 0 and {row, other} not in cut]
        expected.append(next((other for other in kept if similar(each, sets[other]) >= 0.5), -1))
    assert by.tolist() == expected


@given(PAIRS, PAIRS, st.lists(st.integers(0, 3), min_size=10, max_size=10))
def test_groups_are_those_of_all_pairs_that_ask_the_same(
    same: list[tuple[int, int]], different: list[tuple[int, int]], prompts: list[int]
) -> None:
    """Rows 0 to 9 of four prompts; those of one prompt are a group where there are two."""
    different = [pair for pair in different if pair not in same]
    members = [[place for place in range(10) if prompts[place] == prompt] for prompt in range(4)]
    groups: list[Group] = [(places, []) for places in members if len(places) > 1]
    hashes = np.array([[prompt, 0] for prompt in prompts], np.uint64)
    found = DecidedPairs(same, different).regrouped(groups, hashes)
    ties = {pair for pair in combinations(range(10), 2) if prompts[pair[0]] == prompts[pair[1]]} - {*different}
    component = [*range(10)]
    for _ in range(10):
        for one, other in [*ties, *same]:
            component[one] = component[other] = min(component[one], component[other])
    expected = [[place for place in range(10) if component[place] == least] for least in range(10)]
    assert sorted(places for places, _ in found if len(places) > 1) == sorted(
        each for each in expected if len(each) > 1
    )


def test_an_earlier_row_holds_its_group_together() -> None:
    hashes = np.zeros((2, 2), np.uint64)
    assert DecidedPairs((), [(0, 1)]).regrouped([([0, 1], [(0, 5)])], hashes) == [([0, 1], [(0, 5)])]


def test_pairs_are_found_by_ids_of_which_rows_may_share_one() -> None:
    keys = pa.table({"id": pa.chunked_array([["a", "b"], ["a", "c"]])})
    found = DecidedPairs.of(keys, [("a", "c", "same"), ("b", "c", "different"), ("a", "x", "same")])
    assert found == DecidedPairs([(0, 3), (2, 3)], [(1, 3)])
    assert found.placed(np.array([3, 2, 1, 0])) == DecidedPairs([(0, 1), (0, 3)], [(0, 2)])
