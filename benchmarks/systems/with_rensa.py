"""rensa, as its README says: full-set R-MinHash and its own LSH, which checks the estimated similarity.

python with_rensa.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import re
import sys

import pyarrow.parquet as pq
from rensa import RMinHashDeduplicator

source, output, threshold, words, permutations, _processes = sys.argv[1:]
size = int(words)
WORD = re.compile(r"\w+")


def shingles(text: str) -> set[str]:
    found = WORD.findall(text.lower())
    return {" ".join(found[at : at + size]) for at in range(max(1, len(found) - size + 1))}


table = pq.read_table(source)
finder = RMinHashDeduplicator(threshold=float(threshold), num_perm=int(permutations), use_lsh=True)
keep: list[bool] = []
for batch in table.to_batches(max_chunksize=10_000):
    texts = batch["text"].to_pylist()
    keep += finder.add_pairs((str(len(keep) + row), shingles(text)) for row, text in enumerate(texts))
pq.write_table(table.filter(keep), output)
