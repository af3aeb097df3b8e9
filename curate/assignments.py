"""Assignments: which split each row of a data set was given, once and for all, kept in the store's index."""

import fcntl
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class Assignments:
    """The recorded splits of a data set.

    Args:
        folder: index/NAME/KEY of the store, where KEY is the hash of the settings that clusters depend on: under other
            settings other rows belong together, so the record begins anew.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "assignments.parquet"

    def load(self) -> dict[str, str]:
        """id -> split."""
        if not self.path.is_file():
            return {}
        table = pq.read_table(self.path)
        return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))

    def add(self, splits: dict[str, str]) -> None:
        """Record the splits of published rows; those recorded before stand."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self.load()
            merged = dict(sorted((splits | known).items()))
            if merged == known:
                return
            draft = self.path.with_suffix(".draft")
            pq.write_table(pa.table({"id": list(merged), "split": list(merged.values())}), draft)
            draft.rename(self.path)
