"""What the command says where something goes wrong, to people and to machines."""

import errno
import json
import os
from typing import Any

import typer

from assay.result import plain
from assay.shadows import ShadowedError


def explain(error: Exception) -> tuple[str, str]:
    """(what went wrong, what to do about it) for any error."""
    if isinstance(error, ShadowedError):
        return error.message, error.remedy
    from curate.errors import AssayError, no_memory

    if isinstance(error, AssayError):
        return error.message, error.remedy
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name!r} is not installed.", "pip install 'assay-curation[train,demo]'"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os.strerror(errno.ENOSPC)}. Nothing half-made was published.", (
            "Make room on the disk of the store (`assay gc` tells what may go) and run the same command again."
        )
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        return f"The GPU has no more memory ({' '.join(str(error).split())[:200]}). Nothing half-made was published.", (
            "Lower training.batch_size, with as much more training.gradient_accumulation_steps (`assay forecast` tells "
            "what training takes), or evaluation.batch_size, and run the same command again: what was finished is kept."
        )
    if no_memory(error):
        return f"This process gets no more memory ({error}). Nothing half-made was published.", (
            "Allow it more (`ulimit -v unlimited`, the container's limit), or use a machine that has more, and run the "
            "same command again: what was finished is kept."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The system'}: {error.strerror}.", "Mend that and run the same command again."
    from curate.urls import masked

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
