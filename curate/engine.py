"""Engines: whatever runs work on shards, in this process, in others, or on other machines."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, Self, TypeVar, cast

from curate.errors import AssayError
from curate.progress import Progress

EngineName = Literal["processes", "dask", "ray"]
SELDOM = 100_000, 50, 100
"""How many objects are made, and how many looks at the youngest are had, before the next look for circles: rows that
are read, and libraries that are imported, are thousands of objects, none in a circle; looks at every 700 took a seventh
of the time of reading."""


class Task(Protocol):
    """Work on one shard, small enough to send to another process. As text it says what it is at."""

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


@contextmanager
def looking_seldom() -> Iterator[None]:
    """Have Python look for circles of objects SELDOM."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class WorkerDied(Exception):
    """A worker process has ended in the middle of a task.

    Args:
        how: it ended, e.g. "its worker process ended: signal 11 (SIGSEGV)".
        remedy: what the user may do about it.
        killed: whether by a signal that only comes from outside, which says nothing of the data.
    """

    def __init__(self, how: str, remedy: str, killed: bool) -> None:
        super().__init__(how, remedy, killed)
        self.how = how
        self.remedy = remedy
        self.killed = killed


class Alone(Protocol):
    """Runs `function` over one task in a worker process, while no other is at work.

    Raises:
        WorkerDied: it has ended the worker.
    """

    def __call__(self, function: Callable[[TaskT], Result], task: TaskT, /) -> Result: ...


class Each(Protocol):
    """Runs `function` over tasks in worker processes: the result of each task, with its place, as they come; or how its
    worker died.

    Raises:
        Exception: a task has failed.
    """

    def __call__(
        self, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /
    ) -> Iterator[tuple[int, Result | WorkerDied]]: ...


class Narrowable:
    """Base of tasks that can do without the data that ends their worker."""

    def in_steps(self, step: Callable[[str, Self], Any]) -> Any:
        """The result, found by tasks that each go on from the result of the one before; None if there is but one step.

        Args:
            step: gives the result of one, by the name of its stage.
        """
        return None

    def emptied(self) -> Self | None:
        """The same work on no data, if there is such: what ends a worker even so is not the data's doing."""
        return None

    def divided(self, alone: Alone) -> Sequence[Self]:
        """Smaller tasks that are together this one; none if no part of it can be left out by itself."""
        return ()

    def joined(self, results: Sequence[Any]) -> Any:
        """The result, by those of the tasks that it was divided into."""
        raise NotImplementedError

    def without(self, died: WorkerDied, nothing: Any) -> Any:
        """The result if its data is quarantined for what it does to a worker; `nothing` is that of `emptied`."""
        raise NotImplementedError


def narrowed(stage: str, function: Callable[[TaskT], Result], task: TaskT, alone: Alone) -> Result:
    """The result of a task at which a worker has died: it is tried again, and if it ends another, part by part, until
    only what ends a worker alone is left out and quarantined. That does not depend on what else was in the task, and so
    not on the size of shards.

    Raises:
        AssayError: the task can do without none of its data, or the data is not to blame.
    """

    def told(task: object, died: WorkerDied) -> AssayError:
        return AssayError(
            f"Stage {stage}, {task}: {died.how}, also when it was tried alone. Nothing was published.",
            remedy=died.remedy,
        )

    whole: Any = task
    if isinstance(whole, Narrowable):
        found = whole.in_steps(lambda name, part: narrowed(name, function, cast(TaskT, part), alone))
        if found is not None:
            return cast(Result, found)
    try:
        return alone(function, task)
    except WorkerDied as died:
        if not isinstance(whole, Narrowable):
            raise told(task, died) from None
        again = died
    empty: Any = whole.emptied()
    try:
        nothing = None if empty is None else alone(function, empty)
    except WorkerDied as died:
        raise told(empty, died) from None

    def lessened(task: Any, died: WorkerDied) -> Any:
        if parts := task.divided(alone):
            return task.joined([tried(part) for part in parts])
        if died.killed:
            raise told(task, died)
        return task.without(died, nothing)

    def tried(task: Any) -> Any:
        try:
            return alone(function, task)
        except WorkerDied as died:
            return lessened(task, died)

    return cast(Result, lessened(whole, again))


def supervised(each: Each, progress: Progress) -> MapShards:
    """The MapShards of workers that may die: a task at which one did is run again when the others are done, and part by
    part (`narrowed`).

    Args:
        each: has the workers.
        progress: told of the tasks that are done.
    """

    def alone(function: Callable[[TaskT], Result], task: TaskT, /) -> Result:
        ((_, result),) = each(function, [task])
        if isinstance(result, WorkerDied):
            raise result
        return result

    def map_shards(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
        total = sum(task.size for task in tasks)
        done = 0
        if total:
            progress(stage, 0, total, tasks[0].unit)
        results: dict[int, Result] = {}
        ended: list[int] = []

        def keep(index: int, result: Result) -> None:
            nonlocal done
            results[index] = result
            done += tasks[index].size
            progress(stage, done, total, tasks[index].unit)

        for index, result in each(function, tasks):
            if isinstance(result, WorkerDied):
                ended.append(index)
            else:
                keep(index, result)
        for index in ended:
            keep(index, narrowed(stage, function, tasks[index], alone))
        return [results[index] for index in range(len(tasks))]

    return map_shards
