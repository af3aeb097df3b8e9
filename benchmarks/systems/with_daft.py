"""daft, by the recipe of its tutorial on MinHash: normalize, minhash, bands, connected components, anti-join.

The components are found by scipy rather than by the tutorial's joins in a loop, which are slower.

    python with_daft.py INPUT OUTPUT THRESHOLD WORDS PERMUTATIONS PROCESSES
"""

import sys

import daft
import numpy as np
from daft import col
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

source, output, _threshold, words, permutations, _processes = sys.argv[1:]
ROWS_OF_BAND = 8  # 16 bands of 8: (1/16)^(1/8) = .707


@daft.func()  # type: ignore[untyped-decorator]
def positions(bands: list[list[int]]) -> list[int]:
    return list(range(len(bands)))


texts = daft.read_parquet(source)
normal = col("text").normalize(remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True)
hashes = normal.minhash(num_hashes=int(permutations), ngram_size=int(words), seed=42, hash_function="xxhash")
bands = texts.select("id", hashes.chunk(ROWS_OF_BAND).alias("band"))
buckets = (
    bands.with_column("position", positions(col("band")))
    .explode("band", "position")
    .groupby("position", "band")
    .agg(col("id").list_agg().alias("ids"))
    .where(col("ids").list_count() > 1)
)
edges = buckets.select("ids", first=col("ids").list_min()).explode("ids").to_pydict()
first, other = np.array(edges["first"], np.int64), np.array(edges["ids"], np.int64)
rows = texts.count_rows()
_, component = connected_components(coo_array((np.ones(len(first)), (first, other)), shape=(rows, rows)))
_, kept = np.unique(component, return_index=True)
texts.join(daft.from_pydict({"id": kept}), on="id", how="semi").write_parquet(output)
