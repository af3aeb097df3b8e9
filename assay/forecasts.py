"""The door's `forecast`: what training will take, before it begins."""

from assay.door import Place, to_train
from assay.results import Forecasted, Version
from curate.progress import Progress, silent


def forecast(
    version: Version | Place | None = None,
    recipe: Place | None = None,
    *,
    measure: int = 0,
    store: Place | None = None,
    variant: str | None = None,
    progress: Progress = silent,
) -> Forecasted:
    """What training will take: memory by part, disk, tokens, operations. Trains and publishes nothing.

    Whether it fits says `Forecasted.fits`.

    Args:
        version: as of `train`.
        recipe: as of `train`.
        measure: steps that are really run, to tell the time.
        store: folder that Assay writes to; by default the version's.
        variant: one of the recipe's variants; by default the one the version was curated by here.
        progress: told in steps.

    Raises:
        AssayError: as of `train`, but for a lack of memory or disk.
    """
    from train.qlora import forecast as foretell

    version, made, loaded = to_train(version, recipe, variant, store)
    return Forecasted(foretell(version.folder, loaded, made.store, measure, progress))
