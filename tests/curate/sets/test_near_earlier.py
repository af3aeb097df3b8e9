"""Near-duplicates of earlier rows against brute force over shingle sets."""

import itertools
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sets import near_earlier
from curate.sets.components import Components, roots
from curate.sets.near_earlier import have_rivals_in, link_earlier, remove_duplicates_of
from curate.sets.prefix_filter import prefix_buckets
from tests.sides import corpora, sets_of, side_of, side_of_sets, similar, tables_of, thresholds, with_a_common_part


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
            patch.setattr(near_earlier, "LARGE", 1)
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


def in_one_bucket(patch: pytest.MonkeyPatch, rows: int) -> npt.NDArray[np.uint64]:
    """The band tables of earlier rows as if they and all new ones were in one long bucket."""
    table = np.arange(rows, dtype=np.uint64)[None]
    patch.setattr(near_earlier, "LARGE", 1)
    patch.setattr(near_earlier, "_located", lambda *_: (table * 0, np.zeros((1, rows), np.int64)))
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
    rare_runs, found = near_earlier._rare_runs, list[Any]()

    def rare(*given: Any) -> Any:
        found.append(rare_runs(*given))
        return found[-1]

    monkeypatch.setattr(near_earlier, "_rare_runs", rare)
    numbers = np.arange(500, dtype=np.uint64)
    theirs = in_one_bucket(monkeypatch, 500), flags, flags, numbers * 0, numbers
    by, _, pairs = remove_duplicates_of(old, *theirs, new, tables_of(new, 0.8), numbers * 0, 0.8)
    assert [len(each.members) for each in found] == [0]
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


def test_a_damaged_table_is_an_error_and_never_read_or_written_beyond() -> None:
    side = side_of(["a b c d e f"], 0.8)
    tables = tables_of(side, 0.8) | np.uint64(0x7FFFFFFF)
    flags, numbers = np.ones(1, np.bool_), np.zeros(1, np.uint64)
    with pytest.raises(IndexError, match="index is damaged"):
        have_rivals_in(tables_of(side, 0.8), tables, flags)
    with pytest.raises(IndexError, match="index is damaged"):
        remove_duplicates_of(side, tables, flags, flags, numbers, numbers, side, tables_of(side, 0.8), numbers, 0.8)
