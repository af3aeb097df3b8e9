"""How a command is made: its options, its example, its result told or written as JSON, its errors."""

import contextlib
import functools
import inspect as signatures
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from assay.errors import error_data, explain, meant_for_one, say_error, write_json
from assay.result import Result
from assay.shadows import require_own_packages

if TYPE_CHECKING:
    from assay.bars import Bars


class Commands(TyperGroup):
    """The commands; where JSON is asked for by a command line that is wrong, this too is said in JSON."""

    def main(self, args: Any = None, *others: Any, **options: Any) -> Any:
        try:
            return super().main(args, *others, **options)
        except SystemExit as left:
            if left.code == WRONG_USAGE and "--json" in (sys.argv if args is None else args):
                write_json(error_data("The command line is wrong; standard error says how.", "See --help."))
            raise


WRONG_USAGE = 2
"""Exit status of a command line that is wrong."""

app = typer.Typer(
    name="assay", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)
Command = TypeVar("Command", bound=Callable[..., Result])

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's YAML file, or a packaged one's name.")]
StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="ASSAY_STORE", help="Folder, or URL in a bucket, that Assay writes to.")
]
Drop = Annotated[
    str | None, typer.Option(help="Folder of the raw files, or its URL (s3://, gs://), instead of the recipe's own.")
]
Variant = Annotated[str | None, typer.Option(help="One of the recipe's variants, e.g. `long`.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes to curate with; by default one per core, or a cluster's.")
]
Engine = Annotated[
    str | None,  # what it may be, `curate.engines` says: nothing of curate is imported before its place is known
    typer.Option(
        envvar="ASSAY_ENGINE",
        metavar="processes|dask|ray",
        help="What curates: processes of this machine (the default), or a cluster.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to standard output, and nothing else there.")
]
Dataset = Annotated[
    str | None, typer.Option(help="Data set version: a folder, NAME/VERSION or NAME; by default the recipe's latest.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set: its recipe's `name`.")]
STORE = Path("store")


def command(
    example: str, group: typer.Typer = app, name: str | None = None, many: bool = False
) -> Callable[[Command], Command]:
    """Register a command whose help shows `example`, whose result is printed, or written as JSON, and whose errors end
    as one message and exit status 1. It gets the options --json and --debug.

    Args:
        example: a command line.
        group: of commands.
        name: the function's, if nothing else is said.
        many: whether `accelerate launch` may start several processes of it together.
    """

    def register(function: Command) -> Command:
        @functools.wraps(function)
        def guarded(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> None:
            if debug:
                os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO")
            document: dict[str, Any] = {}
            status, number = 0, 0
            try:
                with output_kept() if as_json else contextlib.nullcontext():
                    require_own_packages()
                    number, count = launched()
                    if count > 1 and not many:
                        raise meant_for_one(count)
                    result = function(*args, **kwargs)
                    if as_json:
                        document = result.data()
                if number:  # the first process speaks for all
                    return
                if not as_json:
                    from assay.show import show

                    show(result)
                result.require()
            except KeyboardInterrupt:
                message, remedy = (
                    "Interrupted; nothing half-made was published.",
                    "The same command goes on where this one was.",
                )
                status = 130
            except Exception as error:
                if debug:
                    from curate.urls import masked

                    sys.stderr.write(masked(traceback.format_exc()))
                message, remedy = explain(error)
                status = 1
                if number and type(error).__name__ == "AssayError":
                    raise typer.Exit(status) from None
            if status:
                say_error(message, remedy)
                document |= error_data(message, remedy)
            if as_json:
                try:
                    write_json(document)
                except OSError as error:
                    say_error(
                        f"Standard output: {error.strerror}.", "What was asked for is done; its result is not told."
                    )
                    status = 1
            if status:
                raise typer.Exit(status)

        options = {"as_json": AsJson, "debug": Debug}
        guarded.__annotations__ = function.__annotations__ | options | {"return": None}
        signature = signatures.signature(function)
        added = [
            signatures.Parameter(key, signatures.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for key, kind in options.items()
        ]
        guarded.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *added]
        )
        group.command(name, epilog=f"Example:  [bold]{example}[/bold]")(guarded)
        return function

    return register


def launched() -> tuple[int, int]:
    """The number of this process among those that `accelerate launch` has started together, and how many they are."""
    from train.processes import launched as told

    return told()


@contextlib.contextmanager
def output_kept() -> Iterator[None]:
    """Whatever is printed meanwhile, also by libraries and worker processes, goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def progress_bars() -> "Bars":
    """What shows on standard error how far the work is."""
    from rich.console import Console

    from assay.bars import Bars

    return Bars(Console(stderr=True, quiet=launched()[0] > 0))
