"""What the flows share: how stages become task runs, how progress is told, when a task is tried again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from curate.engine import MapShards, Result, TaskT
from curate.progress import Lines, Progress
from curate.table import Table


def run_name() -> str:
    """A flow run's name: the flow's, and the recipe's without its path, e.g. "curation licences"."""
    return f"{flow_run.flow_name} {Path(flow_run.parameters['recipe']).stem}"


_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def report_to(progress: Progress) -> Iterator[None]:
    """Have the flows called inside report to `progress`; a flow's parameters could not carry it, being JSON."""
    before = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(before)


@contextmanager
def progress_of_run() -> Iterator[Progress]:
    """Where the flow at work reports to: what `report_to` says, else the run's log, by a line for each finished stage
    and one at least every half minute."""
    told = _progress.get()
    if told is not None:
        yield told
        return
    with Lines(get_run_logger().info) as lines, report_to(lines):
        yield lines


def is_transient(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: only where the disk or the network failed."""
    return isinstance(state.result(raise_on_failure=False), OSError)


# Results and caches are content-addressed below Prefect, so it is asked to keep neither.
RETRIED: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": is_transient,
}


def as_tasks(engine: MapShards) -> MapShards:
    """The MapShards whose every call, a stage over all its shards, is one task run of the flow it is called in.

    A task run costs more than most shards do; which worker has which shard is the engine's affair.

    Args:
        engine: does the work: `process_pool` on one machine, another's past it.
    """

    def map_shards(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
        # As a call, into which Prefect does not look: it would walk through every setting of the stage.
        results: list[Result] = run_stage.with_options(name=stage, task_run_name=stage)(
            partial(engine, stage, function, tasks)
        )
        return results

    return map_shards


@task(**RETRIED)
def run_stage(work: Callable[[], list[Any]]) -> list[Any]:
    """One stage. Paths and hashes come out; rows stay in the store."""
    return work()


def publish_tables(name: str, tables: Sequence[Table], published: str) -> None:
    """Keep tables as artifacts of the run: one page of Markdown with where the result is, and each as a table.

    Args:
        name: of the recipe.
        tables: the first one names the page.
        published: folder of the result.
    """
    page = "\n".join(table.markdown() for table in tables)
    create_markdown_artifact(
        key=artifact_key(name, tables[0].key), markdown=f"{page}\nPublished at `{published}`.\n", description=name
    )
    for table in tables[1:]:
        create_table_artifact(key=artifact_key(name, table.key), table=table.records(), description=table.title)


def artifact_key(name: str, key: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return f"{name}-{key}".replace("_", "-")
