"""Narrowing: what is left out of a task that ends its worker is what ends one alone, wherever tasks were cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.engine import Narrowable, WorkerDied, narrowed
from curate.errors import AssayError

LETHAL = -1
SEGFAULT = WorkerDied("its worker process ended: signal 11", "Wait.", False)


@dataclass(frozen=True)
class Numbers(Narrowable):
    """Some numbers, which are to be given back."""

    numbers: tuple[int, ...]
    unit: str = "numbers"

    @property
    def size(self) -> int:
        return len(self.numbers)

    def __str__(self) -> str:
        return f"numbers {self.numbers}"

    def emptied(self) -> "Numbers":
        return replace(self, numbers=())

    def divided(self, alone: Any) -> list["Numbers"]:
        middle = self.size // 2
        return (
            [replace(self, numbers=each) for each in (self.numbers[:middle], self.numbers[middle:])] if middle else []
        )

    def joined(self, results: Sequence[list[object]]) -> list[object]:
        return [each for result in results for each in result]

    def without(self, died: WorkerDied, nothing: list[object]) -> list[object]:
        return [*nothing, died.how]


def given_back(task: Numbers) -> list[int]:
    return list(task.numbers)


def dies(at: Callable[[Numbers], WorkerDied | None]) -> Any:
    """Runs a task, unless a worker would die at it."""

    def alone(function: Callable[[Numbers], Any], task: Numbers) -> Any:
        died = at(task)
        if died is not None:
            raise died
        return function(task)

    return alone


@given(st.lists(st.integers(LETHAL, 3), max_size=40), st.integers(1, 40))
def test_exactly_what_ends_a_worker_alone_is_left_out(numbers: list[int], size: int) -> None:
    alone = dies(lambda task: SEGFAULT if LETHAL in task.numbers else None)
    tasks = [Numbers(tuple(numbers[at : at + size])) for at in range(0, len(numbers), size)]
    results = [each for task in tasks for each in narrowed("sum", given_back, task, alone)]
    assert results == [SEGFAULT.how if number == LETHAL else number for number in numbers]


def test_what_ends_a_worker_only_together_costs_nothing() -> None:
    alone = dies(lambda task: SEGFAULT if task.size > 2 else None)
    assert narrowed("sum", given_back, Numbers(tuple(range(9))), alone) == list(range(9))


def test_what_ends_a_worker_without_any_data_is_not_blamed_on_the_data() -> None:
    alone = dies(lambda _: SEGFAULT)
    with pytest.raises(AssayError, match=r"Stage sum, numbers \(\): its worker process ended: signal 11") as caught:
        narrowed("sum", given_back, Numbers((1, 2)), alone)
    assert caught.value.remedy == "Wait."


def test_nothing_is_left_out_for_a_signal_from_outside() -> None:
    killed = WorkerDied("its worker process was killed: signal 9", "Wait.", True)
    alone = dies(lambda task: killed if LETHAL in task.numbers else None)
    with pytest.raises(AssayError, match=r"Stage sum, numbers \(-1,\): its worker process was killed: signal 9"):
        narrowed("sum", given_back, Numbers((1, 2, LETHAL, 3)), alone)


def test_a_worker_that_was_killed_once_costs_nothing() -> None:
    """`narrowed` is told of it: what it does first is to try again."""
    assert narrowed("sum", given_back, Numbers((1, 2)), dies(lambda _: None)) == [1, 2]
