"""The recipe that a study gives: the one it searched, with the settings of its best trial."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curate.hashing import digest, file_digest, files_digest
from curate.odcs import FILE
from curate.reach import is_url
from curate.recipe import names_beside, written_out
from curate.row_schema import TARGET_FILE
from evaluation.settings import FullRecipe
from train.settings import TrainingSettings

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Found:
    """The recipe that a study gives, and what lies beside it."""

    text: str
    copies: Mapping[str, Path]
    """By the name that the recipe has for it: a file, or a folder."""

    @property
    def sha256(self) -> str:
        files = [
            (f"{name}/{file.relative_to(place)}", file_digest(file))
            for name, place in self.copies.items()
            for file in _files(place)
        ]
        return digest([self.text, files_digest(files)])

    def write(self, folder: Path, told: str) -> None:
        """Write recipe.yaml, below a comment, and the copies beside it."""
        for name, place in self.copies.items():
            for file in _files(place):
                target = folder / name / file.relative_to(place)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        (folder / RECIPE).write_text(f"# {told}\n{self.text}", encoding="utf-8")


def found_recipe(path: Path, variant: str | None, recipe: FullRecipe, training: TrainingSettings) -> Found:
    """The recipe, whole, with other settings of training, the preset and the variant written out, without `tune`.

    It may be run from where it is written: the drop, models and pairs are named by their whole paths; contract and
    templates that lie beside the recipe, where alone a recipe may have them, are copied.

    Args:
        path: the file of the recipe that was searched.
        variant: of it, that was searched.
        recipe: as it was loaded.
        training: of the best trial.
    """
    raw = written_out(path, variant)
    raw.pop("tune", None)
    raw["training"] = training.model_dump(mode="json", exclude_unset=True)
    if training.pairs is not None:  # as loaded, beside the recipe
        raw["training"]["pairs"] = str(Path(training.pairs).resolve())
    drop = raw.get("drop", ".")
    if not is_url(drop):
        raw["drop"] = str((path.parent / drop).resolve())
    if recipe.decisions.files:  # as the recipe may name them
        raw["decisions"] = _files_stated(raw["decisions"])
    copies: dict[str, Path] = {}
    for (*within, key), anywhere in names_beside(recipe):
        section = _section(raw, within)
        stated = section.get(key) if section else None
        for name in stated if isinstance(stated, list) else [stated]:
            if name is None or not (place := path.parent / name).exists():
                continue
            if anywhere:
                section[key] = str(place.resolve())
            else:
                copies[name] = place
    return Found(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120), copies)


def _files_stated(decisions: Any) -> dict[str, Any]:
    """The section, which may be written as a name or a list of them."""
    if isinstance(decisions, dict):
        return decisions
    return {"files": [decisions] if isinstance(decisions, str) else decisions}


def _section(raw: dict[str, Any], within: list[str]) -> dict[str, Any]:
    """The keys and values at a path of sections; none where the recipe has none there, or a shorthand."""
    for key in within:
        raw = raw.get(key) or {}
        if not isinstance(raw, dict):
            return {}
    return raw


def _files(place: Path) -> list[Path]:
    """A file itself; the files of a contract, or else all of a folder."""
    if place.is_file():
        return [place]
    if (place / FILE).is_file():
        return [place / name for name in (FILE, TARGET_FILE) if (place / name).is_file()]
    return sorted(file for file in place.rglob("*") if file.is_file())
