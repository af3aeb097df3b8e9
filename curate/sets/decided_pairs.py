"""Pairs of rows that people have decided on: the same though they do not look it, or not the same though they do."""

from collections.abc import Hashable, Sequence
from itertools import chain, combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.sets.keys import Halves, Numbers

Group = tuple[list[int], list[tuple[int, int]]]
"""Places of rows, and earlier rows as (number of the `Earlier`, row)."""


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
        if not self.same and not self.different:
            return list(groups)
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
