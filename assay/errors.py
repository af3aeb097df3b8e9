"""What the command says where something goes wrong, to people and to machines."""

import json
from typing import Any

import typer

from assay.result import plain
from assay.shadows import ShadowedError


def explain(error: Exception) -> tuple[str, str]:
    """(what went wrong, what to do about it) for any error."""
    if isinstance(error, ShadowedError):
        return error.message, error.remedy
    from curate.errors import explained
    from curate.urls import masked

    if told := explained(error):
        return told.message, told.remedy
    return (
        f"Unexpected {type(error).__name__}: {masked(str(error))}",
        "This is a defect of Assay; --debug shows where. Nothing half-made was published.",
    )


def error_data(message: str, remedy: str) -> dict[str, Any]:
    """An error as `--json` tells it."""
    return {"error": {"message": message, "remedy": remedy}}


def write_json(document: dict[str, Any]) -> None:
    """Write a document on standard output, in ASCII: nothing in it can steer a terminal."""
    typer.echo(json.dumps(plain(document), indent=2).replace("\x7f", "\\u007f"))


def say_error(message: str, remedy: str) -> None:
    """Say on standard error what is wrong and what to do."""
    from rich.console import Console
    from rich.text import Text

    from assay.console import harmless

    console = Console(stderr=True)
    console.print(Text("Error: ", style="bold red") + Text(harmless(message)), soft_wrap=True)
    if remedy:
        console.print(Text("Remedy: ", style="bold") + Text(harmless(remedy)), soft_wrap=True)


def meant_for_one(count: int) -> Exception:
    """What is said where several processes were launched to do what one does."""
    from curate.errors import AssayError

    return AssayError(
        f"{count} processes were launched together, which is for `assay train`.",
        "Run this command by itself, without `accelerate launch`.",
    )
