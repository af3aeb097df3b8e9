"""What is published of a data set: its versions in their order, and what the rows of each are compared by."""

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.arrow import whole
from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.record import SCHEMA, SPLITS, TURNS
from curate.sets.ahead import ahead
from curate.sets.kept_keys import KeptKeys, codes_of
from curate.sets.keys import Compared, compared_text, fixed, key_table
from curate.sets.segments import ROWS, Keys
from curate.sets.signed import signed, signed_table
from curate.store import Store, verified

if TYPE_CHECKING:
    from curate.text.words import Hashes

BATCH = 8192
BATCH_BYTES = 16 << 20
"""Rows of a version that are read at a time, and about how many bytes of them at most."""
SAID = ["turns", "target"]
"""Columns of a record that keys are found from."""
NO_ROWS = np.zeros((0, 128), np.uint32), np.zeros(1, np.int64), np.zeros(0, np.uint64)
Part = tuple[str | None, pa.Table, pa.Table, pa.Table]
"""Rows of a split (None: removed), their keys, and their signatures and shingles."""


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


def read_version(folder: Path, settings: Compared, kept: KeptKeys | None = None) -> Iterator[Keys]:
    """What the rows of a published version are compared by, from its files alone, some thousands of rows at a time.

    These are the published rows, in the order of the splits, and then those that the stage `duplicates` removed. Rows
    of one file with the same prompt, form and answer are one, the published one if there is one.

    Args:
        kept: what the run that made the version has found of its rows: then that is not found again.

    Raises:
        AssayError: a file of the version is not as it was published.
    """
    for name in (*SPLITS, "quarantine"):
        verified(folder, f"{name}.parquet")
    if "sources.parquet" in DatasetManifest.read(folder).files:  # as it is not of the first versions
        verified(folder, "sources.parquet")
    yield from read_files(folder, folder.name, settings, kept)


