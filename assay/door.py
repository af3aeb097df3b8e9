"""The door for programs: what the command does, as functions that give results.

A recipe is the path of a YAML file or the name of one that comes with Assay. The store is the folder that Assay writes
to: by default the environment's ASSAY_STORE, else ./store. `progress` is told how far the work is, in the form of
`curate.progress.Progress`: `progress=print` will do. Errors that users can mend are `AssayError`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from assay.results import (
    Adapter,
    Assayed,
    Checks,
    Comparison,
    Made,
    Published,
    Scorecard,
    Scorecards,
    Version,
)
from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.store import Store, store_at
from curate.urls import without_secrets

if TYPE_CHECKING:
    from assay.contracts import WholeContract
    from assay.inspection import Inspection
    from assay.stage_list import RecipeSchema, Stages
    from assay.whole_store import StoreState
    from evaluation.settings import FullRecipe, Split

# What libraries report to their makers is off, unless the user has said otherwise; they read it when imported.
for _key, _value in {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(_key, _value)

Place = str | Path


def curate(
    recipe: Place,
    *,
    drop: Place | None = None,
    store: Place | None = None,
    variant: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    progress: Progress = silent,
) -> Version:
    """Make a data set version of a drop, or find that of the same drop and recipe.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        workers: how many shards are worked on at a time; by default one per core, or all that a cluster takes.
        engine: processes, dask or ray, see docs/engines.md; by default the environment's ASSAY_ENGINE, else processes.
        progress: told how far it is.

    Raises:
        AssayError: bad input, or a set that breaks its contract; nothing is published.
    """
    from curate.engines import engine as engine_of
    from curate.engines import get_ready

    get_ready(engine)
    from curate.pipeline import curate as curate_drop
    from train.base_model import prepare_tokenizer

    target = store_of(store)
    loaded = recipe_named(recipe, variant, drop)
    with engine_of(engine, workers and positive("workers", workers), target, progress) as map_shards:
        tokenizer = prepare_tokenizer(loaded.fit.model, target.cache, progress)
        curated = curate_drop(loaded, target, tokenizer_folder=tokenizer, map_shards=map_shards, progress=progress)
    return Version(curated.folder, Made(target, str(recipe), variant), curated.seconds, curated.cached)


def load(version: Place, *, store: Place | None = None) -> Version:
    """A published data set version: a folder, NAME/VERSION or NAME (the one promoted last, see docs/store.md).

    Raises:
        AssayError: nothing of that name is published.
    """
    target = store_of(store)
    return Version(target.resolve("datasets", str(version)), Made(target))


def train(
    version: Version | Place | None = None,
    recipe: Place | None = None,
    *,
    store: Place | None = None,
    variant: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Adapter:
    """Train an adapter on a data set version, or find the one that the same inputs gave before.

    A run that was interrupted goes on from its last checkpoint.

    Args:
        version: a version, or the name of one as `load` takes it; by default the recipe's latest.
        recipe: names base model, chat template and training settings; by default the one the version was curated by
            here, else the packaged one of the version's name.
        store: folder that Assay writes to; by default the version's.
        variant: one of the recipe's variants; by default the one the version was curated by here.
        force: begin though the forecast says that memory or disk will not be enough.
        progress: told in tokens.

    Raises:
        AssayError: the version was made for another tokenizer or chat template, no row can be trained on, memory or
            disk will not be enough, or a loss or gradient is not finite.
    """
    from evaluation.promotion import trained
    from evaluation.reward import reward_of
    from evaluation.validation_score import validation_score
    from train.qlora import train as train_adapter

    version, made, loaded = to_train(version, recipe, variant, store)
    reward = reward_of(version.folder, loaded)
    score = validation_score(version.folder, loaded, made.store, progress)
    adapter = train_adapter(version.folder, loaded, made.store, progress, score, force, reward=reward)
    return Adapter(trained(adapter, loaded, made.store), made)


def evaluate(
    adapter: Adapter | Place | None = None,
    recipe: Place | None = None,
    *,
    dataset: Version | Place | None = None,
    split: str | None = None,
    store: Place | None = None,
    variant: str | None = None,
    progress: Progress = silent,
) -> Scorecard:
    """Ask the recipe's systems the rows of a split, or find the scorecard of the same inputs.

    Whether the recipe's gate is passed says `Scorecard.passed`; `Scorecard.require()` stops where it is not.

    Args:
        adapter: one that was trained, or a folder, NAME/VERSION or NAME; by default the one that waits for the
            recipe's gate, else the recipe's latest, where there is one and a system needs it.
        recipe: names the systems and how they are judged; by default the one the adapter was trained by here.
        dataset: version whose rows are asked; by default the one that the given adapter was trained on, else the
            recipe's latest.
        split: train, validation or test, in place of the recipe's `evaluation.split`.
        store: folder that Assay writes to; by default the adapter's.
        variant: one of the recipe's variants; by default the one the adapter was trained by here.
        progress: told in rows.

    Raises:
        AssayError: base model, tokenizer or chat template are not those of data set and adapter, or there is no row.
    """
    from evaluation.evaluate import evaluate as ask
    from evaluation.promotion import adapter_for, scored

    if isinstance(adapter, Adapter):
        made, loaded = _recipe_of(adapter, recipe, variant, store)
        dataset, adapter = dataset or adapter.dataset, adapter.folder
    elif recipe is None:
        raise AssayError("Nothing to evaluate.", remedy="Name a recipe, or files of replies with --from-file.")
    else:
        made, loaded = Made(store_of(store), str(recipe), variant), recipe_named(recipe, variant)
    of = None if split is None else split_named(split)
    named = loaded.name if dataset is None else dataset
    version = named.folder if isinstance(named, Version) else made.store.resolve("datasets", str(named))
    folder = adapter_for(loaded, made.store, None if adapter is None else str(adapter))
    scorecard = ask(version, folder, loaded, made.store, progress, split=of)
    return Scorecard(scored(scorecard, folder, made.store), made)


def score(
    files: Place | Sequence[Place],
    recipe: Place | None = None,
    *,
    store: Place | None = None,
    variant: str | None = None,
) -> Scorecards:
    """Score replies that come from files; gives a scorecard for each task among them.

    Args:
        files: files, folders or globs.
        recipe: whose contract says what is asked for; none is needed where the files are LawBench's.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.

    Raises:
        AssayError: there is no such file, it cannot be read, or nothing says what is asked for.
    """
    from assay.replies import score_files

    loaded = None if recipe is None else recipe_named(recipe, variant)
    target = store_of(store)
    patterns = [files] if isinstance(files, str | Path) else files
    folders = score_files([str(each) for each in patterns], loaded, target)
    return Scorecards([Scorecard(each, Made(target)) for each in folders])


def run(
    recipe: Place = "licences",
    *,
    drop: Place | None = None,
    store: Place | None = None,
    variant: str | None = None,
    workers: int | None = None,
    engine: str | None = None,
    progress: Progress = silent,
) -> Assayed:
    """Curate, train and evaluate: the whole pipeline, as a Prefect flow.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name.
        drop: folder of the raw files, or its URL, instead of the recipe's own.
        store: folder, or URL in a bucket, that Assay writes to.
        variant: one of the recipe's variants.
        workers: as of `curate`.
        engine: as of `curate`.
        progress: told how far it is.

    Raises:
        AssayError: as of `curate`, `train` and `evaluate`; the recipe's gate is not passed; or the drop is a
            URL with secrets, which Prefect would keep.
    """
    if drop is not None and (shown := without_secrets(str(drop))) != str(drop):
        raise AssayError(
            f"The drop's URL {shown} was given with user, password, query or fragment, which may be secrets: Prefect "
            "keeps in its database what a flow is called with.",
            remedy="Leave them out, and give the storage its keys by the environment, as it documents: S3 takes "
            'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, http FSSPEC_HTTP=\'{"headers": {"Authorization": "…"}}\'. '
            "Or curate it by `assay curate`, which does without Prefect.",
        )
    from curate.engines import engine_named

    # What is wrong is told before Prefect is loaded and started.
    target = store_of(store)
    recipe_named(recipe, variant, drop)
    on = engine_named(engine)
    # Read by Prefect when it is imported. The log still goes to the server; `progress` tells how far it is.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from flows.server import prefect_api

    with prefect_api(progress):
        from flows.pipeline import Assayed as Whole
        from flows.pipeline import pipeline
        from flows.run import report_to

        given = None if drop is None else str(drop)
        with report_to(progress):
            # Only a run that an event has started may give nothing.
            done = cast(Whole, pipeline(str(recipe), target.place, variant, given, workers, on))
    made = Made(target, str(recipe), variant)
    curated = done.curated
    return Assayed(
        Version(curated.folder, made, curated.seconds, curated.cached),
        Adapter(done.adapter, made),
        Scorecard(done.scorecard, made),
    )


def check(version: Version | Place, *, store: Place | None = None, progress: Progress = silent) -> Checks:
    """Read a published version again and prove from its files that no row is lost, nothing leaks, nothing is cut.

    Whether everything holds says `Checks.passed`; `Checks.require()` stops where something does not.

    Args:
        version: a version, or the name of one as `load` takes it.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told how far the comparison of all rows is.

    Raises:
        AssayError: there is no such version.
    """
    from curate.publish.check import check_version

    folder = (version if isinstance(version, Version) else load(version, store=store)).folder
    return Checks(folder, check_version(folder, progress))


def check_store(*, store: Place | None = None, progress: Progress = silent) -> "StoreState":
    """Read a whole store again: every file of every version, adapter and scorecard against the hash that was published
    with it, what each was made from, the index, the ledger and the cache.

    Whether all is as it was written says `StoreState.passed`; `StoreState.require()` stops where something is not.

    Args:
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told how far it is.
    """
    from assay.whole_store import check_store as read_again

    return read_again(store_of(store), progress)


def compare(
    one: Scorecard | Place,
    other: Scorecard | Place,
    system: str | None = None,
    other_system: str | None = None,
    *,
    store: Place | None = None,
) -> Comparison:
    """Compare two scorecards row by row: what differs, whether by chance, and how many rows would tell.

    Args:
        one: a scorecard, or its folder, NAME/VERSION or NAME.
        other: another, or the same with other systems.
        system: of the first; by default the tuned one, or the only one.
        other_system: of the second; by default the same.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: there is no such scorecard or system, or they share no row.
    """
    from evaluation.card.compare import compare as compare_scorecards

    first, second = (
        each.folder if isinstance(each, Scorecard) else store_of(store).resolve("scorecards", str(each))
        for each in (one, other)
    )
    return Comparison(compare_scorecards(first, second, system, other_system or system))


def inspect(
    path: Place,
    *,
    sample: int = 1000,
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    rows: str | None = None,
    write: Place | None = None,
) -> "Inspection":
    """Look at files that have no recipe yet: what would be read of them.

    Args:
        path: a file, or a folder of files.
        sample: how many rows of each kind of files to look at.
        format: of all files, as a recipe's source states it; so are the next three. By default told by the files.
        encoding: Python's name of the text's encoding.
        delimiter: what is between a table's cells.
        rows: where a JSON object has its rows.
        write: new folder for a starter recipe and its contract; nothing is overwritten.

    Raises:
        AssayError: there is nothing to read, an option makes no sense, or no mapping can be guessed to write.
    """
    from assay.inspection import inspect as inspect_path
    from assay.starter import write_starter

    stated = {"format": format, "encoding": encoding, "delimiter": delimiter, "rows": rows}
    options = {name: value for name, value in stated.items() if value is not None}
    inspection = inspect_path(Path(path), positive("sample", sample), options)
    if write is not None:
        inspection.written = write_starter(inspection, Path(write))
    return inspection


def contract(name: Place) -> "WholeContract":
    """A contract with what is common to all, and the row schema and the suite that are derived from it.

    Args:
        name: a packaged contract's name, a folder that holds one, or a recipe's YAML file, whose contract is meant.

    Raises:
        AssayError: there is no such contract or recipe, or it is wrong.
    """
    from assay.contracts import whole_contract

    return whole_contract(str(name))


def stages() -> "Stages":
    """Every stage there is, in the order they run: its settings with their defaults, and why it quarantines rows.

    Raises:
        AssayError: another package's entry point of the group `assay.stages` is wrong.
    """
    from assay import stage_list

    return stage_list.stages()


def schema() -> "RecipeSchema":
    """The JSON Schema of a recipe, with the stages of other packages that are installed here.

    Raises:
        AssayError: another package's entry point of the group `assay.stages` is wrong.
    """
    from assay.stage_list import recipe_schema

    return recipe_schema()


def to_train(
    version: Version | Place | None, recipe: Place | None, variant: str | None, store: Place | None
) -> "tuple[Version, Made, FullRecipe]":
    """The version to train on, and the recipe to train by."""
    if version is None:
        if recipe is None:
            raise AssayError("Nothing to train on.", remedy="Name a data set version, or a recipe.")
        version = recipe_named(recipe, variant).name
    if not isinstance(version, Version):
        version = load(version, store=store)
    return version, *_recipe_of(version, recipe, variant, store)


def split_named(split: str) -> "Split":
    """A split by its name.

    Raises:
        AssayError: there is no such split.
    """
    from evaluation.settings import Split

    for known in get_args(Split):
        if split == known:
            return cast("Split", known)
    raise AssayError(f"split is {split!r}.", remedy=f"One of {', '.join(get_args(Split))}.")


def positive(what: str, number: int) -> int:
    """A number that is to be 1 or more.

    Raises:
        AssayError: it is less.
    """
    if number < 1:
        raise AssayError(f"{what} is {number}; expected 1 or more.", remedy="Name another number, or leave it out.")
    return number


def store_of(store: Place | None) -> Store:
    """The store that is named, else the environment's.

    Raises:
        AssayError: it is a URL.
    """
    return store_at(os.environ.get("ASSAY_STORE", "store") if store is None else store)


def recipe_named(recipe: Place, variant: str | None = None, drop: Place | None = None) -> "FullRecipe":
    from curate.recipe import find_recipe
    from evaluation.settings import FullRecipe

    return FullRecipe.load(find_recipe(str(recipe)), variant, drop or None)


def _recipe_of(
    given: Published, recipe: Place | None, variant: str | None, store: Place | None
) -> "tuple[Made, FullRecipe]":
    """The recipe that is named, else the one that something was made by, else the packaged one of its name."""
    if recipe is None:
        recipe, variant = given.made.recipe or given.name, variant or given.made.variant
    target = given.made.store if store is None else store_of(store)
    return Made(target, str(recipe), variant), recipe_named(recipe, variant)
