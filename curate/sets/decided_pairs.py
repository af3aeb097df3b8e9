"""Pairs of rows that people have decided on: the same though they do not look it, or not the same though they do."""

from collections.abc import Hashable, Sequence
from itertools import chain, combinations, pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.sets.keys import Halves, Numbers

Came = Literal["applied", "no_effect", "overruled"]
Group = tuple[list[int], list[tuple[int, int]]]
"""Places of rows, and earlier rows as (number of the `Earlier`, row)."""


class Alike(NamedTuple):
    """How a judgement sees two rows."""

    together: bool
    """Whether they are of one cluster, and so share a split."""
    torn: bool
    """Whether they are in one conflict."""
    removed: bool
    """Whether they are equal, or one goes as a near-duplicate of the other."""
    reasons: tuple[str | None, str | None]
    """Why each of them goes."""

    def came(self, action: str, without: "Alike") -> Came:
        """What came of it that people say so.

        Args:
            action: what they say of both, `same` or `different`.
            without: how they would be seen if nobody had said anything of any pair.
        """
        if action == "same":
            removed = any(
                why == "decided_duplicate" and other is None
                for why, other in zip(self.reasons, without.reasons, strict=True)
            )
            acted = self.together > without.together or self.torn > without.torn or removed
            return "applied" if acted else "no_effect"
        if self.torn or self.removed:
            return "overruled"
        return "applied" if without.torn or without.removed else "no_effect"


class DecidedPairs(NamedTuple):
    """Numbers of rows, or their places in an order, two and two."""

    same: Sequence[tuple[int, int]] = ()
    different: Sequence[tuple[int, int]] = ()

    @classmethod
    def of(cls, keys: pa.Table, pairs: Sequence[tuple[str, str, str]]) -> "DecidedPairs":
        """By the numbers of rows in a key table.

        Args:
            keys: with the column id; of rows of one id, each is meant.
            pairs: two ids, and `same` or `different`; those of rows that are not there count for nothing.
        """
        wanted = pa.array(sorted({id_ for one, other, _ in pairs for id_ in (one, other)}), pa.string())
        rows: dict[str, list[int]] = {}
        for row in pc.indices_nonzero(pc.is_in(keys["id"], value_set=wanted)).to_pylist():
            rows.setdefault(keys["id"][row].as_py(), []).append(row)
        found: dict[str, list[tuple[int, int]]] = {"same": [], "different": []}
        for one, other, action in pairs:
            found[action] += [(a, b) for a in rows.get(one, ()) for b in rows.get(other, ())]
        return cls(found["same"], found["different"])

    def placed(self, order: Numbers) -> "DecidedPairs":
        """By the places of rows in an order, the lesser place first."""
        place_of = np.argsort(order)
        same, different = (
            sorted((min(pair), max(pair)) for a, b in pairs for pair in [(int(place_of[a]), int(place_of[b]))])
            for pairs in self
        )
        return DecidedPairs(same, different)

    def told(self, seen: Sequence[Alike], without: Sequence[Alike]) -> list[tuple[int, int, Came]]:
        """What came of each, those of `same` first, see `Alike.came`."""
        said = [*((*pair, "same") for pair in self.same), *((*pair, "different") for pair in self.different)]
        return [
            (one, other, alike.came(action, before))
            for (one, other, action), alike, before in zip(said, seen, without, strict=True)
        ]

    def apart(self, number_of: Numbers) -> Halves:
        """Those that are not the same, both ways, as one sorted number each: what `remove_near_duplicates` takes.

        Args:
            number_of: by place what the row is called there, below 2^32.
        """
        numbers = [(int(number_of[a]), int(number_of[b])) for a, b in self.different]
        both = {(a << 32) | b for pair in numbers for a, b in (pair, pair[::-1]) if a != b}
        return np.array(sorted(both), np.uint64)

    def regrouped(self, groups: Sequence[Group], prompts: Halves) -> list[Group]:
        """Groups of rows that ask the same, as people see it.

        Rows that are the same join their groups, or two that are in none; of a group go those that are decided to be
        different from each other row in it. An earlier row asks the same as all of its group.

        Args:
            groups: as they are found.
            prompts: hash of each place's prompt.
        """
        parents: dict[Hashable, Any] = {}

        def root(node: Hashable) -> Hashable:
            while parents.setdefault(node, node) != node:
                node = parents[node]
            return node

        def join(one: Hashable, other: Hashable) -> None:
            parents[root(one)] = root(other)

        cut = {*self.different}
        grouped = {place for places, _ in groups for place in places}
        alike = [
            np.flatnonzero((prompts == prompts[place]).all(axis=1))
            for place in {*chain.from_iterable(self.same)} - grouped
        ]
        for places, earlier in [*groups, *((each.tolist(), []) for each in alike)]:
            nodes: list[Any] = [*places, *earlier]
            ties = combinations(nodes, 2) if cut & {*combinations(places, 2)} else pairwise(nodes)
            for one, other in ties:
                if (one, other) not in cut:
                    join(one, other)
            root(nodes[0])
        for one, other in self.same:
            join(one, other)
        found: dict[Hashable, Group] = {}
        for node in [*parents]:
            places, earlier = found.setdefault(root(node), ([], []))
            (places if isinstance(node, int) else earlier).append(node)  # type: ignore[arg-type]
        return [(sorted(places), sorted(earlier)) for places, earlier in found.values() if places]


def pairs_told(found: Sequence[tuple[int, int, Came]], ids: pa.ChunkedArray) -> pa.Table:
    """What came of pairs by the ids of their rows, the lesser first; where several rows have one id, of those to which
    most came: columns one, other, outcome."""
    rank: dict[str, int] = {"no_effect": 0, "overruled": 1, "applied": 2}
    told: dict[tuple[str, str], Came] = {}
    for one, other, outcome in found:
        pair = min(ids[one].as_py(), ids[other].as_py()), max(ids[one].as_py(), ids[other].as_py())
        told[pair] = max(told.get(pair, outcome), outcome, key=rank.__getitem__)
    columns = [[one for one, _ in told], [other for _, other in told], [*told.values()]]
    return pa.table([pa.array(each, pa.string()) for each in columns], names=["one", "other", "outcome"])
