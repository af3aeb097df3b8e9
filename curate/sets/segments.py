"""Segments: the files of the kept index, in which the rows of one or more versions are stored together.

A segment is a few files of columns, opened by mapping them into memory. docs/index.md describes the format for other
programs. Every file is named by its content and never changes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.cache import read_arrow, write_arrow
from curate.drafts import fsync
from curate.errors import AssayError
from curate.hashing import checksum, digest
from curate.sets.keys import fixed
from curate.shared import fetch_file, keep_files, put_again, put_files, rotten

BATCH = 1 << 16
"""Rows whose bands are found at a time."""
GROWTH = 2
"""A segment is merged with those after it once it has no more than this many times their rows: so each has more than
twice as many as the next, and a row is rewritten at most log2(n) times (the logarithmic method; Bentley, 1979)."""

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
    """Versions that are stored together. Everything is a view of a mapped file, and takes no memory."""

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
"""A segment in the manifest: {"name", "versions", "drops", "rows", "files": {part: {"bytes", "xxh3_128"}}}."""


class SegmentFiles:
    """Where the segments of an index lie.

    Args:
        folder: holds their files, and nothing else.
        name: of the data set, for messages.
        bands: how many a segment's band tables have.
    """

    def __init__(self, folder: Path, name: str, bands: int) -> None:
        self.folder = folder
        self.name = name
        self.bands = bands

    def append(self, entries: list[Entry], entry: Entry) -> list[Entry]:
        """The segments with one more, merged as far as GROWTH asks; their files are written.

        Raises:
            AssayError: a segment to be merged is damaged.
        """
        begin, rows = len(entries), entry["rows"]
        while begin and entries[begin - 1]["rows"] <= GROWTH * max(rows, 1):
            begin -= 1
            rows += entries[begin]["rows"]
        if begin == len(entries):
            return [*entries, entry]
        merged = [*entries[begin:], entry]
        versions, drops = ([name for each in merged for name in each[kind]] for kind in ("versions", "drops"))
        return [*entries[:begin], self.write(versions, drops, map(self.open, merged))]

    def write(self, versions: list[str], drops: list[str], parts: Iterable[Keys]) -> Entry:
        """Write a segment's files; they count once the manifest names them."""
        drafts = {part: self.folder / f".draft-{part}" for part in PARTS}
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
            for table in self._sorted_bands(drafts["signatures.npy"], rows.num_rows):
                bands.write(table[None])
        with _Array(drafts["prompts.npy"], np.uint64) as prompts:
            prompts.write(prompt_table(rows))
        files = {part: {"bytes": path.stat().st_size, "xxh3_128": checksum(path)} for part, path in drafts.items()}
        name = digest({part: file["xxh3_128"] for part, file in files.items()})[:16]
        entry = {"name": name, "versions": versions, "drops": drops, "rows": rows.num_rows, "files": files}
        for name, path in drafts.items():
            fsync(path)
            path.replace(self.path(entry, name))
        fsync(self.folder)
        return entry

    def _sorted_bands(self, signatures: Path, rows: int) -> Iterator[npt.NDArray[np.uint64]]:
        """The band tables of a file of signatures, one after the other."""
        from curate.sets.ahead import ahead
        from curate.sets.band_file import BandFile

        with BandFile(self.folder, self.bands, rows) as file:

            def enter(begin: int) -> None:
                some = _mapped(signatures)[begin : begin + BATCH]
                file.enter(some, np.arange(len(some)), np.arange(begin, begin + len(some)), begin)

            for _ in ahead(enter, range(0, rows, BATCH)):
                pass
            yield from ahead(lambda band: file.sorted_piece(band, 0, 1), range(self.bands), most=4)

    def sweep(self, kept: list[Entry]) -> None:
        """Remove every file but those of these segments."""
        names = {self.path(entry, part).name for entry in kept for part in PARTS}
        for path in self.folder.iterdir():
            if path.name not in names:
                path.unlink()
        keep_files(self.folder, names)

    def upload(self, entries: list[Entry]) -> None:
        """Have the files of segments in the bucket of a store that is in one."""
        put_files([self.path(entry, part) for entry in entries for part in PARTS])

    def upload_again(self, entries: list[Entry]) -> None:
        """The same, whatever the bucket has under their names."""
        put_again(self.folder, [self.path(entry, part).name for entry in entries for part in PARTS])

    def open(self, entry: Entry) -> Segment:
        """Read a segment's files through, and map them.

        Raises:
            AssayError: their bytes are not those that were written.
        """
        if (problem := next(self.damage(entry), None)) is not None:
            raise self.damaged(problem)
        path = {part: self.path(entry, part) for part in PARTS}
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

    def damage(self, entry: Entry) -> Iterator[str]:
        """The segment's files that are not what was written: all of them are read."""
        for part, file in entry["files"].items():
            path = self.path(entry, part)
            fetch_file(path, lambda draft, wanted=file["xxh3_128"]: checksum(draft) == wanted)  # type: ignore[misc]
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                yield f"{path}: missing."
            elif size != file["bytes"]:
                yield f"{path}: {size} bytes, expected {file['bytes']}."
            elif checksum(path) != file["xxh3_128"]:
                yield f"{path}: its bytes are not those that were written."

    def rotten(self, entry: Entry) -> Iterator[str]:
        """Those that are not what was written where a bucket has them: all of them are read there."""
        known = {self.path(entry, part).name: file["xxh3_128"] for part, file in entry["files"].items()}
        for where, problem in rotten(self.folder, known, checksum):
            yield f"{where}: {problem}."

    def path(self, entry: Entry, part: str) -> Path:
        """Where one of PARTS lies."""
        return self.folder / f"{entry['name']}.{part}"

    def damaged(self, problem: str) -> AssayError:
        """The error that tells of a problem, and how the index is made again."""
        return self.to_rebuild(f"{problem} The index is damaged.")

    def to_rebuild(self, problem: str) -> AssayError:
        """The error that tells why the index is to be made again, and how that is done."""
        return AssayError(
            problem, remedy=f"`assay index rebuild {self.name}` makes it again from the published versions."
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


def prompt_table(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """`Segment.prompts` of these rows."""
    keys = fixed(rows["prompt"], np.uint32)[:, 0].astype(np.uint64)
    return np.sort(keys << np.uint64(32) | np.arange(len(keys), dtype=np.uint64))
