"""The recipe's section `tune`: which keys of `training` are tried with which values, and how."""

from math import prod
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from train.settings import WATCHED, Finite, KeptBy, TrainingSettings

ROWS = "it chooses the rows that are validated on, and trials are compared on the same rows"
FIXED: dict[str, str] = {
    "keep_best": "`metric` says it",
    **dict.fromkeys(("max_tokens", "pairs", "seed", "validation_rows"), ROWS),
    **dict.fromkeys(sorted(WATCHED), "it changes nothing in the adapter"),
}
"""Keys of `training` that are not searched, and why."""
TRIALS = 12
"""Of a search that is no grid, unless the recipe says."""


MOST = 10_000
"""Trials of a study: each is looked up before the first is trained."""


class Range(Finite):
    """Numbers from one to another."""

    low: float = Field(description="The least.")
    high: float = Field(description="The most.")
    log: bool = Field(False, description="Drawn by their logarithm: from 1 to 10 as often as from 10 to 100.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low {self.low:g} has no logarithm; expected a number above 0")
        return self


Values = Annotated[
    Annotated[list[Any], Tag("list[Any]")] | Annotated[Range, Tag("dict[Range]")],
    Discriminator(lambda value: "list[Any]" if isinstance(value, list) else "dict[Range]"),
]


def number_of(key: str) -> type[int] | type[float] | None:
    """Of which kind of numbers a key of `training` is; None where it is of none."""
    kind = TrainingSettings.model_fields[key].annotation
    kinds = {kind, *get_args(kind)}
    return float if float in kinds else int if int in kinds else None


class TuneSettings(Finite):
    """What `assay tune` tries; nothing else depends on it."""

    search: dict[str, Values] = Field(
        min_length=1,
        description="By key of `training`: a list of values, or a range of numbers (`{low: 1.0e-4, high: 3.0e-3, "
        "log: true}`).",
    )
    method: Literal["grid", "random", "tpe"] = Field(
        "tpe",
        description="Every combination of the lists; draws by chance; or draws by the tree-structured Parzen "
        "estimator, which learns from the trials before.",
    )
    trials: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description=f"How many there are; by default {TRIALS}. A grid has one for each combination.",
    )
    metric: KeptBy | None = Field(
        None,
        description="What trials are compared by at their validations: `loss`, or `schema_valid`, `whole_match` or "
        "`FIELD.macro_f1` of answers to the validation rows; by default `training.keep_best`, else the loss. Each "
        "trial keeps its best checkpoint by it.",
    )
    prune: bool = Field(
        True, description="End a trial that after a validation is worse than the median of those before it was there."
    )
    seed: int = Field(0, description="Of what is drawn.")

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        for key, values in self.search.items():
            if key not in TrainingSettings.model_fields:
                raise ValueError(f"search.{key}: `training` has no such key")
            if key in FIXED:
                raise ValueError(f"search.{key}: is not searched: {FIXED[key]}")
            if isinstance(values, Range):
                if self.method == "grid":
                    raise ValueError(f"search.{key}: a grid has no ranges: list the values, or set method: random")
                self._is_of(key, values)
            elif not values:
                raise ValueError(f"search.{key}: no value to try")
        if self.method == "grid" and self.trials is not None:
            raise ValueError("trials: a grid has one for each combination; leave the key out")
        if self.method == "grid" and self.count > MOST:
            raise ValueError(
                f"search: a grid of {self.count:,} combinations, at most {MOST:,} are tried: list fewer values, or set "
                "method: random and trials"
            )
        return self

    @property
    def count(self) -> int:
        """Of trials."""
        lists = [values for values in self.search.values() if isinstance(values, list)]
        return prod(map(len, lists)) if self.method == "grid" else self.trials or TRIALS

    @staticmethod
    def _is_of(key: str, values: Range) -> None:
        kind = number_of(key)
        if kind is None:
            raise ValueError(f"search.{key}: is no number, so it has no range: list the values")
        if kind is int and not (values.low.is_integer() and values.high.is_integer()):
            raise ValueError(f"search.{key}: is a whole number, and so are low and high")
