"""Runs: the rows of a few shards each, put in order by worker processes, so that a piece of all rows in order is of
each run a part that lies together."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

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
    """The rows of shards, mapped from files in which runs of them lie in order."""

    def __init__(self, files: Sequence[tuple[mmap.mmap, list[pa.Table]]], in_order: InOrder) -> None:
        super().__init__([table for _, tables in files for table in tables])
        self._maps = [mapped for mapped, _ in files]
        self._in_order = in_order

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
        for piece in super().pieces(numbers):
            self._give_back()
            yield piece

    def each(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Those columns of the rows, of one run after the other; likewise."""
        for table in self.tables:
            yield table.select(columns)
            self._give_back()

    def _give_back(self) -> None:
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)
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
    if mirror_of(folder) is not None:  # of a bucket: workers of other machines write where nobody here sees it
        map_shards = map_in_process
    files = []
    for task, ends in zip(tasks, map_shards(f"publish: {which}", write_run, tasks), strict=True):
        with task.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        files.append((mapped, read_tables(mapped, ends)))
    return Runs(files, in_order)
