"""Retraction: a version is taken back with all that it has put into the index, as though it had never been."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.door import Place, store_of
from assay.parents import Member, folder, lineage, made_from, member, there_now
from assay.result import Result
from curate.drafts import fsync
from curate.errors import AssayError
from curate.progress import Progress, silent
from curate.sets.index import Index, recorded_settings
from curate.shared import held, move_version
from curate.store import Store
from curate.table import Table


@dataclass(frozen=True)
class Retracted(Result):
    """What was taken back."""

    store: Store
    members: Sequence[Member]
    """What was made from another before it."""
    latest: str | None
    """What the name means now; None where nothing is left."""

    def __repr__(self) -> str:
        return f"Retracted({', '.join(map(str, self.members))})"

    def tables(self) -> list[Table]:
        rows = [[each.kind, str(each), str(_aside(self.store, each))] for each in self.members]
        name = self.members[-1].name
        now = [["", f"{name} now means", self.latest or "nothing"]]
        return [Table("retracted", "Retracted", ["kind", "version", "moved to"], [*rows, *now], texts=3)]

    def data(self) -> dict[str, Any]:
        moved = [each._asdict() | {"folder": _aside(self.store, each)} for each in self.members]
        return {"retracted": moved, "latest": self.latest}


def retract(
    version: str,
    *,
    kind: str = "datasets",
    with_later: bool = False,
    store: Place | None = None,
    progress: Progress = silent,
) -> Retracted:
    """Take a version back, as though it had never been: its name means the one before, and a later drop is not compared
    with its rows. Its folder is moved to the store's `retracted/`.

    Args:
        version: NAME/VERSION.
        kind: datasets, adapters, scorecards, experiments or studies.
        with_later: take back all that was made from it, or was compared with it, too.
        store: folder, or URL in a bucket, that Assay writes to.
        progress: told how far the index is.

    Raises:
        AssayError: there is no such version; or others were made from it, or compared with it; or a manifest of the
            store is damaged.
    """
    target = store_of(store)
    one = there_now(target, member(kind, version))
    these = _made_from(target, one)
    indexes: dict[str, Index] = {}
    with ExitStack() as locks:
        while True:
            for name in sorted({each.name for each in these if each.kind == "datasets"} - indexes.keys()):
                indexes[name] = Index(target, name, recorded_settings(target, name))
                locks.enter_context(indexes[name].lock(progress))
            with held(target.root):  # nothing is published or promoted any more
                target.refresh()
                these = _made_from(target, one)
                if len(these) > 1 and not with_later:
                    later = "\n".join(f"  {each.told()}" for each in these[:-1])
                    raise AssayError(
                        f"{one} cannot be taken back alone. Made from it, or compared with it:\n{later}",
                        remedy="`--with-later` takes these back too; their drops can then be curated again.",
                    )
                if indexes.keys() >= {each.name for each in these if each.kind == "datasets"}:
                    _take_back(target, these, indexes, progress)
                    return Retracted(target, these, target.pointed(one.kind, one.name).version)


def _made_from(store: Store, one: Member) -> list[Member]:
    """All that was made from something, and it itself last.

    Raises:
        AssayError: it is not published.
    """
    known = lineage(store)
    if one not in known:
        raise AssayError(f"{one.told()}: not published.", remedy=store.published_names(one.kind))
    return made_from(known, [one])


def _take_back(store: Store, these: Sequence[Member], indexes: dict[str, Index], progress: Progress) -> None:
    """Index and pointers first, then the ledger, folders last: what a killed run leaves is indexed again by the next
    run, and taken back by the same command."""
    for name, index in indexes.items():
        index.rebuild(progress, [each.version for each in these if (each.kind, each.name) == ("datasets", name)])
    for kind, name in sorted({(each.kind, each.name) for each in these}):
        store.forget(kind, name, [each.version for each in these if (each.kind, each.name) == (kind, name)])
    for each in these:
        place = folder(store, each)
        store.record({"event": "retracted", **each._asdict()})
        move_version(place, _aside(store, each))
        fsync(place.parent)
        os.utime(_aside(store, each))  # from when `assay gc` counts its days


def _aside(store: Store, each: Member) -> Path:
    return store.retracted / each.kind / each.name / each.version
