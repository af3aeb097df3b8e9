"""datatrove: what of a curation it has operators for, on the local executor; kept rows as JSON lines.

Mended Unicode, e-mail and IP addresses, length, Gopher's rules of repetition, tokens counted and bounded, and
near-duplicates.

    python with_datatrove_whole.py INPUT OUTPUT TOKENIZER_JSON TOKENS PROCESSES
"""

import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import GopherRepetitionFilter, LambdaFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import TokensCounter
from datatrove.pipeline.writers import JsonlWriter

BANDS, ROWS = 16, 8
"""(1/16)^(1/8) = .707"""


class Bounded:
    """Whether a document has so many tokens at most; a class, as the executor pickles it."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def __call__(self, document: Document) -> bool:
        return bool(document.metadata["token_count"] <= self.tokens)


def not_short(document: Document) -> bool:
    return len(document.text) >= 8


def main() -> None:
    source, output, tokenizer, tokens, processes = sys.argv[1:]
    several = {"tasks": int(processes), "workers": int(processes)}
    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=ROWS)
    clean, signatures, buckets, removed = (f"{output}.work/{n}" for n in ("clean", "signatures", "buckets", "removed"))
    first = [
        JsonlReader(source, glob_pattern="*.jsonl"),
        FTFYFormatter(),
        PIIFormatter(),
        LambdaFilter(not_short),
        GopherRepetitionFilter(),
        TokensCounter(tokenizer),
        LambdaFilter(Bounded(int(tokens))),
        JsonlWriter(clean, compression=None),
    ]
    cleaned = JsonlReader(clean)
    steps = [
        (first, several),
        ([cleaned, MinhashDedupSignature(signatures, config=config)], several),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], {"tasks": BANDS, "workers": int(processes)}),
        ([MinhashDedupCluster(buckets, removed, config=config)], {"tasks": 1}),
        ([cleaned, MinhashDedupFilter(removed), JsonlWriter(output, compression=None)], several),
    ]
    for number, (pipeline, options) in enumerate(steps):
        LocalPipelineExecutor(pipeline, logging_dir=f"{output}.work/logs/{number}", **options).run()


if __name__ == "__main__":
    main()
