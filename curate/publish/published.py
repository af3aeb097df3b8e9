"""A published version as it lies on the disk: its rows, and the versions that it was compared with."""

from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.manifest import DatasetManifest
from curate.store import verified_whole

SPLITS = ("train", "validation", "test")

Row = dict[str, Any]


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    """The rows of a Parquet file, all columns of each or those named."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(2048, columns=columns):
            yield from batch.to_pylist()


def forgotten_rows(folder: Path) -> Iterator[Row]:
    """The rows that a version held and does not any more: `id`, `file`, `row` and their fate."""
    path = folder / "forgotten.parquet"
    return read_rows(path) if path.is_file() else iter(())


def split_rows(folder: Path, columns: list[str]) -> Iterator[tuple[str, Row]]:
    """Every published row with its split."""
    for name in SPLITS:
        yield from ((name, row) for row in read_rows(folder / f"{name}.parquet", columns))


def row_count(path: Path) -> int:
    """How many rows a Parquet file has, by its footer."""
    return int(pq.read_metadata(path).num_rows)


def row_name(where: str, row: Row) -> str:
    """How an offence names a row."""
    return f"{where}: {row['source']['file']}, row {row['source']['row']}"


def stages_after(manifest: DatasetManifest, name: str) -> set[str]:
    """The names of the stages that ran after the one called `name`."""
    names = [stage.name for stage in manifest.stages]
    return set(dropwhile(lambda each: each != name, names)) - {name}


class EarlierVersions:
    """The versions that a version was compared with when it was made, and with those of the same drop the ones whose
    splits stand; as far as they lie beside it."""

    def __init__(self, folder: Path, manifest: DatasetManifest) -> None:
        names = manifest.index.compared_with
        self.folders, self.standing = (
            [folder.parent / name for name in each if (folder.parent / name / "manifest.json").is_file()]
            for each in (names, [*names, *manifest.splits_of])
        )
        self.absent = len(names) - len(self.folders)
        for each in self.standing:
            verified_whole(each)
        self._own: set[str] = set() if _was_delivery(manifest) else set(_hashes(folder).values())

    def rows(self, columns: list[str]) -> Iterator[tuple[Path, str, Row]]:
        """Published rows that count: none of a file (by its hash) that the version itself or one in between holds,
        unless one of the two was a delivery. Those that the version holds too are among them: they keep their split."""
        newer = set[str](self._own)
        for folder in reversed(self.folders):
            delivery = _was_delivery(DatasetManifest.read(folder))
            hashes = _hashes(folder)
            without = self._own if delivery else newer
            for name, row in split_rows(folder, columns):
                if hashes.get(row["source"]["file"]) not in without:
                    yield folder, name, row
            newer |= set() if delivery else set(hashes.values())

    def how(self) -> str:
        """What to add to how a check was made."""
        found = f", and {len(self.folders)} earlier versions" if self.folders else ""
        return found + (f" ({self.absent} more are not at hand)" if self.absent else "")


def _hashes(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that a version was made of, as far as it tells them."""
    path = folder / "sources.parquet"
    return {row["file"]: row["sha256"] for row in read_rows(path, ["file", "sha256"])} if path.is_file() else {}


def _was_delivery(manifest: DatasetManifest) -> bool:
    return manifest.recipe.get("drop_is") == "delivery"
