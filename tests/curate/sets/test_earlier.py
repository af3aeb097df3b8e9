"""A drop after a drop against one run by brute force over all drops in order."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.record import QUARANTINE_SCHEMA, SCHEMA, SPLITS, content_id
from curate.sets.duplicates import Duplicates
from curate.sets.earlier import Earlier, Own, before, earlier_rows, recorded_splits, tied_splits
from curate.sets.index import Index
from curate.sets.judgement import NAMED
from curate.sets.split_masks import splits_in
from curate.store import Store
from tests.judged import Judged, judged
from tests.manifests import dataset_manifest

Row = tuple[str, str]
"""Prompt and answer."""


def table_of(rows: list[Row], file: str = "f", groups: list[str | None] | None = None) -> pa.Table:
    records: list[dict[str, Any]] = []
    for number, (prompt, answer) in enumerate(rows):
        turns = [{"role": "user", "content": prompt}]
        known = {"id": content_id(turns, answer), "turns": turns, "target": answer, "meta": []}
        known |= {"source": {"drop": None, "file": file, "row": number}, "group": groups[number] if groups else None}
        records.append(dict.fromkeys(SCHEMA.names) | known)
    return pa.Table.from_pylist(records, schema=SCHEMA)


def publish(store: Store, table: pa.Table, verdict: Judged, drop: str, file: str, split: str = "train") -> str:
    """A version with as much of its files as the index reads."""
    reason = pa.array(verdict.reason, pa.string())
    removed = pc.is_valid(reason)
    kept = table.append_column("cluster", pa.array(verdict.cluster)).filter(pc.invert(removed))
    gone = table.filter(removed)
    quarantine = pa.table(
        [
            *gone.columns,
            pa.repeat("duplicates", gone.num_rows).cast(pa.string()),
            reason.filter(removed),
            pa.array(verdict.evidence, pa.string()).filter(removed),
            pa.nulls(gone.num_rows, pa.string()),
        ],
        schema=QUARANTINE_SCHEMA,
    )
    with store.publishing("datasets", "demo") as draft:
        for name in SPLITS:
            pq.write_table(kept if name == split else kept.slice(0, 0), draft.folder / f"{name}.parquet")
        pq.write_table(quarantine, draft.folder / "quarantine.parquet")
        pq.write_table(pa.table({"file": [file], "sha256": [drop], "bytes": [0]}), draft.folder / "sources.parquet")
        folder = draft.publish(dataset_manifest(drop, kept.num_rows, gone.num_rows))
    store.record({"event": "datasets", "name": "demo", "version": folder.name})
    return folder.name


@dataclass
class Run:
    """What became of one drop."""

    table: pa.Table
    verdict: Judged
    earlier: list[Earlier]
    version: str


def run_drops(store: Store, drops: list[list[Row]], chosen: Duplicates) -> list[Run]:
    runs = []
    for number, rows in enumerate(drops):
        index = Index(store, "demo", chosen)
        index.catch_up()
        drop, file = f"{number:064x}", f"drop {number}"
        table = table_of(rows, file)
        earlier = earlier_rows(index.segments(), drop, Own(), deliveries=index.versions())
        verdict = judged(table, chosen, earlier, rows=3)
        runs.append(Run(table, verdict, earlier, publish(store, table, verdict, drop, file)))
    return runs


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    words = text.split()
    size = min(size, len(words))
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def jaccard(first: set[Any], second: set[Any]) -> float:
    return len(first & second) / len(first | second)


@dataclass
class Seen:
    row: Row
    version: int
    number: int
    set_: set[Any]
    kept: bool = True


def brute_force(
    drops: list[list[Row]], chosen: Duplicates
) -> tuple[list[list[tuple[str, Any] | None]], list[list[set[int]]]]:
    """For every row of every drop its reason and the (drop, row) kept, or None; and the places in all that was seen
    before of the rows it is a near-duplicate of."""
    everything: list[Seen] = []
    results, ties = [], []
    for drop, rows in enumerate(drops):
        result: list[tuple[str, Any] | None] = [None] * len(rows)
        ids = table_of(rows)["id"].to_pylist()
        order = sorted(range(len(rows)), key=lambda at: (-len(rows[at][0]), ids[at], at))
        for prompt in {prompt for prompt, _ in rows}:
            mine = [at for at in order if rows[at][0] == prompt]
            past = [seen for seen in everything if seen.row[0] == prompt]
            answers = [seen.row[1] for seen in past] + [rows[at][1] for at in mine]
            if len(set(answers)) > 1 and chosen.conflicts != "keep_and_flag":
                standing = {seen.row[1] for seen in past if seen.kept}
                winner = None
                if chosen.conflicts == "majority":
                    most = max(answers.count(answer) for answer in set(answers))
                    leaders = {answer for answer in answers if answers.count(answer) == most}
                    leaders = standing or leaders
                    winner = leaders.pop() if len(leaders) == 1 else None
                for at in mine:
                    if rows[at][1] != winner:
                        result[at] = "conflict", None
        now = [Seen(row, drop, at, shingles(row[0], chosen.shingle_words)) for at, row in enumerate(rows)]
        for at in order:
            if result[at] is not None:
                continue
            before_me = [seen for seen in everything if seen.kept]
            mine_so_far = [now[other] for other in order[: order.index(at)] if result[other] is None]
            exact = [seen.row == now[at].row for seen in before_me], [seen.row == now[at].row for seen in mine_so_far]
            twin = next((other for other in order[: order.index(at)] if rows[other] == rows[at]), None)
            if any(exact[0]):
                found, reason = before_me[exact[0].index(True)], "exact_duplicate"
            elif any(exact[1]):
                found, reason = mine_so_far[exact[1].index(True)], "exact_duplicate"
            elif twin is not None:
                result[at] = result[twin]
                continue
            else:
                rivals = (
                    seen
                    for seen in before_me + mine_so_far
                    if seen.row[1] == rows[at][1] and jaccard(seen.set_, now[at].set_) >= chosen.threshold
                )
                found, reason = next(rivals, None), "near_duplicate"
            if found is not None:
                result[at] = reason, (found.version, found.number)
        ties.append(
            [
                {place for place, seen in enumerate(everything) if jaccard(seen.set_, mine.set_) >= chosen.threshold}
                for mine in now
            ]
        )
        for at, seen in enumerate(now):
            seen.kept = result[at] is None
        everything += [now[at] for at in sorted(range(len(rows)), key=lambda at: (not now[at].kept, at))]
        results.append(result)
    return results, ties


words = st.sampled_from([*"abcdefgh"])
rows_of_drop = st.lists(
    st.tuples(st.lists(words, min_size=1, max_size=9).map(" ".join), st.sampled_from(["{}", '{"a":1}', '{"a":2}'])),
    max_size=9,
)


@settings(max_examples=60)
@given(
    st.lists(rows_of_drop, min_size=1, max_size=4),
    st.sampled_from([0.5, 0.8]),
    st.sampled_from(["quarantine", "majority", "keep_and_flag"]),
)
def test_drops_in_order_give_what_one_run_over_all_gives(drops: list[list[Row]], threshold: float, policy: Any) -> None:
    chosen = Duplicates(threshold=threshold, shingle_words=2, conflicts=policy)
    expected, ties = brute_force(drops, chosen)
    with tempfile.TemporaryDirectory() as folder:
        runs = run_drops(Store(Path(folder)), drops, chosen)
        version_of = {run.version: number for number, run in enumerate(runs)}
        for drop, run in enumerate(runs):
            for row, (reason, seen) in enumerate(zip(run.verdict.reason, run.verdict.evidence, strict=True)):
                if reason is None or reason == "conflict":
                    assert (reason and (reason, None)) == expected[drop][row]
                    continue
                evidence = json.loads(seen or "")
                kept = drop if evidence["version"] is None else version_of[evidence["version"]]
                assert (reason, (kept, evidence["row"])) == expected[drop][row]
                assert runs[kept].table["id"][evidence["row"]].as_py() == evidence["kept"]
            tied = {(row, int(run.earlier[at].clusters[other])) for row, at, other in run.verdict.ties}
            past = {
                (int(each.rows["file"][at].as_py().split()[1]), each.rows["row"][at].as_py()): int(each.clusters[at])
                for each in run.earlier
                for at in range(each.rows.num_rows)
            }
            firsts: dict[Row, int] = {}
            everything = [(seen.version, seen.number) for seen in _all_before(drops, drop, expected)]
            order = sorted(
                range(len(drops[drop])),
                key=lambda at: (-len(drops[drop][at][0]), run.table["id"][at].as_py(), at),
            )
            for row in order:
                if firsts.setdefault(drops[drop][row], row) != row:
                    continue  # a twin's ties are those of the first
                found = {past[key] for place in ties[drop][row] if (key := everything[place]) in past}
                assert {tag for at, tag in tied if at == row} == found


def _all_before(drops: list[list[Row]], drop: int, expected: list[list[Any]]) -> list[Seen]:
    """What was seen before a drop, in the order of `brute_force`: the published rows of each first."""
    seen: list[Seen] = []
    for number in range(drop):
        rows = [Seen(row, number, at, set(), expected[number][at] is None) for at, row in enumerate(drops[number])]
        seen += sorted(rows, key=lambda each: not each.kept)
    return seen


LONG = "the licensee may copy modify and distribute the work in any medium provided that all notices are kept intact"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_evidence_names_the_earlier_version_and_row(store: Store) -> None:
    first, second = run_drops(store, [[("x y", "{}"), (LONG, "{}")], [(LONG + " here", "{}")]], Duplicates())
    assert second.verdict.reason == ["near_duplicate"]
    evidence = json.loads(second.verdict.evidence[0] or "")
    assert evidence["version"] == first.version
    assert (evidence["file"], evidence["row"], evidence["kept"]) == ("drop 0", 1, first.table["id"][1].as_py())
    assert evidence["cluster"] == first.verdict.cluster[1]


def test_a_conflict_with_an_earlier_version_leaves_that_as_it_is(store: Store) -> None:
    drops = [[(LONG, '{"a":1}')], [(LONG, '{"a":2}')], [(LONG, '{"a":1}')]]
    _, second, third = run_drops(store, drops, Duplicates(conflicts="majority"))
    assert second.verdict.reason == ["conflict"]
    assert json.loads(second.verdict.evidence[0] or "")["earlier"][0]["file"] == "drop 0"
    assert third.verdict.reason == ["exact_duplicate"]


def test_the_evidence_of_a_conflict_does_not_grow_with_the_earlier_rows(store: Store) -> None:
    """Each of n rows naming each of n earlier ones would take gigabytes where many rows have one prompt."""
    answers = [str(number) for number in range(50)]
    drops = [[(LONG, answer) for answer in answers], [(LONG, answer) for answer in [*answers, "another"]]]
    _, second = run_drops(store, drops, Duplicates(conflicts="keep_and_flag"))
    assert second.verdict.reason == ["exact_duplicate"] * 50 + [None]
    assert [len(group) for group in second.verdict.conflicts] == [51]
    assert [len(group) for group in second.verdict.earlier_conflicts] == [50]
    _, second = run_drops(Store(store.root / "other"), drops, Duplicates())
    assert second.verdict.reason == ["conflict"] * 51
    seen = json.loads(second.verdict.evidence[0] or "")
    assert (seen["rows"], len(seen["earlier"])) == (101, NAMED)


@pytest.mark.parametrize("answer", "abcdefgh")
def test_rows_tied_to_a_cluster_of_several_segments_are_of_one(store: Store, answer: str) -> None:
    """e1 ~ a ~ e2 ~ e3 ~ b, and nothing else: a and b hang together by e2 and e3, which lie in two segments."""
    text = [f"w{number}" for number in range(40)]
    e1, a, e2, e3, b = (" ".join(text[begin : begin + 20]) for begin in range(0, 15, 3))
    others = [(f"quite another row {number}", "{}") for number in range(5)]
    drops = [[*others, (e1, answer), (e2, "2")], [(e3, "3")], [(a, "4"), (b, "5")]]
    third = run_drops(store, drops, Duplicates(threshold=0.6))[2]
    assert len(third.earlier) == 2
    assert third.verdict.reason == [None, None]
    assert len(set(third.verdict.cluster)) == 1


def test_a_removed_row_of_which_no_cluster_is_told_is_one_of_its_own(store: Store) -> None:
    chosen = Duplicates()
    data = table_of([(LONG, "{}"), (LONG + " here", "{}")], "drop 0")
    told = Judged([None, "near_duplicate"], [None, "{}"], data["id"].to_pylist())
    publish(store, data, told, "0" * 64, "drop 0")
    index = Index(store, "demo", chosen)
    index.catch_up()
    new = table_of([("and so " + LONG + " here", "other")], "drop 1")
    earlier = earlier_rows(index.segments(), "1" * 64, Own(["1" * 64]))
    verdict = judged(new, chosen, earlier)
    assert verdict.cluster == [min(data["id"].to_pylist())]


def tags_of(earlier: Sequence[Earlier], verdict: Judged) -> list[tuple[int, int]]:
    """The rows of a drop that are tied to earlier ones, and the clusters of these."""
    return sorted((row, int(earlier[number].clusters[other])) for row, number, other in verdict.ties)


def tied(earlier: Sequence[Earlier], groups: pa.ChunkedArray, ties: list[tuple[int, int]]) -> list[frozenset[str]]:
    rows, tags = np.array([row for row, _ in ties], np.int64), np.array([tag for _, tag in ties], np.uint64)
    return [splits_in(mask) for mask in tied_splits(earlier, groups, rows, tags).tolist()]


def test_a_row_like_a_removed_one_joins_its_cluster(store: Store) -> None:
    """a ~ b ~ c, a not ~ c: b is removed in favour of a, and c, which comes later, is of their cluster."""
    text = [f"w{number}" for number in range(30)]
    a, b, c = (" ".join(text[begin : begin + 20 + (begin == 0)]) for begin in (0, 3, 6))
    first, second = run_drops(store, [[(a, "{}"), (b, "{}")], [(c, "{}")]], Duplicates(threshold=0.6))
    assert first.verdict.reason == [None, "near_duplicate"]
    assert second.verdict.reason == [None]
    assert second.verdict.cluster[0] == first.verdict.cluster[0]
    groups = pa.chunked_array([[None]], pa.string())
    assert tied(second.earlier, groups, tags_of(second.earlier, second.verdict)) == [frozenset({"train"})]


def test_a_drop_that_has_grown_is_not_compared_with_itself(store: Store) -> None:
    chosen = Duplicates()
    run_drops(store, [[(LONG, "{}")]], chosen)
    index = Index(store, "demo", chosen)
    index.catch_up()
    same_file = earlier_rows(index.segments(), "f" * 64, Own([f"{0:064x}"]))[0]
    assert not same_file.live.any()
    assert not same_file.kept.any()
    assert same_file.assigned.all()
    other_file = earlier_rows(index.segments(), "f" * 64, Own(["e" * 64]))[0]
    assert other_file.live.all()


def test_a_drop_run_again_is_compared_with_what_came_before_it_only(store: Store) -> None:
    chosen = Duplicates()
    run_drops(store, [[("a b", "{}")], [("c d", "{}")], [("e f", "{}")]], chosen)
    index = Index(store, "demo", chosen)
    index.catch_up()
    segments = index.segments()
    again = earlier_rows(segments, f"{1:064x}", Own([f"{1:064x}"]))
    live = [row for each in again for row in each.rows.filter(pa.array(each.live))["file"].to_pylist()]
    assert live == ["drop 0"]
    versions = index.versions()
    assert before(versions, [f"{number:064x}" for number in range(3)], f"{1:064x}") == versions[:1]
    # Its own splits stand, and those of what came before; what came after is nothing to it.
    ids = pa.chunked_array([table_of([("a b", "{}"), ("c d", "{}"), ("e f", "{}")])["id"].combine_chunks()])
    assert (recorded_splits(again, ids) >= 0).tolist() == [True, True, False]


def test_of_versions_with_the_same_file_the_latest_counts(store: Store) -> None:
    chosen = Duplicates()
    for rows in ([("a b", "{}"), ("c d", "{}")], [("a b", "{}")]):
        table = table_of(rows, "same")
        verdict = Judged([None] * len(rows), [None] * len(rows), table["id"].to_pylist())
        publish(store, table, verdict, f"{len(rows):064x}", "same")
    index = Index(store, "demo", chosen)
    index.catch_up()
    # publish() gives each version a file of its own hash; here both hold the same file.
    segments = index.segments()
    for segment in segments:
        shared = pa.array(["0" * 64] * segment.rows.num_rows).dictionary_encode()
        at = segment.rows.schema.get_field_index("file_sha256")
        object.__setattr__(segment, "rows", segment.rows.set_column(at, "file_sha256", shared))
    earlier = earlier_rows(segments, "f" * 64, Own())
    assert sum(int(each.live.sum()) for each in earlier) == 1


def test_groups_bind_a_drop_to_the_splits_given_before(store: Store) -> None:
    table = table_of([("a b", "{}"), ("c d", "{}")], groups=["case 1\x1fcase 3", None])
    verdict = Judged([None, None], [None, None], table["id"].to_pylist())
    publish(store, table, verdict, "a" * 64, "f", split="test")
    index = Index(store, "demo", Duplicates())
    index.catch_up()
    earlier = earlier_rows(index.segments(), "b" * 64, Own())
    groups = pa.chunked_array([["case 2", "case 1", None, "case 2\x1fcase 3"]], pa.string())
    test = frozenset({"test"})
    assert tied(earlier, groups, []) == [frozenset(), test, frozenset(), test]


def test_a_row_is_bound_to_the_part_of_a_torn_cluster_that_it_is_like(store: Store) -> None:
    whole = "0123456789abcdef" * 2
    parts = {"train": LONG, "test": "none of those words but some others that are of no account here"}
    for number, (split, text) in enumerate(parts.items()):
        table = table_of([(text, "{}")], f"f{number}")
        publish(store, table, Judged([None], [None], [f"{whole}/{split}"]), f"{number:064x}", "f", split)
    chosen = Duplicates()
    index = Index(store, "demo", chosen)
    index.catch_up()
    earlier = earlier_rows(index.segments(), "f" * 64, Own())
    new = table_of([(text + " again", "other") for text in parts.values()])
    verdict = judged(new, chosen, earlier)
    assert verdict.cluster == [f"{whole}/train", f"{whole}/test"]
    groups = pa.chunked_array([[None, None]], pa.string())
    assert tied(earlier, groups, tags_of(earlier, verdict)) == [frozenset({"train"}), frozenset({"test"})]
    # A row that was removed from the cluster before it was torn tells no split.
    assert tied(earlier, groups, [(0, int(whole[:16], 16))]) == [frozenset({"train", "test"}), frozenset()]
