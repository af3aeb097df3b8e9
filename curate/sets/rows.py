"""Rows of many tables, taken in any order and a bounded piece at a time.

`pa.Table.take` copies a chunked column whole before it takes from it, and fails where its text passes 2 GiB; here each
table is asked for its own rows alone.
"""

import mmap
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.sets.ahead import ahead
from curate.shards import Shard

Numbers = npt.NDArray[np.int64]

PIECE_ROWS = 1 << 15
PIECE_BYTES = 64 << 20
"""A piece holds so many rows, or ends with the row that brings it to so many bytes of text. Where one ends depends on
the rows alone, so that a file written by pieces has the same bytes whatever tables the rows came in."""


class Rows:
    """The rows of tables of one schema, numbered through all of them."""

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self._tables = tables

    @property
    def tables(self) -> Sequence[pa.Table]:
        return self._tables

    @cached_property
    def begins(self) -> Numbers:
        """The number of each table's first row, and how many rows there are."""
        return np.cumsum([0, *(table.num_rows for table in self.tables)])

    def select(self, columns: Sequence[str]) -> "Rows":
        """The same rows, of these columns."""
        return Rows([table.select(columns) for table in self.tables])

    def take(self, numbers: Numbers) -> pa.Table:
        """Those rows, in that order: one chunk a column."""
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]
        cuts = np.searchsorted(ascending, self.begins)
        parts = [
            _taken(table, ascending[first:last] - begin)
            for table, begin, first, last in zip(self.tables, self.begins[:-1], cuts[:-1], cuts[1:], strict=True)
            if first < last
        ]
        taken = pa.concat_tables(parts or [self.tables[0].slice(0, 0)]).combine_chunks()
        if (order[:-1] < order[1:]).all():
            return taken
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return taken.take(pa.array(places))

    def only(self, numbers: Numbers) -> "Rows":
        """Those rows, whose numbers ascend, as rows of their own."""
        return Rows([self.take(numbers)])

    def pieces(self, numbers: Numbers) -> Iterator[pa.Table]:
        """Those rows, in that order, a piece at a time."""
        return map(self.take, self.cut(numbers))

    def cut(self, numbers: Numbers) -> list[Numbers]:
        """The numbers of each piece of those rows."""
        ends = np.cumsum(self._bytes[numbers])
        begin, found = 0, []
        while begin < len(numbers):
            full = np.searchsorted(ends, (ends[begin - 1] if begin else 0) + PIECE_BYTES) + 1
            end = int(min(begin + PIECE_ROWS, full))
            found.append(numbers[begin:end])
            begin = end
        return found

    @cached_property
    def _bytes(self) -> Numbers:
        return text_bytes(self.tables)


class _Kept(Rows):
    """The rows kept of shards; of their columns those are read that are asked for."""

    def __init__(self, shards: Sequence[Shard], folder: Path, columns: Sequence[str]) -> None:
        self._shards, self._folder, self._columns = shards, folder, columns

    @cached_property
    def _read(self) -> Sequence[pa.Table]:
        return spread((shard.kept(self._columns) for shard in self._shards), self._folder)

    @property
    def tables(self) -> Sequence[pa.Table]:
        return self._read

    @cached_property
    def begins(self) -> Numbers:
        return np.cumsum([0, *(shard.rows for shard in self._shards)])

    def select(self, columns: Sequence[str]) -> Rows:
        return _Kept(self._shards, self._folder, columns)

    def only(self, numbers: Numbers) -> Rows:
        """See `Rows.only`; of the others nothing is kept."""
        cuts = np.searchsorted(numbers, self.begins)
        parts = [
            (shard, pa.array(numbers[first:last] - begin))
            for shard, begin, first, last in zip(self._shards, self.begins[:-1], cuts[:-1], cuts[1:], strict=True)
            if first < last or begin == 0 == last
        ]
        return Rows(spread(ahead(self._taken, parts), self._folder))

    def _taken(self, part: tuple[Shard, pa.Array]) -> pa.Table:
        shard, places = part
        return shard.kept(self._columns).take(places)


def rows_of(shards: Sequence[Shard], folder: Path) -> Rows:
    """The rows kept of shards, one at least; those of a selection are read once, when they are first asked for.

    Args:
        folder: see `spread`.
    """
    return _Kept(shards, folder, shards[0].columns)


def spread(tables: Iterable[pa.Table], folder: Path) -> list[pa.Table]:
    """Tables of one schema, one at least, mapped from a file: together they may be more than memory holds.

    Args:
        tables: taken one at a time; given back in one chunk each.
        folder: on the disk that is to hold them. The file has no name there, and goes with what is given back.
    """
    with TemporaryFile(dir=folder) as file:
        ends = write_tables(tables, file)
        return read_tables(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), ends)


def write_tables(tables: Iterable[pa.Table], file: IO[bytes]) -> list[int]:
    """Write tables of one schema, one at least, taken one at a time; gives before which of the file's batches each
    begins, and the number of these."""
    rest = iter(tables)
    first = next(rest)
    ends = [0]
    with pa.ipc.new_file(file, first.schema) as writer:
        for table in chain([first], rest):
            batches = table.combine_chunks().to_batches()
            for batch in batches:
                writer.write_batch(batch)
            ends.append(ends[-1] + len(batches))
    file.flush()
    return ends


def read_tables(mapped: mmap.mmap, ends: Sequence[int]) -> list[pa.Table]:
    """The tables of a file that `write_tables` wrote, in one chunk each."""
    batches = pa.ipc.open_file(pa.py_buffer(mapped))
    return [
        pa.Table.from_batches(map(batches.get_batch, range(begin, end)), batches.schema)
        for begin, end in pairwise(ends)
    ]


def in_order(keys: pa.Table) -> Numbers:
    """The numbers of a table's rows when they are sorted by all its columns, the first one first; stable."""
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])
    numbers: Numbers = np.asarray(order, np.int64)
    return numbers


def _taken(table: pa.Table, numbers: Numbers) -> pa.Table:
    """Rows of one table by their ascending numbers; where they lie together nothing is copied."""
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return table.slice(numbers[0], len(numbers))
    return table.take(pa.array(numbers))


def text_bytes(tables: Iterable[pa.Table]) -> Numbers:
    """Bytes of text in each row's strings and turns."""
    return np.concatenate([np.zeros(0, np.int64), *map(_text_bytes, tables)])


def _text_bytes(table: pa.Table) -> Numbers:
    total = np.zeros(table.num_rows, np.int64)
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if pa.types.is_string(kind):
            total += _lengths(pc.binary_length(table[name]))
    if "turns" not in table.schema.names:
        return total
    counts = _lengths(pc.list_value_length(table["turns"]))
    said = pc.list_flatten(table["turns"])
    sizes = sum(_lengths(pc.binary_length(pc.struct_field(said, name))) for name in ("content", "reasoning"))
    ends = np.concatenate([[0], np.cumsum(sizes)])[np.concatenate([[0], np.cumsum(counts)])]
    total += np.diff(ends)
    return total


def _lengths(lengths: Any) -> Numbers:
    whole: Numbers = np.asarray(pc.fill_null(lengths, 0), np.int64)
    return whole
