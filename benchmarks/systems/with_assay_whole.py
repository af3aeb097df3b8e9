"""Assay: a whole curation, as `assay curate` does it, into a fresh store.

The last line printed is a profile: seconds by stage.

    python with_assay_whole.py STORE PROCESSES RECIPE [DROP]
"""

import json
import sys
import time
from pathlib import Path

from curate.pipeline import curate
from curate.progress import silent
from curate.recipe import Recipe, find_recipe
from curate.store import Store
from curate.workers import process_pool
from train.base_model import prepare_tokenizer


def main() -> None:
    folder, processes, name, *drop = sys.argv[1:]
    recipe, store = Recipe.load(find_recipe(name)), Store(Path(folder))
    if drop:
        recipe = recipe.model_copy(update={"drop": drop[0]})
    begin = time.perf_counter()
    tokenizer = prepare_tokenizer(recipe.fit.model, store.cache)
    seconds = {"tokenizer": time.perf_counter() - begin}
    with process_pool(int(processes), silent) as map_shards:
        curated = curate(recipe, store, tokenizer_folder=tokenizer, map_shards=map_shards)
    print(json.dumps({name: round(each, 3) for name, each in (seconds | curated.seconds).items()}))


if __name__ == "__main__":
    main()
