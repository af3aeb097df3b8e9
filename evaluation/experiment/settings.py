"""The file of an experiment: which arms there are, with which seeds, and what is compared."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from curate.errors import AssayError
from curate.hashing import digest
from curate.read.expressions import Name
from curate.recipe import changed, find_recipe
from curate.stage import Settings
from curate.strict_yaml import load_yaml
from evaluation.card.scorecard import TUNED
from evaluation.settings import FullRecipe, SystemSettings
from train.settings import Seed

WHOLE = ("whole_match", "schema_valid", "parses", "rules_match", "exact_match")
"""Measures of a whole answer; plain chat has the last alone."""
LOSS = "loss"
GROUNDED = "grounded"
"""Whether an answer is JSON, and says nothing but what its prompt does."""
METRIC = re.compile(rf"{LOSS}|{GROUNDED}|{'|'.join(WHOLE)}|.+\.(accuracy|macro_f1)")
FIXED = {
    "name": "an arm whose data are others is published under a name of its own",
    "contract": "all arms are judged by one contract",
    "variants": "an arm is no variant; write its keys into the arm",
    "training.seed": "`seeds` says it",
    "evaluation.rows": "`rows` says it",
}
"""Keys of a recipe that no arm changes, and why."""
JUDGED = ("rows", "max_tokens", "seed", "fields", "accepted", "optional", "resamples", "scorer")
"""Settings of `evaluation` that are the baseline's in every arm: which rows are asked, and how answers are judged."""


ARMS = "arms/"
"""Before an arm's name in `training.start_from`: its adapter of the same seed."""


def arm_begun_from(start_from: str | None) -> str | None:
    """The arm whose adapter is trained further; None where it is no arm's."""
    return start_from.removeprefix(ARMS) if start_from is not None and start_from.startswith(ARMS) else None


def in_order(recipes: Mapping[str, FullRecipe]) -> list[str]:
    """The arms, each behind the one whose adapter it starts from.

    Args:
        recipes: by arm.

    Raises:
        AssayError: there is no such arm, or it starts from its own.
    """
    begun = {name: arm_begun_from(recipe.training.start_from) for name, recipe in recipes.items()}
    order: list[str] = []
    for name in begun:
        way = [name]
        while (before := begun[way[-1]]) is not None:
            if before not in begun or before in way:
                what = "there is no such arm" if before not in begun else "it goes in a circle"
                raise AssayError(
                    f"arms.{way[-1]}: training.start_from: {ARMS}{before}: {what}.",
                    remedy=f"Arms: {', '.join(begun)}.",
                )
            way.append(before)
        order += [each for each in reversed(way) if each not in order]
    return order


def _metric(text: str) -> str:
    if not METRIC.fullmatch(text):
        raise ValueError(
            f"expected `{LOSS}`, `{GROUNDED}`, {', '.join(f'`{name}`' for name in WHOLE)} or `FIELD.accuracy|macro_f1`"
        )
    return text


class ExperimentSettings(Settings):
    """An experiment."""

    recipe: str = Field(description="A recipe's YAML file, relative to this one, or a packaged one's name.")
    seeds: list[Seed] = Field([0], min_length=1, description="`training.seed` of each run of an arm.")
    common: dict[str, Any] = Field({}, description="Changes of the recipe that all arms share.")
    arms: dict[Name, dict[str, Any]] = Field(
        min_length=2, description="By name: changes of the recipe, at any depth; what is a mapping is changed by key."
    )
    baseline: Name | None = Field(None, description="The arm that others are compared with; by default the first.")
    metrics: list[Annotated[str, AfterValidator(_metric)]] = Field(
        ["whole_match", "schema_valid", LOSS], min_length=1, description="What arms are compared in."
    )
    rows: int | None = Field(
        None, ge=1, description="Rows of the baseline's test split that all arms are asked; by default the recipe's."
    )

    @field_validator("arms", mode="before")
    @classmethod
    def _may_change_nothing(cls, arms: Any) -> Any:
        """An arm of no keys is the recipe as it is."""
        return {name: {} if each is None else each for name, each in arms.items()} if isinstance(arms, dict) else arms

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for what, values in (("seeds", self.seeds), ("metrics", self.metrics)):
            if len(set(values)) < len(values):
                raise ValueError(f"{what}: one is named twice")
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(f"baseline: no arm {self.baseline!r}; there are {', '.join(self.arms)}")
        for name, changes in {
            "common": self.common,
            **{f"arms.{name}": each for name, each in self.arms.items()},
        }.items():
            for key, why in FIXED.items():
                section, _, inner = key.partition(".")
                said = changes.get(section)
                if section in changes and (not inner or (isinstance(said, Mapping) and inner in said)):
                    raise ValueError(f"{name}.{key}: no arm changes it: {why}")
        return self

    @property
    def against(self) -> str:
        """The baseline's name."""
        return self.baseline or next(iter(self.arms))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an experiment's file.

        Raises:
            AssayError: names the file, the key, what was expected and what to do.
        """
        remedy = "docs/experiments.md explains each key."
        if not path.is_file():
            raise AssayError(f"{path}: no such experiment.", remedy=f"Name a YAML file. {remedy}")
        try:
            settings = cls.model_validate(load_yaml(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise AssayError(f"{path}: not readable as YAML: {error}", remedy="Mend the line it names.") from None
        except ValidationError as error:
            lines = [
                f"  {'.'.join(map(str, each['loc'])) or '(whole file)'}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            ]
            raise AssayError("\n".join([f"{path}: {len(lines)} problem(s):", *lines]), remedy=remedy) from None
        return settings

    def recipe_path(self, path: Path) -> Path:
        """The file of the recipe that an experiment's file at `path` names."""
        beside = path.parent / self.recipe
        return beside if beside.is_file() else find_recipe(self.recipe)

    def changes(self, arm: str) -> dict[str, Any]:
        """What an arm changes of the recipe, with what all arms do."""
        return changed(self.common, self.arms[arm])

    def arm(self, name: str, recipe: Path, drop: Path | str | None = None) -> FullRecipe:
        """The recipe of an arm, judged as the baseline is.

        Where its data are others than the baseline's, its data set has a name of its own: an index, and the splits that
        stand, are of one name.

        Args:
            name: of the arm.
            recipe: the recipe's file.
            drop: see `FullRecipe.load`.

        Raises:
            AssayError: a key of it is wrong, or its adapter would be shown training rows; names the arm.
        """
        try:
            baseline, own = (
                FullRecipe.load(recipe, drop=drop, changes=self.changes(each)) for each in (self.against, name)
            )
        except AssayError as error:
            raise AssayError(f"arms.{name}: {error.message}", error.remedy) from None
        data = [(each.settings(), each.drop) for each in (baseline, own)]
        judged: dict[str, Any] = {key: getattr(baseline.evaluation, key) for key in JUDGED}
        tuned = own.evaluation.systems.get(TUNED, SystemSettings(model="adapter"))
        if tuned.shots or tuned.model not in ("adapter", "merged"):
            raise AssayError(
                f"arms.{name}: evaluation.systems.{TUNED} is not the arm's adapter without shots.",
                remedy="Let it be {model: adapter} or {model: merged}, constrained or not.",
            )
        judged |= {
            "split": "test",
            "rows": self.rows or baseline.evaluation.rows,
            "gate": [],
            "systems": {TUNED: tuned},
        }
        return own.model_copy(
            update={
                "name": own.name if data[0] == data[1] else f"{own.name}-{digest(data[1])[:8]}",
                "evaluation": own.evaluation.model_copy(update=judged),
            }
        )
