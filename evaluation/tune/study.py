"""What Optuna decides of a study: the next point to try, and whether a trial is worth going on with.

Both are functions of the trials before and the seed. A study is kept nowhere: it is made anew of its trials for each
question, and each trial has a sampler of its own, seeded by its number. So a run that goes on proposes what one that
was never interrupted does.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from curate.hashing import digest
from evaluation.tune.space import LOSS, Point, Space
from train.history import History
from train.manifest import Validated
from train.settings import TrainingSettings

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

AT_RANDOM = 5
"""Trials that are drawn by chance before the estimator has anything to learn from."""
BEFORE_PRUNING = 4
"""Trials that were validated at a point before any is pruned there: the median of fewer says little."""
KNOWN = 8
"""Finished trials from which on the keys are told apart by importance: of fewer it is chance."""
Curve = Mapping[int, float]
"""The metric at each validation after a step, by the rows trained on until then."""


@dataclass(frozen=True)
class Told:
    """A trial, as far as the next ones depend on it."""

    point: Point
    state: str
    """complete, pruned or failed."""
    value: float | None
    curve: Curve


def propose(space: Space, number: int, before: Sequence[Told]) -> Point:
    """The point of a trial, by its number from 0 and the trials before it."""
    if space.tune.method == "grid":
        return space.grid[number]
    seed = int(digest([space.tune.seed, number])[:8], 16)
    with silenced():
        from optuna.samplers import RandomSampler, TPESampler

        tpe = space.tune.method == "tpe"
        sampler = TPESampler(seed=seed, n_startup_trials=AT_RANDOM) if tpe else RandomSampler(seed=seed)
        point: Point = _study(space, before if tpe else [], sampler).ask(space.distributions()).params
    return point


def curve(validations: Sequence[Validated], training: TrainingSettings, rows: int) -> dict[int, float]:
    """The metric (`keep_best`) at each validation of a run after its first step, in which an epoch has so many rows."""
    by_loss = training.keep_best == LOSS
    return {
        round(each.epoch * rows): each.loss if by_loss or each.score is None else each.score
        for each in validations
        if each.step
    }


@dataclass(frozen=True)
class Median:
    """Whether a run is to end: the best of its validations is worse than the median of other trials at the same point,
    by the rows trained on. Where these were not validated there, it goes on."""

    training: TrainingSettings
    rows: int
    """Of an epoch."""
    curves: Sequence[Curve]
    """Of the finished trials before, that were trained on as many rows over all epochs: the learning rate falls over
    all of a run's steps, so at its end a short one is ahead of a long one."""

    def __call__(self, history: History, /) -> bool:
        validations = [Validated(**each._asdict()) for each in history.validations]
        with silenced():
            from optuna import create_study
            from optuna.pruners import MedianPruner
            from optuna.trial import TrialState, create_trial

            pruner = MedianPruner(n_startup_trials=BEFORE_PRUNING, n_min_trials=BEFORE_PRUNING)
            study = create_study(direction=_direction(self.training.keep_best == LOSS))
            for each in self.curves:
                study.add_trial(create_trial(value=0.0, intermediate_values=dict(each)))
            values = curve(validations, self.training, self.rows)
            return bool(pruner.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=values)))


def importances(space: Space, trials: Sequence[Told]) -> dict[str, float]:
    """The share of each key in what sets the best tenth of the trials apart, by PED-ANOVA (arXiv 2304.10255); none of
    fewer than KNOWN finished trials."""
    if sum(each.state == "complete" for each in trials) < KNOWN:
        return {}
    with silenced():
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        study = _study(space, trials)
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _direction(lower_is_better: bool) -> Literal["minimize", "maximize"]:
    return "minimize" if lower_is_better else "maximize"


def _study(space: Space, trials: Sequence[Told], sampler: "BaseSampler | None" = None) -> "Study":
    from optuna import create_study
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    study = create_study(direction=_direction(space.lower_is_better), sampler=sampler)
    for each in trials:
        trial = create_trial(
            state=states[each.state],
            value=each.value if each.state == "complete" else None,
            params=dict(each.point),
            distributions=space.distributions(),
            intermediate_values=dict(each.curve),
        )
        study.add_trial(trial)
    return study


@contextmanager
def silenced() -> Iterator[None]:
    """Meanwhile Optuna tells nothing of its own: the command's lines are ours."""
    from optuna import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
