"""The `assay` command."""

import typer

app = typer.Typer(name="assay", no_args_is_help=True)


@app.callback()
def main() -> None:
    """From a drop of raw files to a curated data set, an adapter and an honest score."""
