"""The flow that makes a data set version of a drop."""

from functools import partial

from prefect import flow

from curate.engines import engine as engine_of
from curate.errors import SetAsideError
from curate.pipeline import curate
from curate.publish.summary import curation_tables
from curate.publish.version import Curated
from flows.artifacts import publish_refusal, publish_tables
from flows.events import RefusalError, drop_refused, version_published
from flows.names import add_version, run_name
from flows.parameters import Digest, Drop, Engine, Folder, Recipe, Variant, Workers
from flows.run import Run, run_of, superseded_in
from flows.tasks import as_tasks, in_task
from train.base_model import prepare_tokenizer


def curate_drop(run: Run, workers: int | None, engine: str | None) -> Curated:
    """Curate the recipe's drop and publish the version."""
    recipe, store, known = run.recipe, run.store, run.published("datasets")
    with engine_of(engine, workers, store, run.progress) as map_shards:
        tokenizer = in_task("tokenizer", partial(prepare_tokenizer, recipe.fit.model, store.cache, run.progress))
        tasks = as_tasks(map_shards)
        try:
            curated = curate(recipe, store, tokenizer_folder=tokenizer, map_shards=tasks, progress=run.progress)
        except SetAsideError as refusal:
            publish_refusal(recipe.name, refusal, store)
            drop_refused(recipe.name, store, refusal)
            raise RefusalError(refusal.message, refusal.remedy) from refusal
    publish_tables(recipe.name, curation_tables(curated), curated.folder, store)
    if curated.folder not in known:
        version_published(curated.folder)
    return curated


@flow(name="curation", flow_run_name=run_name, persist_result=False)
def curation(
    recipe: Recipe = "licences",
    store: Folder = "store",
    variant: Variant = None,
    drop: Drop = None,
    workers: Workers = None,
    engine: Engine = None,
    digest: Digest = None,
) -> Curated | None:
    """Curate a drop and publish the data set version.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        workers: processes; by default one per core, or a cluster's.
        engine: what curates; by default what the environment of the run says (ASSAY_ENGINE), else processes.
        digest: content hash of a drop that has arrived, by which a run that waited too long gives nothing: where the
            drop is published, and a later one since.

    Raises:
        AssayError: bad input, or a set that breaks its contract; the run fails and nothing is published.
    """
    with run_of(recipe, store, variant, drop) as run:
        if superseded_in(run, digest):
            return None
        curated = curate_drop(run, workers, engine)
        add_version(curated.folder)
    return curated
