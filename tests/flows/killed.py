"""Killing what is at work on a run, and what must hold of the store afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_NB
from pathlib import Path
from uuid import UUID

from typer.testing import CliRunner

from assay.cli import app
from curate.drafts import DRAFT, locked
from tests.flows.served import Served, kill_living, process_of, shard_process_of, wait

VICTIMS = ("flow", "server", "shard", "worker")


def kill(served: Served, run: UUID, victims: set[str]) -> None:
    """Kill the processes of these names, of which each is there and alive.

    Args:
        served: the server and the worker.
        run: that they are at work on.
        victims: of `VICTIMS`; a shard's process is waited for.
    """
    shard = wait(lambda: shard_process_of(run)) if "shard" in victims else 0
    for victim in sorted(victims & {"server", "worker"}):
        served.kill(victim)
    if shard:
        kill_living(shard)
    if "flow" in victims:
        kill_living(process_of(run))


@contextmanager
def held_up(store: Path) -> Iterator[None]:
    """Runs of the project wait after the stages that judge each row by itself: another process has the lock."""
    lock = store / "index/demo/lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with locked(lock):
        yield


def assert_whole(store: Path) -> None:
    """Everything that is published is whole, and nobody holds a lock."""
    checked = CliRunner().invoke(app, ["check", "--all", "--store", str(store)])
    assert checked.exit_code == 0, checked.output
    for path in (store, *store.rglob("*")):
        if path.is_dir() or path.name == "lock":
            with locked(path, LOCK_NB):
                pass


def assert_clean(store: Path) -> None:
    """Nothing half-made is left once `assay gc` has been asked."""
    done = CliRunner().invoke(app, ["gc", "--yes", "--store", str(store)])
    assert done.exit_code == 0, done.output
    assert list(store.rglob(f"{DRAFT}*")) == []
