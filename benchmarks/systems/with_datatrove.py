"""datatrove: its four MinHash steps on the local executor.

python with_datatrove.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import sys
from pathlib import Path

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
    return {"id": document.id, "text": document.text}


def main() -> None:
    source, output, _threshold, words, permutations, processes = sys.argv[1:]
    folder = Path(output)
    bands = int(permutations) // 8  # 16 bands of 8: (1/16)^(1/8) = .707
    config = MinhashConfig(n_grams=int(words), num_buckets=bands, hashes_per_bucket=8)
    signatures, buckets, removed = (f"{folder}.work/{name}" for name in ("signatures", "buckets", "removed"))
    reader = ParquetReader(source, glob_pattern="*.parquet")
    several = {"tasks": int(processes), "workers": int(processes)}
    steps = [
        ([reader, MinhashDedupSignature(signatures, config=config)], several),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], {"tasks": bands, "workers": int(processes)}),
        ([MinhashDedupCluster(buckets, removed, config=config)], {"tasks": 1}),
        ([reader, MinhashDedupFilter(removed), ParquetWriter(output, adapter=row)], several),
    ]
    for number, (pipeline, options) in enumerate(steps):
        LocalPipelineExecutor(pipeline, logging_dir=f"{folder}.work/logs/{number}", **options).run()


if __name__ == "__main__":
    main()
