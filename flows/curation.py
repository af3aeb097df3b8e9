"""The flow that makes a data set version of a drop."""

from pathlib import Path

from prefect import flow, task

from curate.pipeline import curate
from curate.publish.summary import curation_tables
from curate.publish.version import Curated
from curate.recipe import find_recipe
from curate.store import Store
from curate.workers import available_cores, process_pool
from evaluation.settings import FullRecipe
from flows.tasks import RETRIED, as_tasks, progress_of_run, publish_tables, run_name
from train.base_model import prepare_tokenizer

get_tokenizer = task(name="tokenizer", task_run_name="tokenizer", **RETRIED)(prepare_tokenizer)


@flow(name="curation", flow_run_name=run_name, persist_result=False)
def curation(
    recipe: str = "licences",
    store: str = "store",
    variant: str | None = None,
    drop: str | None = None,
    workers: int | None = None,
) -> Curated:
    """Curate a drop and publish the data set version.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder that Assay writes to.
        variant: one of the recipe's variants.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        workers: processes; by default one per core.

    Raises:
        AssayError: bad input, or a set that breaks its contract; the run fails and nothing is published.
    """
    loaded = FullRecipe.load(find_recipe(recipe), variant, drop or None)
    target = Store(Path(store).resolve())
    with progress_of_run() as progress, process_pool(workers or available_cores(), progress) as pool:
        tokenizer = get_tokenizer(loaded.fit.model, target.cache)
        curated = curate(loaded, target, tokenizer_folder=tokenizer, map_shards=as_tasks(pool), progress=progress)
    publish_tables(loaded.name, curation_tables(curated), str(curated.folder))
    return curated
