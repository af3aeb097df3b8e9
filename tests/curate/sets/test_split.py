"""Splits: no leak, ratios, and assignments that stand."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.record import KEYS, SPLITS
from curate.sets import split_balance
from curate.sets.split import Split, splits_named, times
from tests.records import record, table_of
from tests.splits import Assigned, assign

rows_of = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2", "c3", "c4", ""]),
        st.sampled_from([None, "g1", "g2", "g1\x1fg3", "g3\x1fg4"]),
        st.sampled_from("xyz"),
    ),
    max_size=40,
)


def given_split(rows: list[tuple[str, str | None, str]], recorded: dict[str, str] | None = None) -> Assigned:
    """Rows as (cluster, group, label); an empty cluster means the row's own."""
    ids = [f"id{number}" for number in range(len(rows))]
    clusters = [cluster or own for (cluster, _, _), own in zip(rows, ids, strict=True)]
    return assign(ids, [row[1] for row in rows], clusters, [row[2] for row in rows], Split(), recorded or {})


def check_no_leak(rows: list[tuple[str, str | None, str]], result: Assigned) -> None:
    for at in (0, 1):
        where: dict[Any, set[str]] = {}
        for row, name in zip(rows, result.split, strict=True):
            for key in (row[at] or "").split(KEYS):
                if key and name is not None:
                    where.setdefault(key, set()).add(name)
        assert all(len(names) == 1 for names in where.values())


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
    assert not given_split(rows, recorded).bridges


def test_ties_to_rows_of_earlier_versions_fix_the_split() -> None:
    ids = [f"id{number}" for number in range(6)]
    clusters = ["a", "a", "b", "c", "d", "d"]
    none: frozenset[str] = frozenset()
    tied = [none, frozenset({"test"}), frozenset({"validation"}), frozenset({"test", "train"}), none, none]
    found = assign(ids, [None] * 6, clusters, ["x"] * 6, Split(), {}, tied)
    assert found.split[:4] == ["test", "test", "validation", None]
    assert found.bridges == {3: {"cluster": "id3", "splits": ["test", "train"]}}
    # What an earlier version recorded stands, whatever it is tied to.
    again = assign(ids, [None] * 6, clusters, ["x"] * 6, Split(), {"id3": "train"}, tied)
    assert again.split[3] == "train"
    assert not again.bridges


def test_only_the_rows_that_tie_splits_together_go() -> None:
    # A group of thirty new rows; one of them lies in a cluster with a row of train, another in one with a row of test.
    ids = ["old-train", "old-test", *(f"new{number:02}" for number in range(30))]
    clusters = ["a", "b", "a", "b", *(f"own{number}" for number in range(28))]
    groups = [None, None, *["group"] * 30]
    recorded = {"old-train": "train", "old-test": "test"}
    found = assign(ids, groups, clusters, [None] * 32, Split(), recorded)
    assert list(found.bridges) == [2]
    assert set(found.split[3:]) == {"test"}
    # Of the rows tied to earlier ones, the fewer go.
    tied = [frozenset({"train"} if number < 25 else {"test"}) for number in range(30)]
    found = assign(ids[2:], groups[2:], ids[2:], [None] * 30, Split(), {}, tied)
    assert sorted(found.bridges) == [25, 26, 27, 28, 29]
    assert set(found.split[:25]) == {"train"}
    # A part that nothing fixes once the bridge is gone is dealt like any other.
    ids, clusters = ["bridge", "free"], ["c", "d"]
    found = assign(
        ids,
        ["g", "g"],
        clusters,
        ["x"] * 2,
        Split(train=1, validation=0, test=0),
        {},
        [tied[0] | tied[29], frozenset()],
    )
    assert found.split == [None, "train"]


several_splits = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([None, None, *SPLITS]),
        st.sampled_from([(), (), (), ("train",), ("test",), ("validation", "test")]),
    ),
    max_size=14,
)
"""Rows as (cluster, group, recorded split, splits tied to)."""


