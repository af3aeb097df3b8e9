"""The flow of the whole job: drop, data set version, adapter, scorecard."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow

from curate.publish.version import Curated
from flows.curation import curate_drop
from flows.evaluation import require_passed, score
from flows.names import add_version, run_name
from flows.parameters import Digest, Drop, Engine, Folder, Recipe, Variant, Workers
from flows.run import run_of, superseded_in
from flows.training import train_on


@dataclass(frozen=True)
class Assayed:
    """What a whole run gave."""

    curated: Curated
    adapter: Path
    scorecard: Path


@flow(name="pipeline", flow_run_name=run_name, persist_result=False)
def pipeline(
    recipe: Recipe = "licences",
    store: Folder = "store",
    variant: Variant = None,
    drop: Drop = None,
    workers: Workers = None,
    engine: Engine = None,
    digest: Digest = None,
) -> Assayed | None:
    """Curate a drop, train an adapter on it, and score the adapter: one run, so that one that is killed leaves no part
    of itself running.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        workers: processes to curate with; by default one per core, or a cluster's.
        engine: what curates; by default what the environment of the run says (ASSAY_ENGINE), else processes.
        digest: content hash of a drop that has arrived, by which a run that waited too long gives nothing: where the
            drop is published, and a later one since.

    Raises:
        AssayError: as of the flows of each part.
    """
    with run_of(recipe, store, variant, drop) as run:
        if superseded_in(run, digest):
            return None
        curated = curate_drop(run, workers, engine)
        add_version(curated.folder)
        adapter = train_on(run, curated.folder)
        scorecard = score(run, curated.folder, str(adapter))
        require_passed(run, scorecard)
    return Assayed(curated, adapter, scorecard)
