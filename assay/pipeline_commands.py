"""The commands of the way from raw files to a scorecard, and those that look at what is on it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import assay
from assay.command import (
    STORE,
    Dataset,
    Drop,
    Engine,
    RecipeName,
    StoreFolder,
    Variant,
    Workers,
    app,
    command,
    progress_bars,
)
from assay.result import Result


class Shows(TyperGroup):
    """Commands of which `show` is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        shown = bool(args) and args[0] not in (*self.commands, "--help")
        return super().parse_args(ctx, ["show", *args] if shown else args)


contract_commands = typer.Typer(
    name="contract", cls=Shows, no_args_is_help=True, help="Show a contract as a whole, or what one says otherwise."
)


@command("assay run licences --store ./store")
def run(
    recipe: RecipeName = "licences",
    store: StoreFolder = STORE,
    variant: Variant = None,
    drop: Drop = None,
    workers: Workers = None,
    engine: Engine = None,
) -> Result:
    """Curate, train and evaluate: the whole pipeline, as a Prefect flow."""
    with progress_bars() as bars:
        return assay.run(recipe, drop=drop, store=store, variant=variant, workers=workers, engine=engine, progress=bars)


@command("assay curate licences --workers 4")
def curate(
    recipe: RecipeName,
    store: StoreFolder = STORE,
    variant: Variant = None,
    drop: Drop = None,
    workers: Workers = None,
    engine: Engine = None,
) -> Result:
    """Make a data set version of a drop."""
    with progress_bars() as bars:
        return assay.curate(
            recipe, drop=drop, store=store, variant=variant, workers=workers, engine=engine, progress=bars
        )


@command("assay train licences --dataset licences/0123456789abcdef", many=True)
def train(
    recipe: RecipeName,
    dataset: Dataset = None,
    store: StoreFolder = STORE,
    variant: Variant = None,
    force: Annotated[
        bool, typer.Option("--force", help="Begin though the forecast says that memory or disk will not be enough.")
    ] = False,
) -> Result:
    """Train an adapter on a published data set version. An interrupted run goes on from its last checkpoint."""
    from curate.errors import ShortOfDisk, ShortOfMemory

    try:
        with progress_bars() as bars:
            return assay.train(dataset, recipe, store=store, variant=variant, force=force, progress=bars)
    except (ShortOfDisk, ShortOfMemory) as error:
        raise type(error)(error.message, f"{error.remedy} Or train all the same with --force.") from None


@command("assay forecast licences --measure 3")
def forecast(
    recipe: RecipeName,
    dataset: Dataset = None,
    measure: Annotated[int, typer.Option(min=0, help="Steps that are really run, to tell the time.")] = 0,
    store: StoreFolder = STORE,
    variant: Variant = None,
) -> Result:
    """Say what training will take: memory by part, disk, tokens, operations. Trains nothing."""
    with progress_bars() as bars:
        return assay.forecast(dataset, recipe, measure=measure, store=store, variant=variant, progress=bars)


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
    split: Annotated[str | None, typer.Option(help="Ask rows of train or validation instead, without a gate.")] = None,
    store: StoreFolder = STORE,
    variant: Variant = None,
) -> Result:
    """Ask the recipe's systems the rows of a split, by default test, and score them; or score replies from files.

    By default the majority class, the nearest row's answer, the untuned model and, where there is one, the adapter.

    Exit status 1 says that the recipe's gate is not passed."""
    if from_file:
        return assay.score(from_file, recipe, store=store, variant=variant)
    with progress_bars() as bars:
        return assay.evaluate(
            adapter, recipe, dataset=dataset, split=split, store=store, variant=variant, progress=bars
        )


AdapterName = Annotated[str, typer.Argument(metavar="ADAPTER", help="Adapter: a folder, NAME/VERSION or NAME.")]


@command("assay merge licences --out model")
def merge(
    adapter: AdapterName,
    out: Annotated[Path, typer.Option(help="New folder for the model.")],
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; by default the base model's own.")
    ] = None,
    store: StoreFolder = STORE,
) -> Result:
    """Merge an adapter into its base model: a whole model, with tokenizer, chat template and stop tokens."""
    with progress_bars() as bars:
        return assay.merge(adapter, out, dtype=dtype, store=store, progress=bars)


@command("assay export licences --out model.gguf")
def export(
    adapter: AdapterName,
    out: Annotated[Path, typer.Option(help="New file for the model.")],
    type: Annotated[str, typer.Option(help="Of the weights: f32, f16, or q8_0 (8 bits).")] = "f16",
    store: StoreFolder = STORE,
) -> Result:
    """Write an adapter and its base model as one GGUF file, for llama.cpp, ollama and LM Studio."""
    with progress_bars() as bars:
        return assay.export(adapter, out, type=type, store=store, progress=bars)


@command("assay parity licences --endpoint http://127.0.0.1:8000/v1")
def parity(
    adapter: AdapterName,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="The server's, up to and with /v1.")],
    model: Annotated[str | None, typer.Option(help="The adapter's name there; by default its only model's.")] = None,
    key: Annotated[str | None, typer.Option(help="Environment variable that holds the API key.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many rows of the test split to ask.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens at which an answer is cut off.")] = 96,
    quantization: Annotated[str, typer.Option(help="Of the weights, as the server has them: none or nf4.")] = "none",
    store: StoreFolder = STORE,
) -> Result:
    """Does a server ask with the same tokens and say the same texts as the adapter in process? If not: where, and why.

    Exit status 1 says that it does not."""
    with progress_bars() as bars:
        return assay.parity(
            adapter,
            endpoint,
            model=model,
            key=key,
            rows=rows,
            max_new_tokens=max_new_tokens,
            quantization=quantization,
            store=store,
            progress=bars,
        )


