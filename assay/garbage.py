"""`assay gc`: what of a store no run needs, told, and removed where it is asked for."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from assay.door import Place, store_of
from assay.result import Result
from curate.garbage import KEEP_DAYS, Waste, bytes_freed, find_waste, remove_waste
from curate.table import Table


@dataclass(frozen=True)
class Garbage(Result):
    """What of a store no run needs."""

    store: str
    items: list[Waste]
    bytes: int
    """That are freed on the disk. A file that is linked to from what stays frees none."""
    removed: bool
    sizes: dict[tuple[str, str], int]
    """Of `bytes`, by kind and why."""

    def __repr__(self) -> str:
        return f"Garbage({len(self.items)} items, {self.bytes:,} bytes, {'removed' if self.removed else 'still there'})"

    def tables(self) -> list[Table]:
        told = Counter((each.kind, each.why) for each in self.items)
        rows = [
            [kind, why, f"{number:,}", f"{self.sizes[kind, why]:,}"] for (kind, why), number in sorted(told.items())
        ]
        rows.append(["all", "", f"{len(self.items):,}", f"{self.bytes:,}"])
        title = "Removed" if self.removed else "Would be removed; --yes removes it"
        return [Table("garbage", f"{self.store}: {title}", ["what", "why", "number", "bytes"], rows, texts=2)]

    def data(self) -> dict[str, Any]:
        return {
            "store": self.store,
            "removed": self.removed,
            "bytes": self.bytes,
            "items": [each._asdict() for each in self.items],
        }


def gc(
    *, keep_days: float = KEEP_DAYS, max_bytes: int | None = None, remove: bool = False, store: Place | None = None
) -> Garbage:
    """Find what of a store no run needs, and remove it if asked to.

    Args:
        keep_days: what was asked for, refused or taken back within so many days stays.
        max_bytes: of the cache: if what is left of it takes more, the entries that nobody has asked for longest go too.
        remove: whether it is removed, or only told.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: a number makes no sense, or a manifest of the store is damaged.
    """
    target = store_of(store)
    items = find_waste(target, keep_days, max_bytes)
    size = bytes_freed(target, items)
    sorts = {each[::3] for each in items}
    sizes = {sort: bytes_freed(target, [each for each in items if each[::3] == sort]) for sort in sorts}
    if remove:
        remove_waste(items)
    return Garbage(target.place, items, size, remove, sizes)
