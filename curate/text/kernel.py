"""How kernels are compiled: by numba, without Python's lock, and kept on the disk where there is a place for them."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Kept(FunctionCache):  # type: ignore[misc]
    """What numba has kept of a function, without what only compiling needs: numba sets its whole compiler up before it
    looks, which takes ten times as long as loading. (It does so again before it compiles.)"""

    def load_overload(self, signature: Any, target: Any) -> Any:
        rtsys.initialize(target)
        return self._load_overload(signature, target)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called.

    What is compiled is kept beside the module, or else in the user's cache folder (NUMBA_CACHE_DIR names another);
    where none can be written it is compiled in each process. It is known by the module's own source: what changes in
    another module that it calls, or whose named tuples it takes, is not noticed, so only what hardly ever changes is
    shared by modules.
    """
    compiled: Callable[..., Any] = njit(nogil=True)(function)
    with suppress(RuntimeError):
        compiled._cache = _Kept(function)  # type: ignore[attr-defined]
    return compiled


def read_only(value: Item) -> Item:
    """An array, or a tuple of such, for kernels that only read it: a file's cannot be written to, others can, and for
    each kind a kernel is compiled."""
    given: Any = value
    if isinstance(value, tuple):
        given = given._make(map(read_only, given))
    else:
        given = given.view()
        given.flags.writeable = False
    kept: Item = given
    return kept


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in their order, by as many threads as there are cores: kernels run side by side."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return list(threads.map(function, items))
