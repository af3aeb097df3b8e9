"""The commands that look after a store: what was published, whether it is sound, what it is compared by."""

from pathlib import Path
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


KindName = Annotated[str, typer.Option("--kind", help="datasets, adapters or scorecards.")]
Series = Annotated[str, typer.Argument(metavar="NAME", help="Name of a series: its recipe's `name`.")]
OneVersion = Annotated[str, typer.Argument(metavar="VERSION", help="NAME/VERSION.")]


@command("assay versions licences")
def versions(name: Series, kind: KindName = "datasets", store: StoreFolder = STORE) -> Result:
    """List what is published of a series: when, of which drop, how many rows, and which one its name means."""
    return assay.versions(name, kind=kind, store=store)


@command("assay show licences/0123456789abcdef")
def show(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A folder, NAME/VERSION or NAME.")],
    kind: KindName = "datasets",
    store: StoreFolder = STORE,
) -> Result:
    """Show a published version, what it was made from, and what was made from it."""
    return assay.published(version, kind=kind, store=store)


@command("assay lineage licences --send")
def lineage(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of a series: its recipe's `name`; by default, all.")
    ] = None,
    send: Annotated[
        bool, typer.Option("--send", help="Send the events to where OPENLINEAGE_URL or openlineage.yml says.")
    ] = False,
    store: StoreFolder = STORE,
) -> Result:
    """Tell what was made from what as OpenLineage events, one JSON line for each run that published or was refused."""
    return assay.lineage(name, send=send, store=store)


@command("assay promote licences/0123456789abcdef")
def promote(version: OneVersion, kind: KindName = "datasets", store: StoreFolder = STORE) -> Result:
    """Let a name mean one of its versions, until the next run."""
    return assay.promote(version, kind=kind, store=store)


@command("assay rollback licences")
def rollback(name: Series, kind: KindName = "datasets", store: StoreFolder = STORE) -> Result:
    """Let a name mean what it meant before, until the next run."""
    return assay.rollback(name, kind=kind, store=store)


@command("assay retract licences/0123456789abcdef --with-later")
def retract(
    version: OneVersion,
    kind: KindName = "datasets",
    with_later: Annotated[
        bool, typer.Option("--with-later", help="Take back what was made from it or compared with it, too.")
    ] = False,
    store: StoreFolder = STORE,
) -> Result:
    """Take a version back, as though it had never been: out of the index too. Its folder is moved to `retracted/`."""
    with progress_bars() as bars:
        return assay.retract(version, kind=kind, with_later=with_later, store=store, progress=bars)


@command("assay forget 0123456789abcdef0123456789abcdef --reason 'asked for on 3 May' --yes")
def forget(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of rows.")] = None,
    group: Annotated[str | None, typer.Option(help="All rows of this group, and any that come of it later.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help="Rows of which it is true: \"'Jane Doe' in text\".")
    ] = None,
    reason: Annotated[str, typer.Option(help="Is noted in the list of what was forgotten.")] = "",
    adapters: Annotated[
        bool, typer.Option("--adapters", help="Remove the adapters that were trained on them, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it is only told.")] = False,
    store: StoreFolder = STORE,
) -> Result:
    """Tell all that a store holds of some rows, and with --yes forget them: versions are made again without them, what
    else holds them is removed, and a later drop that brings them back is refused."""
    with progress_bars() as bars:
        return assay.forget(
            ids or (),
            group=group,
            where=where,
            reason=reason,
            adapters=adapters,
            remove=yes,
            store=store,
            progress=bars,
        )


@command("assay gc --keep-days 14 --yes")
def gc(
    keep_days: Annotated[
        float, typer.Option(min=0, help="What was asked for, refused or taken back within so many days stays.")
    ] = 30,
    max_bytes: Annotated[
        int | None, typer.Option(min=0, help="Most bytes of the cache; what nobody has asked for longest goes.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this it is only told.")] = False,
    store: StoreFolder = STORE,
) -> Result:
    """Tell what of a store no run needs, and with --yes remove it: unused cache, what was refused or taken back."""
    return assay.gc(keep_days=keep_days, max_bytes=max_bytes, remove=yes, store=store)


@command("assay diff licences/0123456789abcdef licences --html diff.html")
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Data set version: a folder, NAME/VERSION or NAME.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Another one.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page, too.")] = None,
    store: StoreFolder = STORE,
) -> Result:
    """Compare two data set versions row by row: what was added, has gone, has changed or moved, and why."""
    return assay.diff(before, after, html=html, store=store)


@command("assay serve --port 8501")
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.")] = 8501,
    store: StoreFolder = STORE,
) -> Result:
    """Serve the reports of a store to a browser on this machine, read-only, until ^C."""
    return assay.serve(port=port, store=store)


app.add_typer(index_commands)
