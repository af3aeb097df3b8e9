"""The flow that makes a data set version of a drop."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from curate.pipeline import curate
from curate.publish.refused import RefusedError
from curate.publish.summary import curation_tables
from curate.publish.version import Curated
from curate.recipe import find_recipe
from curate.store import Store
from curate.workers import available_cores, set_up, worker_memory
from evaluation.settings import FullRecipe
from flows.tasks import RETRIED, map_shards, progress_of_run, publish_refusal, publish_tables, run_name
from train.base_model import prepare_tokenizer

get_tokenizer = task(name="tokenizer", task_run_name="tokenizer", **RETRIED)(prepare_tokenizer)


def processes(workers: int | None = None) -> TaskRunner[Any]:
    """The task runner for one machine; by default a process per core."""
    number = workers or available_cores()
    return ProcessPoolTaskRunner(number, initializer=_set_up, initargs=(number,))


def _set_up(workers: int) -> None:
    set_up(workers, worker_memory())


@flow(name="curation", flow_run_name=run_name, task_runner=processes(), persist_result=False)
def curation(
    recipe: str = "licences", store: str = "store", variant: str | None = None, drop: str | None = None
) -> Curated:
    """Curate a drop and publish the data set version.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder that Assay writes to.
        variant: one of the recipe's variants.
        drop: folder of the raw files, or its URL, instead of the recipe's own.

    Raises:
        AssayError: bad input, or a set that breaks its contract; the run fails and nothing is published.
    """
    loaded = FullRecipe.load(find_recipe(recipe), variant, drop or None)
    target = Store(Path(store).resolve())
    with progress_of_run() as progress:
        tokenizer = get_tokenizer(loaded.fit.model, target.cache)
        try:
            curated = curate(loaded, target, tokenizer_folder=tokenizer, map_shards=map_shards, progress=progress)
        except RefusedError as refusal:
            publish_refusal(loaded.name, refusal)
            raise
    publish_tables(loaded.name, curation_tables(curated), str(curated.folder))
    return curated
