"""text-dedup: its command `minhash` or `simhash`, and the union-find that `--debug` has it leave. A text of less than
five characters ends `simhash` with an error, so such texts are not given to it, and stay.

python mark_with_text_dedup.py INPUT OUTPUT SETTINGS
"""

import json
import pickle
import sys
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import load_from_disk


def main() -> None:
    source, output, given = sys.argv[1:]
    settings = json.loads(given)
    folder = Path(f"{output}.work")
    folder.mkdir()
    table = pq.read_table(source, columns=["id", "text"])
    ids = table["id"].to_pylist()
    if settings["command"] == "simhash":
        table = table.filter(pc.greater_equal(pc.utf8_length(table["text"]), 5))
    pq.write_table(table, folder / "texts.parquet")
    options = {
        "path": "parquet",
        "data_files": folder / "texts.parquet",
        "split": "train",
        "cache_dir": folder / "cache",
        "output": folder / "kept",
        "column": "text",
        "idx_column": "id",
        "num_proc": 2,
    }
    command = import_module(f"text_dedup.{settings.pop('command')}").main
    command([*(f"--{name}={value}" for name, value in (options | settings).items()), "--debug"], standalone_mode=False)
    kept = set(ids) - set(table["id"].to_pylist()) | set(load_from_disk(str(folder / "kept"))["id"])
    clusters = pickle.loads((folder / "kept" / "uf.pkl").read_bytes())
    marks = {"id": ids, "kept": [row in kept for row in ids], "cluster": [clusters.find(row) for row in ids]}
    pq.write_table(pa.table(marks), output)


if __name__ == "__main__":
    main()
