"""Assay: what rows are compared by, file after file in threads; the judgement; kept rows, and the others with evidence.

Texts are not held in memory but read again where their shingles or they themselves are wanted. The last line printed
is a profile: seconds by step, those indented being parts of `judge`.

    python with_assay.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import duplicates, near_dedup
from curate.duplicates import Duplicates

PARTS = ("band_tables", "have_rivals", "remove_near_duplicates", "link")


def records(file: Path) -> pa.Table:
    """The texts of a file as records of one turn."""
    table = pq.read_table(file).combine_chunks()
    rows, texts = table.num_rows, table["text"].combine_chunks()
    turns = pa.StructArray.from_arrays([pa.repeat("user", rows), texts], names=["role", "content"])
    row = table["id"].combine_chunks()
    source = pa.StructArray.from_arrays([pa.repeat(file.name, rows), row], names=["file", "row"])
    return pa.table(
        {
            "id": [f"{number:032x}" for number in row.to_pylist()],
            "turns": pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), turns),
            "target": pa.nulls(rows, pa.string()),
            "source": source,
        }
    )


class Profile(dict[str, float]):
    """Seconds by step."""

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self[name] = self.get(name, 0.0) + time.perf_counter() - begin

        return run


def texts_of(files: list[Path]) -> Callable[[Any], pa.Array]:
    """What gives the texts of rows, numbered through all files; the numbers ascend."""
    begins = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])

    @lru_cache(maxsize=8)  # those that the threads have in hand: the next rows are mostly of the same file
    def read(file: Path) -> pa.Array:
        return pq.read_table(file, columns=["text"])["text"].combine_chunks()

    def texts(rows: Any) -> pa.Array:
        cuts = np.searchsorted(rows, begins)
        return pa.concat_arrays(
            read(file).take(pa.array(rows[first:last] - begin))
            for file, begin, first, last in zip(files, begins[:-1], cuts[:-1], cuts[1:], strict=True)
            if first < last
        )

    return texts


def write(files: list[Path], verdict: duplicates.Verdict, folder: Path) -> None:
    """`kept.parquet`, and `removed.parquet` with reason and evidence."""
    folder.mkdir()
    schema = pq.read_schema(files[0])
    why = pa.schema([*schema, ("reason", pa.string()), ("evidence", pa.string())])
    begin = 0
    with (
        pq.ParquetWriter(folder / "kept.parquet", schema) as kept,
        pq.ParquetWriter(folder / "removed.parquet", why) as removed,
    ):
        for file in files:
            table = pq.read_table(file)
            end = begin + table.num_rows
            reason = pa.array(verdict.reason[begin:end], pa.string())
            evidence = pa.array(verdict.evidence[begin:end], pa.string())
            kept.write_table(table.filter(reason.is_null()))
            judged = pa.table([*table.columns, reason, evidence], schema=why)
            removed.write_table(judged.filter(reason.is_valid()))
            begin = end


def main() -> None:
    source, output, threshold, words, _permutations, processes = sys.argv[1:]
    profile = Profile()
    for name in PARTS:
        setattr(near_dedup, name, profile.timed(f"  {name}", getattr(near_dedup, name)))
    settings = Duplicates(threshold=float(threshold), shingle_words=int(words))
    files = sorted(Path(source).iterdir())

    def keys_of(file: Path) -> pa.Table:
        return duplicates.key_table(records(file), settings)

    def all_keys() -> pa.Table:
        with ThreadPoolExecutor(int(processes)) as threads:
            return pa.concat_tables(threads.map(keys_of, files))

    keys = profile.timed("read and sign", all_keys)()
    verdict = profile.timed("judge", duplicates.judge)(keys, settings, texts_of(files))
    profile.timed("write", write)(files, verdict, Path(output))
    print(json.dumps({name: round(seconds, 3) for name, seconds in profile.items()}))


if __name__ == "__main__":
    main()
