"""Runs: pieces of rows in order are the same whatever shards the rows came in, and take no more memory than a piece."""

import pickle
import resource
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.engine import map_in_process
from curate.publish.data_files import by_source, by_split
from curate.record import QUARANTINE_SCHEMA, SPLITS
from curate.sets import rows as module
from curate.sets.runs import runs_of
from curate.shards import Shard, cached_outcome
from curate.stage import Outcome
from tests.records import record, table_of

NOTHING = QUARANTINE_SCHEMA.empty_table()


def rows_of(count: int, text: str = "") -> pa.Table:
    """Rows whose ids are in no order, in splits."""
    ids = [f"{number * 7919 % 1009:032x}" for number in range(count)]
    table = table_of(
        [
            record(f"{number} {text}", id=id_, source={"file": "rows.jsonl", "row": number})
            for number, id_ in enumerate(ids)
        ]
    )
    return table.append_column("split", pa.array([SPLITS[number % 3] for number in range(count)], pa.string()))


def shards_of(cache: Path, table: pa.Table, cuts: list[int], rejected: bool = False) -> list[Shard]:
    parts = [table.slice(begin, end - begin) for begin, end in pairwise([0, *cuts, table.num_rows])]
    return [
        cached_outcome(
            cache,
            [cuts, number, rejected],
            None,
            lambda _, part=part: Outcome(table.slice(0, 0), part) if rejected else Outcome(part, NOTHING),  # type: ignore[misc]
        )
        for number, part in enumerate(parts)
    ]


@pytest.mark.parametrize("cuts", [[], [1], [0, 20, 20, 41], [*range(5, 60, 5)]])
@pytest.mark.parametrize(("most_rows", "most_bytes"), [(1000, 1 << 20), (7, 1 << 20), (1000, 200)])
def test_pieces_are_the_same_whatever_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int], most_rows: int, most_bytes: int
) -> None:
    monkeypatch.setattr("curate.sets.runs.RUN_BYTES", 4000)
    monkeypatch.setattr(module, "PIECE_ROWS", most_rows)
    monkeypatch.setattr(module, "PIECE_BYTES", most_bytes)
    table = rows_of(60)
    whole = module.Rows([table])
    expected = [piece.to_pylist() for piece in whole.pieces(by_split(table))]
    runs = runs_of(shards_of(tmp_path, table, cuts), False, by_split, tmp_path, map_in_process)
    assert [piece.to_pylist() for piece in runs.pieces(runs.order)] == expected
    told = [(SPLITS.index(row["split"]), row["id"]) for piece in expected for row in piece]
    assert told == sorted(told)


@pytest.mark.parametrize("cuts", [[], [0, 20, 20, 41]])
def test_rejected_rows_are_in_the_order_of_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    monkeypatch.setattr("curate.sets.runs.RUN_BYTES", 1)
    reasons = [pa.array([text] * 60) for text in ("quality", "short", "{}")]
    table = rows_of(60).drop_columns(["split"]).take(pa.array(np.random.default_rng(0).permutation(60)))
    for name, values in zip(("stage", "reason", "evidence"), reasons, strict=True):
        table = table.append_column(name, values)
    table = table.append_column("raw", pa.nulls(60, pa.string())).cast(QUARANTINE_SCHEMA)
    runs = runs_of(shards_of(tmp_path, table, cuts, rejected=True), True, by_source, tmp_path, map_in_process)
    assert [row["source"]["row"] for piece in runs.pieces(runs.order) for row in piece.to_pylist()] == [*range(60)]


def test_of_shards_without_rows_there_are_none(tmp_path: Path) -> None:
    runs = runs_of(shards_of(tmp_path, rows_of(0), [0]), False, by_split, tmp_path, map_in_process)
    assert [*runs.pieces(runs.order)] == []


def test_sent_to_a_worker_they_are_the_same_rows(tmp_path: Path) -> None:
    table = rows_of(60)
    runs = runs_of(shards_of(tmp_path, table, [0, 20, 41]), False, by_split, tmp_path, map_in_process)
    [numbers] = runs.cut(runs.order)
    sent = pickle.dumps(runs.select(["id", "split"]))
    assert len(sent) < 1000, "where they lie"
    [piece] = pickle.loads(sent).taken([numbers])
    assert piece.equals(table.take(pa.array(by_split(table))).select(["id", "split"]))


def test_memory_is_that_of_a_few_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 4 << 20)
    table = rows_of(1000, "x" * 100_000)  # 100 MB
    runs = runs_of(shards_of(tmp_path, table, [*range(100, 1000, 100)]), False, by_split, tmp_path, map_in_process)
    del table
    pool = pa.default_memory_pool()
    begin, before = pool.bytes_allocated(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = 0
    for piece in runs.pieces(runs.order):
        most = max(most, pool.bytes_allocated() - begin)
        assert piece.nbytes < 5 << 20
    assert most < 3 * (5 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10, "KiB, mapped pages among them"