@given(several_splits)
def test_bridges_are_sound_and_none_could_come_back(
    rows: list[tuple[int, int | None, str | None, tuple[str, ...]]],
) -> None:
    """Against the definition: what remains ties no two splits together; any row that went would."""
    ids = [f"id{number:02}" for number in range(len(rows))]
    recorded = {name: row[2] for name, row in zip(ids, rows, strict=True) if row[2] is not None}
    groups = [None if row[1] is None else f"g{row[1]}" for row in rows]
    tied = [frozenset(row[3]) for row in rows]
    found = assign(ids, groups, [f"c{row[0]}" for row in rows], ["x"] * len(rows), Split(), recorded, tied)

    def splits_at(numbers: Sequence[int], start: int) -> set[str]:
        """Splits that a row is tied to through rows that are not recorded, and the recorded ones they touch."""
        reached, todo, splits = {start}, [start], set()
        while todo:
            at = todo.pop()
            splits |= {recorded[ids[at]]} if ids[at] in recorded else tied[at]
            if ids[at] in recorded and at != start:
                continue  # it stands by itself: what else it touches was settled by earlier versions
            for other in numbers:
                near = rows[at][0] == rows[other][0] or (rows[at][1] is not None and rows[at][1] == rows[other][1])
                if near and other not in reached:
                    reached.add(other)
                    todo.append(other)
        return splits

    remaining = [row for row in range(len(rows)) if row not in found.bridges]
    assert [row for row in range(len(rows)) if found.split[row] is None] == sorted(found.bridges)
    for row in remaining:
        if ids[row] in recorded:
            assert found.split[row] == recorded[ids[row]]
        else:
            assert splits_at(remaining, row) <= {found.split[row]}
    for row in found.bridges:
        assert ids[row] not in recorded
        assert len(splits_at([*remaining, row], row)) > 1


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


components_of = st.lists(st.lists(st.sampled_from("xyz"), min_size=1, max_size=5), min_size=1, max_size=6)
"""Components, each as the labels of its rows."""
ratios_of = st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.7, 0.0, 0.3), (0.6, 0.3, 0.1), (1.0, 0.0, 0.0)])
fixed_of = st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(SPLITS)), max_size=4)
"""Recorded rows, each alone in its component, as (label, split)."""


def deal(
    components: list[list[str]], ratios: tuple[float, float, float], fixed: list[tuple[str, str]]
) -> tuple[list[str], list[str], Assigned]:
    """Labels and clusters of the rows, and what `assign` makes of them."""
    labels = [label for labels in components for label in labels] + [label for label, _ in fixed]
    clusters = [f"c{number}" for number, labels in enumerate(components) for _ in labels]
    clusters += [f"f{number}" for number in range(len(fixed))]
    ids = [f"{cluster}-{number:03}" for number, cluster in enumerate(clusters)]
    recorded = {name: split for name, (_, split) in zip(ids[len(ids) - len(fixed) :], fixed, strict=True)}
    chosen = Split(train=ratios[0], validation=ratios[1], test=ratios[2])
    return labels, clusters, assign(ids, [None] * len(ids), clusters, labels, chosen, recorded, held_before=SPLITS)


def deviations(
    labels: list[str], splits: Sequence[str | None], ratios: tuple[float, float, float]
) -> tuple[float, ...]:
    """(in all, by label, sum) of one assignment, from the definition: half of sum |rows - wanted|, as a share."""

    def off(of: list[str | None]) -> float:
        return sum(abs(of.count(name) - ratio * len(of)) for name, ratio in zip(SPLITS, ratios, strict=True)) / 2

    in_all = off(list(splits)) / len(splits)
    by_label = sum(off([s for s, each in zip(splits, labels, strict=True) if each == label]) for label in set(labels))
    return in_all, by_label / len(splits), in_all + by_label / len(splits)


