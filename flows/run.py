"""What the steps of a flow run share: its recipe, its store, and where it tells how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger

from curate.arrival import superseded
from curate.errors import explained
from curate.progress import Lines, Progress
from curate.recipe import find_recipe
from curate.store import Kind, Store, store_at
from evaluation.settings import FullRecipe
from flows import log, output

log.install()
output.outlive_readers()


@dataclass(frozen=True)
class Run:
    """A flow run at work."""

    recipe: FullRecipe
    store: Store
    progress: Progress

    def published(self, kind: Kind) -> set[Path]:
        """What there is of a kind under the recipe's name."""
        return {*(self.store.root / kind / self.recipe.name).glob("*")}


def superseded_in(run: Run, digest: str | None) -> bool:
    """Whether a drop was told of, curated, and followed by another's version, while the run waited for its turn: what
    NAME means would be that of the older drop again.

    Args:
        run: at work; its log tells it.
        digest: the drop's content hash, as the event told it; None where no event has started the run.
    """
    version = None if digest is None else superseded(run.store, run.recipe.name, digest)
    if version is not None:
        get_run_logger().info("The drop was published as version %s, and a later one since: nothing is to do", version)
    return version is not None


@contextmanager
def run_of(recipe: str, store: str, variant: str | None, drop: str | None = None) -> Iterator[Run]:
    """The run of a flow that was called with these parameters.

    Raises:
        AssayError: the store cannot be used, there is no such recipe or variant, or it is wrong; or of whatever error
            users can mend, so that the state of the run says what to do.
    """
    with mendable():
        target = store_at(store)
        loaded = FullRecipe.load(find_recipe(recipe), variant, drop or None)
        with progress_of_run() as progress:
            yield Run(loaded, target, progress)


@contextmanager
def mendable() -> Iterator[None]:
    """Have what users can mend, also where a library or the system raised it, say so.

    Raises:
        AssayError: says what to do.
    """
    try:
        yield
    except Exception as error:
        told = explained(error)
        if told is None or told is error:
            raise
        raise told from error


SHARE = 0.25
"""Of the time since the start: for so long a run that is in the middle of a stage says nothing."""
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
    and, between them, ever fewer: a log of a week is no longer than a page."""
    told = _progress.get()
    if told is not None:
        yield told
        return
    with Lines(get_run_logger().info, share=SHARE) as lines:
        yield lines