def read_files(folder: Path, version: str, settings: Compared, kept: KeptKeys | None = None) -> Iterator[Keys]:
    """The same of the files of a version, which may not be published yet."""
    sha256: dict[str, str] = {}
    if (sources := folder / "sources.parquet").is_file():
        listed = pq.read_table(sources, columns=["file", "sha256"]).to_pylist()
        sha256 = {source["file"]: source["sha256"] for source in listed}
    removed, found = _kept(folder, kept) or _computed(folder, settings)
    twins = _Twins(removed)
    for split, table, keys, signatures in found:
        votes = twins.votes(keys, split is not None)
        first = votes > 0
        if not first.all():
            table, keys, signatures = (each.filter(pa.array(first)) for each in (table, keys, signatures))
        shingles = whole(signatures["shingles"])
        files = keys["file"].combine_chunks().dictionary_encode()
        hashes = pa.array([sha256.get(file) for file in files.dictionary.to_pylist()], pa.string())
        columns = {
            "id": keys["id"],
            "version": pa.repeat(version, keys.num_rows).dictionary_encode(),
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


def _computed(folder: Path, settings: Compared) -> tuple[Iterator[pa.Table], Iterator[Part]]:
    """The keys of the rows that were removed, and all rows with what they are compared by, found from their texts."""

    def keys_of(table: pa.Table) -> pa.Table:
        return key_table(table, compared_text(table, settings))

    def all_of(part: tuple[str | None, pa.Table]) -> Part:
        texts = compared_text(part[1], settings)
        return *part, key_table(part[1], texts), signed(texts, settings.shingle_words)

    return ahead(keys_of, _removed(folder, SAID)), ahead(all_of, _tables(folder, SAID))


def _kept(folder: Path, kept: KeptKeys | None) -> tuple[Iterator[pa.Table], Iterator[Part]] | None:
    """The same as a run has found it already; None unless all of it is there."""
    if kept is None or (rows := kept.rows_of(_sources(folder))) is None:
        return None

    def removed() -> Iterator[pa.Table]:
        begin = len(rows)
        tables = [*_removed(folder, [])]
        begin -= sum(table.num_rows for table in tables)
        for table in tables:
            yield kept.light(rows[begin : (begin := begin + table.num_rows)], table)

    def parts() -> Iterator[Part]:
        begin, signatures = 0, _Ahead(kept.signed(rows))
        for split, table in _tables(folder, []):
            own = rows[begin : begin + table.num_rows]
            begin += len(own)
            yield split, table, kept.light(own, table), signatures.next(len(own))

    return removed(), parts()


class _Ahead:
    """Signatures and shingles of rows, as many at a time as are asked for.

    Args:
        pieces: of them.
    """

    def __init__(self, pieces: Iterator[tuple[Any, Any, Any]]) -> None:
        self._pieces, self._table = pieces, signed_table(*NO_ROWS)

    def next(self, rows: int) -> pa.Table:
        found = [self._table.slice(0, rows)]
        rest = rows - found[0].num_rows
        self._table = self._table.slice(found[0].num_rows)
        while rest:
            piece = signed_table(*next(self._pieces))
            found.append(piece.slice(0, rest))
            self._table = piece.slice(found[-1].num_rows)
            rest -= found[-1].num_rows
        return pa.concat_tables(found)


class _Twins:
    """How many rows that were removed are stored as one with another.

    Args:
        removed: the keys of all of them.
    """

    def __init__(self, removed: Iterable[pa.Table]) -> None:
        names = np.concatenate([np.zeros(0, np.uint64), *map(_identities, removed)])
        self._names, self._left = np.unique(names, return_counts=True)

    def votes(self, keys: pa.Table, published: bool) -> npt.NDArray[np.int32]:
        """How many rows each one stands for: itself, and of equal ones the first for all that were removed."""
        votes = np.full(keys.num_rows, int(published), np.int32)
        names, first = np.unique(_identities(keys), return_index=True)
        at = np.minimum(np.searchsorted(self._names, names), max(0, len(self._names) - 1))
        there = self._names[at] == names if len(self._names) else np.zeros(len(names), np.bool_)
        votes[first[there]] += self._left[at[there]].astype(np.int32)
        self._left[at[there]] = 0
        return votes


def _identities(keys: pa.Table) -> "Hashes":
    """What rows of a version that are stored as one have in common: a hash of file, prompt, answer and form."""
    found: Hashes = codes_of(keys["file"]) ^ keys["form"].to_numpy()
    for name in ("prompt", "answer"):
        for half in fixed(keys[name], np.uint64).T:
            found = (found * np.uint64(0x9E3779B97F4A7C15)) ^ half
    return found


def _tables(folder: Path, columns: list[str]) -> Iterator[tuple[str | None, pa.Table]]:
    """The rows of a version that are compared, by split (None: removed), with the columns cluster and conflict."""
    for split in SPLITS:
        for table in _batches(folder / f"{split}.parquet", [*columns, "cluster"]):
            yield split, table.append_column("conflict", pa.repeat(False, table.num_rows))
    for table in _removed(folder, [*columns, "reason", "evidence"]):
        clusters = [orjson.loads(evidence).get("cluster") for evidence in table["evidence"].to_pylist()]
        table = table.append_column("cluster", pa.array(clusters, pa.string()))
        yield None, table.append_column("conflict", pc.equal(table["reason"], "conflict"))


def _sources(folder: Path) -> Iterator[pa.Table]:
    """The same rows, without what is told of them besides."""
    for split in SPLITS:
        yield from _batches(folder / f"{split}.parquet", [])
    yield from _removed(folder, [])


def _removed(folder: Path, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a version that the stage `duplicates` removed."""
    for table in _batches(folder / "quarantine.parquet", [*columns, "stage"]):
        yield table.filter(pc.equal(table["stage"], "duplicates"))


def _batches(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """The rows of a published file: id, source, group, and `columns`."""
    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            size = max(1, sum(group.total_byte_size for group in groups))
            rows = min(BATCH, max(1, BATCH_BYTES * file.metadata.num_rows // size))
            for batch in file.iter_batches(rows, columns=["id", "group", "source", *columns]):
                if "turns" in columns:
                    at = batch.schema.get_field_index("turns")
                    batch = batch.set_column(at, SCHEMA.field("turns"), batch["turns"].cast(TURNS))
                yield pa.table(batch)
    except pa.ArrowInvalid as error:
        raise AssayError(
            f"{path}: not readable as Parquet: {error}",
            remedy="Restore the version from a copy, or delete its folder: then nothing is compared with it.",
        ) from None
