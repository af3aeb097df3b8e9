"""The space of a study: which settings of training its points stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Self

from pydantic import TypeAdapter, ValidationError

from curate.errors import AssayError
from evaluation.settings import FullRecipe
from train.methods.keys import SOME
from train.search import Range, TuneSettings, number_of
from train.settings import PARTLY, TrainingSettings, without_effect

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOSS = "loss"
DIGITS = 4
"""Of a number that is drawn of a range: more make no other adapter worth having, and are hard to read."""
DECIDING = {"method", "objective", "optim", "lr_scheduler_type"}
"""Keys that say which others have an effect."""
Point = Mapping[str, int | float]
"""By key: a number of its range, or the place of one of its values."""


@dataclass(frozen=True)
class Space:
    """What `tune` of a recipe searches, and what its `training` says of all else."""

    recipe: FullRecipe
    tune: TuneSettings
    own: Mapping[str, Any]
    """Keys of `training` that the recipe has, and the metric as `keep_best`."""
    lists: Mapping[str, list[Any]]
    """By key without a range: its values, as `training` takes them."""

    @classmethod
    def of(cls, recipe: FullRecipe) -> Self:
        """The space of a recipe.

        Raises:
            AssayError: the recipe has none, or a value or a combination in a grid is none that `training` takes.
        """
        tune = recipe.tune
        if tune is None:
            raise AssayError(
                f"The recipe {recipe.name} does not say what is searched.",
                remedy="Give it a section `tune`, e.g. `tune: {search: {learning_rate: {low: 1.0e-4, high: 3.0e-3, "
                "log: true}, rank: [8, 16, 32]}}`; docs/tuning.md explains its keys.",
            )
        if recipe.training.objective == "reft":
            raise AssayError(
                "training.objective: reft: trials are of `sft` and `dpo`.",
                remedy="Tune the warm-up, with `objective: sft`; name what it gives under training.start_from.",
            )
        own = recipe.training.model_dump(exclude_unset=True)
        own["keep_best"] = tune.metric or recipe.training.keep_best or LOSS
        lists = {key: list(values) for key, values in tune.search.items() if not isinstance(values, Range)}
        space = cls(recipe, tune, own, lists)
        space._require_sound()
        space = cls(
            recipe, tune, own, {key: [space._taken(key, each) for each in values] for key, values in lists.items()}
        )
        for key, values in tune.search.items():
            for each in (values.low, values.high) if isinstance(values, Range) else ():
                space._taken(key, each)
        for point in space.grid if tune.method == "grid" else ():
            space.training(point)
        return space

    def _require_sound(self) -> None:
        """See to what the values of other keys are taken beside: the metric, and values of keys that say which others
        have an effect."""
        try:
            self.plain  # noqa: B018
        except ValidationError as error:
            raise AssayError(
                f"tune.metric: {self.metric}: {_said(error)}",
                remedy="Compare trials by `loss`, `schema_valid`, `whole_match` or `FIELD.macro_f1`.",
            ) from None
        for key in DECIDING & self.lists.keys():
            kind = TypeAdapter[Any](TrainingSettings.__annotations__[key])
            for each in self.lists[key]:
                try:
                    kind.validate_python(each)
                except ValidationError as error:
                    raise _untaken(key, each, error) from None

    @property
    def plain(self) -> TrainingSettings:
        """The recipe's settings with the metric, and nothing of what is searched."""
        return TrainingSettings.model_validate(self.own)

    @property
    def metric_key(self) -> str:
        """Of the recipe, that names the metric."""
        return "tune.metric" if self.tune.metric else "training.keep_best"

    @property
    def metric(self) -> str:
        return str(self.own["keep_best"])

    @property
    def lower_is_better(self) -> bool:
        return self.metric == LOSS

    @property
    def count(self) -> int:
        """Of trials."""
        return self.tune.count

    def largest(self) -> TrainingSettings:
        """The recipe's settings with the most rows and epochs that are tried."""
        most: dict[str, int | None] = {}
        for key in self.tune.search.keys() & {"rows", "epochs"}:
            values = self.tune.search[key]
            tried = [int(values.high)] if isinstance(values, Range) else self.lists[key]
            most[key] = None if None in tried else max(tried)
        return self.recipe.training.model_copy(update=most)

    @cached_property
    def grid(self) -> list[Point]:
        """Every combination of the values, those of the last key in turn first."""
        return [
            dict(zip(self.lists, places, strict=True))
            for places in product(*(range(len(v)) for v in self.lists.values()))
        ]

    def distributions(self) -> "dict[str, BaseDistribution]":
        """As Optuna has them."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for key, values in self.tune.search.items():
            if not isinstance(values, Range):
                found[key] = CategoricalDistribution(range(len(values)))
            elif number_of(key) is int:
                found[key] = IntDistribution(int(values.low), int(values.high), log=values.log)
            else:
                found[key] = FloatDistribution(values.low, values.high, log=values.log)
        return found

    def values(self, point: Point) -> dict[str, Any]:
        """What a point says of the keys that are searched."""
        return {key: self._value(key, at) for key, at in point.items()}

    def _value(self, key: str, at: int | float) -> Any:
        values = self.tune.search[key]
        if not isinstance(values, Range):
            return self.lists[key][int(at)]
        if isinstance(at, int):
            return at
        return min(max(float(f"{at:.{DIGITS}g}"), values.low), values.high)

    def training(self, point: Point) -> TrainingSettings:
        """The settings that a point stands for. Where a method, objective or optimizer is searched, keys that
        it does not take are left out.

        Raises:
            AssayError: `training` does not take them together.
        """
        values = self.values(point)
        try:
            return self._settings(values)
        except ValidationError as error:
            told = ", ".join(f"{key} {value}" for key, value in values.items())
            raise AssayError(
                f"tune.search: {told}: {_said(error)}", remedy="Let no two keys list values that exclude each other."
            ) from None

    def _settings(self, values: Mapping[str, Any]) -> TrainingSettings:
        made = {**self.own, **values}
        if DECIDING & values.keys():
            idle = without_effect(made)
            made = {key: value for key, value in made.items() if key not in idle}
        return TrainingSettings.model_validate(made)

    def _taken(self, key: str, value: Any) -> Any:
        """A value of a key as `training` takes it, by itself.

        Raises:
            AssayError: it does not.
        """
        values = {key: value}
        for other in DECIDING & self.lists.keys() if key in SOME | PARTLY.keys() else ():  # one may take the key
            takes = [each for each in self.lists[other] if key not in without_effect({**self.own, other: each})]
            values |= {other: (takes or self.lists[other])[0]}
        try:
            made = self._settings(values)
        except ValidationError as error:
            raise _untaken(key, value, error) from None
        return made.model_dump(mode="json").get(key)


def _untaken(key: str, value: Any, error: ValidationError) -> AssayError:
    return AssayError(
        f"tune.search.{key}: {value!r}: {_said(error)}",
        remedy=f"Name values that `training.{key}` takes; docs/recipe.md has them.",
    )


def _said(error: ValidationError) -> str:
    return "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
