"""One place: clusters and who goes, of the rows that are like another one; all others are not even told of."""

from collections.abc import Callable

import numpy as np

from benchmarks.scale.network import Array, Network
from curate.sets.components import join, roots
from curate.text.kernel import kernel

VERDICT = np.dtype(
    [("row", "<u4"), ("reason", "u1"), ("by", "<u4"), ("similarity", "<f8"), ("cluster", "<u8", 2), ("kept", "<u8", 2)]
)
REASONS = (None, "exact_duplicate", "near_duplicate", "conflict")
EXACT, NEAR, CONFLICT = 1, 2, 3


def verdict_of(told: Array) -> tuple[str | None, int]:
    """Why a row goes, and in favour of which."""
    return REASONS[int(told["reason"])], int(told["by"])


def in_priority(chars: Array, ids: Array, rows: Array) -> Array:
    """The order of `curate.sets.keys.priority`, where no stage has judged quality."""
    return np.lexsort((rows, ids[:, 1], ids[:, 0], -chars.astype(np.int64)))


class Place:
    """Worker 0: what it knows of rows that have an edge.

    Args:
        holder: who holds rows.
        named: gives ids and lengths of rows that this worker holds.
    """

    def __init__(self, network: Network, holder: Callable[[Array], Array], named: Callable[[Array], Array]) -> None:
        self.network, self.holder, self.named = network, holder, named

    def decide(self, edges: Array, joins: Array) -> Array:
        """The verdicts on rows that this worker holds and that have an edge; all others stay, alone."""
        here = np.zeros(len(edges), np.int64), np.zeros(len(joins), np.int64)
        edges = np.concatenate(self.network.route("edges", edges, here[0]))
        joins = np.concatenate(self.network.route("edges of one prompt", joins, here[1]))
        rows = np.unique(np.concatenate([edges["one"], edges["other"], joins["row"], joins["head"]])).astype(np.int64)
        names = self.network.ask("names", rows, self.holder(rows), self.named)
        self.ids, self.root = names["id"], self._clusters(rows, edges, joins)
        verdicts = self._judge(rows, names, edges, joins)
        by_id = np.lexsort((self.ids[:, 1], self.ids[:, 0]))
        least = np.full(len(rows), len(rows))
        np.minimum.at(least, self.root[by_id], np.arange(len(rows)))
        verdicts["cluster"] = self.ids[by_id[least[self.root]]]
        self.verdicts = verdicts
        return np.concatenate(self.network.route("verdicts", verdicts, self.holder(rows)))

    def _clusters(self, rows: Array, edges: Array, joins: Array) -> Array:
        parents = np.arange(len(rows))
        for one, other in ((edges["one"], edges["other"]), (joins["row"], joins["head"])):
            join(parents, np.searchsorted(rows, one), np.searchsorted(rows, other))
        found: Array = roots(parents)
        return found

    def _judge(self, rows: Array, names: Array, edges: Array, joins: Array) -> Array:
        """Conflicts, then near-duplicates in order of priority, then the rows equal to another one."""
        order = in_priority(names["chars"], names["id"], rows)
        rank = np.argsort(order)
        first, conflict = np.arange(len(rows)), np.zeros(len(rows), np.bool_)
        joined = np.searchsorted(rows, joins["row"])
        first[joined], conflict[joined] = np.searchsorted(rows, joins["first"]), joins["conflict"]
        ranks = rank[np.searchsorted(rows, edges["one"])], rank[np.searchsorted(rows, edges["other"])]
        before, after = np.minimum(*ranks), np.maximum(*ranks)
        by_row = np.lexsort((before, after))
        offsets = np.searchsorted(after[by_row], np.arange(len(rows) + 1))
        there = ((first == np.arange(len(rows))) & ~conflict)[order]
        edge = greedy(offsets, before[by_row], there)
        removed = np.flatnonzero(edge >= 0)
        out = np.zeros(len(rows), VERDICT)
        out["row"], out["reason"][conflict] = rows, CONFLICT
        mine, by = order[removed], order[before[by_row][edge[removed]]]
        out["reason"][mine], out["by"][mine], out["kept"][mine] = NEAR, rows[by], names["id"][by]
        out["similarity"][mine] = edges["similarity"][by_row[edge[removed]]]
        twins = np.flatnonzero((first != np.arange(len(rows))) & ~conflict)
        for name in ("reason", "by", "similarity", "kept"):
            out[name][twins] = out[name][first[twins]]
        alone = twins[out["reason"][twins] == 0]
        out["reason"][alone], out["by"][alone], out["kept"][alone] = (
            EXACT,
            rows[first[alone]],
            names["id"][first[alone]],
        )
        out["similarity"][alone] = 1.0
        return out


@kernel
def greedy(offsets, before, there):  # type: ignore[no-untyped-def]
    """Rows in order of priority: the edge to the first row before each that is kept, -1 where it is kept itself."""
    found = np.full(len(there), -1, np.int64)
    for row in range(len(there)):
        if there[row]:
            for at in range(offsets[row], offsets[row + 1]):
                if there[before[at]] and found[before[at]] < 0:
                    found[row] = at
                    break
    return found
