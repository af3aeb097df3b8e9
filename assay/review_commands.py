"""The commands by which people decide on rows."""

from pathlib import Path
from typing import Annotated

import typer

import assay
from assay.command import STORE, RecipeName, StoreFolder, command
from assay.result import Result

Of = Annotated[
    str | None, typer.Option("--version", help="Data set version: NAME/VERSION; by default the recipe's latest.")
]
Who = Annotated[str | None, typer.Option(envvar="ASSAY_WHO", help="Who decides; by default, who is logged in.")]
File = Annotated[str | None, typer.Option("--file", help="Which of the recipe's files of decisions to add to.")]


@command("assay review recipe.yaml")
def review(
    recipe: RecipeName,
    version: Of = None,
    who: Who = None,
    file: File = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes a free one.")] = 0,
    store: StoreFolder = STORE,
) -> Result:
    """Show in a browser on this machine what of a version needs a person, and write down what is decided, until ^C."""
    return assay.review(recipe, version=version, who=who, file=file, port=port, store=store)


@command("assay decide recipe.yaml 0123456789abcdef0123456789abcdef drop --reason 'a letter, no contract'")
def decide(
    recipe: RecipeName,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The row's id.")] = None,
    action: Annotated[
        str | None,
        typer.Argument(metavar="ACTION", help="keep, drop, target, label, same, different, note or undo."),
    ] = None,
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help="The answer as JSON, the label, or the other row's id.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Instead, a table: id, action, value, reason.")
    ] = None,
    version: Of = None,
    who: Who = None,
    file: File = None,
    store: StoreFolder = STORE,
) -> Result:
    """Decide on a row, or on those of a table; the next `assay curate` applies it."""
    return assay.decide(
        *(recipe, id, action, value),
        reason=reason,
        table=table,
        version=version,
        who=who,
        file=file,
        store=store,
    )
