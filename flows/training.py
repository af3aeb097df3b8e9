"""The flow that trains an adapter on a published data set version."""

from functools import partial
from pathlib import Path

from prefect import flow

from flows.artifacts import publish_tables
from flows.events import version_published
from flows.names import add_version, run_name
from flows.parameters import Folder, Published, Recipe, Variant
from flows.run import Run, run_of
from flows.tasks import in_task


def train_on(run: Run, version: Path) -> Path:
    """Train the recipe's adapter on a version; gives its folder."""
    from evaluation.promotion import trained
    from evaluation.reward import reward_of
    from evaluation.validation_score import validation_score
    from train.qlora import train
    from train.summary import training_tables

    recipe, store, progress, known = run.recipe, run.store, run.progress, run.published("adapters")
    score = validation_score(version, recipe, store, progress)
    reward = reward_of(version, recipe)
    adapter = in_task("train", partial(train, version, recipe, store, progress, score, reward=reward))
    trained(adapter, recipe, store)
    publish_tables(recipe.name, training_tables(adapter, store), adapter, store)
    if adapter not in known:
        version_published(adapter)
    return adapter


@flow(name="training", flow_run_name=run_name, persist_result=False)
def training(
    recipe: Recipe = "licences", store: Folder = "store", variant: Variant = None, dataset: Published = None
) -> Path:
    """Train an adapter; gives its folder. A run that was interrupted goes on from its last checkpoint.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        dataset: version to train on: a folder, NAME/VERSION or NAME; by default the recipe's latest.
    """
    with run_of(recipe, store, variant) as run:
        adapter = train_on(run, run.store.resolve("datasets", dataset or run.recipe.name))
        add_version(adapter)
    return adapter
