"""Shared: what processes change in turn, of this machine or, where the store is in a bucket, of any.

Of a store that is a folder these functions are those of `curate.drafts`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from curate import drafts
from curate.mirror import Mirror, mirror_of
from curate.progress import Progress, silent


def fresh(path: Path) -> Path:
    """The path of a file that changes, which is now as it was changed last."""
    if (mirror := mirror_of(path)) is not None:
        mirror.changing(path).fresh()
    return path


def replace_file(path: Path, content: bytes, aside: Path | None = None) -> None:
    """Put a file in the place of what was there and is `fresh`.

    Args:
        path: of the file.
        content: of it.
        aside: the folder in which it is written first, by default its own.

    Raises:
        AssayError: it is a bucket's, and has been changed meanwhile; or this process has lost a lock.
    """
    if (mirror := mirror_of(path)) is None:
        drafts.replace_file(path, content, aside)
    else:
        mirror.changing(path).replace(content, mirror.require_held)


def remove_file(path: Path) -> None:
    """Remove a file that changes."""
    if (mirror := mirror_of(path)) is None:
        path.unlink(missing_ok=True)
    else:
        mirror.changing(path).replace(b"", mirror.require_held)


def add_lines(path: Path, lines: bytes) -> bool:
    """Add lines to a bucket's file; False where it is a file of this machine, to which the caller adds them."""
    if (mirror := mirror_of(path)) is not None:
        mirror.changing(path).add(lines)
        return True
    return False


def rotten(folder: Path, files: Mapping[str, str], hashed: Callable[[Path], str]) -> Iterator[tuple[str, str]]:
    """Where in a bucket files of a folder that never change are not as they were put, and how.

    Args:
        folder: of a store; nothing is told of one that is no bucket's.
        files: their hashes, by name.
        hashed: gives such a hash, of XXH3.
    """
    if (mirror := mirror_of(folder)) is not None:
        yield from mirror.rot(folder, files, hashed, "XXH3")


def fetch_file(path: Path, intact: Callable[[Path], bool]) -> None:
    """Have a file on this machine that never changes, if a bucket has it.

    Args:
        path: of the file.
        intact: whether a file holds what it is to.

    Raises:
        AssayError: what the bucket has is something else.
    """
    if (mirror := mirror_of(path)) is not None and not path.is_file():
        mirror.fetch_file(path, intact)


def put_files(paths: Sequence[Path]) -> None:
    """Put files that never change into the bucket of a store, if it is in one."""
    if paths and (mirror := mirror_of(paths[0])) is not None:
        mirror.put_files(paths)


def put_again(folder: Path, names: Sequence[str]) -> None:
    """Put files of a folder that have changed into the bucket of a store, if it is in one."""
    if (mirror := mirror_of(folder)) is None:
        return
    if mirror.is_version(folder):
        mirror.tell_anew(folder, names)
    else:
        mirror.require_held()
        mirror.upload(folder, folder, names)


def keep_files(folder: Path, names: Collection[str]) -> None:
    """Remove every file of a folder of a bucket, if the store is in one, but those of these names."""
    if (mirror := mirror_of(folder)) is not None:
        mirror.keep_files(folder, names)


def replace_folder(draft: Path, path: Path) -> None:
    """Move a folder to its place; what was there goes."""
    drafts.replace_folder(draft, path)
    if (mirror := mirror_of(path)) is not None:
        mirror.push(path)


def move_version(folder: Path, to: Path) -> None:
    """Move what is published to another place of its store; what was there goes."""
    if (mirror := mirror_of(folder)) is not None:
        mirror.move(folder, to)
    with _known_by_now(mirror):
        drafts.replace_folder(folder, to)


def remove_folder(folder: Path) -> None:
    """Remove what is published, or was set aside; a process that is killed meanwhile leaves nothing that looks like
    it."""
    if (mirror := mirror_of(folder)) is not None:
        mirror.remove(folder)
    with _known_by_now(mirror):
        drafts.remove_folder(folder)


def _known_by_now(mirror: Mirror | None) -> AbstractContextManager[None]:
    """For what is done here of what was done in a bucket: another process of this machine may have learnt of it, and
    have done so."""
    return nullcontext() if mirror is None else suppress(FileNotFoundError)


@contextmanager
def held(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a folder: it ends with its process, and one of a bucket soon after.

    Args:
        folder: that is there.
        waiting: called once, if a process of another machine has it.
    """
    with drafts.locked(folder), leased(folder, waiting):
        yield


@contextmanager
def turn(folder: Path, what: str, progress: Progress = silent) -> Iterator[None]:
    """Hold the lock of a folder, of which another process may have to be waited for.

    Args:
        folder: is made where it is missing.
        what: is to be done, to tell of the waiting.
        progress: told of it.
    """
    with (
        drafts.turn(folder, what, progress),
        leased(folder, lambda: progress(f"{what} (another machine's turn)", 0, 1, "runs")),
    ):
        yield


@contextmanager
def leased(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a folder against processes of other machines, which only share what lies in a bucket.

    Args:
        folder: of which this process holds the lock already.
        waiting: called once, if a process of another machine has it.
    """
    with ExitStack() as held:
        if (mirror := mirror_of(folder)) is not None:
            held.enter_context(mirror.leased(folder, waiting))
        yield
