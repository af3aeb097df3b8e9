"""Folders of a mirror that are one object each of the bucket: entries of the cache, and what was refused."""

import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO

from curate import addresses
from curate.bucket import Bucket, Found
from curate.drafts import DRAFT, drafted
from curate.errors import AssayError

UNREADABLE = (tarfile.TarError, EOFError, AssayError)
"""What is raised of an object that is not as it was packed."""
DEPTH = 3
"""Of an entry's name: cache/PART/KEY/KEY."""
HERE_ALONE = ("merged", "downloads")
"""Parts of the cache that stay on the machine that made them: copies of models, which each has anyway."""
WEIGHTS = "model"
"""And of the part `models` the weights; a tokenizer is as small as what workers need."""
USED = 7 * 24 * 60 * 60
"""Seconds after which an entry that is used is put again, so that the bucket tells of its use."""


class PackedFolders:
    """Folders of a mirror that are objects of its bucket: there whole or not at all, the same bytes by whomever packed.

    Args:
        url: the store's.
        root: the mirror's folder.
    """

    def __init__(self, url: str, root: Path) -> None:
        self.url = url
        self.root = root
        addresses.known(root, url)

    @cached_property
    def bucket(self) -> Bucket:
        return Bucket(self.url)

    def name(self, path: Path) -> str:
        """Of what lies at a path below the mirror, in the bucket."""
        return path.relative_to(self.root).as_posix()

    def refresh_folders(self, below: str) -> None:
        """Have folders in the mirror that are objects of the bucket, as they are there now.

        Args:
            below: the part of the store in which they lie.

        Raises:
            AssayError: one cannot be read.
        """
        there = self.bucket.listed(below)
        for folder in [*(self.root / below).glob("*")] if (self.root / below).is_dir() else []:
            found = there.get(self.name(folder))
            if not folder.name.startswith(DRAFT) and (found is None or folder.stat().st_mtime != found.modified):
                self._forget(folder)
        for name, found in there.items():
            folder = self.root / name
            if folder.is_dir():
                continue
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._unpacked(folder, lambda _: None, drop=False) as draft:
                    if draft is not None:
                        with suppress(OSError):  # another process has just done so
                            draft.rename(folder)
                        os.utime(folder, (found.modified, found.modified))
            except UNREADABLE as error:
                raise AssayError(
                    f"{self.url}/{name}: not readable as what was put there: {error}.",
                    remedy="Remove that object; a run that is refused again puts another.",
                ) from None

    def shares(self, entry: Path) -> bool:
        """Whether an entry of the cache is the store's, and not this machine's alone."""
        top, part, *rest = entry.relative_to(self.root).parts
        return top != "cache" or (part not in HERE_ALONE and not (part == "models" and rest[-1] == WEIGHTS))

    def pull(self, entry: Path, check: Callable[[Path], None]) -> bool:
        """Have an entry in the mirror; False where the bucket has none.

        Args:
            entry: its folder.
            check: of a folder that holds it; raises what is wrong with it.
        """
        if not self.shares(entry):
            return False
        entry.parent.mkdir(parents=True, exist_ok=True)
        with self._unpacked(entry, check) as draft:
            if draft is not None:
                with suppress(OSError):  # another process has just done so
                    draft.rename(entry)
            return draft is not None

    def rotten(self, entry: Path, check: Callable[[Path], None]) -> str | None:
        """What is wrong with an entry in the bucket, which is read there; None where nothing is."""
        try:
            with self._unpacked(entry, check, drop=False):
                return None
        except UNREADABLE as error:
            return str(error)

    @contextmanager
    def _unpacked(self, entry: Path, check: Callable[[Path], None], drop: bool = True) -> Iterator[Path | None]:
        with drafted(entry.parent) as aside:
            packed, draft = aside / "packed", aside / entry.parent.name / entry.name
            if not self.bucket.get_file(self.name(entry), packed):
                yield None
                return
            try:
                unpack(packed, draft, check)
            except UNREADABLE:
                if drop:
                    self.drop(entry)
                raise
            yield draft

    def push(self, entry: Path) -> None:
        """Put an entry into the bucket: one object, whole or not at all."""
        if not self.shares(entry):
            return
        with tempfile.TemporaryFile(dir=self.root) as packed:
            pack(entry, packed)
            self.bucket.put_file(self.name(entry), Path(f"/proc/self/fd/{packed.fileno()}"))

    def used(self, entry: Path, seal: Path) -> None:
        """Have the bucket tell that an entry is in use, if it has not for long."""
        with suppress(FileNotFoundError):
            if time.time() - seal.stat().st_mtime > USED:
                self.push(entry)

    def entries(self, folder: Path) -> dict[Path, Found]:
        """The entries in the bucket of the cache, or a folder of it."""
        listed = self.bucket.listed(self.name(folder)).items()
        return {self.root / name: found for name, found in listed if name.count("/") == DEPTH}

    def drop(self, entry: Path) -> None:
        """Remove an entry from the bucket."""
        self.bucket.remove([self.name(entry)])

    def _forget(self, folder: Path) -> None:
        """Remove a version that is no more from the mirror."""
        if folder.is_dir():
            with suppress(FileNotFoundError):  # another process does
                aside = folder.rename(tempfile.mkdtemp(prefix=DRAFT, dir=folder.parent))
                shutil.rmtree(aside, ignore_errors=True)


def pack(folder: Path, file: IO[bytes]) -> None:
    """Write a folder's files into one."""
    with tarfile.open(fileobj=file, mode="w:") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(folder).as_posix(), filter=_plain)
    file.flush()


def unpack(packed: Path, folder: Path, check: Callable[[Path], None]) -> None:
    """Make a folder that was packed.

    Args:
        check: of the folder; raises what is wrong with it.

    Raises:
        Exception: one of UNREADABLE.
    """
    folder.mkdir(parents=True)
    with tarfile.open(packed, "r:") as archive:
        archive.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        os.utime(path)
    check(folder)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A file as it would be packed by anybody at any time."""
    member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode = 0, 0, 0, "", "", 0o644
    return member
