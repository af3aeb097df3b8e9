"""What the flows share: how shards become task runs, how progress is told, when a task is tried again."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import as_completed
from prefect.runtime import flow_run

from curate.engine import Result, TaskT
from curate.errors import AssayError
from curate.progress import Lines, Progress, silent
from curate.table import Table
from curate.workers import available_cores, process_pool


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


@task(task_run_name="{stage} {shard}", **RETRIED)
def run_shard(stage: str, shard: str, work: Callable[[], Any]) -> Any:
    """One stage over one shard. Paths and hashes come in and go out; rows stay in the store.

    The work comes as a call, into which Prefect does not look: it would walk through every setting of the stage.
    """
    return work()


def map_shards(stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /) -> list[Result]:
    """The MapShards that submits each shard to the task runner of the flow it is called in.

    A pool of processes of which one has died takes no more tasks, and does not say at which it died: from then on they
    are run by a pool of Assay's own, which finds out. What was finished is in the cache.
    """
    progress = _progress.get() or silent
    try:
        return _submitted(stage, function, tasks, progress)
    except (BrokenProcessPool, MemoryError):
        get_run_logger().warning(f"{stage}: a process of the task runner has died; its tasks are run again without it")
        with process_pool(available_cores(), progress) as own:
            return own(stage, function, tasks)


def _submitted(
    stage: str, function: Callable[[TaskT], Result], tasks: Sequence[TaskT], progress: Progress
) -> list[Result]:
    """The results of task runs.

    Raises:
        BrokenProcessPool, MemoryError: a process of the task runner has died, or run out of memory.
    """
    named = run_shard.with_options(name=stage)
    futures = {
        named.submit(stage, f"{number} of {len(tasks)}", partial(function, work)): number - 1
        for number, work in enumerate(tasks, start=1)
    }
    total = sum(work.size for work in tasks)
    done = 0
    if total:
        progress(stage, 0, total, tasks[0].unit)
    results: dict[int, Result] = {}
    for future in as_completed(list(futures)):
        index = futures[future]
        results[index] = future.result()
        done += tasks[index].size
        progress(stage, done, total, tasks[index].unit)
    return [results[index] for index in range(len(tasks))]


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


def publish_refusal(name: str, refusal: AssayError) -> None:
    """Keep why a candidate was refused as an artifact of the run, as text in which nothing is Markdown.

    Args:
        name: of the recipe.
        refusal: says why, and where the candidate lies.
    """
    text = "\n".join(f"    {line}" for line in str(refusal).splitlines())
    page = f"### {name}: refused, nothing was published\n\n{text}\n"
    create_markdown_artifact(key=artifact_key(name, "refused"), markdown=page, description=name)


def artifact_key(name: str, key: str) -> str:
    """Prefect allows lower-case letters, digits and dashes."""
    return f"{name}-{key}".replace("_", "-")
