"""The flow that asks the systems the test split and scores them."""

from pathlib import Path

from prefect import flow, task

from curate.recipe import find_recipe
from curate.store import Store
from evaluation.card.gate import require
from evaluation.card.summary import evaluation_tables
from evaluation.evaluate import evaluate
from evaluation.promotion import adapter_for, scored
from evaluation.settings import FullRecipe
from flows.tasks import RETRIED, progress_of_run, publish_tables, run_name

score = task(name="evaluate", task_run_name="evaluate", **RETRIED)(evaluate)


@flow(name="evaluation", flow_run_name=run_name, persist_result=False)
def evaluation(
    recipe: str = "licences",
    store: str = "store",
    variant: str | None = None,
    dataset: str | None = None,
    adapter: str | None = None,
) -> Path:
    """Ask the recipe's systems the rows of the test split and score them; gives the scorecard's folder.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder that Assay writes to.
        variant: one of the recipe's variants.
        dataset: version whose test split is asked: a folder, NAME/VERSION or NAME; by default the recipe's latest.
        adapter: a folder, NAME/VERSION or NAME; by default the recipe's latest, where there is one.

    Raises:
        AssayError: the adapter does not pass the recipe's gate; the scorecard is published all the same.
    """
    loaded = FullRecipe.load(find_recipe(recipe), variant)
    target = Store(Path(store).resolve())
    version = target.resolve("datasets", dataset or loaded.name)
    with progress_of_run() as progress:
        asked = adapter_for(loaded, target, adapter)
        scorecard = scored(score(version, asked, loaded, target, progress), asked, target)
    publish_tables(loaded.name, evaluation_tables(scorecard), str(scorecard))
    require(scorecard)
    return scorecard
