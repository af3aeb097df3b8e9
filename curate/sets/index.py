"""The kept index: what the rows of every published version of a data set are compared by, so that none is read again.

It is derived from the published versions alone: `catch_up` adds those that are not in it yet, `rebuild` makes it anew.
A version is a segment: a few files of columns, opened by mapping them into memory. Segments of similar size are merged,
so that n rows lie in at most log2(n) + 1 of them. docs/index.md describes the format for other programs.

Every file is named by its content and never changes. Which files count says the manifest, and replacing it is the one
step by which anything happens: a killed run leaves the index as it was.
"""

import fcntl
import json
import os
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from curate.errors import AssayError
from curate.hashing import digest, file_digest
from curate.progress import Progress, silent
from curate.sets import keys as compared_by
from curate.sets.keys import Compared, compared_text, fixed, key_table
from curate.sets.split import SPLITS
from curate.stage import read_arrow, write_arrow
from curate.store import MANIFEST, Store, fsync, read_manifest

if TYPE_CHECKING:
    from curate.text.words import Hashes, Offsets

Item = TypeVar("Item")
Result = TypeVar("Result")

FORMAT = 1
"""Raised whenever the files are laid out in another way."""
GROWTH = 2
"""A segment is merged with those after it once it has no more than this many times their rows: so each has more than
twice as many as the next, and a row is rewritten at most log2(n) times (the logarithmic method; Bentley, 1979)."""
SAMPLED = 64
"""Signatures of a segment that `check` has datasketch compute again, besides all of them by our own kernel."""
BATCH = 8192
BATCH_BYTES = 16 << 20
"""Rows of a version that are read at a time, and about how many bytes of them at most."""

NAME = pa.dictionary(pa.int32(), pa.string())
HASH = pa.binary(16)
ROWS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("version", NAME),
        pa.field("file", NAME),
        pa.field("row", pa.int64()),
        pa.field("file_sha256", NAME),
        pa.field("prompt", HASH),
        pa.field("answer", HASH),
        pa.field("form", pa.uint64()),
        pa.field("votes", pa.int32()),
        pa.field("chars", pa.int64()),
        pa.field("kept", pa.bool_()),
        pa.field("conflict", pa.bool_()),
        pa.field("cluster", pa.string()),
        pa.field("group", pa.string()),
        pa.field("split", NAME),
    ]
)
"""Columns of an indexed row: one for each prompt, form and answer of a file in a version.

id: the record's; version: that it is of; file, row: its source; file_sha256: null where the version has no
sources.parquet; prompt, answer, form: hashes as `key_table` gives them; votes: how many rows of that file
have these three; chars: of the compared text; kept: whether it was published, else the stage `duplicates`
removed it; conflict: whether it was removed as one; cluster: null where a removed row's evidence names none;
group: the record's; split: null where it was not published.
"""


@dataclass(frozen=True)
class Keys:
    """What rows are compared by."""

    rows: pa.Table
    """ROWS."""
    signatures: npt.NDArray[np.uint32]
    """MinHash, shape (rows, 128)."""
    offsets: npt.NDArray[np.int64]
    """Row i has shingles[offsets[i] : offsets[i + 1]], and there are no others: shape (rows + 1,)."""
    shingles: npt.NDArray[np.uint64]
    """Sorted and distinct within a row."""


@dataclass(frozen=True)
class Segment(Keys):
    """Versions that are stored together. Everything is a view of a mapped file: opening reads next to nothing."""

    versions: list[str]
    """In the order they were added."""
    drops: list[str]
    """The hash of each version's drop."""
    bands: npt.NDArray[np.uint64]
    """`bands.band_tables`: shape (bands, rows)."""
    prompts: npt.NDArray[np.uint64]
    """First 4 bytes of the prompt's hash, little-endian, << 32 | row, sorted: shape (rows,)."""


PARTS = ("rows.arrow", "signatures.npy", "offsets.npy", "shingles.npy", "bands.npy", "prompts.npy")
"""A segment's files: segments/NAME.PART."""
Entry = dict[str, Any]
"""A segment in the manifest: {"name", "versions", "drops", "rows", "files": {part: {"bytes", "sha256"}}}."""


