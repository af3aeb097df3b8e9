"""Engines by name: processes of one machine, or a cluster of Dask's or Ray's over the same stages and shards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast, get_args

from curate.engine import EngineName, MapShards
from curate.errors import AssayError
from curate.progress import Progress
from curate.store import Store
from curate.workers import available_cores, process_pool, start_server

ENGINE = "ASSAY_ENGINE"
"""The environment's engine. Where work is done is nothing to what it gives, and so not in a recipe."""


def engine_named(name: str | None) -> EngineName:
    """The engine of a name; by default the environment's ASSAY_ENGINE, else `processes`.

    Raises:
        AssayError: there is no such engine.
    """
    wanted = name or os.environ.get(ENGINE) or "processes"
    for known in get_args(EngineName):
        if wanted == known:
            return cast(EngineName, known)
    raise AssayError(
        f"There is no engine {wanted!r:.80}.",
        remedy=f"One of {', '.join(get_args(EngineName))}, by --engine or {ENGINE}.",
    )


def get_ready(name: str | None) -> None:
    """Have what workers of this machine begin with imported by a process of its own, while this one still finds out
    what there is to do.

    Raises:
        AssayError: there is no such engine, or the machine's bounds are too narrow.
    """
    if engine_named(name) == "processes":
        start_server()


@contextmanager
def engine(name: str | None, workers: int | None, store: Store, progress: Progress) -> Iterator[MapShards]:
    """The MapShards of an engine.

    Args:
        name: as `engine_named` takes it.
        workers: how many tasks are at work at a time; by default one per core, or as many as a running cluster takes.
        store: which the workers of a cluster share.
        progress: told of the tasks that are done.

    Raises:
        AssayError: there is no such engine, what it needs is not installed, or its cluster cannot be used.
    """
    name = engine_named(name)
    if name == "processes":
        with process_pool(workers or available_cores(), progress) as map_shards:
            yield map_shards
    elif name == "dask":
        from curate.engines.dask_cluster import dask_cluster

        with dask_cluster(workers, store.cache, progress) as map_shards:
            yield map_shards
    else:
        from curate.engines.ray_cluster import ray_cluster

        with ray_cluster(workers, store.cache, progress) as map_shards:
            yield map_shards
