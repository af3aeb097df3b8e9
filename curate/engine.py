"""Engines: whatever runs work on shards, in this process, in others, or on other machines."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Task(Protocol):
    """Work on one shard, small enough to send to another process."""

    @property
    def size(self) -> int:
        """How much work it is, in `unit`s."""

    @property
    def unit(self) -> str:
        """ "rows", "bytes", ..."""


TaskT = TypeVar("TaskT", bound=Task)
Result = TypeVar("Result")


class MapShards(Protocol):
    """Runs `function` over tasks, anywhere and in any order; gives back the results in the order of the tasks."""

    def __call__(self, stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]: ...


def map_in_process(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
    """The MapShards that runs every task here, one after the other."""
    return [function(task) for task in tasks]
