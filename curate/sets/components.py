"""Connected components of a graph whose edges arrive one by one.

A union-find over 0 .. size-1 (Tarjan and van Leeuwen, 1984, path halving) is an array of parents, at first
`np.arange(size)`; the least member of a component is its root.
"""

import numpy as np
import numpy.typing as npt

from curate.text.kernel import kernel

Parents = npt.NDArray[np.int64]


@kernel
def find(parents, node):  # type: ignore[no-untyped-def]
    """The root of a node's component."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@kernel
def union(parents, first, second):  # type: ignore[no-untyped-def]
    """Put two nodes into one component."""
    first, second = find(parents, first), find(parents, second)
    if first < second:
        parents[second] = first
    else:
        parents[first] = second


@kernel
def join(parents, firsts, seconds):  # type: ignore[no-untyped-def]
    """Put each node of `firsts` into one component with that of `seconds` at its place."""
    for at in range(len(firsts)):
        union(parents, firsts[at], seconds[at])


@kernel
def roots(parents):  # type: ignore[no-untyped-def]
    """The root of every node: shape (size,)."""
    out = np.empty(len(parents), np.int64)
    for node in range(len(parents)):
        out[node] = find(parents, node)
    return out


class Components:
    """A union-find of its own array."""

    def __init__(self, size: int) -> None:
        self.parents: Parents = np.arange(size)

    def find(self, node: int) -> int:
        return int(find(self.parents, node))

    def union(self, first: int, second: int) -> None:
        union(self.parents, first, second)

    def roots(self) -> Parents:
        found: Parents = roots(self.parents)
        return found