def parameters(settings: Compared) -> dict[str, Any]:
    """Everything that what the index holds depends on, besides the published versions."""
    from curate.sets.bands import bands_for
    from curate.text.minhash import PERMUTATIONS

    bands = bands_for(settings.threshold)
    return settings.model_dump(include={"scope", "boilerplate", "shingle_words", "threshold"}) | {
        "permutations": PERMUTATIONS,
        "scheme": "affine32",
        "bands": bands,
        "rows_per_band": PERMUTATIONS // bands,
        "keys": compared_by.VERSION,
        "unicode": unicodedata.unidata_version,
    }


def recorded_settings(store: Store, name: str) -> Compared:
    """The settings a data set was last indexed under, or, where no index tells, last published under.

    Raises:
        AssayError: nothing of that name is published, or under settings that are no longer possible.
    """
    if (content := _authentic(store.index / name / MANIFEST)) is not None:
        known = content["parameters"]
    else:
        known = read_manifest(_some_published(store, name)[-1])["recipe"]["duplicates"]
    try:
        return Compared(**{key: value for key, value in known.items() if key in Compared.model_fields})
    except ValidationError as error:
        raise AssayError(
            f"{name}: its recorded settings are no longer possible: {error}",
            remedy=f"`assay index rebuild {name} --recipe RECIPE` takes the recipe's.",
        ) from None


