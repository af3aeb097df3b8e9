"""The flow that asks the systems the test split and scores them."""

from functools import partial
from pathlib import Path

from prefect import flow

from evaluation.card.gate import NotPassedError, require
from evaluation.card.summary import evaluation_tables
from flows.artifacts import publish_tables
from flows.events import RefusalError, adapter_refused, version_published
from flows.names import add_version, run_name
from flows.parameters import Folder, Published, Recipe, Variant
from flows.run import Run, run_of
from flows.tasks import in_task


def score(run: Run, version: Path, adapter: str | None) -> Path:
    """Ask the recipe's systems about a version, and score them; gives the scorecard's folder.

    Args:
        adapter: a folder, NAME/VERSION or NAME; by default the recipe's latest, where there is one.
    """
    from evaluation.evaluate import evaluate
    from evaluation.promotion import adapter_for, scored

    recipe, known = run.recipe, run.published("scorecards")
    folder = adapter_for(recipe, run.store, adapter)
    scorecard = in_task("evaluate", partial(evaluate, version, folder, recipe, run.store, run.progress))
    scored(scorecard, folder, run.store)
    publish_tables(recipe.name, evaluation_tables(scorecard), scorecard, run.store)
    if scorecard not in known:
        version_published(scorecard)
    return scorecard


def require_passed(run: Run, scorecard: Path) -> None:
    """Stop, and tell of it, if the adapter does not pass the recipe's gate.

    Raises:
        RefusalError: names each rule that does not hold, and why.
    """
    try:
        require(scorecard)
    except NotPassedError as refusal:
        adapter_refused(scorecard, run.store, refusal)
        raise RefusalError(refusal.message, refusal.remedy) from refusal


@flow(name="evaluation", flow_run_name=run_name, persist_result=False)
def evaluation(
    recipe: Recipe = "licences",
    store: Folder = "store",
    variant: Variant = None,
    dataset: Published = None,
    adapter: Published = None,
) -> Path:
    """Ask the recipe's systems the rows of the test split and score them; gives the scorecard's folder.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        dataset: version whose test split is asked: a folder, NAME/VERSION or NAME; by default the recipe's latest.
        adapter: a folder, NAME/VERSION or NAME; by default the recipe's latest, where there is one.

    Raises:
        AssayError: the adapter does not pass the recipe's gate; the scorecard is published all the same.
    """
    with run_of(recipe, store, variant) as run:
        version = run.store.resolve("datasets", dataset or run.recipe.name)
        scorecard = score(run, version, adapter)
        add_version(scorecard)
        require_passed(run, scorecard)
    return scorecard
