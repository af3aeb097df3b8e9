"""A published version as it lies on the disk: its rows, and the versions that it was compared with."""

from collections.abc import Iterator, Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.cache import Shard
from curate.manifest import DatasetManifest
from curate.store import verified, verified_whole

SPLITS = ("train", "validation", "test")

Row = dict[str, Any]


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[Row]:
    """The rows of a Parquet file, all columns of each or those named."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(2048, columns=columns):
            yield from batch.to_pylist()


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


def holds(folder: Path, shards: Sequence[Shard]) -> bool:
    """Whether a version publishes just the rows of these shards, by their ids, each in its split."""
    rows = pa.concat_tables([shard.kept().select(["id", "split"]) for shard in shards])
    for split in SPLITS:
        theirs = pq.read_table(verified(folder, f"{split}.parquet"), columns=["id"])["id"]
        ours = rows["id"].filter(pc.equal(rows["split"], split))
        if not theirs.take(pc.sort_indices(theirs)).equals(ours.take(pc.sort_indices(ours))):
            return False
    return True


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
        self._own = (set[str](), set[str]()) if _was_delivery(manifest) else _contents(folder, manifest)

    def rows(self, columns: list[str]) -> Iterator[tuple[Path, str, Row]]:
        """Published rows that count: none that the version itself holds, by its content or that of its file, nor one
        that a version in between does, unless one of the two was a delivery."""
        files, ids = self._own
        newer_files, newer_ids = set(files), set(ids)
        for folder in reversed(self.folders):
            manifest = DatasetManifest.read(folder)
            delivery = _was_delivery(manifest)
            hashes = _hashes(folder)
            without = (files, ids) if delivery else (newer_files, newer_ids)
            for name, row in split_rows(folder, [*columns, *sorted({"id", "source"} - {*columns})]):
                if hashes.get(row["source"]["file"]) not in without[0] and row["id"] not in without[1]:
                    yield folder, name, row
            if not delivery:
                of_files, of_rows = _contents(folder, manifest)
                newer_files |= of_files
                newer_ids |= of_rows

    def how(self) -> str:
        """What to add to how a check was made."""
        found = f", and {len(self.folders)} earlier versions" if self.folders else ""
        return found + (f" ({self.absent} more are not at hand)" if self.absent else "")


def _hashes(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that a version was made of, as far as it tells them."""
    path = folder / "sources.parquet"
    return {row["file"]: row["sha256"] for row in read_rows(path, ["file", "sha256"])} if path.is_file() else {}


def _contents(folder: Path, manifest: DatasetManifest) -> tuple[set[str], set[str]]:
    """The SHA-256 of a version's files, and the ids of its rows: those that were left to be compared with others."""
    ids = {row["id"] for _, row in split_rows(folder, ["id"])}
    late = {"duplicates", *stages_after(manifest, "duplicates")}
    gone = read_rows(folder / "quarantine.parquet", ["id", "stage"])
    return set(_hashes(folder).values()), ids | {row["id"] for row in gone if row["stage"] in late}


def _was_delivery(manifest: DatasetManifest) -> bool:
    return manifest.recipe.get("drop_is") == "delivery"
