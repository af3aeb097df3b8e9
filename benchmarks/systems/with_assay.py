"""Assay: what rows are compared by, file after file in threads; the judgement; kept rows, and the others with evidence.

The last line printed is a profile: seconds by step. Those indented are parts of `judge`; its two threads share the last
two of them, whose seconds are added up.

    python with_assay.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.arrow import do_without_pandas, whole
from curate.record import TURN
from curate.sets import duplicates
from curate.sets.duplicates import Duplicates
from curate.sets.judgement import Judgement
from curate.sets.keys import compared_text, key_table
from curate.sets.signed import Part

HELD = 256 << 20
CHARS = 4
"""Characters of a text for each of its shingles: about, and fewer than there are."""
PARTS = {
    "rivals": ["Circles"],
    "batches": ["band_tables", "band_buckets", "prefix_buckets", "remove_near_duplicates", "link"],
}
"""What is timed, by module of curate.sets."""


class Drop:
    """The files of a folder. The first HELD bytes stay in memory, the others are read again when they are wanted."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.iterdir())
        self.begins = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in self.files)])
        self._held: dict[Path, pa.Table] = {}
        self._room = HELD
        self._again = lru_cache(maxsize=8)(self._read)  # those in hand: the next rows are mostly of the same file

    def _read(self, file: Path) -> pa.Table:
        return pq.ParquetFile(file, memory_map=True).read(use_threads=False)

    def read(self, file: Path) -> pa.Table:
        table = self._held.get(file) or self._again(file)
        if file not in self._held and table.nbytes <= self._room:
            self._room -= table.nbytes
            self._held[file] = table
        return table

    def records(self, file: Path) -> pa.Table:
        """The texts of a file as records of one turn."""
        table = self.read(file)
        rows, texts, row = table.num_rows, whole(table["text"]), whole(table["id"])
        said = [pa.repeat("user", rows), texts, pa.nulls(rows, pa.string()), pa.nulls(rows, pa.bool_())]
        turns = pa.StructArray.from_arrays(said, fields=list(TURN))
        return pa.table(
            {
                "id": pc.utf8_lpad(row.cast(pa.string()), 32, "0"),
                "turns": pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32), turns),
                "target": pa.nulls(rows, pa.string()),
                "source": pa.StructArray.from_arrays([pa.repeat(file.name, rows), row], names=["file", "row"]),
            }
        )

    def keys(
        self, settings: Duplicates, processes: int, load: Callable[[int], None], folder: Path
    ) -> tuple[pa.Table, list[Part]]:
        """What all rows are compared by. The first files are read while the kernels are loaded.

        Args:
            folder: that is to hold the signatures, in files without a name.
        """

        def of_file(file: Path) -> tuple[pa.Table, Part]:
            from curate.text.minhash import text_signatures

            records = self.records(file)
            texts = compared_text(records, settings)
            keys, signatures = key_table(records, texts), text_signatures(texts, settings.shingle_words)
            return keys, self._part(file, signatures, keys["chars"].to_numpy() // CHARS, settings, folder)

        with ThreadPoolExecutor(processes) as threads:
            threads.map(self.read, self.files[: 4 * processes])
            load(settings.shingle_words)
            keys, parts = zip(*threads.map(of_file, self.files), strict=True)
        return pa.concat_tables(keys), list(parts)

    def _part(self, file: Path, signatures: Any, lengths: Any, settings: Duplicates, folder: Path) -> Part:
        """The rows of a file; their shingles are made again of their texts when they are wanted."""
        shape, scratch = signatures.shape, TemporaryFile(dir=folder)  # noqa: SIM115
        scratch.write(signatures.data)
        scratch.flush()

        def read() -> Any:
            out = np.empty(shape, np.uint32)
            os.preadv(scratch.fileno(), [out.data], 0)
            return out

        def shingles(rows: Any) -> Any:
            from curate.text import words

            return words.shingle_sets(whole(self.read(file)["text"]).take(pa.array(rows)), settings.shingle_words)

        return Part(len(lengths), read, lengths.__getitem__, shingles)


def load(shingle_words: int) -> None:
    """Import numba and load the kernels that sign."""
    from curate.text.minhash import text_signatures

    text_signatures(pa.array([""]), shingle_words)


class Profile(dict[str, float]):
    """Seconds by step, summed over threads."""

    def __init__(self) -> None:
        self._lock = Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                with self._lock:
                    self[name] = self.get(name, 0.0) + time.perf_counter() - begin

        return run


def write(drop: Drop, verdict: Judgement, folder: Path, processes: int) -> None:
    """What is kept of each file, under its name; and beside the folder, the others with reason and evidence."""
    folder.mkdir()
    begins = drop.begins.tolist()

    def write_file(number: int) -> pa.Table:
        file = drop.files[number]
        rows = begins[number], begins[number + 1] - begins[number]
        table = drop.read(file)
        reason, evidence = (whole(column.slice(*rows)) for column in (verdict.reason, verdict.evidence))
        pq.write_table(table.filter(reason.is_null()), folder / file.name, use_dictionary=False)
        judged = table.append_column("reason", reason).append_column("evidence", evidence)
        return judged.filter(reason.is_valid())

    with ThreadPoolExecutor(processes) as threads:
        removed = pa.concat_tables(threads.map(write_file, range(len(drop.files))))
    pq.write_table(removed, folder.with_name("removed.parquet"))


def main() -> None:
    source, output, threshold, shingle_words, _permutations, processes = sys.argv[1:]
    do_without_pandas()
    profile, drop = Profile(), Drop(Path(source))
    settings = Duplicates(threshold=float(threshold), shingle_words=int(shingle_words))
    loaded = profile.timed("  numba loaded, while files are read", load)
    folder = Path(output).parent
    keys, parts = profile.timed("read and sign", drop.keys)(settings, int(processes), loaded, folder)

    # By now numba is loaded, while the first files were read.
    from curate.text import words

    for module, names in PARTS.items():
        part = import_module(f"curate.sets.{module}")
        for name in names:
            setattr(part, name, profile.timed(f"  {name}", getattr(part, name)))
    words.shingle_sets = profile.timed("  shingle_sets", words.shingle_sets)
    verdict = profile.timed("judge", duplicates.judge)(keys, settings, parts, folder=folder)
    profile.timed("write", write)(drop, verdict, Path(output), int(processes))
    print(json.dumps({name: round(seconds, 3) for name, seconds in profile.items()}))


if __name__ == "__main__":
    main()
