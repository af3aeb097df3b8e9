"""Runs: the rows of a few shards each, put in order by worker processes, so that a piece of all rows in order is of
each run a part that lies together."""

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.engine import MapShards, map_in_process
from curate.mirror import mirror_of
from curate.sets.rows import Numbers, Rows, read_tables, text_bytes, write_tables
from curate.shards import Shard

FILES = 64
"""Files that runs are written to, at most: each is open while they are read."""
RUN_BYTES = 64 << 20
"""A run has so many bytes of rows, or ends with the shard that brings it to them. To read a part of a run takes pages
of each column: fewer runs, fewer pages."""

InOrder = Callable[[pa.Table], Numbers]
"""Gives the numbers of a table's rows in the order that is wanted, whatever other rows are there."""


@dataclass(frozen=True)
class RunTask:
    """The rows of some shards, to be put in order."""

    shards: Sequence[Shard]
    rejected: bool
    """Whether these are the rows rejected; else those kept."""
    in_order: InOrder
    path: Path
    """Where they are to lie."""
    unit: str = "rows"

    @property
    def size(self) -> int:
        return sum(shard.rejected if self.rejected else shard.rows for shard in self.shards)

    def __str__(self) -> str:
        return f"the rows {'rejected' if self.rejected else 'kept'} of {len(self.shards)} shards"


def write_run(task: RunTask) -> list[int]:
    """Write the rows in runs, each in order, of as many shards as bring it to RUN_BYTES; gives where these lie, see
    `write_tables`."""

    def runs() -> Iterator[pa.Table]:
        held: list[pa.Table] = []
        for shard in task.shards:
            held.append(shard.quarantine() if task.rejected else shard.kept())
            if sum(table.nbytes for table in held) >= RUN_BYTES or shard is task.shards[-1]:
                run = Rows(held)
                held = []
                yield run.take(task.in_order(pa.concat_tables(run.tables)))

    with task.path.open("wb") as file:
        return write_tables(runs(), file)


class Runs(Rows):
    """The rows of shards, mapped from files in which runs of them lie in order. As a part of a task it is where these
    lie.

    Args:
        files: each with where its runs lie, see `write_tables`.
        in_order: the order.
        columns: of the rows; by default all.
    """

    def __init__(
        self, files: Sequence[tuple[Path, list[int]]], in_order: InOrder, columns: Sequence[str] | None = None
    ) -> None:
        self._files, self._in_order, self._columns = files, in_order, columns

    def __reduce__(self) -> tuple[type["Runs"], tuple[Any, ...]]:
        return Runs, (self._files, self._in_order, self._columns)

    @cached_property
    def _mapped(self) -> list[tuple[mmap.mmap, list[pa.Table]]]:
        mapped = []
        for path, ends in self._files:
            with path.open("rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            tables = read_tables(memory, ends)
            columns = tables[0].column_names if self._columns is None else self._columns
            mapped.append((memory, [table.select(columns) for table in tables]))
        return mapped

    @cached_property
    def _read(self) -> list[pa.Table]:
        return [table for _, tables in self._mapped for table in tables]

    @property
    def tables(self) -> Sequence[pa.Table]:
        return self._read

    def select(self, columns: Sequence[str]) -> "Runs":
        return Runs(self._files, self._in_order, columns)

    @cached_property
    def order(self) -> Numbers:
        """The numbers of all rows, in order."""
        order = self._in_order(pa.concat_tables(self.tables))
        self._give_back()
        return order

    @cached_property
    def _bytes(self) -> Numbers:
        return text_bytes(self.each(self.tables[0].column_names))

    def pieces(self, numbers: Numbers) -> Iterator[pa.Table]:
        """See `Rows.pieces`; what has been read of the files does not stay in memory."""
        return self.taken(self.cut(numbers))

    def taken(self, cuts: Iterable[Numbers]) -> Iterator[pa.Table]:
        """The rows of each of the cuts; likewise."""
        for numbers in cuts:
            piece = self.take(numbers)
            self._give_back()
            yield piece
            del piece  # before the next one is taken
            self._give_back()

    def each(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Those columns of the rows, of one run after the other; likewise."""
        for table in self.tables:
            yield table.select(columns)
            self._give_back()

    def _give_back(self) -> None:
        for memory, _ in self._mapped:
            memory.madvise(mmap.MADV_DONTNEED)
        pa.default_memory_pool().release_unused()


def runs_of(shards: Sequence[Shard], rejected: bool, in_order: InOrder, folder: Path, map_shards: MapShards) -> Runs:
    """The rows of shards, kept or rejected, put in order by workers.

    Args:
        shards: one at least.
        rejected: whether the rows are those rejected.
        in_order: the order.
        folder: holds the files for as long as they are read.
        map_shards: runs the workers.
    """
    rows = [shard.rejected if rejected else shard.rows for shard in shards]
    some = [shard for shard, each in zip(shards, rows, strict=True) if each] or shards[:1]
    cuts = np.linspace(0, len(some), min(len(some), FILES) + 1).astype(int)
    which = "rejected" if rejected else "kept"
    tasks = [
        RunTask(some[begin:end], rejected, in_order, folder / f"{which}-{begin}.arrow")
        for begin, end in pairwise(cuts.tolist())
    ]
    found = beside(folder, map_shards)(f"publish: {which}", write_run, tasks)
    return Runs([(task.path, ends) for task, ends in zip(tasks, found, strict=True)], in_order)


def beside(folder: Path, map_shards: MapShards) -> MapShards:
    """The MapShards of tasks that write into a folder of the store."""
    # Of a bucket: workers of other machines would write where nobody here sees it.
    return map_shards if mirror_of(folder) is None else map_in_process
