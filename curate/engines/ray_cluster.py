"""Ray as an engine: a cluster that runs already, or one of this machine where no other can reach it."""

import fcntl
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from curate.engine import MapShards, Result, TaskT, WorkerDied, supervised
from curate.engines import host
from curate.errors import AssayError
from curate.progress import Progress
from curate.workers import available_cores, opened, packed

ADDRESS = "RAY_ADDRESS"
"""Ray's own: the environment's address of a cluster; `auto` is the one that `ray start` has started here."""
PATIENCE = 300
"""Seconds until a cluster has a worker."""
OBJECTS = 100 << 20
"""Bytes of memory for what passes between processes: paths and counts."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""It reports to its makers, and under `uv run` sends workers the working directory, unless told otherwise."""
SIOCGIFFLAGS, IFF_UP, IFF_LOOPBACK = 0x8913, 1, 8
"""Of Linux, netdevice(7)."""


@contextmanager
def ray_cluster(workers: int | None, shared: Path, progress: Progress) -> Iterator[MapShards]:
    """A MapShards over the workers of the cluster at RAY_ADDRESS, else over those of a cluster of this machine.

    Args:
        workers: how many tasks are at work at a time; by default one per core, or all that the cluster takes.
        shared: folder of the store, which they must see too.
        progress: told of the tasks that are done.

    Raises:
        AssayError: Ray is not installed, there is no cluster at the address, none is named where others could reach
            one that is started here, or a worker does not see the store.
    """
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    try:
        import ray
    except ImportError:
        raise AssayError(
            "The engine ray needs the package ray, which is not installed.", remedy="pip install 'assay-curation[ray]'"
        ) from None
    address = os.environ.get(ADDRESS) or "local"
    with host.terms(shared) as terms, _connected(ray, address, workers or available_cores()):
        agreed = ray.remote(num_cpus=1)(host.agree).remote(terms)
        try:
            ray.get(agreed, timeout=PATIENCE)
        except ray.exceptions.GetTimeoutError:
            raise AssayError(
                f"The Ray cluster at {address} had no CPU for this within {PATIENCE} s.",
                remedy="Start nodes: ray start --address=….",
            ) from None
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        yield supervised(_each(ray, terms, workers), progress)


def _each(ray: Any, terms: host.Terms, workers: int | None) -> Any:
    remote = ray.remote(num_cpus=1, max_retries=3)(host.run)
    errors = ray.exceptions

    def each(
        function: Callable[[TaskT], Result], tasks: Sequence[TaskT], /
    ) -> Iterator[tuple[int, Result | WorkerDied]]:
        waiting = iter(enumerate(tasks))

        def submitted(number: int | None) -> dict[Any, int]:
            """The next tasks' places, by what their results are known by."""
            return {remote.remote(terms, packed(function, task)): index for index, task in islice(waiting, number)}

        coming = submitted(workers)
        try:
            while coming:
                (ready,), _ = ray.wait(list(coming), num_returns=1)
                try:
                    result = ray.get(ready)
                except errors.RayTaskError as error:
                    raise error.cause from None
                except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
                    result = host.lost(type(error).__name__)
                index = coming.pop(ready)
                coming.update(submitted(1))
                yield index, result if isinstance(result, WorkerDied) else opened(result)
        finally:
            for reference in coming:
                ray.cancel(reference, force=True)

    return each


@contextmanager
def _connected(ray: Any, address: str, workers: int) -> Iterator[None]:
    """This process as a driver of a cluster; one that it is already, it stays."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        _require_alone()
        options |= {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECTS}
        options |= {"_node_ip_address": "127.0.0.1"}
    try:
        ray.init(**options)
    except (OSError, ValueError, RuntimeError) as error:
        raise AssayError(
            f"No Ray cluster could be used at {address}: {error}", remedy=f"Start one, or name another by {ADDRESS}."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _require_alone() -> None:
    """Ray listens on every interface, whatever address it is given, and whoever reaches it can run code.

    Raises:
        AssayError: there is another interface than loopback.
    """
    if others := _interfaces_up():
        raise AssayError(
            f"Ray is not started here: it would listen on every interface ({', '.join(others)} too), and whoever "
            "reaches it can run code.",
            remedy=f"Name a running cluster by {ADDRESS} (`auto`: what `ray start` has started on this machine), or "
            "start this where there is no network: unshare -rn sh -c 'ip link set lo up; assay curate …'. "
            "On one machine --engine processes does the same work, sooner.",
        )


def _interfaces_up() -> list[str]:
    """Network interfaces that are up, but for loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:

        def flags(name: str) -> int:
            answer = fcntl.ioctl(asked, SIOCGIFFLAGS, struct.pack("256s", name.encode()))
            return int(struct.unpack_from("H", answer, 16)[0])

        found = {name: flags(name) for _, name in socket.if_nameindex()}
    return [name for name, flag in found.items() if flag & IFF_UP and not flag & IFF_LOOPBACK]
