"""The flow of the whole job: drop, data set version, adapter, scorecard."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow, tags

from curate.publish.version import Curated
from flows.curation import curation
from flows.evaluation import evaluation
from flows.tasks import run_name
from flows.training import training


@dataclass(frozen=True)
class Assayed:
    """What a whole run gave."""

    curated: Curated
    adapter: Path
    scorecard: Path


@flow(name="pipeline", flow_run_name=run_name, persist_result=False)
def pipeline(
    recipe: str = "licences",
    store: str = "store",
    variant: str | None = None,
    drop: str | None = None,
    workers: int | None = None,
) -> Assayed:
    """Curate a drop, train an adapter on it, and score the adapter.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder that Assay writes to.
        variant: one of the recipe's variants.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        workers: processes to curate with; by default one per core.
    """
    with tags("assay", Path(recipe).stem):
        curated = curation(recipe, store, variant, drop, workers)
        dataset = str(curated.folder)
        adapter = training(recipe, store, variant, dataset)
        scorecard = evaluation(recipe, store, variant, dataset, str(adapter))
    return Assayed(curated, adapter, scorecard)