@command("assay compare licences/0123456789abcdef licences/fedcba9876543210")
def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="Scorecard: a folder, NAME/VERSION or NAME.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another, or the same with other systems.")],
    system: Annotated[str | None, typer.Option(help="System of A; by default the tuned one, or the only one.")] = None,
    other_system: Annotated[str | None, typer.Option(help="System of B; by default the same.")] = None,
    store: StoreFolder = STORE,
) -> Result:
    """Compare two scorecards row by row: what differs, whether by chance, and how many rows would tell."""
    return assay.compare(one, other, system, other_system, store=store)


@command("assay pairs licences/0123456789abcdef --out pairs.parquet")
def pairs(
    scorecard: Annotated[str, typer.Argument(metavar="SCORECARD", help="Scorecard: a folder, NAME/VERSION or NAME.")],
    out: Annotated[Path, typer.Option(help="New file for the pairs, .parquet or .jsonl.")] = Path("pairs.parquet"),
    split: Annotated[str, typer.Option(help="Whose rows it asked, to be said where they are not of train.")] = "train",
    system: Annotated[str | None, typer.Option(help="Whose answers; by default `tuned`, or the only one's.")] = None,
    store: StoreFolder = STORE,
) -> Result:
    """Collect a system's wrong answers, each with the right one, for `training.objective: dpo`.

    Ask for them with `assay evaluate RECIPE --split train`: what a model has trained on, it cannot be judged by."""
    return assay.pairs(scorecard, out, split=split, system=system, store=store)


@command("assay experiment recipes/experiments/rows.yaml")
def experiment(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The experiment's YAML file.")],
    drop: Drop = None,
    store: StoreFolder = STORE,
    workers: Workers = None,
) -> Result:
    """Compare arms of a recipe, each trained with several seeds, on the same rows. What was done before is found."""
    with progress_bars() as bars:
        return assay.experiment(file, drop=drop, store=store, workers=workers, progress=bars)


@command("assay tune licences --variant search")
def tune(
    recipe: RecipeName,
    dataset: Dataset = None,
    store: StoreFolder = STORE,
    variant: Variant = None,
) -> Result:
    """Search training keys as the recipe's section `tune` says, by adapters compared on validation rows.

    The result is a recipe with the settings of the best. What was trained before is found."""
    with progress_bars() as bars:
        return assay.tune(dataset, recipe, store=store, variant=variant, progress=bars)


@command("assay inspect drop --write recipes/mine")
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a folder of files.")],
    sample: Annotated[int, typer.Option(min=1, help="How many rows of each kind of files to look at.")] = 1000,
    format: Annotated[str | None, typer.Option(help="Format of the files: jsonl, csv ...; else they tell it.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the text, e.g. cp1252.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="What is between a table's cells.")] = None,
    rows: Annotated[str | None, typer.Option(help="Where a JSON object has its rows, e.g. data.items.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="New folder for a starter recipe and its contract; nothing is overwritten.")
    ] = None,
) -> Result:
    """Show what would be read of files that have no recipe yet, and write a recipe and a contract to start with."""
    return assay.inspect(
        path, sample=sample, format=format, encoding=encoding, delimiter=delimiter, rows=rows, write=write
    )


@command("assay contract licences", contract_commands, "show")
def contract(
    name: Annotated[
        str,
        typer.Argument(metavar="CONTRACT", help="A packaged contract's name, a contract's folder, or a recipe's file."),
    ],
) -> Result:
    """Show a contract with what is common to all, and the row schema and the suite that are derived from it."""
    return assay.contract(name)


Contracted = Annotated[
    str, typer.Argument(help="A contract's folder or name, a recipe's file, or a published version's name.")
]


@command("assay contract diff licences/0123456789abcdef mine/contract", contract_commands, "diff")
def contract_diff(old: Contracted, new: Contracted, store: StoreFolder = STORE) -> Result:
    """Say which changes from one contract to another break who reads the data, and so ask for a new major version."""
    return assay.contract_diff(old, new, store=store)


app.add_typer(contract_commands)


@command("assay stages")
def stages() -> Result:
    """List the stages, their settings with the defaults, and why each quarantines rows."""
    return assay.stages()


@command("assay schema > recipe.schema.json")
def schema() -> Result:
    """Write the JSON Schema of a recipe, by which an editor completes and checks one."""
    return assay.schema()


@command("assay preview licences --split train --html rows.html")
def preview(
    recipe: RecipeName,
    rows: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 3,
    dataset: Dataset = None,
    split: Annotated[
        str | None, typer.Option(help="Show the first published rows of a split: train, validation or test.")
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option("--row", help="Show the published row of this id; repeat it.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows as a page, too.")] = None,
    store: StoreFolder = STORE,
    variant: Variant = None,
    drop: Drop = None,
) -> Result:
    """Show a few rows token by token as training will see them, the trained tokens marked. Publishes nothing.

    Raw rows on their way through the recipe or, with --dataset, --split or --row, published ones."""
    return assay.preview(
        recipe,
        rows=rows,
        drop=drop,
        store=store,
        variant=variant,
        dataset=dataset,
        split=split,
        row=row or (),
        html=html,
    )
