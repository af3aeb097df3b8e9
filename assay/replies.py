"""`assay evaluate --from-file`: whose format files of replies are in, and who scores them."""

from collections.abc import Sequence
from pathlib import Path

from curate.errors import AssayError
from curate.store import Store
from evaluation import lawbench, replies
from evaluation.settings import EvaluationSettings, FullRecipe


def score_files(patterns: Sequence[str], recipe: FullRecipe | None, store: Store) -> list[Path]:
    """Score files of replies; gives a scorecard's folder for each task.

    Args:
        patterns: files, folders or globs.
        recipe: whose contract says what is asked for; none is needed where the files are LawBench's.
        store: where scorecards are published.

    Raises:
        AssayError: there is no such file, it cannot be read, or nothing says what is asked for.
    """
    files = replies.find(patterns)
    loaded = {path: rows for path in files if (rows := lawbench.load(path)) is not None}
    if recipe is None:
        if len(loaded) < len(files):
            other = next(path for path in files if path not in loaded)
            raise AssayError(
                f"{other}: nothing says what these replies should be.",
                remedy="Name the recipe whose contract has their JSON Schema: assay evaluate RECIPE --from-file FILE.",
            )
        return [
            replies.score(read, task.schema, EvaluationSettings(fields=task.rules), paths, store)
            for task, read, paths in lawbench.read(loaded)
        ]
    schema = recipe.held_to().target_schema
    if schema is None:
        raise AssayError(
            f"{recipe.contract}: the contract has no target.schema.json to hold replies to.",
            remedy="Only structured answers are scored from files.",
        )
    return [replies.score(replies.read(files, recipe.name), schema, recipe.evaluation, files, store)]
