"""Data files: the same bytes whatever the shards, in memory for a few pieces of the rows."""

import os
import resource
import subprocess
import sys
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.engine import map_in_process
from curate.publish.data_files import apart, by_split, split_parts, with_drop, write
from curate.record import QUARANTINE_SCHEMA, SPLITS
from curate.sets import rows, runs
from curate.sets.runs import runs_of
from curate.shards import cached_outcome
from curate.stage import Outcome
from tests.records import record, table_of


def publish(folder: Path, count: int, text: str, cuts: list[int]) -> dict[str, bytes]:
    """Write rows that come in shards; gives the files' hashes."""
    shards, nothing = [], QUARANTINE_SCHEMA.empty_table()
    for begin, end in pairwise([0, *cuts, count]):
        made = [
            record(
                f"{at}: {text}", id=f"{at * 7919 % 104729:032x}", meta={"at": str(at)}, source={"file": "a", "row": at}
            )
            for at in range(begin, end)
        ]
        splits = pa.array([SPLITS[at % 3] for at in range(begin, end)], pa.string())
        table = table_of(made).append_column("split", splits)
        shards.append(cached_outcome(folder, [begin, end], None, lambda _, kept=table: Outcome(kept, nothing)))  # type: ignore[misc]
    kept = runs_of(shards, False, by_split, folder, map_in_process)
    for part in split_parts(folder, kept, partial(with_drop, drop="d")):
        write(part)
    return {
        f"{split}.{kind}": sha256((folder / f"{split}.{kind}").read_bytes()).digest()
        for split in SPLITS
        for kind in ("parquet", "jsonl")
    }


def test_the_bytes_are_the_same_whatever_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PIECE_ROWS", 13)
    monkeypatch.setattr(runs, "RUN_BYTES", 5000)
    found = []
    for number, cuts in enumerate([[], [7], [*range(3, 100, 3)]]):
        (tmp_path / str(number)).mkdir()
        found.append(publish(tmp_path / str(number), 100, 'said "so"', cuts))
    assert found[0] == found[1] == found[2]
    for split in SPLITS:
        lines = (tmp_path / f"0/{split}.jsonl").read_bytes().splitlines()
        table = pq.read_table(tmp_path / f"0/{split}.parquet")
        assert (
            [orjson.loads(line)["id"] for line in lines] == table["id"].to_pylist() == sorted(table["id"].to_pylist())
        )
        assert {orjson.loads(line)["source"]["drop"] for line in lines} == {"d"}


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_what_is_published_apart_is_every_item_once(seed: int, piece: int) -> None:
    random = Random(seed)
    lists = [random.choice([None, [], [{"a": str(at)}], [{"a": "x"}, {"a": None}]]) for at in range(40)]
    ids = [f"{at * 7919 % 104729:032x}" for at in range(40)]
    columns = {
        "id": pa.array(ids, pa.string()),
        "split": pa.array([random.choice(SPLITS) for _ in ids], pa.string()),
        "source": pa.array([{"row": at} for at in range(40)], pa.struct([("row", pa.int64())])),
        "listed": pa.array(lists, pa.list_(pa.struct([("a", pa.string())]))),
    }
    table = pa.table(columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "PIECE_ROWS", piece)
        found = list(apart(rows.Rows([table.slice(0, 13), table.slice(13)]), "listed"))
    assert all(each.column_names == ["id", "split", "source", "a"] for each in found)
    assert all(len(pc.unique(each["id"])) <= piece for each in found)
    wanted = [
        (row["id"], row["split"], row["source"], item["a"])
        for row in sorted(table.to_pylist(), key=lambda row: row["id"])
        for item in row["listed"] or []
    ]
    assert [tuple(row.values()) for each in found for row in each.to_pylist()] == wanted


def test_memory_is_that_of_a_few_pieces(tmp_path: Path) -> None:
    peaks = []
    for count in (600, 4600):  # 30 and 230 MB of text
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, __file__, str(tmp_path / str(count)), str(count)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        peaks.append(int(said) >> 10)
    assert peaks[1] - peaks[0] < 120, "MiB"


if __name__ == "__main__":
    rows.PIECE_BYTES, runs.RUN_BYTES = 4 << 20, 16 << 20
    publish(Path(sys.argv[1]), int(sys.argv[2]), "word " * 10_000, [*range(60, int(sys.argv[2]), 60)])
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
