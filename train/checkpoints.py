"""Checkpoints of a run: in the store's cache under the key of all that the run depends on, so that the next run of the
same goes on from the last sound one."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curate.cache import cache_folder, entries_in, forget, sound
from curate.progress import Progress, silent

PREFIX = "checkpoint-"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run. Each is written aside, sealed and renamed, as all that the cache holds."""

    folder: Path
    """cache/training/KEY."""
    most: int
    """How many there may be; the oldest go."""

    def last(self, progress: Progress = silent) -> Path | None:
        """The last one that is as it was written; damaged ones are told and removed."""
        return next((each for each in reversed(self._all()) if sound(each, progress)), None)

    def add(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep the state after a step.

        Args:
            step: how many steps have been taken.
            write: fills a folder.
        """
        cache_folder(self.folder / f"{PREFIX}{step}", write)
        for old in self._all()[: -self.most]:
            forget(old)

    def clear(self) -> None:
        """Remove them: what the run was for is published."""
        for each in self._all():
            forget(each)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        """The oldest first."""
        return sorted((each for each in entries_in(self.folder) if each.name.startswith(PREFIX)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """How many steps had been taken."""
    return int(checkpoint.name.removeprefix(PREFIX))
