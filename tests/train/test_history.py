"""A run's history: epochs' losses, the best validation, and how long ago it was."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.history import PAIRED, REINFORCED, History, Step, Validation


def step(number: int, loss: float = 1.0, trained: int = 10) -> Step:
    return Step(number, number / 2, loss, 1.0, 1e-3, 4 * trained, trained, 5 * trained, trained, 100.0, 500)


def history(*validations: Validation, steps: int = 4) -> History:
    return History([step(number) for number in range(1, steps + 1)], list(validations), 2)


LOSSES = st.lists(st.floats(0, 9), min_size=1, max_size=9)


@given(LOSSES, st.booleans())
def test_the_best_is_the_first_of_the_best_after_a_step(values: list[float], scored: bool) -> None:
    validations = [
        Validation(at, at / 2, 1.0 if scored else value, value if scored else None) for at, value in enumerate(values)
    ]
    run = history(*validations)
    after = values[1:]
    if not after:
        assert run.best() is None
        assert run.without_better() == 0
        return
    best = run.best()
    assert best is not None
    assert best.step == 1 + after.index(max(after) if scored else min(after))
    assert run.without_better() == len(after) - best.step


def test_an_epochs_loss_is_the_mean_over_its_trained_tokens() -> None:
    run = History([step(1, 1.0, 30), step(2, 2.0, 10), step(3, 7.0, 5)], [], 2)
    assert run.epoch_losses() == [pytest.approx(1.25), 7.0]
    assert run.tokens(until=2) == (160, 40)
    assert run.padding() == pytest.approx(0.2)
    assert run.seconds() == pytest.approx(1.8)


def test_the_trainers_log_is_all_it_needs(tmp_path: Path) -> None:
    known = step(1)._asdict()
    log = [{"step": 0, "eval_loss": 3.0}, known, {"step": 1, "epoch": 0.5, "eval_loss": 2.0, "eval_score": 0.5}]
    run = History.of([*log, {"step": 1, "train_runtime": 3.0}], 2)
    assert run.steps == [step(1)]
    assert run.validations == [Validation(0, 0.0, 3.0, None), Validation(1, 0.5, 2.0, 0.5)]
    run.write(tmp_path / "steps.parquet")
    before, after = pq.read_table(tmp_path / "steps.parquet").to_pylist()
    assert {key: value for key, value in before.items() if value is not None} == {
        "step": 0,
        "epoch": 0.0,
        "validation_loss": 3.0,
    }
    alone = {name: value for name, value in known.items() if name not in (*PAIRED, *REINFORCED)}
    assert after == alone | {"validation_loss": 2.0, "score": 0.5}
