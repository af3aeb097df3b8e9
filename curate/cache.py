"""The cache: work that is kept, each piece in a folder that is named by all it depends on.

Such an entry is there whole or not at all, and is sealed with the checksums of its files: whatever is read of it is
compared with them, and an entry that has changed by itself is made anew. One that holds only what differs from another
entry names that one, its base, with the base's own seal: over another base it would say something else.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarError
from typing import TYPE_CHECKING, TypeVar

import orjson
import xxhash

from curate.addresses import addressed
from curate.drafts import DRAFT, drafted, locked, remove_abandoned
from curate.errors import RotError
from curate.hashing import canonical_json, checksum, digest
from curate.mirror import mirror_of, placed
from curate.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

Made = TypeVar("Made")

REMOVALS = 9
"""How often other runs may remove entries before one gives up making them again."""

SEAL = "checksums"
"""The file of an entry that says what the others were when they were written: without it there is no entry. Its time is
that of the entry's last use."""


def keyed_folder(root: Path, key: str) -> Path:
    """Where the cache keeps what `key` names: below its first two digits, so that no folder grows too long."""
    return root / key[:2] / key


def cache_folder(folder: Path, write: Callable[[Path], None], base: Path | None = None) -> None:
    """Fill an entry aside, seal it and rename it into place, so that it is there whole or not at all.

    Args:
        folder: the entry.
        write: fills the folder that it is given.
        base: an entry of the same kind without which this one cannot be read.

    The system writes it to the disk when it will: to wait for that would take a tenth of a run. What a power failure
    leaves half-written does not agree with its seal; what is published has been waited for.

    Raises:
        RotError: the base is damaged.
    """
    with drafted(folder.parent) as draft:
        write(draft)
        _seal(draft, folder, base)
        while True:
            try:
                draft.rename(folder)
                break
            except OSError:
                if is_kept(folder):  # another run has just made the same entry
                    return
                if not folder.is_dir():
                    raise
            _discard(folder)
    if (mirror := mirror_of(folder)) is not None:
        mirror.push(folder)


def cache_text(folder: Path, name: str, text: str) -> None:
    """Make an entry of one file."""

    def write(draft: Path) -> None:
        (draft / name).write_text(text)

    cache_folder(folder, write)


def seen_by_all(folder: Path, cache: Path, files: str = "**/*") -> Path:
    """A folder that a recipe names, such as a model's, for whoever works on shards: of a store in a bucket a copy that
    is part of it, as workers of other machines see nothing else.

    Args:
        folder: of this machine.
        cache: the store's.
        files: pattern of those that are read.

    Raises:
        RotError: the copy is damaged.
    """
    if mirror_of(cache) is None or folder.is_relative_to(cache):
        return folder
    named = {path.relative_to(folder).as_posix(): path for path in folder.glob(files) if path.is_file()}
    copy = keyed_folder(
        cache / "folders", digest([folder.name, sorted((name, checksum(path)) for name, path in named.items())])
    )

    def write(draft: Path) -> None:
        for name, path in named.items():
            (draft / folder.name / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, draft / folder.name / name)

    if not sound(copy):
        cache_folder(copy, write)
    return copy / folder.name


def is_kept(folder: Path) -> bool:
    """Whether an entry is there, for use, which is noted; whether it is sound shows when it is read.

    Raises:
        RotError: the store is in a bucket, of which the entry had to be fetched, and it is damaged there.
    """
    if not (folder / SEAL).is_file() and not _fetched(folder):
        return False
    if (mirror := mirror_of(folder)) is not None:
        mirror.used(folder, folder / SEAL)
    with suppress(OSError):  # it lies where nothing can be noted
        os.utime(folder / SEAL)
    return True


def brought(url: str, name: str) -> Path:
    """The path here of what a store in a bucket has; an entry of the cache that it is, or lies in, is fetched.

    Args:
        url: of the store.
        name: of a path below it.
    """
    parts = Path(name).parts
    if parts[:1] == ("cache",) and len(parts) >= 4:  # cache/PART/KEY/KEY
        is_kept(placed(url, Path(*parts[:4]).as_posix()))
    return placed(url, name)


def _fetched(folder: Path) -> bool:
    """Whether an entry could be fetched: the store is in a bucket, which has it."""
    mirror = mirror_of(folder)
    try:
        return mirror is not None and mirror.pull(folder, _check)
    except (RotError, TarError, EOFError) as error:
        problem = error.problem if isinstance(error, RotError) else "not readable as one"
        raise RotError(folder, f"its object in the bucket: {problem}") from None


