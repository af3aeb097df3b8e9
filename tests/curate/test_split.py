"""Splits: no leak, ratios, and assignments that stand."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.split import SPLITS, Assignment, Split, assign

rows_of = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2", "c3", "c4", ""]), st.sampled_from([None, "g1", "g2"]), st.sampled_from("xyz")
    ),
    max_size=40,
)


def given_split(rows: list[tuple[str, str | None, str]], recorded: dict[str, str] | None = None) -> Assignment:
    """Rows as (cluster, group, label); an empty cluster means the row's own."""
    ids = [f"id{number}" for number in range(len(rows))]
    clusters = [cluster or own for (cluster, _, _), own in zip(rows, ids, strict=True)]
    return assign(ids, [row[1] for row in rows], clusters, [row[2] for row in rows], Split(), recorded or {})


def check_no_leak(rows: list[tuple[str, str | None, str]], result: Assignment) -> None:
    for key in (0, 1):
        where: dict[Any, set[str]] = {}
        for row, name in zip(rows, result.split, strict=True):
            if row[key] and name is not None:
                where.setdefault(row[key], set()).add(name)
        assert all(len(names) == 1 for names in where.values())
    named: dict[str, set[str | None]] = {}
    for cluster, name in zip(result.cluster, result.split, strict=True):
        if name is not None:
            named.setdefault(cluster, set()).add(name)
    assert all(len(names) == 1 for names in named.values())


@given(rows_of)
def test_what_belongs_together_stays_together(rows: list[tuple[str, str | None, str]]) -> None:
    result = given_split(rows)
    assert all(name in SPLITS for name in result.split)
    assert not result.bridges
    check_no_leak(rows, result)


@given(rows_of, st.integers(0, 40))
def test_assignments_stand_when_rows_arrive(rows: list[tuple[str, str | None, str]], first: int) -> None:
    before = given_split(rows[:first])
    recorded = {f"id{number}": name for number, name in enumerate(before.split) if name is not None}
    after = given_split(rows, recorded)
    assert after.split[: len(before.split)] == before.split
    assert all(row >= first and after.split[row] is None for row in after.bridges)
    check_no_leak(rows, after)


def test_a_new_row_that_ties_two_splits_together_is_quarantined() -> None:
    rows = [("", "left", "x"), ("", "right", "x"), ("", None, "x")]
    recorded = {"id0": "train", "id1": "test"}
    tie = assign(["id0", "id1", "id2"], ["g", "h", None], ["a", "b", "a"], ["x"] * 3, Split(), recorded)
    assert tie.split == ["train", "test", "train"]
    tie = assign(["id0", "id1", "id2"], ["left", "right", "left"], ["a", "b", "b"], ["x"] * 3, Split(), recorded)
    assert tie.split == ["train", "test", None]
    assert tie.bridges == {2: {"cluster": "id0", "splits": ["test", "train"]}}
    assert tie.cluster[:2] == ["id0/train", "id0/test"]
    assert not given_split(rows, recorded).bridges


def test_order_changes_nothing() -> None:
    rows = [(f"id{n}", f"c{n % 7}" if n % 3 else f"own{n}", "xyz"[n % 3]) for n in range(200)]
    shuffled = random.Random(0).sample(rows, len(rows))
    results = []
    for some in (rows, shuffled):
        ids, clusters, labels = map(list, zip(*some, strict=True))
        results.append(dict(zip(ids, assign(ids, [None] * 200, clusters, labels, Split(), {}).split, strict=True)))
    assert results[0] == results[1]


def test_ratios_hold_for_every_label() -> None:
    rows = [("", None, label) for label, count in (("common", 900), ("rare", 90), ("single", 1)) for _ in range(count)]
    found = Counter((row[2], name) for row, name in zip(rows, given_split(rows).split, strict=True))
    assert found["common", "train"] == 720
    assert found["common", "validation"] == found["common", "test"] == 90
    assert found["rare", "train"] == 72
    assert found["rare", "validation"] == found["rare", "test"] == 9


def test_a_cluster_too_large_to_balance_goes_to_train() -> None:
    rows = [("large", None, "x")] * 30 + [("", None, "x")] * 70
    result = given_split(rows)
    assert set(result.split[:30]) == {"train"}
    assert Counter(result.split) == {"train": 80, "validation": 10, "test": 10}


def test_a_split_of_ratio_zero_stays_empty() -> None:
    chosen = Split(train=0.9, validation=0.0, test=0.1)
    ids = [str(number) for number in range(100)]
    result = assign(ids, [None] * 100, ids, [None] * 100, chosen, {})
    assert Counter(result.split) == {"train": 90, "test": 10}


def test_ratios_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="expected 1"):
        Split(train=0.8, validation=0.1, test=0.2)
