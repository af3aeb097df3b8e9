"""`python -m assay`: the command."""

from assay.cli import app

app()
