"""What came of a study: result.json, whose schema is published beside it."""

from collections.abc import Sequence
from typing import Any

from curate.manifest import Part
from evaluation.tune.space import Space
from evaluation.tune.study import importances
from evaluation.tune.trial import Outcome, Trial

RESULT, RESULT_SCHEMA = "result.json", "result.schema.json"
CLOCKED = {"seconds", "memory_mib"}
"""Of a trial, what a clock or the machine gave."""


class TrialResult(Outcome):
    """A trial."""

    number: int
    """From 1."""
    values: dict[str, Any]
    """Of the keys of `training` that are searched; a key that the trial's method does not take is left out."""
    same_as: int | None
    """The earlier trial of the same settings, whose outcome this is."""


class StudyResult(Part):
    """What result.json says."""

    name: str
    dataset: str
    """NAME/VERSION."""
    method: str
    """grid, random or tpe."""
    metric: str
    lower_is_better: bool
    rows: int
    """Validation rows that each trial was scored on; none of the test split was read."""
    search: dict[str, Any]
    """By key: the values, or low, high and log of a range."""
    own: dict[str, Any]
    """By key: what the recipe itself says."""
    importance: dict[str, float]
    """By key: its share in what sets the best tenth of the trials apart (PED-ANOVA); empty where too few finished."""
    best: int
    """Number of the trial with the best value; of equals the first."""
    trials: list[TrialResult]

    def timeless(self) -> dict[str, Any]:
        """Without what a clock or the machine gave."""
        return self.model_dump(mode="json", exclude={"trials": {"__all__": CLOCKED}})

    @property
    def winner(self) -> TrialResult:
        """The best trial."""
        return self.trials[self.best - 1]

    def ranked(self) -> list[TrialResult]:
        """The trials, the best first; those that were pruned after those that finished, those that failed last."""
        sign = 1 if self.lower_is_better else -1
        order = ("complete", "pruned", "failed")
        return sorted(self.trials, key=lambda each: (order.index(each.state), sign * (each.value or 0.0), each.number))


def best_of(trials: Sequence[Trial], space: Space) -> Trial | None:
    """The finished trial with the best value, of equals the first; None where none finished."""
    sign = 1 if space.lower_is_better else -1
    known = [
        (sign * each.outcome.value, each.number)
        for each in trials
        if each.outcome.state == "complete" and each.outcome.value is not None
    ]
    return trials[min(known)[1]] if known else None


def result_of(name: str, dataset: str, rows: int, space: Space, trials: Sequence[Trial], best: Trial) -> StudyResult:
    """The result of a study.

    Args:
        name: of the study.
        dataset: NAME/VERSION.
        rows: that each trial was scored on.
        space: what was searched.
        trials: in their order.
        best: of them.
    """
    own = space.recipe.training.model_dump(mode="json")
    return StudyResult(
        name=name,
        dataset=dataset,
        method=space.tune.method,
        metric=space.metric,
        lower_is_better=space.lower_is_better,
        rows=rows,
        search=space.tune.model_dump(mode="json")["search"] | space.lists,
        own={key: own.get(key) for key in space.tune.search},
        importance=importances(space, [each.told() for each in trials]),
        best=best.number + 1,
        trials=[
            TrialResult(
                **each.outcome.model_dump(),
                number=each.number + 1,
                values=dict(each.values),
                same_as=None if each.same_as is None else each.same_as + 1,
            )
            for each in trials
        ],
    )
