"""Untying: components of rows in which several splits are fixed are taken apart, at the price of the rows between."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from curate.sets.deal import Flags, Ints
from curate.sets.split_masks import SEVERAL, Masks, joined, splits_in


def untie(
    component: Ints,
    cluster: Ints,
    group: Ints,
    all_ids: pa.ChunkedArray,
    masks: Masks,
    recorded_rows: Flags,
    turns: Ints,
) -> dict[int, dict[str, Any]]:
    """Take apart, in place, the components in which several splits are fixed; gives back the rows that must go.

    A row joins its cluster with its group's keys. As in Kruskal's algorithm the rows of such a component are put back
    one by one, and one that would join two splits stays out: recorded rows first, which all stand, then the others in
    the order of `turns`, of equals those first that touch one split only, the split that most rows touch first; then
    the least id first. No row that stayed out could be put back, so none goes that did not have to once the others were
    in.

    Args:
        component: -1 is written for the rows that go, and a number of its own for each part that remains.
        cluster, group: of each row its cluster, and its group's keys (-1: none), shape (rows, keys).
        all_ids: of the rows.
        masks: the splits that each row is fixed to.
        recorded_rows: which of these rows an earlier version published.
        turns: of each row, when it is its turn: the least first, 0 where none is told.
    """
    from curate.sets.components import Components

    torn = SEVERAL[joined(component.max(initial=-1) + 1, component, masks)]
    some = np.flatnonzero(torn[component])
    rows = some.tolist()
    fixed = {row: splits_in(mask) for row, mask in zip(rows, masks[some].tolist(), strict=True) if mask}
    recorded, rank = {*some[recorded_rows[some]].tolist()}, dict(zip(rows, turns[some].tolist(), strict=True))
    ids = dict(zip(rows, all_ids.take(pa.array(some)).to_pylist(), strict=True))
    nodes = {
        row: [("cluster", int(cluster[row])), *(("group", int(key)) for key in group[row] if key >= 0)] for row in rows
    }
    least: dict[int, str] = {}
    at_node: dict[tuple[str, int], frozenset[str]] = {}
    for row in rows:
        root = int(component[row])
        least[root] = min(ids[row], least.get(root, ids[row]))
        if row in recorded:
            at_node |= {node: at_node.get(node, frozenset()) | fixed[row] for node in nodes[row]}
    touched = {
        row: frozenset().union(fixed.get(row, ()), *(at_node.get(node, ()) for node in nodes[row])) for row in rows
    }
    votes = Counter((int(component[row]), touched[row]) for row in rows)

    def turn(row: int) -> tuple[bool, int, bool, int, list[str], str]:
        touches_one = len(touched[row]) == 1
        most = -votes[int(component[row]), touched[row]] if touches_one else 0
        return row not in recorded, rank[row], not touches_one, most, sorted(touched[row]), ids[row]

    position = {row: at for at, row in enumerate(rows)}
    parts = Components(len(rows))
    split_of: dict[int, str | None] = {}
    present: dict[tuple[str, int], set[int]] = {}
    bridges: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=turn):
        here = position[row]
        beside = {parts.find(part) for node in nodes[row] for part in present.get(node, ())}
        if row in recorded:
            beside = {part for part in beside if split_of[part] in fixed[row]}
        splits = set(fixed.get(row, ())) | {split for part in beside if (split := split_of[part]) is not None}
        if len(splits) > 1:
            bridges[row] = {"cluster": least[int(component[row])], "splits": sorted(splits)}
            continue
        for part in beside:
            parts.union(here, part)
        split_of[parts.find(here)] = next(iter(splits), None)
        for node in nodes[row]:
            present[node] = {parts.find(part) for part in (here, *present.get(node, ()))}
    for row in rows:
        component[row] = -1 if row in bridges else len(component) + parts.find(position[row])
    return bridges
