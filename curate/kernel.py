"""How kernels are compiled: by numba, without Python's lock, and kept on the disk where there is a place for them."""

from collections.abc import Callable
from typing import Any

from numba import njit


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called.

    What is compiled is kept beside the module, or else in the user's cache folder (NUMBA_CACHE_DIR names another);
    where none can be written it is compiled in each process. It is known by the module's own source: what changes in
    another module that it calls is not noticed, so only what hardly ever changes is called across modules.
    """
    try:
        compiled: Callable[..., Any] = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        compiled = njit(nogil=True)(function)
    return compiled
