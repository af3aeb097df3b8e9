"""The `assay` command.

Only Typer is imported here, so that help comes at once; each command imports what it needs.
"""

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

app = typer.Typer(name="assay", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
index_commands = typer.Typer(
    name="index", no_args_is_help=True, help="What every version is compared by: check, rebuild."
)

Command = TypeVar("Command", bound=Callable[..., None])

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's YAML file, or a packaged one's name.")]
StoreFolder = Annotated[Path, typer.Option("--store", envvar="ASSAY_STORE", help="Folder that Assay writes to.")]
Drop = Annotated[
    str | None, typer.Option(help="Folder of the raw files, or its URL (s3://, gs://), instead of the recipe's own.")
]
Variant = Annotated[str | None, typer.Option(help="One of the recipe's variants, e.g. `long`.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to curate with; by default one per core.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Dataset = Annotated[
    str | None, typer.Option(help="Data set version: a folder, NAME/VERSION or NAME; by default the recipe's latest.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set: its recipe's `name`.")]
STORE = Path("store")


@app.callback()
def main() -> None:
    """From a drop of raw files to a curated data set, an adapter and an honest score."""


def command(example: str, group: typer.Typer = app, name: str | None = None) -> Callable[[Command], Command]:
    """Register a command whose help shows `example`, and whose errors end as one message and exit status 1."""

    def register(function: Command) -> Command:
        @functools.wraps(function)
        def guarded(*args: Any, debug: bool, **kwargs: Any) -> None:
            stay_local()
            try:
                function(*args, debug=debug, **kwargs)
            except KeyboardInterrupt:
                fail(
                    "Interrupted; nothing half-made was published.", "The same command goes on where this one was.", 130
                )
            except Exception as error:
                if debug:
                    raise
                fail(*explain(error))

        group.command(name, epilog=f"Example:  [bold]{example}[/bold]")(guarded)
        return function

    return register


def stay_local() -> None:
    """Switch off what libraries report to their makers, unless the user has said otherwise."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def explain(error: Exception) -> tuple[str, str]:
    """(what went wrong, what to do about it) for any error."""
    from curate.errors import AssayError

    if isinstance(error, AssayError):
        return error.message, error.remedy
    if isinstance(error, ModuleNotFoundError):
        return f"The package {error.name!r} is not installed.", "pip install 'assay-curation[train,demo]'"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os.strerror(errno.ENOSPC)}. Nothing half-made was published.", (
            "Make room on the disk of the store (its cache/ may go) and run the same command again."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The system'}: {error.strerror}.", "Mend that and run the same command again."
    return (
        f"Unexpected {type(error).__name__}: {error}",
        "This is a defect of Assay; --debug shows where. Nothing half-made was published.",
    )


def fail(message: str, remedy: str, status: int = 1) -> None:
    """Say what is wrong and what to do, and leave."""
    from rich.console import Console
    from rich.text import Text

    from assay.console import harmless

    console = Console(stderr=True)
    console.print(Text("Error: ", style="bold red") + Text(harmless(message)), soft_wrap=True)
    if remedy:
        console.print(Text("Remedy: ", style="bold") + Text(harmless(remedy)), soft_wrap=True)
    raise typer.Exit(status) from None


@command("assay run licences --store ./store")
def run(
    recipe: RecipeName = "licences",
    store: StoreFolder = STORE,
    variant: Variant = None,
    drop: Drop = None,
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Curate, train and evaluate: the whole pipeline, as a Prefect flow."""
    # Read by Prefect when it is imported. The log still goes to the server; the terminal has the bars.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO" if debug else "CRITICAL")
    from assay.console import Bars, print_places, print_tables
    from curate.publish.summary import curation_tables
    from curate.store import Store
    from evaluation.card.summary import evaluation_tables
    from flows.pipeline import pipeline
    from flows.server import prefect_api
    from flows.tasks import report_to
    from train.summary import training_tables

    with Bars() as bars, prefect_api(bars):
        report_to(bars)
        done = pipeline(recipe, str(store), variant=variant, drop=drop, workers=workers)
    print_tables(curation_tables(done.curated))
    print_tables(training_tables(done.adapter, Store(store)))
    print_tables(evaluation_tables(done.scorecard))
    print_places(
        {
            "data set": done.curated.folder,
            "data report": done.curated.folder / "report.html",
            "adapter": done.adapter,
            "scorecard": done.scorecard,
            "score report": done.scorecard / "report.html",
        }
    )


@command("assay curate licences --workers 4")
def curate(
    recipe: RecipeName,
    store: StoreFolder = STORE,
    variant: Variant = None,
    drop: Drop = None,
    workers: Workers = None,
    debug: Debug = False,
) -> None:
    """Make a data set version of a drop."""
    from assay.console import Bars, print_places, print_tables
    from curate.pipeline import curate as curate_drop
    from curate.publish.summary import curation_tables
    from curate.recipe import find_recipe
    from curate.store import Store
    from curate.workers import available_cores, process_pool
    from evaluation.settings import FullRecipe
    from train.base_model import prepare_tokenizer

    loaded = FullRecipe.load(find_recipe(recipe), variant, drop)
    target = Store(store)
    with Bars() as bars, process_pool(workers or available_cores(), bars) as map_shards:
        tokenizer_folder = prepare_tokenizer(loaded.fit.model, target.cache)
        curated = curate_drop(loaded, target, tokenizer_folder=tokenizer_folder, map_shards=map_shards, progress=bars)
    print_tables(curation_tables(curated))
    print_places({"data set": curated.folder, "report": curated.folder / "report.html"})


@command("assay train licences --dataset licences/0123456789abcdef")
def train(
    recipe: RecipeName,
    dataset: Dataset = None,
    store: StoreFolder = STORE,
    variant: Variant = None,
    debug: Debug = False,
) -> None:
    """Train an adapter on a published data set version."""
    from assay.console import Bars, print_places, print_tables
    from curate.recipe import find_recipe
    from curate.store import Store
    from evaluation.settings import FullRecipe
    from train.qlora import train as train_adapter
    from train.summary import training_tables

    loaded = FullRecipe.load(find_recipe(recipe), variant)
    target = Store(store)
    version = target.resolve("datasets", dataset or loaded.name)
    with Bars() as bars:
        adapter = train_adapter(version, loaded, target, bars)
    print_tables(training_tables(adapter, target))
    print_places({"adapter": adapter})


@command("assay evaluate licences --adapter licences/0123456789abcdef")
def evaluate(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe's YAML file, or a packaged one's name.")
    ] = None,
    dataset: Dataset = None,
    adapter: Annotated[
        str | None, typer.Option(help="Adapter: a folder, NAME/VERSION or NAME; by default the recipe's latest.")
    ] = None,
    from_file: Annotated[
        list[str] | None,
        typer.Option(help="Score the replies in this file, folder or glob instead; may be given again."),
    ] = None,
    store: StoreFolder = STORE,
    variant: Variant = None,
    debug: Debug = False,
) -> None:
    """Ask the recipe's systems the rows of the test split and score them; or score replies from files.

    By default the majority class, the untuned model and, where there is one, the adapter.

    Exit status 1 says that the recipe's gate is not passed."""
    from assay.console import Bars, print_places, print_tables
    from curate.errors import AssayError
    from curate.recipe import find_recipe
    from curate.store import Store
    from evaluation.card.gate import require
    from evaluation.card.summary import evaluation_tables
    from evaluation.settings import FullRecipe

    loaded = FullRecipe.load(find_recipe(recipe), variant) if recipe else None
    target = Store(store)
    if from_file:
        from assay.replies import score_files

        scorecards = score_files(from_file, loaded, target)
        places = {each.parent.name: each / "report.html" for each in scorecards}
    elif loaded is None:
        raise AssayError("Nothing to evaluate.", remedy="Name a recipe, or files of replies with --from-file.")
    else:
        from evaluation.evaluate import adapter_for
        from evaluation.evaluate import evaluate as score

        version = target.resolve("datasets", dataset or loaded.name)
        with Bars() as bars:
            scorecards = [score(version, adapter_for(loaded, target, adapter), loaded, target, bars)]
        places = {"scorecard": scorecards[0], "report": scorecards[0] / "report.html"}
    for scorecard in scorecards:
        print_tables(evaluation_tables(scorecard))
    print_places(places)
    for scorecard in scorecards:
        require(scorecard)


@command("assay compare licences/0123456789abcdef licences/fedcba9876543210")
def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="Scorecard: a folder, NAME/VERSION or NAME.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another, or the same with other systems.")],
    system: Annotated[str | None, typer.Option(help="System of A; by default the tuned one, or the only one.")] = None,
    other_system: Annotated[str | None, typer.Option(help="System of B; by default the same.")] = None,
    store: StoreFolder = STORE,
    debug: Debug = False,
) -> None:
    """Compare two scorecards row by row: what differs, whether by chance, and how many rows would tell."""
    from assay.console import print_tables
    from curate.store import Store
    from evaluation.card.compare import compare as compare_scorecards
    from evaluation.card.summary import compared_tables

    target = Store(store)
    first, second = (target.resolve("scorecards", name) for name in (one, other))
    found = compare_scorecards(first, second, system, other_system or system)
    print_tables(compared_tables(found))


