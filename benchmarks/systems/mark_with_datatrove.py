"""datatrove: its four MinHash steps on the local executor, told to keep the clusters' numbers.

python mark_with_datatrove.py INPUT OUTPUT SETTINGS
"""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter


def row(_writer: ParquetWriter, document: Document) -> dict[str, object]:
    return {"id": document.id, "cluster": document.metadata["minhash_cluster_id"]}


def main() -> None:
    source, output, settings = sys.argv[1:]
    config = MinhashConfig(**json.loads(settings))
    names = ("signatures", "buckets", "removed", "kept", "others")
    signatures, buckets, removed, kept, others = (f"{output}.work/{name}" for name in names)
    reader = ParquetReader(source, glob_pattern="*.parquet")
    several = {"tasks": 2, "workers": 2}
    keep = MinhashDedupFilter(removed, ParquetWriter(others, adapter=row), load_cluster_ids=True)
    steps = [
        ([reader, MinhashDedupSignature(signatures, config=config)], several),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], {"tasks": config.num_buckets, "workers": 2}),
        ([MinhashDedupCluster(buckets, removed, config=config, save_cluster_id=True)], {"tasks": 1}),
        ([reader, keep, ParquetWriter(kept, adapter=row)], several),
    ]
    for number, (pipeline, options) in enumerate(steps):
        LocalPipelineExecutor(pipeline, logging_dir=f"{output}.work/logs/{number}", **options).run()
    left, gone = (pq.read_table(folder) for folder in (kept, others))
    ids = pa.chunked_array([*left["id"].chunks, *gone["id"].chunks]).to_pylist()
    clusters = pa.chunked_array([*left["cluster"].chunks, *gone["cluster"].chunks]).to_pylist()
    alone = [-1 - int(id_) if cluster == -1 else cluster for id_, cluster in zip(ids, clusters, strict=True)]
    stay = [True] * left.num_rows + [False] * gone.num_rows
    pq.write_table(pa.table({"id": list(map(int, ids)), "kept": stay, "cluster": alone}), output)


if __name__ == "__main__":
    main()
