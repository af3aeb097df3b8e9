"""What of a run's work stays in the cache once its version is published: as much as the next run may need.

`ASSAY_KEEP` says it, for the machine as `ASSAY_WORKER_MEMORY` does: what stays makes a later run faster, and decides
nothing else.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.cache import forget
from curate.errors import AssayError
from curate.read import ingest
from curate.sets.stage import Judged
from curate.shards import Shard

KEEP = "ASSAY_KEEP"
DEFAULT = "stages"
KEPT = {
    "all": "all of it",
    "stages": "what each stage made of the rows, not what they were compared by, which the index holds: a run with "
    "other settings does again what comes after the first stage that they change",
    "read": "the rows as they were read: a run with other settings reads no file again",
    "nothing": "none of it: a run does everything again, and finds an equal version published already",
}
"""What may be kept, the most first."""
COMPARED = "what rows were compared by"


def kept_after_run() -> str:
    """What the environment says is to be kept: a key of KEPT.

    Raises:
        AssayError: it says something else.
    """
    stated = os.environ.get(KEEP, DEFAULT)
    if stated not in KEPT:
        raise AssayError(
            f"{KEEP}={stated!r:.80}: expected one of {', '.join(KEPT)}.",
            remedy="It says what of a run's work the cache keeps for the next: "
            + "; ".join(f"{name}: {meaning}" for name, meaning in KEPT.items()),
        )
    return stated


class Made:
    """The entries of the cache that a run has made, by stage; those that it found belong to other runs too."""

    def __init__(self) -> None:
        self._folders: dict[str, list[Path]] = {}

    def add(self, name: str, shards: Sequence[Shard]) -> None:
        """What a stage, or reading, made of each shard."""
        made = (shard for shard in shards if not shard.cached)
        self._folders.setdefault(name, []).extend(folder for each in made for folder in (*each.parts, each.folder))

    def add_copies(self, entries: Sequence[Path]) -> None:
        """Copies of remote files, of which reading is part."""
        self._folders.setdefault(ingest.NAME, []).extend(entries)

    def add_judged(self, name: str, verdict: Judged) -> None:
        """What a stage over all rows was judged by, and its verdict."""
        self._folders.setdefault(COMPARED, []).extend(verdict.keys_made)
        if verdict.reached:
            self._folders.setdefault(name, []).append(verdict.folder)

    def forget(self, keep: str) -> None:
        """Remove what is not to be kept, what was made last first: a killed run leaves none without its base."""
        for folder in reversed([*self._superseded(keep)]):
            forget(folder)

    def _superseded(self, keep: str) -> Iterator[Path]:
        every = {*self._folders}
        stays = {"all": every, "stages": every - {COMPARED}, "read": {ingest.NAME}, "nothing": set[str]()}[keep]
        for name, folders in self._folders.items():
            if name not in stays:
                yield from folders
