"""The rows of conflicts, each group whole: what is published as conflicts.parquet."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.record import SPLITS, TURNS
from curate.sets.earlier import Earlier
from curate.sets.keys import Numbers
from curate.sets.rows import Rows, in_order
from curate.store import verified


def conflict_table(
    groups: Sequence[Numbers],
    reasons: pa.ChunkedArray,
    rows: Rows,
    earlier_groups: Sequence[Sequence[tuple[int, int]]],
    earlier: Sequence[Earlier],
    published: Callable[[str], Path],
) -> pa.Table:
    """Each row of a conflict as it is, with its number, the earlier version it is of, and whether it is kept.

    Args:
        groups: the numbers of each conflict's rows.
        reasons: why each of all rows goes, null where it is kept.
        rows: all of them.
        earlier_groups: for each conflict the earlier rows in it, as (number of the `Earlier`, row).
        earlier: what was seen before.
        published: the folder of an earlier version.
    """
    members = np.concatenate([np.zeros(0, np.int64), *groups])
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    ascending = np.unique(members)
    of_conflicts = rows.only(ascending)
    tables, begin, kept = [], 0, pc.is_null(reasons).to_numpy()[members]
    for piece in [*of_conflicts.pieces(np.searchsorted(ascending, members))] or [of_conflicts.take(members)]:
        end = begin + piece.num_rows
        piece = piece.add_column(0, "conflict", pa.array(group_of[begin:end]))
        piece = piece.add_column(1, "version", pa.nulls(piece.num_rows, pa.string()))
        tables.append(piece.append_column("kept", pa.array(kept[begin:end])))
        begin = end
    seen = [(number, *other) for number, group in enumerate(earlier_groups) for other in group]
    tables += _earlier_conflicts(seen, earlier, published)
    whole = pa.concat_tables(tables, promote_options="default")
    if seen:
        batches = Rows([pa.Table.from_batches([batch]) for batch in whole.to_batches()])
        whole = pa.concat_tables(batches.pieces(in_order(whole.select(["conflict"]))))
    return whole


def _earlier_conflicts(
    seen: Sequence[tuple[int, int, int]], earlier: Sequence[Earlier], published: Callable[[str], Path]
) -> Iterator[pa.Table]:
    """The earlier rows of conflicts as they are published or quarantined, one table for each version and file.

    Args:
        seen: (number of the conflict, number of the `Earlier`, row in it).
    """
    by_version: dict[str, dict[bool, dict[str, int]]] = {}
    for conflict, number, row in seen:
        known = earlier[number].rows.slice(row, 1).select(["id", "version", "kept"]).to_pylist()[0]
        by_version.setdefault(known["version"], {True: {}, False: {}})[known["kept"]][known["id"]] = conflict
    columns = ["id", "turns", "target", "group", "label", "language", "source"]
    for version, wanted in by_version.items():
        if not published(version).is_dir():  # no longer in the store; the evidence still names its rows
            continue
        for name in (*SPLITS, "quarantine"):
            conflict_of = wanted[name != "quarantine"]
            of_these = pc.field("id").isin(pa.array(conflict_of, pa.string()))
            table = pq.read_table(verified(published(version), f"{name}.parquet"), columns=columns, filters=of_these)
            numbers = pa.array([conflict_of[id_] for id_ in table["id"].to_pylist()], pa.int64())
            table = table.add_column(0, "conflict", numbers)
            table = table.add_column(1, "version", pa.repeat(version, table.num_rows))
            table = table.set_column(table.schema.get_field_index("turns"), "turns", table["turns"].cast(TURNS))
            yield table.append_column("kept", pa.repeat(name != "quarantine", table.num_rows))
