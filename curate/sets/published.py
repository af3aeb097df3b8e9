"""What is published of a data set: its versions in their order, and what the rows of each are compared by."""

from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.arrow import whole
from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.record import SCHEMA, SPLITS, TURNS
from curate.sets.ahead import ahead
from curate.sets.keys import Compared, compared_text, fixed, key_table
from curate.sets.segments import ROWS, Keys
from curate.sets.signed import signed
from curate.store import Store, verified

BATCH = 8192
BATCH_BYTES = 16 << 20
"""Rows of a version that are read at a time, and about how many bytes of them at most."""


def published(store: Store, name: str) -> list[Path]:
    """The published versions of a data set, each after those it was made with regard to; else in the ledger's order."""
    folders = {folder.name: folder for folder in store.versions("datasets", name)}
    told = [event["version"] for event in store.told("datasets", name)]
    rank = {version: told.index(version) if version in told else len(told) for version in folders}
    now = store.instead("datasets", name)
    sorter = TopologicalSorter(
        {
            version: (
                {now.get(each, each) for each in (*manifest.index.compared_with, *manifest.splits_of)} - {version}
            )
            & folders.keys()
            for version, manifest in ((version, DatasetManifest.read(folder)) for version, folder in folders.items())
        }
    )
    sorter.prepare()
    ready: list[tuple[int, str]] = []
    ordered: list[Path] = []
    while sorter.is_active():
        for version in sorter.get_ready():
            heappush(ready, (rank[version], version))
        _, version = heappop(ready)
        ordered.append(folders[version])
        sorter.done(version)
    return ordered


def some_published(store: Store, name: str) -> list[Path]:
    """`published`, or an error where nothing is."""
    if folders := published(store, name):
        return folders
    raise AssayError(f"{name}: no version in {store.root / 'datasets'}.", remedy=store.published_names("datasets"))


def compared_rows(folder: Path) -> int:
    """How many rows of a version are compared: those published and those that the stage `duplicates` removed."""
    manifest = DatasetManifest.read(folder)
    removed = sum(stage.rejected for stage in manifest.stages if stage.name == "duplicates")
    return manifest.counts.kept + removed - sum(each.rows for each in manifest.forgotten if each.stage == "duplicates")


def read_version(folder: Path, settings: Compared) -> Iterator[Keys]:
    """What the rows of a published version are compared by, from its files alone, some thousands of rows at a time.

    These are the published rows, in the order of the splits, and then those that the stage `duplicates` removed. Rows
    of one file with the same prompt, form and answer are one, the published one if there is one.

    Raises:
        AssayError: a file of the version is not as it was published.
    """

    def keys_of(table: pa.Table) -> pa.Table:
        return key_table(table, compared_text(table, settings))

    def all_of(part: tuple[str | None, pa.Table]) -> tuple[str | None, pa.Table, pa.Table, pa.Table]:
        texts = compared_text(part[1], settings)
        return *part, key_table(part[1], texts), signed(texts, settings.shingle_words)

    for name in (*SPLITS, "quarantine"):
        verified(folder, f"{name}.parquet")
    sha256: dict[str, str] = {}
    if "sources.parquet" in DatasetManifest.read(folder).files:  # as it is not of the first versions
        listed = pq.read_table(verified(folder, "sources.parquet"), columns=["file", "sha256"]).to_pylist()
        sha256 = {source["file"]: source["sha256"] for source in listed}
    twins: Counter[tuple[str, bytes, bytes, int]] = Counter()
    for keys in ahead(keys_of, _removed(folder)):
        twins.update(_identities(keys))
    for split, table, keys, signatures in ahead(all_of, _tables(folder)):
        votes = np.array([twins.pop(each, 0) + (split is not None) for each in _identities(keys)], np.int32)
        first = votes > 0
        table, keys, signatures = (each.filter(pa.array(first)) for each in (table, keys, signatures))
        shingles = whole(signatures["shingles"])
        files = keys["file"].combine_chunks().dictionary_encode()
        hashes = pa.array([sha256.get(file) for file in files.dictionary.to_pylist()], pa.string())
        columns = {
            "id": keys["id"],
            "version": pa.repeat(folder.name, keys.num_rows).dictionary_encode(),
            "file": files,
            "row": keys["row"],
            "file_sha256": hashes.take(files.indices).dictionary_encode(),
            "prompt": keys["prompt"],
            "answer": keys["answer"],
            "form": keys["form"],
            "votes": votes[first],
            "chars": keys["chars"].cast(pa.int64()),
            "kept": pa.repeat(split is not None, keys.num_rows),
            "conflict": table["conflict"],
            "cluster": table["cluster"],
            "group": table["group"],
            "split": pa.array([split] * keys.num_rows, pa.string()).dictionary_encode(),
        }
        yield Keys(
            pa.table(columns, schema=ROWS),
            fixed(signatures["signature"], np.uint32),
            shingles.offsets.to_numpy() - shingles.offsets[0].as_py(),
            shingles.flatten().to_numpy(),
        )


def _identities(keys: pa.Table) -> Iterator[tuple[str, bytes, bytes, int]]:
    """What rows of a version that are stored as one have in common."""
    return zip(*(keys[name].to_pylist() for name in ("file", "prompt", "answer", "form")), strict=True)


def _tables(folder: Path) -> Iterator[tuple[str | None, pa.Table]]:
    """The rows of a version that are compared, by split (None: removed), with the columns cluster and conflict."""
    for split in SPLITS:
        for table in _batches(folder / f"{split}.parquet", ["cluster"]):
            yield split, table.append_column("conflict", pa.repeat(False, table.num_rows))
    for table in _removed(folder):
        yield None, table


def _removed(folder: Path) -> Iterator[pa.Table]:
    for table in _batches(folder / "quarantine.parquet", ["stage", "reason", "evidence"]):
        table = table.filter(pc.equal(table["stage"], "duplicates"))
        clusters = [orjson.loads(evidence).get("cluster") for evidence in table["evidence"].to_pylist()]
        table = table.append_column("cluster", pa.array(clusters, pa.string()))
        yield table.append_column("conflict", pc.equal(table["reason"], "conflict"))


def _batches(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a published file: what `key_table` reads of them, the group, and `columns`."""
    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            size = max(1, sum(group.total_byte_size for group in groups))
            rows = min(BATCH, max(1, BATCH_BYTES * file.metadata.num_rows // size))
            for batch in file.iter_batches(rows, columns=["id", "turns", "target", "group", "source", *columns]):
                yield pa.table(batch.set_column(1, SCHEMA.field("turns"), batch["turns"].cast(TURNS)))
    except pa.ArrowInvalid as error:
        raise AssayError(
            f"{path}: not readable as Parquet: {error}",
            remedy="Restore the version from a copy, or delete its folder: then nothing is compared with it.",
        ) from None
