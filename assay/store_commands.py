"""The commands that look after a store: what was published, whether it is sound, what it is compared by."""

from typing import Annotated

import typer

import assay
from assay.command import STORE, Name, StoreFolder, app, command, progress_bars
from assay.result import Result

index_commands = typer.Typer(
    name="index", no_args_is_help=True, help="What every version is compared by: check, rebuild."
)


@command("assay check licences/0123456789abcdef")
def check(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Data set version: a folder, NAME/VERSION or NAME.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Instead, hash every file of the store again: is it as it was written?")
    ] = False,
    store: StoreFolder = STORE,
) -> Result:
    """Read a published version again and prove from its files: no row lost, no leak, nothing cut.

    With --all read every version, adapter and scorecard, the index, the ledger and the cache."""
    with progress_bars() as bars:
        if whole and version is None:
            return assay.check_store(store=store, progress=bars)
        if whole or version is None:
            raise assay.AssayError(
                "Check a version or all of the store?", remedy="Name a version, or the whole store with --all."
            )
        return assay.check(version, store=store, progress=bars)


@command("assay index check licences", index_commands, "check")
def check_index(name: Name, store: StoreFolder = STORE) -> Result:
    """Read the whole index of a data set again, and say what is wrong with it."""
    with progress_bars() as bars:
        return assay.check_index(name, store=store, progress=bars)


@command("assay index rebuild licences --recipe licences", index_commands, "rebuild")
def rebuild_index(
    name: Name,
    store: StoreFolder = STORE,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose parameters it gets; by default it keeps those it has.")
    ] = None,
) -> Result:
    """Make the index of a data set again from its published versions."""
    with progress_bars() as bars:
        return assay.rebuild_index(name, recipe=recipe, store=store, progress=bars)


app.add_typer(index_commands)
