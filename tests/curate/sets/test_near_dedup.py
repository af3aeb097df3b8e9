"""Near-duplicates against brute force over shingle sets."""

import itertools
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sets import near_dedup
from curate.sets.components import Components, roots
from curate.sets.near_dedup import (
    Side,
    band_buckets,
    band_tables,
    bands_for,
    have_rivals,
    have_rivals_in,
    jaccard,
    link,
    link_earlier,
    prefix_buckets,
    remove_duplicates_of,
    remove_near_duplicates,
)
from curate.text.minhash import signatures, text_signatures
from curate.text.words import shingle_sets

SIZE = 3


def side_of(texts: list[str], threshold: float) -> Side:
    array = pa.array(texts, pa.string())
    offsets, values = shingle_sets(array, SIZE)
    return Side(text_signatures(array, SIZE), offsets[:-1], offsets[1:], values)


def tables_of(side: Side, threshold: float) -> npt.NDArray[np.uint64]:
    return band_tables(side.signatures, bands_for(threshold))


def sets_of(side: Side) -> list[set[int]]:
    return [set(side.values[begin:end].tolist()) for begin, end in zip(side.begins, side.ends, strict=True)]


def similar(first: set[int], second: set[int]) -> float:
    return len(first & second) / len(first | second)


def greedy(sets: list[set[int]], answers: list[int], threshold: float) -> list[int]:
    """The rule by brute force: for each row the first kept row of the same answer that is similar enough, or -1."""
    kept: list[int] = []
    by = []
    for row, mine in enumerate(sets):
        rivals = (k for k in kept if answers[k] == answers[row] and similar(sets[k], mine) >= threshold)
        by.append(next(rivals, -1))
        if by[-1] < 0:
            kept.append(row)
    return by


def clusters(sets: list[set[int]], threshold: float) -> list[int]:
    names = list(range(len(sets)))
    for first, second in itertools.combinations(range(len(sets)), 2):
        if similar(sets[first], sets[second]) >= threshold:
            old, new = names[second], names[first]
            names = [new if name == old else name for name in names]
    return [min(row for row in range(len(sets)) if names[row] == name) for name in names]


prompts = st.lists(st.sampled_from([*"abcdefgh"]), max_size=12).map(" ".join)
corpora = st.lists(st.tuples(prompts, st.integers(0, 1)), max_size=25)
thresholds = st.sampled_from([0.4, 0.5, 0.6, 0.8, 1.0])


@settings(max_examples=80)
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
    by, similarity = remove_near_duplicates(side, buckets, np.array(answers, np.uint64), there, threshold)
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


@settings(max_examples=80)
@given(corpora, corpora, thresholds, st.randoms(), st.booleans())
def test_earlier_rows_equal_brute_force(
    earlier: list[tuple[str, int]], rows: list[tuple[str, int]], threshold: float, random: Any, crowded: bool
) -> None:
    old, new = side_of([text for text, _ in earlier], threshold), side_of([text for text, _ in rows], threshold)
    old_sets, new_sets = sets_of(old), sets_of(new)
    old_answers, answers = [answer for _, answer in earlier], [answer for _, answer in rows]
    live = np.array([random.random() < 0.8 for _ in earlier], np.bool_)
    kept = np.array([random.random() < 0.7 for _ in earlier], np.bool_) & live
    names = np.array([random.randrange(4) for _ in earlier], np.uint64)
    theirs = kept, live, np.array(old_answers, np.uint64), names
    with pytest.MonkeyPatch.context() as patch:
        if crowded:  # as if every bucket of several rows were a large one
            patch.setattr(near_dedup, "LARGE", 1)
        by, similarity, pairs = remove_duplicates_of(
            old,
            tables_of(old, threshold),
            *theirs,
            new,
            tables_of(new, threshold),
            np.array(answers, np.uint64),
            threshold,
        )
    ties: dict[int, set[int]] = {row: set() for row in range(len(rows))}
    for row, mine in enumerate(new_sets):
        near = [k for k in range(len(earlier)) if live[k] and similar(old_sets[k], mine) >= threshold]
        first = next((k for k in near if kept[k] and old_answers[k] == answers[row]), -1)
        assert by[row] == first
        assert similarity[row] == pytest.approx(similar(old_sets[first], mine) if first >= 0 else 0)
        ties[row] = {int(names[k]) for k in near}
    found: dict[int, set[int]] = {row: set() for row in range(len(rows))}
    for row, other in pairs.tolist():
        assert live[other]
        assert similar(old_sets[other], new_sets[row]) >= threshold
        found[row].add(int(names[other]))
    assert found == ties
    rivals = have_rivals_in(tables_of(new, threshold), tables_of(old, threshold), live)
    assert all(rivals[row] for row in ties if ties[row])


def side_of_sets(sets: list[set[int]]) -> Side:
    offsets = np.cumsum([0, *map(len, sets)])
    values = np.array([value for each in sets for value in sorted(each)], np.uint64)
    return Side(signatures(offsets, values), offsets[:-1], offsets[1:], values)


