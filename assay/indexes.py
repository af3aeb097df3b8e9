"""The door's way to an index: what every version of a data set is compared by."""

from assay.door import Place, recipe_named, store_of
from assay.results import IndexState
from curate.addresses import addressed
from curate.errors import AssayError
from curate.progress import Progress, silent


def check_index(name: str, *, store: Place | None = None, progress: Progress = silent) -> IndexState:
    """Read the whole index of a data set again: what every version is compared by.

    Args:
        name: of the data set: its recipe's `name`.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told how far it is.

    Raises:
        AssayError: nothing of that name is published.
    """
    from curate.sets.index import Index, recorded_settings

    target = store_of(store)
    index = Index(target, name, recorded_settings(target, name))
    return IndexState(index, [addressed(each) for each in index.check(progress)])


def rebuild_index(
    name: str, *, recipe: Place | None = None, store: Place | None = None, progress: Progress = silent
) -> IndexState:
    """Make the index of a data set again from its published versions.

    Args:
        name: of the data set: its recipe's `name`.
        recipe: whose parameters it gets; by default it keeps those it has.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told how far it is.

    Raises:
        AssayError: nothing of that name is published, or the recipe is another data set's.
    """
    from curate.sets.index import Index, recorded_settings

    target = store_of(store)
    if recipe is None:
        settings = recorded_settings(target, name)
    else:
        loaded = recipe_named(recipe)
        if loaded.name != name:
            raise AssayError(
                f"{recipe} is the recipe of {loaded.name}, not of {name}.", remedy=f"Name the recipe of {name}."
            )
        settings = loaded.duplicates
    index = Index(target, name, settings)
    index.rebuild(progress)
    return IndexState(index)
