"""The recipe that a study gives: the one it searched, with the settings of its best trial."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from curate.contract import FILE, TARGET_FILE
from curate.reach import is_url
from curate.recipe import names_beside, written_out
from evaluation.settings import FullRecipe
from train.settings import TrainingSettings

RECIPE = "recipe.yaml"


def write_recipe(
    folder: Path, path: Path, variant: str | None, recipe: FullRecipe, training: TrainingSettings, told: str
) -> None:
    """Write recipe.yaml: whole, with the preset and the variant written out, and without `tune`.

    It may be run from where it lies: the drop, models and pairs are named by their whole paths; contract and templates
    that lay beside the recipe, where alone a recipe may have them, are copied.

    Args:
        folder: to write into.
        path: the file of the recipe that was searched.
        variant: of it, that was searched.
        recipe: as it was loaded.
        training: of the best trial.
        told: a comment.
    """
    raw = written_out(path, variant)
    raw.pop("tune", None)
    raw["training"] = training.model_dump(mode="json", exclude_unset=True)
    if training.pairs is not None:  # as loaded, beside the recipe
        raw["training"]["pairs"] = str(Path(training.pairs).resolve())
    drop = raw.get("drop", ".")
    if not is_url(drop):
        raw["drop"] = str((path.parent / drop).resolve())
    for (*within, key), anywhere in names_beside(recipe):
        section = _section(raw, within)
        name = section.get(key) if section else None
        if name is None or not (place := path.parent / name).exists():
            continue
        if anywhere:
            section[key] = str(place.resolve())
        else:
            _copy(place, folder / name)
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120)
    (folder / RECIPE).write_text(f"# {told}\n{text}", encoding="utf-8")


def _section(raw: dict[str, Any], within: list[str]) -> dict[str, Any]:
    """The keys and values at a path of sections; none where the recipe has none there, or a shorthand."""
    for key in within:
        raw = raw.get(key) or {}
        if not isinstance(raw, dict):
            return {}
    return raw


def _copy(place: Path, target: Path) -> None:
    """Copy a file; or the files of a contract, or else a whole folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if place.is_file():
        shutil.copyfile(place, target)
    elif (place / FILE).is_file():
        target.mkdir(parents=True, exist_ok=True)
        for name in (FILE, TARGET_FILE):
            if (place / name).is_file():
                shutil.copyfile(place / name, target / name)
    else:
        shutil.copytree(place, target, dirs_exist_ok=True)
