"""The same decisions without one place that knows all edges: labels and fates go from row to row, round after round.

Every worker goes as far as it can by what it knows, then tells the others what has changed. How many rounds that takes
is how often a path of similar rows goes from one worker to another.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.scale.network import Array, Network
from benchmarks.scale.place import NEAR

SAME = np.dtype([("row", "<u4"), ("other", "<u4")])
LABEL = np.dtype([("row", "<u4"), ("label", "<u4")])
LEAST = np.dtype([("label", "<u4"), ("id", "<u8", 2)])
NEIGHBOUR = np.dtype([("id", "<u8", 2), ("chars", "<u4"), ("there", "?")])
FATE = np.dtype([("row", "<u4"), ("fate", "u1")])
OPEN, KEPT, REMOVED = 0, 1, 2


class Rounds:
    """What a worker knows of the rows it holds and of those that these are like. Args: see `Place`."""

    def __init__(
        self,
        network: Network,
        holder: Callable[[Array], Array],
        named: Callable[[Array], Array],
        begin: int,
        rows: int,
    ) -> None:
        self.network, self.holder, self.named = network, holder, named
        self.begin, self.there = begin, np.ones(rows, np.bool_)
        self.rounds: dict[str, int] = {}

    def decide(self, edges: Array, joins: Array) -> None:
        """All of it; `edges` are of rows held here, `joins` of the prompts owned here."""
        mine, theirs, similarity = self._edges(edges)
        one, other = self._joined(joins)
        self._label(np.concatenate([mine, one]), np.concatenate([theirs, other]))
        self._remove(mine, theirs, similarity)

    def _edges(self, edges: Array) -> tuple[Array, Array, Array]:
        """Each edge from the row held here to the other one."""
        back = np.concatenate(self.network.route("rounds: edges", edges, self.holder(edges["other"].astype(np.int64))))
        mine = np.concatenate([edges["one"], back["other"]]).astype(np.int64)
        theirs = np.concatenate([edges["other"], back["one"]]).astype(np.int64)
        return mine, theirs, np.concatenate([edges["similarity"], back["similarity"]])

    def _joined(self, joins: Array) -> tuple[Array, Array]:
        """Edges of one prompt, likewise; rows that go for that, or stand behind their equal, are not asked further."""
        gone = joins["conflict"] | (joins["row"] != joins["first"])
        out = joins["row"][gone]
        told = np.concatenate(
            self.network.route("rounds: conflicts and equals", out, self.holder(out.astype(np.int64)))
        )
        self.there[told.astype(np.int64) - self.begin] = False
        other = joins["row"] != joins["head"]
        pairs = np.empty(2 * int(other.sum()), SAME)
        pairs["row"] = np.concatenate([joins["row"][other], joins["head"][other]])
        pairs["other"] = np.concatenate([joins["head"][other], joins["row"][other]])
        to = self.holder(pairs["row"].astype(np.int64))
        met = np.concatenate(self.network.route("rounds: rows of one prompt", pairs, to))
        return met["row"].astype(np.int64), met["other"].astype(np.int64)

    def _label(self, mine: Array, theirs: Array) -> None:
        """The least number of each component, then its least id."""
        self.rows = np.unique(mine)
        place = np.searchsorted(self.rows, mine)
        holder = self.holder(theirs)
        near = holder == self.network.number
        one, other = place[near], np.searchsorted(self.rows, theirs[near])
        label, told = self.rows.copy(), self.rows.copy()
        rounds, news = 0, True
        told[:] = -1
        while news:
            _settle(label, one, other)
            changed = ~near & (label[place] != told[place])
            out = np.empty(int(changed.sum()), LABEL)
            out["row"], out["label"] = theirs[changed], label[place[changed]]
            told[:] = label
            met = np.concatenate(self.network.route("rounds: labels", out, holder[changed]))
            np.minimum.at(label, np.searchsorted(self.rows, met["row"]), met["label"])
            news = self.network.any("rounds: whether labels change", bool((label != told).any()))
            rounds += 1
        self.rounds["labels"] = rounds
        ids = self.named(self.rows)["id"]
        labels, least = _least(label, ids)
        out = np.empty(len(labels), LEAST)
        out["label"], out["id"] = labels, least
        to = self.holder(labels)
        met = self.network.route("rounds: least ids", out, to)
        every = np.concatenate(met)
        found, least = _least(every["label"].astype(np.int64), every["id"])
        answers = [least[np.searchsorted(found, each["label"])] for each in met]
        heard = self.network.exchange("rounds: least ids, back", [each.tobytes() for each in answers])
        back = np.empty((len(labels), 2), np.uint64)
        back[np.argsort(to, kind="stable")] = np.frombuffer(b"".join(heard), "<u8").reshape(-1, 2)
        self.cluster = back[np.searchsorted(labels, label)]

    def _remove(self, mine: Array, theirs: Array, similarity: Array) -> None:
        """A row goes once one before it is kept, and stays once all before it are gone."""
        known = np.unique(np.concatenate([mine, theirs]))
        names = self._neighbours(known)
        order = np.lexsort((known, names["id"][:, 1], names["id"][:, 0], -names["chars"].astype(np.int64)))
        rank = np.argsort(order)
        one, other = np.searchsorted(known, mine), np.searchsorted(known, theirs)
        both = names["there"][one] & names["there"][other]
        one, other, similarity = one[both], other[both], similarity[both]
        before = rank[other] < rank[one]
        here = self.holder(known) == self.network.number
        fate = np.full(len(known), OPEN, np.uint8)
        fate[~names["there"]] = REMOVED
        later = ~before & ~here[other]
        tell = np.unique(np.stack([one[later], self.holder(known[other[later]])], axis=1), axis=0)
        one, other, similarity = one[before], other[before], similarity[before]
        rounds, news = 0, True
        told = fate.copy()
        while news:
            while True:
                kept = np.bincount(one, fate[other] == KEPT, len(known)) > 0
                left = np.bincount(one, fate[other] != REMOVED, len(known)) > 0
                now = np.where(here & (fate == OPEN), np.where(kept, REMOVED, np.where(left, OPEN, KEPT)), fate)
                if (now == fate).all():
                    break
                fate = now.astype(np.uint8)
            new = fate[tell[:, 0]] != told[tell[:, 0]]
            out = np.empty(int(new.sum()), FATE)
            out["row"], out["fate"] = known[tell[new, 0]], fate[tell[new, 0]]
            told = fate.copy()
            met = np.concatenate(self.network.route("rounds: fates", out, tell[new, 1]))
            fate[np.searchsorted(known, met["row"])] = met["fate"]
            news = self.network.any("rounds: whether fates are open", bool((fate[here] == OPEN).any()))
            rounds += 1
        self.rounds["fates"] = rounds
        removing = np.flatnonzero(fate[other] == KEPT)
        removing = removing[np.lexsort((rank[other[removing]], one[removing]))]
        at, first = np.unique(one[removing], return_index=True)
        self.removed, self.by = known[at], known[other[removing[first]]]
        self.similarity = similarity[removing[first]]

    def _neighbours(self, known: Array) -> Array:
        """What puts rows in order, of all that are known here."""

        def answer(rows: Array) -> Array:
            rows = rows.astype(np.int64)
            out = np.empty(len(rows), NEIGHBOUR)
            named = self.named(rows)
            out["id"], out["chars"], out["there"] = named["id"], named["chars"], self.there[rows - self.begin]
            return out

        return self.network.ask("rounds: names", known, self.holder(known), answer)

    def require_same(self, told: Array) -> None:
        """See to it that the one place has said the same.

        Raises:
            SystemExit: it has not.
        """
        told = told[np.argsort(told["row"])]
        near = told[(told["reason"] == NEAR) & self.there[told["row"].astype(np.int64) - self.begin]]
        same = [
            (told["row"], self.rows),
            (told["cluster"], self.cluster),
            (near["row"], self.removed),
            (near["by"], self.by),
            (near["similarity"], self.similarity),
        ]
        if not all(np.array_equal(one, other) for one, other in same):
            raise SystemExit("By rounds, other rows have gone than by one place.")


def _settle(label: Array, one: Array, other: Array) -> None:
    """The least label along the edges inside one worker, in place."""
    while True:
        now = label.copy()
        np.minimum.at(now, one, label[other])
        if (now == label).all():
            return
        label[:] = now


def _least(labels: Array, ids: Array) -> tuple[Array, Array]:
    """The labels, ascending, and the least id of each."""
    order = np.lexsort((ids[:, 1], ids[:, 0], labels))
    found, first = np.unique(labels[order], return_index=True)
    return found, ids[order[first]]
