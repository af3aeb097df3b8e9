"""What is proposed and pruned: functions of seed and trials, held to plain sums of numpy."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError, ShortOfDisk, ShortOfMemory
from curate.store import Store
from evaluation.settings import FullRecipe
from evaluation.tune.report import Axis
from evaluation.tune.space import Space
from evaluation.tune.study import AT_RANDOM, BEFORE_PRUNING, Median, Told, curve, importances, propose
from evaluation.tune.trial import Outcome, Trial, comparable, own_doing, rows_of
from tests.tiny import write_version
from train.history import History, Validation
from train.manifest import Validated
from train.search import TuneSettings
from train.settings import TrainingSettings

LOADED = FullRecipe.load(Path(__file__).resolve().parents[3] / "recipes/licences.yaml")
SEARCH: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "rank": [4, 8],
    "epochs": {"low": 1, "high": 3},
    "warmup_ratio": {"low": 0, "high": 0.5},
}


def space(**tune: Any) -> Space:
    return Space.of(LOADED.model_copy(update={"tune": TuneSettings.model_validate({"search": SEARCH} | tune)}))


def lived(searched: Space, count: int, before: list[Told]) -> list[Told]:
    """So many trials, of which a learning rate of 0.003 has the least loss."""
    trials = list(before)
    while len(trials) < count:
        point = propose(searched, len(trials), trials)
        away = abs(math.log10(point["learning_rate"]) - math.log10(0.003))
        pruned = len(trials) % 4 == 3
        trials.append(Told(point, "pruned" if pruned else "complete", away, {64: away + 1, 128: away}))
    return trials


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_run_that_goes_on_proposes_what_one_that_was_not_interrupted_does(method: str) -> None:
    searched = space(method=method)
    whole = lived(searched, 9, [])
    assert lived(searched, 9, whole[:7]) == whole
    assert lived(space(method=method, trials=40), 9, []) == whole, "whatever the number of trials"
    assert lived(space(method=method, seed=1), 1, [])[0].point != whole[0].point
    assert len({each.point["learning_rate"] for each in whole}) == 9


def test_only_the_estimator_learns_from_the_trials_before() -> None:
    def near(method: str) -> float:
        trials = lived(space(method=method), 24, [])
        return float(np.median([each.value or 0.0 for each in trials[2 * AT_RANDOM :]]))

    assert near("tpe") < 0.5 * near("random")
    chance = space(method="random")
    assert propose(chance, 6, []) == lived(chance, 7, [])[6].point


def test_a_grid_has_every_combination_once() -> None:
    searched = space(method="grid", search={"learning_rate": ["1e-3", 0.01, 0.1], "target_modules": [None, ["q_proj"]]})
    points = [propose(searched, number, []) for number in range(searched.count)]
    settings = [searched.training(point) for point in points]
    assert [(each.learning_rate, each.target_modules) for each in settings] == [
        (rate, modules) for rate in (0.001, 0.01, 0.1) for modules in (None, ["q_proj"])
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(0.01, 9), min_size=3, max_size=3), max_size=7),
    st.lists(st.floats(0.01, 9), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_run_is_pruned_that_is_worse_than_the_median(
    others: list[list[float]], own: list[float], lower: bool
) -> None:
    training = TrainingSettings(keep_best="loss" if lower else "schema_valid")
    validations = [Validation(5 * n, n * 0.5, value if lower else 0.0, value) for n, value in enumerate([9.9, *own])]
    curves = [{5: each[0], 10: each[1], 15: each[2]} for each in others]
    found = Median(training, 10, curves)(History([], validations, 10))
    at = len(own) - 1
    median = np.median([each[at] for each in others]) if len(others) >= BEFORE_PRUNING else None
    best = min(own) if lower else max(own)
    assert found == (median is not None and bool(best > median if lower else best < median))


def test_trials_are_compared_where_they_were_trained_on_equally_many_rows() -> None:
    """Not where they took equally many steps: a larger batch has seen more then."""
    validations = [Validated(step=step, epoch=step / 16, loss=1.0 / (step + 1), score=None) for step in (0, 4, 8)]
    small = TrainingSettings(batch_size=4, keep_best="loss")
    assert curve(validations, small, 64) == {16: 0.2, 32: 1 / 9}
    other = [{8: 0.1}, {8: 0.1}, {8: 0.1}, {8: 0.1}]
    history = History([], [Validation(each.step, each.epoch, each.loss, None) for each in validations], 16)
    assert not Median(small, 64, other)(history)
    assert Median(small, 64, [{32: 0.1}] * 4)(history)
    assert not Median(small, 64, [{32: 0.1}, *other])(history), "of one trial there is no median"


def ended(training: TrainingSettings, rows: int, state: Literal["complete", "failed"] = "complete") -> Trial:
    validations = [Validated(step=step, epoch=float(step), loss=0.1 * training.epochs, score=None) for step in (0, 1)]
    outcome = Outcome(state=state, value=0.1, validations=validations)
    return Trial(0, {}, {}, training, outcome, rows)


def test_a_run_is_held_to_those_of_its_length() -> None:
    """The learning rate falls over all of a run: at the end of a short one it is nothing, where a long one is fast."""
    once, twice = (TrainingSettings(keep_best="loss", epochs=epochs) for epochs in (1, 2))
    before = [ended(once, 64), ended(once, 32), ended(twice, 32), ended(once, 64, "failed")]
    assert comparable(before, once, 64) == [{64: 0.1}, {32: 0.2}]
    assert comparable(before, twice, 64) == []
    assert comparable([replace(before[0], same_as=3)], once, 64) == []


def test_rows_that_are_not_there_do_not_count(model_folder: Path, tmp_path: Path) -> None:
    version = write_version(Store(tmp_path), model_folder)
    few, many, more, every = (TrainingSettings(rows=rows, max_tokens=512) for rows in (8, 500, 1000, None))
    there = pq.read_metadata(version / "train.parquet").num_rows
    assert rows_of(version, few) == 8
    assert rows_of(version, many) == rows_of(version, more) == rows_of(version, every) == there < 500
    pairs = tmp_path / "pairs.jsonl"
    said = [{"role": "assistant", "content": text} for text in "ab"]
    asked = {"prompt": [{"role": "user", "content": "?"}], "chosen": said[:1], "rejected": said[1:]}
    pairs.write_text(f"{json.dumps(asked)}\n" * 3)
    preferred = TrainingSettings(rows=2, objective="dpo", pairs=str(pairs))
    assert [rows_of(version, preferred), rows_of(version, preferred.model_copy(update={"rows": 9}))] == [2, 3]


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (ShortOfMemory("Training will take 9 GiB."), True),
        (MemoryError(), True),
        (AssayError("training.target_modules: no module of this model is called 'q'."), True),
        (AssayError("training.method lora, target_modules, layers_to_transform: peft makes none."), True),
        (AssayError("training.start_from: adapter a/1 has rank 8.", "Set training.rank as it has."), True),
        (AssayError("training.dtype: this GPU does not compute in float16."), False),
        (AssayError("Checkpoints will take 9 GiB: too little.", "Make room, or lower training.rank."), False),
        (ShortOfDisk("Checkpoints will take 9 GiB: too little."), True),
        (AssayError("/store/training.rank/manifest.json: damaged."), False),
        (ValueError("rank"), False),
    ],
)
def test_what_is_a_trials_own_doing(error: Exception, own: bool) -> None:
    assert own_doing(error, {"rank", "target_modules"}) is own


def test_a_disk_that_no_searched_key_fills_is_nobodys_doing() -> None:
    assert not own_doing(ShortOfDisk("Checkpoints will take 9 GiB: too little."), {"learning_rate", "epochs"})


def test_the_key_that_matters_is_told_apart() -> None:
    searched = space(method="random")
    trials = lived(searched, 40, [])
    assert max(found := importances(searched, trials), key=lambda key: found[key]) == "learning_rate"
    assert sum(found.values()) == pytest.approx(1)
    assert importances(searched, trials[:8]) == {}, "of which six finished"


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.1, 0.5], (0.1, 0.5)),
        ([0.0003, 0.02], (0.0002, 0.02)),
        ([3.0, 3.0], (3.0, 4.0)),
        ([-1.0, 9.0], (-2.0, 10.0)),
        ([0.2, 9000.0], (0.2, 10000.0)),
        ([1.0, 8.0], (1.0, 10.0)),
    ],
)
def test_an_axis_holds_its_values(values: list[float], ends: tuple[float, float]) -> None:
    axis = Axis.of(values, 5)
    assert (axis.low, axis.high) == pytest.approx(ends)
    assert all(-1e-9 <= axis.at(each) <= 1 + 1e-9 for each in values)
    assert axis.at(axis.low) == 0
    assert axis.at(axis.high) == pytest.approx(1)
    assert 2 <= len(axis.ticks) <= 8
