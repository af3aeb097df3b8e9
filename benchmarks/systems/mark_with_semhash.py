"""semhash, with the static embeddings that come in the package wordllama: its own model is on a hub.

python mark_with_semhash.py INPUT OUTPUT SETTINGS
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import wordllama
from semhash import SemHash


class Encoder:
    """wordllama's 256 dimensions, as semhash asks for an encoder."""

    def __init__(self) -> None:
        folder = Path(wordllama.__file__).parent
        self.model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def encode(self, inputs: Sequence[str], **_: Any) -> np.ndarray:
        return self.model.embed(list(inputs))


def main() -> None:
    source, output, settings = sys.argv[1:]
    rows = pq.read_table(source, columns=["id", "text"]).to_pylist()
    found = SemHash.from_records(rows, columns=["text"], model=Encoder()).self_deduplicate(**json.loads(settings))
    cluster = {row["id"]: row["id"] for row in rows}
    cluster |= {each.record["id"]: each.duplicate_of["id"] for each in found.filtered}
    kept, ids = {row["id"] for row in found.selected}, [row["id"] for row in rows]
    marks = {"id": ids, "kept": [row in kept for row in ids], "cluster": [cluster[row] for row in ids]}
    pq.write_table(pa.table(marks), output)


if __name__ == "__main__":
    main()