def published(store: Store, name: str) -> list[Path]:
    """The published versions of a data set, each after those it was made with regard to; else in the ledger's order."""
    folders = {folder.name: folder for folder in store.versions("datasets", name)}
    told = [event["version"] for event in store.events() if event["event"] == "datasets" and event["name"] == name]
    rank = {version: told.index(version) if version in told else len(told) for version in folders}
    sorter = TopologicalSorter(
        {
            version: {*manifest.get("index", {}).get("compared_with", []), *manifest.get("splits_of", [])}
            & folders.keys()
            for version, manifest in ((version, read_manifest(folder)) for version, folder in folders.items())
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


def _some_published(store: Store, name: str) -> list[Path]:
    """`published`, or an error where nothing is."""
    if folders := published(store, name):
        return folders
    known = ", ".join(sorted(path.name for path in (store.root / "datasets").glob("*"))) or "nothing yet"
    raise AssayError(f"{name}: no version in {store.root / 'datasets'}.", remedy=f"Published there: {known}.")


def read_version(folder: Path, settings: Compared) -> Iterator[Keys]:
    """What the rows of a published version are compared by, from its files alone, some thousands of rows at a time.

    These are the published rows, in the order of the splits, and then those that the stage `duplicates` removed. Rows
    of one file with the same prompt, form and answer are one, the published one if there is one.
    """
    from curate.text.words import shingle_sets

    def keys_of(table: pa.Table) -> pa.Table:
        return key_table(table, settings)

    def all_of(part: tuple[str | None, pa.Table]) -> "tuple[str | None, pa.Table, pa.Table, Offsets, Hashes]":
        texts = compared_text(part[1], settings)
        return *part, keys_of(part[1]), *shingle_sets(texts, settings.shingle_words)

    sources = folder / "sources.parquet"
    listed = pq.read_table(sources, columns=["file", "sha256"]).to_pylist() if sources.is_file() else []
    sha256 = {source["file"]: source["sha256"] for source in listed}
    twins: Counter[tuple[str, bytes, bytes, int]] = Counter()
    for keys in _ahead(keys_of, _removed(folder)):
        twins.update(_identities(keys))
    for split, table, keys, offsets, shingles in _ahead(all_of, _tables(folder)):
        votes = np.array([twins.pop(each, 0) + (split is not None) for each in _identities(keys)], np.int32)
        first = votes > 0
        lengths = np.diff(offsets)
        table, keys = table.filter(pa.array(first)), keys.filter(pa.array(first))
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
            fixed(keys["signature"], np.uint32),
            np.concatenate([[0], np.cumsum(lengths[first])]),
            shingles[np.repeat(first, lengths)],
        )


def _identities(keys: pa.Table) -> Iterator[tuple[str, bytes, bytes, int]]:
    """What rows of a version that are stored as one have in common."""
    return zip(*(keys[name].to_pylist() for name in ("file", "prompt", "answer", "form")), strict=True)


def _ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of each item, in their order; computed ahead by as many threads as there are cores."""
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as threads:
        running: deque[Future[Result]] = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) > cores:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


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
                yield pa.table(batch)
    except pa.ArrowInvalid as error:
        raise AssayError(
            f"{path}: not readable as Parquet: {error}",
            remedy="Restore the version from a copy, or delete its folder: then nothing is compared with it.",
        ) from None


class Index:
    """The index of a data set.

    Args:
        store: holds the published versions, and the index in `index/NAME`.
        name: of the data set.
        settings: what rows are compared by; an index made with other `parameters` is an error wherever it is read.
    """

    def __init__(self, store: Store, name: str, settings: Compared) -> None:
        self.store = store
        self.name = name
        self.settings = settings
        self.parameters = parameters(settings)
        self.folder = store.index / name
        self._manifest = self.folder / MANIFEST
        self._files = self.folder / "segments"
        self._locked = False

    def versions(self) -> list[str]:
        """The indexed versions, in the order they were added."""
        return [version for entry in self._entries() for version in entry["versions"]]

    def segments(self) -> list[Segment]:
        """Open every segment; what is opened stays as it is, whatever becomes of the index.

        Raises:
            AssayError: the index has other parameters, or is damaged as far as the manifest and the sizes tell.
        """
        while True:
            entries = self._entries()
            try:
                return [self._open(entry) for entry in entries]
            except (AssayError, FileNotFoundError):
                if self._entries() == entries:
                    raise  # else they have just been merged

    @contextmanager
    def lock(self, progress: Progress = silent) -> Iterator[None]:
        """Keep other processes from changing the index, and wait for one that does; the same Index may lock again.

        Args:
            progress: told which process is waited for.
        """
        if self._locked:
            yield
            return
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting = f"wait for process {os.pread(descriptor, 20, 0).decode()}"
                progress(waiting, 0, 1, "index")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                progress(waiting, 1, 1, "index")
            with self._explained():
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            self._locked = True
            yield
        finally:
            self._locked = False
            os.close(descriptor)

    def catch_up(self, progress: Progress = silent) -> list[str]:
        """Add every published version that is not indexed yet, in their order.

        Returns:
            The versions added.

        Raises:
            AssayError: the index has other parameters, is damaged or cannot be written; a version is added whole or not
                at all.
        """
        with self.lock(progress), self._writing():
            known = set(self.versions())
            missing = [folder for folder in published(self.store, self.name) if folder.name not in known]
            for folder, parts in self._read(missing, progress):
                self.add(folder.name, read_manifest(folder)["drop"]["sha256"], parts)
        return [folder.name for folder in missing]

    def add(self, version: str, drop: str, parts: Iterable[Keys]) -> None:
        """Add one version, whole or not at all.

        Args:
            version: its name.
            drop: hash of its drop.
            parts: its rows, see `read_version`.

        Raises:
            AssayError: see `catch_up`.
        """
        with self.lock(), self._writing():
            self._commit(self._append(self._entries(), version, drop, parts))

    def rebuild(self, progress: Progress = silent) -> None:
        """Make the index anew from the published versions; until that is done the old one stays, sound or not.

        Raises:
            AssayError: nothing is published, or the index cannot be written.
        """
        _some_published(self.store, self.name)  # before anything is made
        with self.lock(progress), self._writing():
            old, new = self._referenced(), list[Entry]()
            for folder, parts in self._read(published(self.store, self.name), progress):
                new = self._append(new, folder.name, read_manifest(folder)["drop"]["sha256"], parts)
                self._sweep([*old, *new])
            self._commit(new)

    def check(self, progress: Progress = silent) -> list[str]:
        """Read the whole index again and compare it with itself and with the published versions.

        Returns:
            Each problem found, naming the file or the version.
        """
        try:
            entries = self._entries()
        except AssayError as error:
            return [error.message]
        problems: list[str] = []
        done, total = 0, sum(entry["rows"] for entry in entries)
        counted: Counter[str] = Counter()
        progress("check", done, total, "rows")
        for entry in entries:
            try:
                damage = list(self._damage(entry))
                if not damage:
                    segment = self._open(entry)
                    damage = list(self._contradictions(entry, segment))
                    counted.update(_rows_by_version(segment))
            except (AssayError, FileNotFoundError) as error:  # removed between two looks at it
                damage = [str(error)]
            problems += damage
            done += entry["rows"]
            progress("check", done, total, "rows")
        if self._entries() != entries:  # a version was added meanwhile
            return self.check(progress)
        return [*problems, *self._unlike_published(entries, counted)]

    def _contradictions(self, entry: Entry, segment: Segment) -> Iterator[str]:
        """What of a segment's files does not follow from its shingles and rows."""
        from curate.sets.bands import band_tables
        from curate.text.minhash import signatures

        rows, offsets, shingles = segment.rows.num_rows, segment.offsets, segment.shingles
        lengths = {
            "signatures.npy": len(segment.signatures),
            "offsets.npy": len(offsets) - 1,
            "bands.npy": segment.bands.shape[1],
            "prompts.npy": len(segment.prompts),
        }
        wrong = [part for part, length in ({"rows.arrow": rows} | lengths).items() if length != entry["rows"]]
        if wrong or offsets[0] != 0 or offsets[-1] != len(shingles) or not np.all(offsets[1:] > offsets[:-1]):
            for name in wrong or ["offsets.npy"]:
                yield f"{self._path(entry, name)}: not of the segment's {entry['rows']} rows."
            return
        for begin in range(0, rows, BATCH):
            bounds = offsets[begin : begin + BATCH + 1]
            values = shingles[bounds[0] : bounds[-1]]
            ascending = np.append(values[1:] > values[:-1], True)
            ascending[bounds[1:] - bounds[0] - 1] = True
            if not np.all(ascending):
                yield f"{self._path(entry, 'shingles.npy')}: not sorted and distinct in rows {begin} and following."
            if not np.array_equal(signatures(bounds, shingles), segment.signatures[begin : begin + BATCH]):
                yield f"{self._path(entry, 'signatures.npy')}: not those of the shingles in rows {begin} and following."
        yield from self._unlike_datasketch(entry, segment)
        if not np.array_equal(band_tables(segment.signatures, self.parameters["bands"]), segment.bands):
            yield f"{self._path(entry, 'bands.npy')}: not those of the signatures."
        if not np.array_equal(_prompt_table(segment.rows), segment.prompts):
            yield f"{self._path(entry, 'prompts.npy')}: not those of the rows."

    def _unlike_datasketch(self, entry: Entry, segment: Segment) -> Iterator[str]:
        """The first of a segment's sampled signatures that is not what datasketch itself makes of the shingles."""
        from datasketch import MinHash

        for row in np.unique(np.linspace(0, entry["rows"] - 1, min(SAMPLED, entry["rows"]), dtype=np.int64)).tolist():
            sketch = MinHash(segment.signatures.shape[1], scheme="affine32", hashfunc=lambda value: value & 0xFFFFFFFF)
            sketch.update_batch(segment.shingles[segment.offsets[row] : segment.offsets[row + 1]].tolist())
            if not np.array_equal(sketch.hashvalues, segment.signatures[row]):
                yield f"{self._path(entry, 'signatures.npy')}: not datasketch's in row {row}."
                return

    def _unlike_published(self, entries: list[Entry], counted: Counter[str]) -> Iterator[str]:
        """How the indexed versions differ from the published ones.

        Args:
            counted: rows by version, of those that could be read.
        """
        folders = {folder.name: folder for folder in published(self.store, self.name)}
        indexed = [version for entry in entries for version in entry["versions"]]
        for version in indexed:
            if version not in folders:
                yield f"{self.name}/{version}: indexed, but no longer published."
            elif version in counted and counted[version] != (rows := _compared_rows(folders[version])):
                yield f"{self.name}/{version}: {counted[version]} rows indexed of {rows} that are published or removed."
        yield from (
            f"{self.name}/{version}: published, but not indexed." for version in folders if version not in indexed
        )

    def _read(self, folders: list[Path], progress: Progress) -> Iterator[tuple[Path, Iterator[Keys]]]:
        """The rows of versions, told as they are read."""
        done, total = 0, sum(map(_compared_rows, folders))

        def told(parts: Iterator[Keys]) -> Iterator[Keys]:
            nonlocal done
            for part in parts:
                yield part
                done += pc.sum(part.rows["votes"]).as_py() or 0
                progress("index", done, total, "rows")

        for folder in folders:
            yield folder, told(read_version(folder, self.settings))

    def _append(self, entries: list[Entry], version: str, drop: str, parts: Iterable[Keys]) -> list[Entry]:
        """The segments with one more version, merged as far as GROWTH asks; their files are written."""
        entry = self._write([version], [drop], parts)
        begin, rows = len(entries), entry["rows"]
        while begin and entries[begin - 1]["rows"] <= GROWTH * max(rows, 1):
            begin -= 1
            rows += entries[begin]["rows"]
        if begin == len(entries):
            return [*entries, entry]
        merged = [*entries[begin:], entry]
        for each in merged:
            if (problem := next(self._damage(each), None)) is not None:
                raise self._damaged(problem)  # else the hash of the merged file would vouch for it
        versions, drops = ([name for each in merged for name in each[kind]] for kind in ("versions", "drops"))
        return [*entries[:begin], self._write(versions, drops, map(self._open, merged))]

    def _write(self, versions: list[str], drops: list[str], parts: Iterable[Keys]) -> Entry:
        """Write a segment's files; they count once the manifest names them."""
        from curate.sets.bands import band_tables

        drafts = {part: self._files / f".draft-{part}" for part in PARTS}
        tables = [ROWS.empty_table()]
        with (
            _Array(drafts["signatures.npy"], np.uint32, 128) as signatures,
            _Array(drafts["offsets.npy"], np.int64) as offsets,
            _Array(drafts["shingles.npy"], np.uint64) as shingles,
        ):
            offsets.write(np.zeros(1, np.int64))
            for part in parts:
                tables.append(part.rows)
                signatures.write(part.signatures)
                offsets.write(part.offsets[1:] + shingles.length)
                shingles.write(part.shingles)
        rows = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        write_arrow(rows, drafts["rows.arrow"])
        with _Array(drafts["bands.npy"], np.uint64, rows.num_rows) as bands:
            bands.write(band_tables(_mapped(drafts["signatures.npy"]), self.parameters["bands"]))
        with _Array(drafts["prompts.npy"], np.uint64) as prompts:
            prompts.write(_prompt_table(rows))
        files = {part: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for part, path in drafts.items()}
        name = digest({part: file["sha256"] for part, file in files.items()})[:16]
        entry = {"name": name, "versions": versions, "drops": drops, "rows": rows.num_rows, "files": files}
        for name, path in drafts.items():
            fsync(path)
            path.replace(self._path(entry, name))
        fsync(self._files)
        return entry

    def _commit(self, entries: list[Entry]) -> None:
        """Replace the manifest: what it names is the index from now on."""
        content = {"format": FORMAT, "parameters": self.parameters, "segments": entries}
        draft = self._files / f".draft-{MANIFEST}"
        draft.write_bytes(json.dumps(content | {"sha256": digest(content)}, indent=2, sort_keys=True).encode() + b"\n")
        fsync(draft)
        draft.replace(self._manifest)
        fsync(self.folder)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Leave no file that the manifest does not name: before, those of a killed run, and after, those merged."""
        with self._explained():
            self._files.mkdir(parents=True, exist_ok=True)
            self._sweep(self._referenced())
            try:
                yield
            finally:
                self._sweep(self._referenced())

    def _sweep(self, kept: list[Entry]) -> None:
        names = {self._path(entry, part).name for entry in kept for part in PARTS}
        for path in self._files.iterdir():
            if path.name not in names:
                path.unlink()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AssayError(
                f"{error.filename or self.folder}: {error.strerror or error}. The index of {self.name} is as it was.",
                remedy="Mend that (space, permissions) and run the same command again.",
            ) from error

    def _referenced(self) -> list[Entry]:
        """The segments on the disk, under whatever parameters; none if the manifest is not there or damaged."""
        content = _authentic(self._manifest)
        return content["segments"] if content else []

    def _entries(self) -> list[Entry]:
        """The segments of the index.

        Raises:
            AssayError: the manifest is damaged, of another format, or tells of other parameters.
        """
        if not self._manifest.exists():
            return []
        content = _authentic(self._manifest)
        if content is None:
            raise self._damaged(f"{self._manifest}: not as it was written.")
        if content["format"] != FORMAT:
            raise self._damaged(f"{self._manifest}: format {content['format']}, expected {FORMAT}.")
        known = content["parameters"]
        differing = sorted(key for key in known | self.parameters if known.get(key) != self.parameters.get(key))
        if differing:
            raise AssayError(
                f"{self.folder}: the index was made with other parameters: "
                + "; ".join(
                    f"{key} is {known.get(key)} there and {self.parameters.get(key)} here" for key in differing
                ),
                remedy=f"`assay index rebuild {self.name} --recipe RECIPE` makes it again with the recipe's; "
                "under another name, or in another --store, the recipe starts an index of its own.",
            )
        segments: list[Entry] = content["segments"]
        return segments

    def _open(self, entry: Entry) -> Segment:
        if (problem := next(self._missized(entry), None)) is not None:
            raise self._damaged(problem)
        path = {part: self._path(entry, part) for part in PARTS}
        try:
            return Segment(
                rows=read_arrow(path["rows.arrow"]),
                signatures=_mapped(path["signatures.npy"]),
                offsets=_mapped(path["offsets.npy"]),
                shingles=_mapped(path["shingles.npy"]),
                versions=entry["versions"],
                drops=entry["drops"],
                bands=_mapped(path["bands.npy"]),
                prompts=_mapped(path["prompts.npy"]),
            )
        except (ValueError, pa.ArrowException) as error:  # a header's bytes are not what they were
            raise self._damaged(f"{self._files}/{entry['name']}: {error}.") from None

    def _missized(self, entry: Entry) -> Iterator[str]:
        for part, file in entry["files"].items():
            path = self._path(entry, part)
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                yield f"{path}: missing."
            elif size != file["bytes"]:
                yield f"{path}: {size} bytes, expected {file['bytes']}."

    def _damage(self, entry: Entry) -> Iterator[str]:
        """The segment's files that are not what was written: all of them are read."""
        yield from self._missized(entry)
        for part, file in entry["files"].items():
            path = self._path(entry, part)
            if path.is_file() and path.stat().st_size == file["bytes"] and file_digest(path) != file["sha256"]:
                yield f"{path}: its bytes are not those that were written."

    def _path(self, entry: Entry, part: str) -> Path:
        return self._files / f"{entry['name']}.{part}"

    def _damaged(self, problem: str) -> AssayError:
        return AssayError(
            f"{problem} The index is damaged.",
            remedy=f"`assay index rebuild {self.name}` makes it again from the published versions.",
        )


class _Array:
    """A .npy file that is written row by row, in as little memory as that takes."""

    def __init__(self, path: Path, dtype: type[np.generic], *shape: int) -> None:
        self.length = 0
        """Rows so far, each of `shape`."""
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._file = path.open("wb")
        self._write_header()

    def __enter__(self) -> "_Array":
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()  # padded by numpy so that its length stays the same whatever the rows

    def write(self, rows: npt.NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.length += len(rows)

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.length, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _mapped(path: Path) -> npt.NDArray[Any]:
    """A .npy file as a read-only view of its mapped bytes, however much larger than the memory it is."""
    return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def _authentic(path: Path) -> dict[str, Any] | None:
    """An index's manifest, or None where there is none or it is not as it was written."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return content if content.pop("sha256") == digest(content) else None
    except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError):
        return None


def _prompt_table(rows: pa.Table) -> npt.NDArray[np.uint64]:
    keys = fixed(rows["prompt"], np.uint32)[:, 0].astype(np.uint64)
    return np.sort(keys << np.uint64(32) | np.arange(len(keys), dtype=np.uint64))


def _rows_by_version(segment: Segment) -> dict[str, int]:
    table = segment.rows.group_by("version").aggregate([("votes", "sum")])
    return dict(zip(table["version"].to_pylist(), table["votes_sum"].to_pylist(), strict=True))


def _compared_rows(folder: Path) -> int:
    """How many rows of a version are compared: those published and those that the stage `duplicates` removed."""
    manifest = read_manifest(folder)
    removed = sum(stage["rejected"] for stage in manifest["stages"] if stage["name"] == "duplicates")
    return int(manifest["counts"]["kept"] + removed)