def every_assignment(
    components: list[list[str]], ratios: tuple[float, float, float], fixed: list[tuple[str, str]]
) -> Iterator[list[str]]:
    possible = [name for name, ratio in zip(SPLITS, ratios, strict=True) if ratio]
    for chosen in itertools.product(possible, repeat=len(components)):
        yield [name for name, labels in zip(chosen, components, strict=True) for _ in labels] + [s for _, s in fixed]


@given(components_of, ratios_of, fixed_of)
@settings(max_examples=60)
def test_the_bound_of_few_components_is_the_optimum(
    components: list[list[str]], ratios: tuple[float, float, float], fixed: list[tuple[str, str]]
) -> None:
    labels, _, result = deal(components, ratios, fixed)
    every = [deviations(labels, splits, ratios) for splits in every_assignment(components, ratios, fixed)]
    least = [min(each[at] for each in every) for at in range(3)]
    assert list(result.balance["least_possible"].values()) == pytest.approx(least, abs=1e-6)
    reported = list(result.balance["deviation"].values())
    assert reported == pytest.approx(deviations(labels, result.split, ratios), abs=1e-6)


@given(components_of, ratios_of, fixed_of, st.integers(0, 4))
@settings(max_examples=60)
def test_the_bound_is_below_every_assignment_however_few_components_it_tries(
    components: list[list[str]], ratios: tuple[float, float, float], fixed: list[tuple[str, str]], tried: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_balance, "CELLS", 5 * 3**tried)
        labels, _, result = deal(components, ratios, fixed)
    bound = list(result.balance["least_possible"].values())
    for splits in every_assignment(components, ratios, fixed):
        for least, found in zip(bound, deviations(labels, splits, ratios), strict=True):
            assert least <= found + 1e-6


