"""Garbage: what of a store no run needs, and removing it.

Nothing that is published is touched, and so nothing that a pointer, a parent, an adapter or a scorecard needs: what
goes is work of the cache that no run has asked for lately, which a run makes again where it wants it, candidates that
were refused, versions that were taken back, and what killed processes left half-made. What endpoints answered stays.
"""

import fcntl
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from curate.cache import Entry, entries, forget
from curate.drafts import DRAFT, locked, remove_abandoned
from curate.errors import AssayError
from curate.hashing import canonical_json
from curate.mirror import mirror_of
from curate.shared import held, remove_folder
from curate.store import MADE_BY, MANIFEST, Store, read_manifest

DAY = 24 * 60 * 60
KEEP_DAYS = 30.0
"""How long what nobody asks for is kept, if nothing else is said."""
WITHOUT_ROWS = frozenset({"models", "downloads", "merged"})
"""Parts of the cache that hold no rows: models."""
UPLOAD = "upload"
PAID = "endpoints"
"""The part of the cache that was paid for: answers."""
FILES = frozenset({"remote", "hub", "documents"})
"""Parts of the cache that hold files of drops, whole."""
UNREAD = "of drops that arrived, by an older release: nothing reads it"
VERSION = re.compile(r"\b[0-9a-f]{16}\b")


class Waste(NamedTuple):
    """Something that may go."""

    kind: str
    """cache, checkpoint, candidate, retracted, draft, upload or notes."""
    path: Path
    days: float
    """Since it was last asked for, refused, taken back or begun."""
    why: str


def find_waste(store: Store, keep_days: float = KEEP_DAYS, max_bytes: int | None = None) -> list[Waste]:
    """What of a store no run needs.

    Args:
        store: where to look.
        keep_days: what was asked for, refused or taken back within so many days stays.
        max_bytes: of the cache: if what is left of it takes more, the entries that nobody has asked for longest go too.

    Raises:
        AssayError: a number makes no sense, or a manifest of the store is damaged.
    """
    if not keep_days >= 0 or (max_bytes is not None and max_bytes < 0):
        raise AssayError(f"Keep {keep_days} days, {max_bytes} bytes?", remedy="Name numbers that are not negative.")
    now = time.time()
    store.refresh()
    store.fetch_refused()
    return [
        *_unused(store.cache, now, keep_days, max_bytes),
        *(each for each in _aside(store, now) if each.days > keep_days),
        *_drafts(store.root, now),
        *_uploads(store, now),
        *(Waste("notes", each, _days(each, now), UNREAD) for each in sorted(store.root.glob("arrivals/*.json"))),
    ]


def remove_waste(items: Sequence[Waste]) -> None:
    """Remove what was found."""
    for each in items:
        _remove(each)


def bytes_freed(store: Store, items: Sequence[Waste]) -> int:
    """Bytes that removing what was found frees: on the disk or, of a store in a bucket, there."""
    mirror = mirror_of(store.root)
    return freed([each.path for each in items]) if mirror is None else mirror.size([each.path for each in items])


def rows_kept(cache: Path) -> list[Path]:
    """The entries of a cache that may hold rows."""
    without = (*WITHOUT_ROWS, PAID)
    return [each.folder for each in entries(cache) if each.folder.relative_to(cache).parts[0] not in without]


def abandoned(store: Store) -> list[Waste]:
    """What killed processes have left half-made."""
    return list(_drafts(store.root, time.time()))


def forget_files(cache: Path) -> None:
    """Remove what the cache keeps of drops' files as they are: those that were fetched, and documents' texts."""
    for each in entries(cache):
        if each.folder.relative_to(cache).parts[0] in FILES:
            forget(each.folder)


def forget_rows(cache: Path) -> None:
    """Remove every entry of a cache that may hold rows."""
    for folder in rows_kept(cache):
        forget(folder)


def freed(paths: list[Path]) -> int:
    """Bytes that removing files and folders frees: of files all of whose links are among them."""
    size, links, seen = dict[tuple[int, int], int](), dict[tuple[int, int], int](), Counter[tuple[int, int]]()
    for path in paths:
        for file in _files(path):
            with suppress(FileNotFoundError):
                stat = file.stat(follow_symlinks=False)
                inode = stat.st_dev, stat.st_ino
                size[inode], links[inode] = stat.st_size, stat.st_nlink
                seen[inode] += 1
    return sum(size[inode] for inode, count in seen.items() if count == links[inode])


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        yield from (each for each in path.rglob("*") if each.is_symlink() or each.is_file())
    else:
        yield path


