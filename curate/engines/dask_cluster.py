"""Dask's distributed as an engine: a cluster that runs already, or one of this machine."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from curate.engine import MapShards, Result, TaskT, WorkerDied, supervised
from curate.engines import host
from curate.errors import AssayError
from curate.progress import Progress
from curate.workers import available_cores, caller_unknown, opened, packed

ADDRESS = "DASK_SCHEDULER_ADDRESS"
"""Dask's own: the environment's address of a scheduler."""
PATIENCE = 300
"""Seconds until a cluster has a worker."""


@contextmanager
def dask_cluster(workers: int | None, shared: Path, progress: Progress) -> Iterator[MapShards]:
    """A MapShards over the workers of the scheduler at DASK_SCHEDULER_ADDRESS, or of Dask's own configuration; else
    over those of a cluster of this machine, on loopback, that none but this process can talk to.

    Args:
        workers: how many tasks are at work at a time; by default one per core, or all that the cluster takes.
        shared: folder of the store, which they must see too.
        progress: told of the tasks that are done.

    Raises:
        AssayError: Dask is not installed, or there is no scheduler, no worker, or one that does not see the store.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise AssayError(
            f"The engine dask needs the package {error.name}, which is not installed.",
            remedy="pip install 'assay-curation[dask]'",
        ) from None
    address = os.environ.get(ADDRESS) or dask.config.get("scheduler-address", None)
    with ExitStack() as held:
        terms = held.enter_context(host.terms(shared))
        at = held.enter_context(_local(workers or available_cores())) if address is None else address
        try:
            client = held.enter_context(distributed.Client(at, set_as_default=False))
        except (OSError, ValueError) as error:
            raise AssayError(
                f"No Dask scheduler answers at {address}: {error}", remedy=f"Start one, or name another by {ADDRESS}."
            ) from None
        held.callback(_end, client, terms.run)
        try:
            client.submit(host.agree, terms, pure=False).result(timeout=PATIENCE)
        except TimeoutError:
            raise AssayError(
                f"The Dask scheduler at {address} had no worker within {PATIENCE} s.",
                remedy="Start workers: dask worker.",
            ) from None
        yield supervised(_each(client, terms, workers), progress)


def _each(client: Any, terms: host.Terms, workers: int | None) -> Any:
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    def each(
        function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /
    ) -> Iterator[tuple[int, Result | WorkerDied]]:
        indices: dict[Any, int] = {}
        waiting = iter(enumerate(tasks))

        def submitted(number: int | None) -> list[Any]:
            """Futures of the next tasks."""
            futures = []
            for index, task in islice(waiting, number):
                futures.append(client.submit(host.run, terms, packed(function, task), pure=False))
                indices[futures[-1]] = index
            return futures

        coming = as_completed(submitted(workers), loop=client.loop)
        for future in coming:
            coming.update(submitted(1))
            try:
                result = future.result()
            except KilledWorker as killed:
                result = host.lost(f"{killed.allowed_failures + 1} workers")
            yield indices.pop(future), result if isinstance(result, WorkerDied) else opened(result)

    return each


def _end(client: Any, run: str) -> None:
    """End what a run has left on the workers."""
    with suppress(Exception):  # the cluster is gone, and they with it
        client.run(host.end, run)


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    """A cluster of this machine. Whoever can talk to a scheduler can run code by it, so on loopback too it wants keys,
    which none but its own processes have."""
    import dask
    import distributed

    class OwnNanny(distributed.Nanny):
        """Starts its worker, also in place of one that died, without the script that called."""

        async def instantiate(self) -> Any:
            with caller_unknown():
                return await super().instantiate()

    pages: dict[str, list[str]] = {f"distributed.{of}.http.routes": [] for of in ("scheduler", "worker", "nanny")}
    with (
        dask.config.set(pages),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            security=True,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=None,  # the processes at work have bounds of their own
            worker_class=OwnNanny,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster
