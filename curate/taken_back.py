"""Taken back: what is published or promoted is so only while all that it was made from is there.

The lock of a store's folder is held while a version is published or promoted, and while versions are taken back: so
each happens before the other or after it, and what comes after a retraction sees it.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from curate.errors import AssayError
from curate.mirror import mirror_of
from curate.shared import held

AGAIN = "Make it again, or name another version, and run the same command again: what was done is kept."


class TakenBackError(AssayError):
    """Something was taken back, or removed by hand, while another was made from it."""


def require_there(folders: Collection[Path], otherwise: str) -> None:
    """See to it that published folders are there.

    Args:
        folders: of published versions.
        otherwise: what is not done if one is gone.

    Raises:
        TakenBackError: names the first that is gone.
    """
    for folder in folders:
        if (mirror := mirror_of(folder)) is not None:
            mirror.refresh_version(folder)
        if not folder.is_dir():
            raise TakenBackError(
                f"{folder}: taken back meanwhile, or rows of it were forgotten, so {otherwise}.", remedy=AGAIN
            )


@contextmanager
def while_there(store: Path, folders: Collection[Path], otherwise: str) -> Iterator[None]:
    """Keep published folders from being taken back.

    Args:
        store: the store's folder.
        folders, otherwise: as of `require_there`.

    Raises:
        TakenBackError: one is gone already.
    """
    with held(store):
        require_there(folders, otherwise)
        yield
