"""Connected components of a graph whose edges arrive one by one."""

import numpy as np
import numpy.typing as npt


class Components:
    """Union-find over 0 .. size-1 (Tarjan and van Leeuwen, 1984, path halving); the least member is the root."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, node: int) -> int:
        """The root of a node's component."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def union(self, first: int, second: int) -> None:
        """Put two nodes into one component."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def roots(self) -> npt.NDArray[np.int64]:
        """The root of every node: shape (size,)."""
        return np.array([self.find(node) for node in range(len(self._parent))], dtype=np.int64)