def with_a_common_part(random: Random, rows: int, common: list[int]) -> list[set[int]]:
    """Sets of most of what is common, of what some of them share, and of their own; many are similar."""
    shared = [random.getrandbits(64) for _ in range(60)]
    sets: list[set[int]] = []
    for _ in range(rows):
        if sets and random.random() < 0.4:
            sets.append({random.getrandbits(64) if random.random() < 0.1 else each for each in random.choice(sets)})
        else:
            parts = random.sample(common, random.randint(len(common) // 2, len(common))), random.sample(shared, 4)
            sets.append({*parts[0], *parts[1], *(random.getrandbits(64) for _ in range(random.randint(0, 12)))})
    return sets


def in_one_bucket(patch: pytest.MonkeyPatch, rows: int) -> npt.NDArray[np.uint64]:
    """The band tables of earlier rows as if they and all new ones were in one long bucket."""
    table = np.arange(rows, dtype=np.uint64)[None]
    patch.setattr(near_dedup, "LARGE", 1)
    patch.setattr(near_dedup, "_located", lambda *_: (table * 0, np.zeros((1, rows), np.int64)))
    return table


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.7, 0.8, 0.9]))
def test_rows_with_a_common_part_equal_brute_force(seed: int, threshold: float) -> None:
    random = Random(seed)
    common = [random.getrandbits(64) for _ in range(30)]
    sets = with_a_common_part(random, 80, common)
    old_sets, sets = sets[::2], sets[1::2]
    old, new = side_of_sets(old_sets), side_of_sets(sets)
    answers, there = [random.randrange(2) for _ in sets], np.ones(40, np.bool_)
    buckets = prefix_buckets(new, there, threshold)
    by, _ = remove_near_duplicates(new, buckets, np.array(answers, np.uint64), there, threshold)
    assert by.tolist() == greedy(sets, answers, threshold)
    parents = np.arange(40)
    link(new, buckets, parents, threshold)
    assert roots(parents).tolist() == clusters(sets, threshold)

    with pytest.MonkeyPatch.context() as patch:
        theirs = in_one_bucket(patch, 40), there, there, np.zeros(40, np.uint64), np.arange(40, dtype=np.uint64)
        by, _, pairs = remove_duplicates_of(
            old, *theirs, new, tables_of(new, threshold), np.array(answers, np.uint64), threshold
        )
    near = {(r, o) for r, mine in enumerate(sets) for o, its in enumerate(old_sets) if similar(mine, its) >= threshold}
    assert set(map(tuple, pairs.tolist())) == near
    firsts = [min((other for row, other in near if row == each), default=-1) for each in range(40)]
    assert by.tolist() == [-1 if answer else first for first, answer in zip(firsts, answers, strict=True)]


def test_rows_that_share_a_common_part_just_below_the_threshold_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(0)
    common = {random.getrandbits(64) for _ in range(165)}
    sets = [common | {random.getrandbits(64) for _ in range(35)} for _ in range(1000)]
    assert 0.7 < similar(*sets[:2]) < 0.71
    old, new, flags = side_of_sets(sets[:500]), side_of_sets(sets[500:]), np.ones(500, np.bool_)
    assert len(prefix_buckets(old, flags, 0.8).rows) == 0
    rare_runs, found = near_dedup._rare_runs, list[Any]()

    def rare(*given: Any) -> Any:
        found.append(rare_runs(*given))
        return found[-1]

    monkeypatch.setattr(near_dedup, "_rare_runs", rare)
    numbers = np.arange(500, dtype=np.uint64)
    theirs = in_one_bucket(monkeypatch, 500), flags, flags, numbers * 0, numbers
    by, _, pairs = remove_duplicates_of(old, *theirs, new, tables_of(new, 0.8), numbers * 0, 0.8)
    assert [len(members) for _, _, _, members, *_ in found] == [0]
    assert (by < 0).all()
    assert len(pairs) == 0


@given(corpora, corpora, thresholds, st.randoms())
def test_rows_are_linked_through_earlier_ones_as_by_brute_force(
    earlier: list[tuple[str, int]], rows: list[tuple[str, int]], threshold: float, random: Any
) -> None:
    old, new = side_of([text for text, _ in earlier], threshold), side_of([text for text, _ in rows], threshold)
    live = np.array([random.random() < 0.8 for _ in earlier], np.bool_)
    parents = np.arange(len(rows))
    pairs = link_earlier(old, tables_of(old, threshold), live, new, tables_of(new, threshold), parents, threshold)
    near = {
        (row, other)
        for (row, mine), (other, theirs) in itertools.product(enumerate(sets_of(new)), enumerate(sets_of(old)))
        if live[other] and similar(mine, theirs) >= threshold
    }
    assert {tuple(pair) for pair in pairs.tolist()} <= near
    assert {other for _, other in pairs.tolist()} == {other for _, other in near}
    expected = Components(len(rows) + len(earlier))
    for row, other in near:
        expected.union(row, len(rows) + other)
    assert roots(parents).tolist() == expected.roots()[: len(rows)].tolist()


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40), min_size=1))
def test_jaccard_equals_the_definition(first: set[int], second: set[int]) -> None:
    arrays = [np.array(sorted(each), np.uint64) for each in (first, second)]
    assert jaccard(*arrays) == similar(first, second)


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


def test_a_damaged_table_is_an_error_and_never_read_or_written_beyond() -> None:
    side = side_of(["a b c d e f"], 0.8)
    tables = tables_of(side, 0.8) | np.uint64(0x7FFFFFFF)
    flags, numbers = np.ones(1, np.bool_), np.zeros(1, np.uint64)
    with pytest.raises(IndexError, match="index is damaged"):
        have_rivals_in(tables_of(side, 0.8), tables, flags)
    with pytest.raises(IndexError, match="index is damaged"):
        remove_duplicates_of(side, tables, flags, flags, numbers, numbers, side, tables_of(side, 0.8), numbers, 0.8)