@command("assay inspect drop --write recipes/mine")
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a folder of files.")],
    rows: Annotated[int, typer.Option(min=1, help="How many rows of each kind of files to look at.")] = 1000,
    write: Annotated[
        Path | None, typer.Option(help="New folder for a starter recipe and its contract; nothing is overwritten.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show what would be read of files that have no recipe yet, and write a recipe and a contract to start with."""
    from assay.console import print_inspection, print_places
    from assay.inspect import inspect as inspect_path
    from assay.starter import write_starter

    inspection = inspect_path(path, rows)
    print_inspection(inspection)
    if write is None and inspection.groups[0].record is not None:
        typer.echo("With --write FOLDER, a recipe and a contract to start with are written there.")
    if write is not None:
        written = write_starter(inspection, write)
        print_places({"recipe": written[0], "contract": written[1].parent})


@command("assay preview licences --rows 5")
def preview(
    recipe: RecipeName,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 3,
    store: StoreFolder = STORE,
    variant: Variant = None,
    drop: Drop = None,
    debug: Debug = False,
) -> None:
    """Show a few rows as record, messages and rendered text, the trained tokens marked. Publishes nothing."""
    from assay.console import print_preview
    from assay.preview import previews
    from curate.recipe import find_recipe
    from curate.store import Store
    from evaluation.settings import FullRecipe
    from train.base_model import prepare_tokenizer

    loaded = FullRecipe.load(find_recipe(recipe), variant, drop)
    target = Store(store)
    tokenizer_folder = prepare_tokenizer(loaded.fit.model, target.cache)
    for shown in previews(loaded, target, tokenizer_folder, rows):
        print_preview(shown)


@command("assay check licences/0123456789abcdef")
def check(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Data set version: a folder, NAME/VERSION or NAME.")
    ],
    store: StoreFolder = STORE,
    debug: Debug = False,
) -> None:
    """Read a published version again and prove from its files: no row lost, no leak, nothing cut."""
    from assay.console import Bars, print_tables
    from curate.errors import AssayError
    from curate.publish.check import check_version
    from curate.publish.summary import check_tables
    from curate.store import Store

    folder = Store(store).resolve("datasets", version)
    with Bars() as bars:
        checks = check_version(folder, bars)
    print_tables(check_tables(folder, checks))
    if failed := [each for each in checks if each.failures]:
        named = [line for each in failed for line in (f"It does not hold that {each.claim}:", *each.told())]
        raise AssayError(
            f"{len(failed)} of {len(checks)} checks fail.\n" + "\n".join(named),
            remedy="Use another version, or remove this one's folder and curate its drop again.",
        )


@command("assay index check licences", index_commands, "check")
def check_index(name: Name, store: StoreFolder = STORE, debug: Debug = False) -> None:
    """Read the whole index of a data set again, and say what is wrong with it."""
    from assay.console import Bars, print_tables
    from curate.errors import AssayError
    from curate.publish.summary import index_tables
    from curate.sets.index import Index, recorded_settings
    from curate.store import Store

    target = Store(store)
    index = Index(target, name, recorded_settings(target, name))
    with Bars() as bars:
        problems = index.check(bars)
    if problems:
        raise AssayError("\n".join(problems), remedy=f"`assay index rebuild {name}` makes the index again.")
    print_tables(index_tables(index))


@command("assay index rebuild licences --recipe licences", index_commands, "rebuild")
def rebuild_index(
    name: Name,
    store: StoreFolder = STORE,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe whose parameters it gets; by default it keeps those it has.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make the index of a data set again from its published versions."""
    from assay.console import Bars, print_tables
    from curate.errors import AssayError
    from curate.publish.summary import index_tables
    from curate.recipe import find_recipe
    from curate.sets.index import Index, recorded_settings
    from curate.store import Store
    from evaluation.settings import FullRecipe

    target = Store(store)
    if recipe is None:
        settings = recorded_settings(target, name)
    else:
        loaded = FullRecipe.load(find_recipe(recipe))
        if loaded.name != name:
            raise AssayError(
                f"{recipe} is the recipe of {loaded.name}, not of {name}.", remedy=f"Name the recipe of {name}."
            )
        settings = loaded.duplicates
    index = Index(target, name, settings)
    with Bars() as bars:
        index.rebuild(bars)
    print_tables(index_tables(index))


app.add_typer(index_commands)
