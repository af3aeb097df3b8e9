"""The flow that trains an adapter on a published data set version."""

from pathlib import Path

from prefect import flow, task

from curate.recipe import find_recipe
from curate.store import Store
from evaluation.promotion import trained
from evaluation.reward import reward_of
from evaluation.settings import FullRecipe
from evaluation.validation_score import validation_score
from flows.tasks import RETRIED, progress_of_run, publish_tables, run_name
from train.qlora import train
from train.summary import training_tables

train_adapter = task(name="train", task_run_name="train", **RETRIED)(train)


@flow(name="training", flow_run_name=run_name, persist_result=False)
def training(
    recipe: str = "licences", store: str = "store", variant: str | None = None, dataset: str | None = None
) -> Path:
    """Train an adapter; gives its folder. A run that was interrupted goes on from its last checkpoint.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder that Assay writes to.
        variant: one of the recipe's variants.
        dataset: version to train on: a folder, NAME/VERSION or NAME; by default the recipe's latest.
    """
    loaded = FullRecipe.load(find_recipe(recipe), variant)
    target = Store(Path(store).resolve())
    version = target.resolve("datasets", dataset or loaded.name)
    with progress_of_run() as progress:
        reward = reward_of(version, loaded)
        score = validation_score(version, loaded, target, progress)
        adapter = trained(train_adapter(version, loaded, target, progress, score, reward=reward), loaded, target)
    publish_tables(loaded.name, training_tables(adapter, target), str(adapter))
    return adapter