@dataclass(frozen=True)
class Seal:
    """What an entry's seal says."""

    folder: Path
    """The entry."""
    own: str
    """Checksum of all the rest."""
    files: dict[str, str]
    """The checksum of each."""
    base: Path | None
    """The entry without which this one cannot be read."""
    base_own: str
    """The base's `own`."""

    @staticmethod
    def of(folder: Path) -> "Seal":
        """The seal of an entry.

        Raises:
            RotError: it is missing or damaged, or that of another entry.
        """
        if not (folder / SEAL).is_file() and not _fetched(folder):
            raise RotError(folder, f"{SEAL} is missing")
        own, _, content = (folder / SEAL).read_bytes().partition(b"\n")
        if own != xxhash.xxh3_128_hexdigest(content).encode():
            raise RotError(folder, f"the bytes of {SEAL} are not those that were written")
        name, files, *under = orjson.loads(content)
        if name != _name(folder):
            raise RotError(folder, f"it holds what was written as {name}")
        base, base_own = under[0] if under else (None, "")
        return Seal(folder, own.decode(), files, base and folder.parent.parent / base, base_own)

    def intact(self, name: str) -> Path:
        """See `intact`."""
        wanted = self.files.get(name)
        try:
            found = checksum(self.folder / name)
        except (FileNotFoundError, IsADirectoryError):
            found = None
        if found is None or wanted is None:
            raise RotError(self.folder, f"{name} is missing")
        if found != wanted:
            raise RotError(self.folder, f"the bytes of {name} are not those that were written")
        return self.folder / name

    def below(self) -> "Seal | None":
        """The base's seal.

        Raises:
            RotError: the base is damaged; or this entry is, for its base is not the one that it was written over.
        """
        if self.base is None:
            return None
        if not (self.base / SEAL).is_file() and not _fetched(self.base):
            raise RotError(self.folder, f"its base {_name(self.base)} is missing")
        found = Seal.of(self.base)
        if found.own != self.base_own:
            raise RotError(self.folder, f"its base {_name(self.base)} is not the one that it was written over")
        return found


def _check(draft: Path) -> None:
    """See to it that an entry that was fetched is as it was written; its base shows when it is read."""
    seal = Seal.of(draft)
    for name in seal.files:
        seal.intact(name)


def intact(folder: Path, name: str) -> Path:
    """A file of an entry, for the caller to read: its bytes are those that were written.

    Raises:
        RotError: they are not, or the entry's seal is damaged itself.
    """
    return Seal.of(folder).intact(name)


def sealed(folder: Path) -> dict[str, str]:
    """The files of an entry by name, each with its checksum.

    Raises:
        RotError: its seal is damaged.
    """
    return Seal.of(folder).files


def sound(folder: Path, progress: Progress = silent) -> bool:
    """Whether an entry is there, all of it as it was written; one that is damaged is told and removed."""
    try:
        if not is_kept(folder):
            return False
        require_sound(folder)
    except RotError as rot:
        _remove(rot, progress)
        return False
    return True


def require_sound(folder: Path) -> None:
    """Read a whole entry.

    Raises:
        RotError: something of it is not as it was written, or was added since.
    """
    seal = Seal.of(folder)
    names = seal.files.keys()
    for name in names:
        seal.intact(name)
    if added := sorted(_files(folder) - names - {SEAL}):
        raise RotError(folder, f"{added[0]} was added to it")
    seal.below()


def mended(run: Callable[[], Made], cache: Path, progress: Progress = silent) -> Made:
    """What `run` gives. An entry that it finds damaged is told and removed, and it runs again, which makes that anew;
    it also runs again where another run has removed what it had made (`publish.keep`), which may happen between the
    look at an entry and its reading.

    Args:
        cache: the store's.

    Raises:
        RotError: an entry was found damaged twice: the disk or the memory is at fault.
        FileNotFoundError: files of the cache are missing again and again.
    """
    damaged: set[Path] = set()
    removals = 0
    while True:
        try:
            return run()
        except RotError as rot:
            if rot.folder in damaged or removals == REMOVALS:
                raise
            if rot.folder.is_dir():
                damaged.add(rot.folder)
            else:
                removals += 1
            _remove(rot, progress)
        except FileNotFoundError as error:
            if str(cache) not in str(error) or removals == REMOVALS:
                raise
            removals += 1
            progress("an entry of the cache was removed meanwhile: made anew", 1, 1, "entries")


def entries_in(folder: Path) -> set[Path]:
    """What looks like entries in a folder of the cache: of a store in a bucket those there, too."""
    mirror = mirror_of(folder)
    there = set() if mirror is None else {each for each in mirror.entries(folder) if each.parent == folder}
    return {each for each in folder.glob("*") if each.is_dir() and not each.name.startswith(DRAFT)} | there


