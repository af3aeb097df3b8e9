"""The flow that looks whether the live adapter still fits the data that comes."""

from functools import partial
from pathlib import Path

from prefect import flow

from flows.artifacts import publish_tables
from flows.events import past_bounds
from flows.names import run_name
from flows.parameters import Folder, Recipe, Variant
from flows.run import run_of
from flows.tasks import in_task


@flow(name="monitor", flow_run_name=run_name, persist_result=False)
def monitor(recipe: Recipe = "licences", store: Folder = "store", variant: Variant = None) -> Path:
    """Compare the newest version with what the live adapter was trained on, ask it fresh rows, and tell of both; gives
    the page that is drawn of all looks.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name; its `monitor` has the bounds.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.

    Raises:
        AssayError: no adapter is live.
    """
    from evaluation.monitor import look, page

    with run_of(recipe, store, variant) as run:
        reading = in_task("monitor", partial(look, run.recipe, run.store, run.progress))
        drawn = page(run.store, run.recipe.name)
        publish_tables(run.recipe.name, reading.tables(), drawn, run.store)
        for sentence in reading.past:
            run.progress(sentence, 1, 1, "bounds")
        if reading.past:
            past_bounds(run.recipe.name, reading, drawn, run.store)
    return drawn
