"""The data files of a version: the rows as Parquet and as JSON lines, a bounded piece at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.publish.json_lines import json_lines
from curate.read.files import InputFile
from curate.record import SCHEMA, SPLITS
from curate.sets.rows import Numbers, Rows, in_order
from curate.sets.runs import Runs

QUARANTINE = "quarantine.parquet"
LISTED_META = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())]))
APART = ("ungrounded",)
"""Columns of lists that are published as tables of their own beside the splits, a row for each item."""
OF_ROW = ("id", "split", "source")
"""What such an item says of its row."""
UNREAD = ("signals",)
"""Columns that JSON lines leave out: these are what trains a model, not what tells of it."""
SOURCES = pa.schema({"file": pa.string(), "sha256": pa.string(), "bytes": pa.int64(), "columns": pa.list_(pa.string())})
"""Of sources.parquet: see `InputFile`; columns are those that every row of the file has."""
LINES = 1024
"""Rows that are made JSON at once."""

Named = Callable[[pa.Table], pa.Table]
"""Names the drop in every row's source; only here, so that a shard's cache outlives a drop that has grown."""


def by_split(table: pa.Table) -> Numbers:
    """The numbers of rows in the order of the splits, and in each in the order of the ids."""
    by_id = in_order(table.select(["id"]))
    splits = pc.index_in(table["split"], pa.array(SPLITS)).to_numpy()[by_id]
    order: Numbers = by_id[np.argsort(splits, kind="stable")]
    return order


def by_source(table: pa.Table) -> Numbers:
    """The numbers of rows in the order of their files and rows."""
    source = table["source"]
    keys = pa.table({name: pc.struct_field(source, name) for name in ("file", "row")} | {"id": table["id"]})
    return in_order(keys)


def with_drop(table: pa.Table, drop: str) -> pa.Table:
    """See `Named`."""
    if "source" not in table.column_names:
        return table
    source = table["source"].combine_chunks()
    named = pa.StructArray.from_arrays(
        [pa.repeat(drop, len(source)), *(pc.struct_field(source, name) for name in ("file", "row", "places"))],
        fields=list(SCHEMA.field("source").type),
    )
    return table.set_column(table.schema.get_field_index("source"), SCHEMA.field("source"), named)


@dataclass(frozen=True)
class Part:
    """Some of a version's rows, to be written; as text it says which."""

    name: str
    size: int
    write: Callable[[], None]
    unit: str = "rows"

    def __str__(self) -> str:
        return self.name


def write(part: Part) -> None:
    """Write a part, anew where that has been begun."""
    part.write()


def split_parts(folder: Path, kept: Runs, named: Named) -> list[Part]:
    """The rows of each split, in the order of their ids."""
    splits = pc.index_in(_column(kept, "split"), pa.array(SPLITS)).to_numpy()[kept.order]
    schema = pa.schema([field for field in kept.tables[0].schema if field.name not in ("split", *APART)])
    parts = []
    for at, split in enumerate(SPLITS):
        begin, end = np.searchsorted(splits, [at, at + 1])
        cuts = kept.cut(kept.order[begin:end])
        work = partial(_write_split, kept, cuts, named, schema, folder / split)
        parts.append(Part(f"the rows of {split}", end - begin, work))
    return parts


def quarantine_part(folder: Path, rejected: Runs, named: Named) -> Part:
    """The rows that did not stay, in the order of their files and rows."""
    work = partial(_write_quarantine, rejected, rejected.cut(rejected.order), named, folder / QUARANTINE)
    return Part("the quarantine", len(rejected.order), work)


def _write_quarantine(rejected: Runs, cuts: Sequence[Numbers], named: Named, path: Path) -> None:
    _write_parquet(map(named, rejected.taken(cuts)), rejected.tables[0].schema, path)


def write_beside(
    folder: Path, kept: Runs, tables: Mapping[str, Callable[[], pa.Table]], files: Sequence[InputFile], named: Named
) -> None:
    """The tables that are published beside the rows kept: those of the columns APART, the others each given in its
    turn, and the list of the drop's files."""
    for title in (name for name in APART if name in kept.tables[0].column_names):
        of_none = items_of(kept.tables[0].slice(0, 0), title)
        _write_parquet(map(named, apart(kept, title)), of_none.schema, folder / f"{title}.parquet")
    for title, given in tables.items():
        beside = given()
        whole = Rows([pa.Table.from_batches([batch]) for batch in beside.to_batches()] or [beside])
        pieces = whole.pieces(np.arange(beside.num_rows))
        _write_parquet(map(named, pieces), beside.schema, folder / f"{title}.parquet")
    told = zip(*((file.name, file.sha256, file.size, list(file.always)) for file in files), strict=True)
    sources = pa.table([*map(list, told)], schema=SOURCES)
    pq.write_table(sources, folder / "sources.parquet", compression="zstd")


def apart(kept: Rows, name: str) -> Iterator[pa.Table]:
    """The items of a column of lists, see `items_of`, in the order of their rows' ids, a piece at a time."""
    order = in_order(pa.table({"id": _column(kept, "id")}))
    some = pc.fill_null(pc.greater(pc.list_value_length(_column(kept, name)), 0), False).to_numpy()
    for piece in kept.select([*OF_ROW, name]).pieces(order[some[order]]):
        yield items_of(piece, name)


def items_of(rows: pa.Table, name: str) -> pa.Table:
    """Each item of a column of lists of structs, with OF_ROW."""
    items = rows[name].combine_chunks()
    of_row = rows.select(OF_ROW).take(pc.list_parent_indices(items))
    fields = items.flatten()
    for at, field in enumerate(items.type.value_type):
        of_row = of_row.append_column(field, fields.field(at))
    return of_row


def _column(rows: Rows, name: str) -> pa.ChunkedArray:
    return pa.concat_tables(table.select([name]) for table in rows.tables)[name]


def _write_split(kept: Runs, cuts: Sequence[Numbers], named: Named, schema: pa.Schema, stem: Path) -> None:
    """One split as Parquet, with `meta` as a list of {key, value} (`datasets` reads no maps), and meanwhile in a thread
    as JSON lines."""
    at = schema.get_field_index("meta")
    read = [name for name in schema.names if name not in UNREAD]
    with stem.with_suffix(".jsonl").open("wb") as file, ThreadPoolExecutor(1) as thread:

        def listed() -> Iterator[pa.Table]:
            for piece in map(named, kept.taken(cuts)):
                written = thread.submit(_write_lines, piece.select(read), file)
                meta = piece["meta"].combine_chunks()
                entries = pa.StructArray.from_arrays([meta.keys, meta.items], fields=list(LISTED_META.value_type))
                lists = pa.ListArray.from_arrays(meta.offsets, entries)
                yield piece.select(schema.names).set_column(at, "meta", lists)
                written.result()
                del piece, meta, entries, lists, written  # before the next one is made

        _write_parquet(listed(), schema.set(at, pa.field("meta", LISTED_META)), stem.with_suffix(".parquet"))


def _write_lines(table: pa.Table, file: IO[bytes]) -> None:
    for batch in table.to_batches(max_chunksize=LINES):
        file.write(json_lines(pa.Table.from_batches([batch])))


def _write_parquet(pieces: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """A Parquet file with a row group for each piece."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(piece, row_group_size=max(1, piece.num_rows))
            del piece  # before the next one is made
