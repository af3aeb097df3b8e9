"""How work becomes task runs, and when a task is tried again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from curate.engine import MapShards, Result, TaskT

Given = TypeVar("Given")


def is_transient(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: only where the disk or the network failed."""
    return isinstance(state.result(raise_on_failure=False), OSError)


# Results and caches are content-addressed below Prefect, so it is asked to keep neither.
@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=is_transient,
)
def _task(work: Callable[[], Any]) -> Any:
    return work()


def in_task(name: str, work: Callable[[], Given]) -> Given:
    """Do work in one task run of the flow at work, in this process.

    Args:
        name: the task run's.
        work: a call, into which Prefect does not look: it would walk through every setting of recipe and stage.
    """
    named: Callable[[Callable[[], Given]], Given] = _task.with_options(name=name, task_run_name=name)
    return named(work)


def as_tasks(engine: MapShards) -> MapShards:
    """The MapShards whose every call, a stage over all its shards, is one task run of the flow at work.

    A task run costs more than most shards do; which worker has which shard is the engine's affair.

    Args:
        engine: does the work, on one machine or past it.
    """

    def map_shards(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
        return in_task(stage, partial(engine, stage, function, tasks))

    return map_shards
