"""What is found of all rows, in numbers, and the columns that tell it: reason, evidence and cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.sets.beside_earlier import Pairs
from curate.sets.earlier import Earlier
from curate.sets.keys import Numbers, hexadecimal
from curate.stage import evidence_json

KEPT, CONFLICT, EXACT, NEAR, DECIDED = range(5)
REASONS = (None, "conflict", "exact_duplicate", "near_duplicate", "decided_duplicate")
"""What these are called."""
THIS_DROP = -1
BATCH = 1 << 14
"""Rows whose columns are made at a time."""


class Found:
    """What is found of each row, in order of priority: 19 bytes a row."""

    def __init__(self, rows: int) -> None:
        self.reason = np.zeros(rows, np.int8)
        """KEPT, or why it goes."""
        self.rival = np.full(rows, -1, np.int64)
        """What it goes for: the place of a row of the drop, an earlier row, or the number of a conflict."""
        self.rival_in = np.full(rows, THIS_DROP, np.int16)
        """The number of the `Earlier` that the rival is of."""
        self.similarity = np.full(rows, np.nan)
        """How similar it is to the rival, where that is told."""

    def duplicates(self, places: Any, reason: int, rivals: Any, similarity: Any, number: int = THIS_DROP) -> None:
        """Rows that go in favour of others."""
        self.reason[places], self.rival[places], self.rival_in[places] = reason, rivals, number
        self.similarity[places] = similarity

    def as_of(self, places: Numbers, others: Numbers) -> None:
        """Rows that go for what other rows go for."""
        for column in (self.reason, self.rival, self.rival_in, self.similarity):
            column[places] = column[others]


class Named:
    """How rows of the drop are named.

    Args:
        keys: see `keys.identities`.
    """

    def __init__(self, keys: pa.Table) -> None:
        self.ids = whole(keys["id"])
        self._files = whole(keys["file"].dictionary_encode())
        self._rows = keys["row"].to_numpy()

    def where(self, rows: Numbers) -> list[dict[str, Any]]:
        """How evidence names them."""
        at = pa.array(rows)
        named = zip(
            self.ids.take(at).to_pylist(), self._files.take(at).to_pylist(), self._rows[rows].tolist(), strict=True
        )
        return [{"kept": id_, "version": None, "file": file, "row": row} for id_, file, row in named]


class ClusterNames:
    """Names of clusters: that of the earlier one it belongs to, the least of several, or else the least id in it.

    Args:
        named: the rows.
        order: their numbers, in order of priority.
        roots: the cluster of each place, a number.
        ties: numbers of clusters and earlier rows of them.
        earlier: what was seen before.
    """

    def __init__(self, named: Named, order: Numbers, roots: Numbers, ties: Pairs, earlier: Sequence[Earlier]) -> None:
        self._named, self._roots = named, roots
        ids = hexadecimal(pa.chunked_array([named.ids]), 32)[order]
        falling = np.lexsort((ids[:, 1], ids[:, 0]))[::-1]
        self._least = np.empty(int(roots.max(initial=-1)) + 1, np.int64)
        self._least[roots[falling]] = order[falling]  # the least is written last
        names = [
            each.rows["cluster"].take(pa.array(ties.others[ties.numbers == number])).cast(pa.string())
            for number, each in enumerate(earlier)
        ]
        self._earlier = whole(pa.chunked_array([chunk for each in names for chunk in each.chunks], pa.string()))
        self._renamed: Numbers | None = None
        if len(self._earlier):
            clusters = np.concatenate([ties.mine[ties.numbers == number] for number in range(len(earlier))])
            by = pa.table({"cluster": clusters, "name": self._earlier})
            falling = pc.sort_indices(by, [("cluster", "ascending"), ("name", "descending")]).to_numpy()
            self._renamed = np.full(len(self._least), -1)
            self._renamed[clusters[falling]] = falling

    def of(self, places: Numbers) -> pa.Array:
        """The names of the clusters of some places."""
        roots = self._roots[places]
        names = self._named.ids.take(pa.array(self._least[roots]))
        if self._renamed is None:
            return names
        earlier = self._renamed[roots]
        return pc.coalesce(self._earlier.take(pa.array(earlier, mask=earlier < 0)), names)


@dataclass(frozen=True)
class Teller:
    """Puts what is found into words."""

    named: Named
    order: Numbers
    earlier: Sequence[Earlier]
    conflicts: Sequence[Mapping[str, Any]]
    """What was seen of each conflict."""
    clusters: ClusterNames

    def columns(self, found: Found) -> tuple[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray]:
        """Reason, evidence and cluster of all rows, in their own order."""
        place_of = np.empty(len(self.order), np.int64)
        place_of[self.order] = np.arange(len(self.order))
        chunks: list[tuple[pa.Array, ...]] = []
        for begin in range(0, len(place_of), BATCH):
            places = place_of[begin : begin + BATCH]
            code, clusters = found.reason[places], self.clusters.of(places)
            gone = np.flatnonzero(code)
            evidence = self._evidence(found, places[gone], clusters.take(pa.array(gone)).to_pylist())
            at = np.full(len(places), -1)
            at[gone] = np.arange(len(gone))
            reason = pa.array(REASONS, pa.string()).take(pa.array(code))
            chunks.append((reason, pa.array(evidence, pa.string()).take(pa.array(at, mask=at < 0)), clusters))
        reason, evidence, cluster = (
            pa.chunked_array([each[column] for each in chunks], pa.string()) for column in range(3)
        )
        return reason, evidence, cluster

    def where(self, number: int, rows: Sequence[int] | Numbers) -> list[dict[str, Any]]:
        """How evidence names earlier rows."""
        return where_earlier(self.earlier[number], rows)

    def _evidence(self, found: Found, places: Numbers, clusters: Sequence[str]) -> list[str]:
        seen: list[dict[str, Any]] = [{} for _ in places]
        reason, rivals, number_of = found.reason[places], found.rival[places], found.rival_in[places]
        for at in np.flatnonzero(reason == CONFLICT).tolist():
            seen[at] = {**self.conflicts[rivals[at]]}
        for number in np.unique(number_of[reason > CONFLICT]).tolist():
            here = np.flatnonzero((reason > CONFLICT) & (number_of == number))
            if number == THIS_DROP:
                where = self.named.where(self.order[rivals[here]])
            else:
                where = where_earlier(self.earlier[number], rivals[here])
            for at, each, similarity in zip(here.tolist(), where, found.similarity[places[here]].tolist(), strict=True):
                seen[at] = each if similarity != similarity else each | {"similarity": round(similarity, 6)}
        return [evidence_json(each | {"cluster": cluster}) for each, cluster in zip(seen, clusters, strict=True)]


def where_earlier(earlier: Earlier, rows: Sequence[int] | Numbers) -> list[dict[str, Any]]:
    """How evidence names earlier rows."""
    named = earlier.rows.select(["id", "version", "file", "row"]).take(pa.array(rows, pa.int64()))
    return named.rename_columns(["kept", "version", "file", "row"]).to_pylist()  # type: ignore[no-any-return]