@given(components_of, fixed_of)
@settings(max_examples=60)
def test_no_move_or_exchange_of_components_would_be_better(
    components: list[list[str]], fixed: list[tuple[str, str]]
) -> None:
    ratios = (0.5, 0.25, 0.25)
    labels, clusters, result = deal(components, ratios, fixed)
    share = {name: -(-ratio * len(labels) // 1) for name, ratio in zip(SPLITS, ratios, strict=True)}
    now = deviations(labels, result.split, ratios)[2]
    begins = [clusters.index(f"c{number}") for number in range(len(components))]

    def moved(changes: list[tuple[int, str]]) -> float:
        splits = list(result.split)
        for component, name in changes:
            if name != "train" and len(components[component]) > share[name]:
                return now
            splits[begins[component] : begins[component] + len(components[component])] = [name] * len(
                components[component]
            )
        return deviations(labels, splits, ratios)[2]

    for first in range(len(components)):
        for name in SPLITS:
            assert moved([(first, name)]) >= now - 1e-9
        for second in range(first):
            pair = result.split[begins[first]], result.split[begins[second]]
            assert moved([(first, str(pair[1])), (second, str(pair[0]))]) >= now - 1e-9


@given(st.lists(st.tuples(st.sampled_from("vwxyz"), st.integers(1, 30)), max_size=5), ratios_of)
@settings(max_examples=60)
def test_rows_alone_are_dealt_to_within_a_row(sizes: list[tuple[str, int]], ratios: tuple[float, float, float]) -> None:
    """Without groups and clusters every split has its ratio of each label, and in all, to less than one row."""
    labels, _, result = deal([[label] for label, count in sizes for _ in range(count)], ratios, [])
    found = Counter(zip(labels, result.split, strict=True))
    of_label, in_all = Counter(labels), Counter(result.split)
    for name, ratio in zip(SPLITS, ratios, strict=True):
        assert abs(in_all[name] - ratio * len(labels)) < 1 + 1e-6
        assert all(abs(found[label, name] - ratio * rows) < 1 + 1e-6 for label, rows in of_label.items())


def test_large_and_small_components_go_to_every_split() -> None:
    draw = random.Random(0)
    components = [[draw.choice("xyz")] * draw.choice([1, 1, 1, 2, 5, 20]) for _ in range(2000)]
    _, clusters, result = deal(components, (0.8, 0.1, 0.1), [])
    size = Counter(clusters)
    for name in SPLITS:
        sizes = [size[cluster] for cluster, each in zip(clusters, result.split, strict=True) if each == name]
        assert 0.4 < sum(each >= 5 for each in sizes) / len(sizes) < 0.9
    assert result.balance["deviation"]["sum"] <= result.balance["least_possible"]["sum"] + 1 / len(clusters)


def test_what_is_dealt_makes_up_for_what_stands() -> None:
    """Ten thousand recorded rows in thirds: ten times as many new ones bring every label to its ratios again."""
    ids = [f"{number:06}" for number in range(100_000)]
    labels = ["abc"[number % 7 % 3] for number in range(100_000)]
    recorded = {name: SPLITS[number % 3] for number, name in enumerate(ids[:10_000])}
    found = assign(ids, [None] * 100_000, ids, labels, Split(), recorded)
    assert found.balance["deviation"]["sum"] <= found.balance["least_possible"]["sum"] + 1e-5 < 0.0001


def test_the_balance_says_what_was_given() -> None:
    labels = ["x"] * 60 + [None] * 40
    ids = [f"{number:03}" for number in range(100)]
    found = assign(ids, [None] * 100, ids, labels, Split(), {})
    assert found.balance == {
        "splits": {
            "train": {"rows": 80, "share": 0.8, "ratio": 0.8},
            "validation": {"rows": 10, "share": 0.1, "ratio": 0.1},
            "test": {"rows": 10, "share": 0.1, "ratio": 0.1},
        },
        "labels": [
            {"label": "x", "rows": 60, "shares": {"train": 0.8, "validation": 0.1, "test": 0.1}},
            {"label": None, "rows": 40, "shares": {"train": 0.8, "validation": 0.1, "test": 0.1}},
        ],
        "deviation": {"in_all": 0.0, "by_label": 0.0, "sum": 0.0},
        "least_possible": {"in_all": 0.0, "by_label": 0.0, "sum": 0.0},
    }
    # Eighty recorded rows of test leave no way to the ratios.
    found = assign(ids, [None] * 100, ids, [None] * 100, Split(), dict.fromkeys(ids[:80], "test"))
    assert found.balance["deviation"] == found.balance["least_possible"] == {"in_all": 0.7, "by_label": 0.7, "sum": 1.4}


def timed(
    rows: list[tuple[int, str]],
    ratios: tuple[float, float, float],
    recorded: dict[str, str] | None = None,
    held_before: Sequence[str] = SPLITS,
) -> Assigned:
    """Rows as (time, cluster)."""
    ids = [f"id{number:03}" for number in range(len(rows))]
    chosen = Split(train=ratios[0], validation=ratios[1], test=ratios[2], time="date")
    moments = np.array([row[0] for row in rows], dtype=np.float64)
    alone, clusters = [None] * len(ids), [row[1] for row in rows]
    return assign(ids, alone, clusters, alone, chosen, recorded or {}, times=moments, held_before=held_before)


def test_the_newest_rows_are_the_test_split() -> None:
    moments = random.Random(0).sample(range(100), 100)
    found = timed([(moment, f"own{moment}") for moment in moments], (0.8, 0.1, 0.1))
    where = dict(zip(moments, found.split, strict=True))
    assert {where[moment] for moment in range(80)} == {"train"}
    assert {where[moment] for moment in range(80, 90)} == {"validation"}
    assert {where[moment] for moment in range(90, 100)} == {"test"}
    assert found.balance["train_rows_after_border"] == 0


time_rows = st.lists(st.tuples(st.integers(0, 20), st.sampled_from("abcdefghijklm")), min_size=1, max_size=14)


@given(time_rows, ratios_of)
def test_the_borders_in_time_are_the_best_there_are(
    rows: list[tuple[int, str]], ratios: tuple[float, float, float]
) -> None:
    found = timed(rows, ratios)
    members: dict[str, list[int]] = {}
    for moment, cluster in rows:
        members.setdefault(cluster, []).append(moment)
    where = {cluster: name for (_, cluster), name in zip(rows, found.split, strict=True)}
    assert all(where[cluster] == name for (_, cluster), name in zip(rows, found.split, strict=True))
    largest = min((-(-round(ratio * len(rows) * 1e6) // 10**6) for ratio in ratios[1:] if ratio), default=len(rows))
    ordered = sorted((max(moments), cluster) for cluster, moments in members.items() if len(moments) <= largest)
    rank = [SPLITS.index(where[cluster]) for _, cluster in ordered]
    for (one, first), (two, second) in itertools.pairwise(ordered):
        if one < two:
            assert SPLITS.index(where[first]) <= SPLITS.index(where[second])
    assert all(where[cluster] == "train" for cluster, moments in members.items() if len(moments) > largest)
    # No other pair of borders is better: the sizes in order of time, cut at i and j.
    sizes = [len(members[cluster]) for _, cluster in ordered]
    best = min(
        abs(sum(sizes[:i]) + len(rows) - sum(sizes) - ratios[0] * len(rows))
        + abs(sum(sizes[i:j]) - ratios[1] * len(rows))
        + abs(sum(sizes[j:]) - ratios[2] * len(rows))
        for i in range(len(sizes) + 1)
        for j in range(i, len(sizes) + 1)
        if (ratios[1] or i == j) and (ratios[2] or j == len(sizes))
    )
    if len({moment for moment, _ in ordered}) == len(ordered):  # else equal times stand in the order of their hashes
        assert rank == sorted(rank)
        assert 2 * found.balance["deviation"]["in_all"] * len(rows) == pytest.approx(best, abs=1e-4)


def test_newer_drops_leave_the_earlier_rows_where_they_are() -> None:
    old = [(moment, f"own{moment}") for moment in range(100)]
    before = timed(old, (0.8, 0.1, 0.1))
    recorded = {f"id{number:03}": str(name) for number, name in enumerate(before.split)}
    after = timed(old + [(moment, f"own{moment}") for moment in range(100, 150)], (0.8, 0.1, 0.1), recorded)
    assert after.split[:100] == before.split
    assert after.split[100:] == ["train"] * 40 + ["validation"] * 5 + ["test"] * 5
    assert after.balance["train_rows_after_border"] == 40  # newer than the earlier version's test rows


@given(rows_of, st.lists(st.sampled_from(SPLITS), min_size=40, max_size=40))
def test_splits_that_are_named(rows: list[tuple[str, str | None, str]], named: list[str]) -> None:
    """Rows stand where they are named, and every row of the test split stands; only what would leak goes."""
    ids = [f"id{number:03}" for number in range(len(rows))]
    clusters = [cluster or own for (cluster, _, _), own in zip(rows, ids, strict=True)]
    groups, labels = [row[1] for row in rows], [row[2] for row in rows]
    result = assign(ids, groups, clusters, labels, Split(named="part"), {}, named=named[: len(rows)])
    check_no_leak(rows, result)
    for row, name in enumerate(result.split):
        assert name == (None if row in result.bridges else named[row])
        assert row not in result.bridges or named[row] != "test"
    keys = [set((group or own).split(KEYS)) for group, own in zip(groups, ids, strict=True)]
    for row in result.bridges:
        tied = {
            result.split[other]
            for other in range(len(rows))
            if clusters[other] == clusters[row] or keys[other] & keys[row]
        }
        assert tied - {None, named[row]}, "put back, it would leak"


def test_an_earlier_version_stands_before_what_is_named() -> None:
    ids = ["old", "new", "tied"]
    named = ["test", "test", "test"]
    ties = [frozenset[str](), frozenset[str](), frozenset({"train"})]
    found = assign(ids, [None] * 3, ids, [None] * 3, Split(named="part"), {"old": "train"}, ties, named=named)
    assert found.split == ["train", "test", None]
    assert found.bridges[2]["splits"] == ["test", "train"]


def split_keys(rows: list[dict[str, Any]]) -> pa.Table:
    return table_of(rows).append_column("cluster", pa.array([row["id"] for row in rows], pa.string()))


def test_named_splits_are_splits() -> None:
    rows = [
        record("x", source={"drop": None, "file": "a.jsonl", "row": row}, meta={"part": name})
        for row, name in enumerate(["train", "test2"])
    ]
    keys = Split(named="part").keys_of(split_keys(rows))
    assert splits_named(keys.slice(0, 1), "part").tolist() == [SPLITS.index("train")]
    with pytest.raises(AssayError, match=r"a\.jsonl, row 1: meta\.part is 'test2'; split\.named expects one of train"):
        splits_named(keys, "part")
    with pytest.raises(ValueError, match="a time or the splits, not both"):
        Split(time="at", named="part")


def test_times_are_numbers_or_iso_8601() -> None:
    def read(*values: str | None) -> list[float]:
        rows = [
            record(
                "x", source={"drop": None, "file": "a.jsonl", "row": row}, meta={} if value is None else {"at": value}
            )
            for row, value in enumerate(values)
        ]
        return times(Split(time="at").keys_of(split_keys(rows)), "at").tolist()

    assert read("2020", "-1.5") == [2020, -1.5]
    assert read("1970-01-02", "1970-01-01T00:00:01Z", "1970-01-01T01:00:00+01:00") == [86400, 1, 0]
    with pytest.raises(AssayError, match=r"a\.jsonl, row 1: meta\.at is 'yesterday'.* 1 of 3 rows"):
        read("2020-01-01", "yesterday", "2020-01-02")
    with pytest.raises(AssayError, match=r"row 0: meta\.at is None"):
        read(None, "2020-01-01")
    with pytest.raises(AssayError, match=r"row 1: meta\.at is 'nan'"):
        read("2020-01-01", "nan")


@pytest.mark.parametrize("by_time", [False, True])
@pytest.mark.parametrize(("rows", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1]), (10, [8, 1, 1])])
def test_few_rows_are_in_every_split(rows: int, sizes: list[int], by_time: bool) -> None:
    ids = [f"id{number}" for number in range(rows)]
    if by_time:
        found = timed([(number, id_) for number, id_ in enumerate(ids)], (0.8, 0.1, 0.1), held_before=())
        assert found.split[-1] == "test"
        assert found.split[-2] == "validation"
    else:
        found = assign(ids, [None] * rows, ids, ["x"] * rows, Split(), {})
    assert [found.split.count(name) for name in SPLITS] == sizes


def test_a_split_is_not_filled_at_the_price_of_another_nor_where_earlier_rows_are_in_it() -> None:
    def sizes(rows: int, settings: Split, held: Sequence[str] = ()) -> list[int]:
        ids = [f"id{number}" for number in range(rows)]
        found = assign(ids, [None] * rows, ids, ["x"] * rows, settings, {}, held_before=held)
        return [found.split.count(name) for name in SPLITS]

    assert sizes(1, Split()) == [1, 0, 0]
    assert sorted(sizes(2, Split())) == [0, 1, 1]
    assert sizes(3, Split(train=1.0, validation=0, test=0)) == [3, 0, 0]
    assert sizes(3, Split(), SPLITS) == [3, 0, 0]
    large = assign([str(n) for n in range(9)], [None] * 9, ["a"] * 5 + ["b"] * 4, ["x"] * 9, Split(), {})
    assert [large.split.count(name) for name in SPLITS] == [9, 0, 0], "a cluster larger than a share goes to train"
