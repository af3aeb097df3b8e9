"""The flow that looks for drops and tells of those that have come whole."""

from datetime import UTC, datetime
from logging import INFO, WARNING

from prefect import flow, get_run_logger

from curate.arrival import UNREADABLE, Arrival, look, overdue
from curate.read.files import place_of
from flows.events import drop_arrived, drop_overdue, drop_unreadable
from flows.names import run_name
from flows.parameters import Folder, Recipe, Variant
from flows.run import run_of


@flow(name="watcher", flow_run_name=run_name, persist_result=False)
def watcher(recipe: Recipe = "licences", store: Folder = "store", variant: Variant = None) -> list[Arrival]:
    """Look whether drops have come whole; a deployment with a trigger of `assay.drop.arrived` curates those that have.

    One that cannot be read is set aside.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name: where its drops arrive, and when one is whole.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.

    Raises:
        AssayError: the place in which deliveries lie cannot be read.
    """
    with run_of(recipe, store, variant) as run:
        log = get_run_logger()
        found = look(run.recipe, run.store, run.progress)
        if not found:
            log.info("%s: no drop is there, and an installed package does not arrive", run.recipe.name)
        for each in found:
            log.log(WARNING if each.state == UNREADABLE else INFO, "%s: %s, %s", each.place, each.state, each.why)
            if each.due and each.state == UNREADABLE:
                drop_unreadable(run.recipe.name, run.store, each)
            elif each.due:
                drop_arrived(run.recipe.name, each, recipe, run.store.place, variant)

        def tell(late: str) -> None:
            log.warning(late)
            drop_overdue(run.recipe.name, place_of(run.recipe.drop), late)

        overdue(run.recipe, run.store, datetime.now(UTC), tell, run.progress)
    return found