def damaged(cache: Path) -> Iterator[RotError]:
    """Read every entry of a store's cache, also those in its bucket; gives those that are damaged."""
    if (mirror := mirror_of(cache)) is not None:
        for folder in mirror.entries(cache):
            if problem := mirror.rotten(folder, _check):
                yield RotError(folder, f"its object in the bucket: {problem}")
    for seal in sorted(cache.rglob(SEAL)):
        try:
            require_sound(seal.parent)
        except RotError as rot:
            yield rot


@dataclass(frozen=True)
class Entry:
    """An entry as the cache is looked through."""

    folder: Path
    size: int
    """Bytes of its files."""
    used: float
    """When it was last used, or made: seconds since the epoch. One that no run finds any more, for its stage or the
    recipe is another now, stays as old as its last use."""
    base: Path | None
    """The entry without which it cannot be read: whoever keeps it keeps that one."""


def entries(cache: Path) -> list[Entry]:
    """The entries of a store's cache, damaged ones too; nothing of them is read but seals. Of a store in a bucket those
    there too: they were last used when they were put, or used here."""
    mirror = mirror_of(cache)
    there = {} if mirror is None else mirror.entries(cache)
    found = [Entry(folder, each.size, each.modified, None) for folder, each in there.items() if not folder.is_dir()]
    for path in sorted(cache.rglob(SEAL)):
        folder = path.parent
        with suppress(FileNotFoundError):  # it was removed meanwhile
            used = max(path.stat().st_mtime, there[folder].modified if folder in there else 0.0)
            size = sum((folder / name).stat().st_size for name in _files(folder))
            found.append(Entry(folder, size, used, _base_of(folder)))
    return found


def _base_of(folder: Path) -> Path | None:
    try:
        return Seal.of(folder).base
    except RotError:
        return None


def _seal(draft: Path, folder: Path, base: Path | None) -> None:
    """Seal what is to be the entry `folder`."""
    files = {name: checksum(draft / name) for name in _files(draft)}
    under = [] if base is None else [[_name(base), Seal.of(base).own]]
    content = canonical_json([_name(folder), files, *under])
    (draft / SEAL).write_bytes(xxhash.xxh3_128_hexdigest(content).encode() + b"\n" + content)


def _name(folder: Path) -> str:
    """What an entry is called wherever the store lies."""
    return f"{folder.parent.name}/{folder.name}"


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _remove(rot: RotError, progress: Progress) -> None:
    progress(addressed(f"{rot.folder} is damaged ({rot.problem}): made anew"), 1, 1, "entries")
    _discard(rot.folder)


def _discard(folder: Path) -> None:
    """Remove an entry, unless another run has just made it anew; who has a file of it open keeps that."""
    if mirror_of(folder) is not None:  # to see whether it is sound would fetch it, or its base
        forget(folder)
        return
    with suppress(FileNotFoundError), locked(folder.parent):
        try:
            require_sound(folder)
        except RotError:
            if folder.is_dir():
                _set_aside(folder)


def forget(folder: Path) -> None:
    """Remove an entry that is not wanted any more; a process that is killed meanwhile leaves nothing that looks like
    one."""
    if (mirror := mirror_of(folder)) is not None:
        mirror.drop(folder)
    with suppress(FileNotFoundError), locked(folder.parent):
        _set_aside(folder)


def forget_copies(cache: Path) -> None:
    """Remove from a mirror what is in the bucket of it, or was: a run that wants it fetches it."""
    mirror = mirror_of(cache)
    if mirror is None:
        return
    mirror.forget_copies()
    for seal in sorted(cache.rglob(SEAL)):
        if mirror.shares(seal.parent):
            with suppress(FileNotFoundError), locked(seal.parent.parent):
                _set_aside(seal.parent)


def _set_aside(folder: Path) -> None:
    aside = folder.rename(tempfile.mkdtemp(prefix=DRAFT, dir=folder.parent))
    shutil.rmtree(aside, ignore_errors=True)


def clear_drafts(cache: Path) -> None:
    """Remove what killed runs have left half-made in a store's cache; what a live run is at work on stays."""
    for parent in {draft.parent for draft in cache.glob(f"*/*/{DRAFT}*")}:
        with locked(parent):
            remove_abandoned(parent)


def write_arrow(table: "pa.Table", path: Path, compression: str | None = None) -> None:
    """Write a table as an Arrow IPC file; one that is compressed takes memory when it is read."""
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)


def read_arrow(path: Path) -> "pa.Table":
    """Read an Arrow IPC file, memory-mapped."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