def _unused(cache: Path, now: float, keep_days: float, max_bytes: int | None) -> Iterator[Waste]:
    """Entries of the cache that go, the one that nobody has asked for longest first."""
    known = _in_order(entries(cache))
    left = sum(each.size for each, _ in known)
    for each, used in known:
        days = max(0.0, (now - used) / DAY)
        kind = "checkpoint" if each.folder.is_relative_to(cache / "training") else "cache"
        if days > keep_days:
            yield Waste(kind, each.folder, days, "not asked for lately")
        elif max_bytes is not None and left > max_bytes:
            yield Waste(kind, each.folder, days, "the cache is larger than it may be")
        else:
            return
        left -= each.size


def _in_order(found: list[Entry]) -> list[tuple[Entry, float]]:
    """Entries, each with when it was last asked for, itself or one that cannot be read without it: the longest ago
    first, and whatever needs another before that one."""
    by_folder = {each.folder: each for each in found}
    used = {each.folder: each.used for each in found}
    depth: dict[Path, int] = {}
    for each in found:
        place, steps = each.folder, 0
        base = each.base
        while base in by_folder:
            used[base] = max(used[base], used[place])
            place, base, steps = base, by_folder[base].base, steps + 1
        depth[each.folder] = steps
    return sorted(((each, used[each.folder]) for each in found), key=lambda each: (each[1], -depth[each[0].folder]))


def _aside(store: Store, now: float) -> Iterator[Waste]:
    """Candidates that were refused, and versions that were taken back and that nothing published names."""
    for folder in sorted(store.failed.glob("*")):
        if not folder.name.startswith(DRAFT):
            yield Waste("candidate", folder, _days(folder, now), "refused")
    retracted = [folder for folder in sorted(store.retracted.glob("*/*/*")) if not folder.name.startswith(DRAFT)]
    needed = _named(store) if retracted else set()
    for folder in retracted:
        if folder.name not in needed:
            yield Waste("retracted", folder, _days(folder, now), "taken back")


def _named(store: Store) -> set[str]:
    """The versions that what is published names: its parents are among them."""
    manifests = (path for kind in MADE_BY for path in (store.root / kind).glob(f"*/*/{MANIFEST}"))
    named = (VERSION.findall(canonical_json(read_manifest(path.parent)).decode()) for path in manifests)
    return {version for each in named for version in each}


def _days(path: Path, now: float) -> float:
    return max(0.0, (now - path.stat().st_mtime) / DAY)


def _drafts(root: Path, now: float) -> Iterator[Waste]:
    """What killed processes have left half-made; what a live one is at work on is locked. An index clears its own."""
    places = [*(f"{kind}/*" for kind in MADE_BY), "pointers/*", "arrivals/*", "monitor", "failed", "retracted/*/*"]
    for draft in sorted(path for place in [*places, "cache", "cache/*/*"] for path in root.glob(f"{place}/{DRAFT}*")):
        with suppress(BlockingIOError, FileNotFoundError):
            held = draft if draft.is_dir() else draft.parent  # a file is written under its folder's lock
            with locked(held, fcntl.LOCK_NB):
                yield Waste("draft", draft, _days(draft, now), "half-made by a process that was killed")


def _uploads(store: Store, now: float) -> Iterator[Waste]:
    """What killed processes have put into a store's bucket of versions that they did not publish."""
    if (mirror := mirror_of(store.root)) is not None:
        for folder, when in mirror.unpublished().items():
            if (days := max(0.0, (now - when) / DAY)) > 1:
                yield Waste(UPLOAD, folder, days, "put by a process that was killed")


def _remove(each: Waste) -> None:
    if each.kind in ("cache", "checkpoint"):
        forget(each.path)
        return
    mirror = mirror_of(each.path)
    if each.kind == UPLOAD and mirror is not None:
        with held(mirror.root):  # nothing is published
            if mirror.unpublished().get(each.path, time.time()) < time.time() - DAY:
                mirror.remove(each.path)
        return
    if each.kind in ("candidate", "retracted"):
        remove_folder(each.path)
        return
    with suppress(FileNotFoundError), locked(each.path.parent):
        if not each.path.is_dir():
            each.path.unlink()
        else:
            remove_abandoned(each.path.parent)
