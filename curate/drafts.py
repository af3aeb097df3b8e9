"""Drafts: folders and files are filled aside and renamed into place, so that what is there is whole.

Locks are of folders, and end with their process.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from curate.progress import Progress

DRAFT = ".draft-"
"""What the names of folders begin with that are being filled."""


@contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """A folder in `target` to fill and rename, removed if it was not. Those of killed processes go too."""
    target.mkdir(parents=True, exist_ok=True)
    with locked(target):
        remove_abandoned(target)
        folder = Path(tempfile.mkdtemp(prefix=DRAFT, dir=target))
        held = ExitStack()
        held.enter_context(locked(folder))
    with held:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(target: Path) -> None:
    """Remove the drafts in a folder whose processes were killed; its lock is held."""
    for draft in target.glob(f"{DRAFT}*"):
        # Else its process is alive, or has just renamed it.
        with suppress(BlockingIOError, FileNotFoundError), locked(draft, fcntl.LOCK_NB):
            shutil.rmtree(draft)


@contextmanager
def locked(folder: Path, how: int = 0) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process.

    Raises:
        BlockingIOError: another holds it, and `how` is LOCK_NB.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def turn(folder: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of a folder, of which another process may have to be waited for.

    Args:
        folder: is made where it is missing.
        what: is to be done, to tell of the waiting.
        progress: told of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder, fcntl.LOCK_NB))
        except BlockingIOError:
            waiting = f"{what} (another run's turn)"
            progress(waiting, 0, 1, "runs")
            held.enter_context(locked(folder))
            progress(waiting, 1, 1, "runs")
        yield


def fsync(path: Path) -> None:
    """Have a file, or a folder's list of names, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, aside: Path | None = None) -> None:
    """Write a file aside, have it written to the disk, and put it in the place of what was there.

    Args:
        path: of the file.
        content: of it.
        aside: the folder in which it is written first, by default its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=DRAFT, dir=aside or path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink()
        raise
    fsync(path.parent)


def replace_folder(draft: Path, path: Path) -> None:
    """Move a folder to its place; what was there goes. A killed process leaves the old one, none or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        remove_abandoned(path.parent)
        if path.is_dir():
            shutil.rmtree(path.rename(tempfile.mkdtemp(prefix=DRAFT, dir=path.parent)))
        draft.rename(path)
        fsync(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder; a process that is killed meanwhile leaves nothing that looks like one."""
    with locked(path.parent):
        aside = path.rename(tempfile.mkdtemp(prefix=DRAFT, dir=path.parent))
        shutil.rmtree(aside)
    fsync(path.parent)
