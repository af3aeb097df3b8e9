"""data-juicer: its operator `document_minhash_deduplicator`, which gives all pairs that it is asked to show.

python mark_with_data_juicer.py INPUT OUTPUT SETTINGS
"""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from data_juicer.core.data import NestedDataset
from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
from datasets import Dataset


def main() -> None:
    source, output, settings = sys.argv[1:]
    table = pq.read_table(source, columns=["id", "text"])
    operator = DocumentMinhashDeduplicator(**json.loads(settings))
    hashed = NestedDataset(Dataset(table)).map(operator.compute_hash, num_proc=2)
    left, pairs = operator.process(hashed, show_num=table.num_rows + 1)
    kept, ids = set(left["id"]), table["id"].to_pylist()
    cluster = {row["id"]: first for first, rows in pairs.items() for row in rows}
    marks = {"id": ids, "kept": [row in kept for row in ids], "cluster": [cluster.get(row, -row - 1) for row in ids]}
    pq.write_table(pa.table(marks), output)


if __name__ == "__main__":
    main()
