"""The `assay` command: a skin over the functions of `import assay`.

Only Typer is imported here, so that help comes at once; the functions import what they need. Each import of a module of
commands registers them, in the order of their help.
"""

from typing import Annotated

import typer

import assay.pipeline_commands
import assay.review_commands
import assay.store_commands  # noqa: F401
from assay.command import app

__all__ = ["app"]


def print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"assay {version('assay-curation')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """From a drop of raw files to a curated data set, an adapter and an honest score."""
