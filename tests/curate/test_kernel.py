"""Kernels are compiled wherever the package lies."""

from collections.abc import Callable
from typing import Any

import numba
import pytest

from curate import kernel


def test_a_kernel_needs_no_folder_to_be_kept_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere_to_write(cache: bool = False, **options: Any) -> Callable[..., Any]:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        compiled: Callable[..., Any] = numba.njit(**options)
        return compiled

    monkeypatch.setattr(kernel, "njit", nowhere_to_write)

    @kernel.kernel
    def twice(value):  # type: ignore[no-untyped-def]
        return 2 * value

    assert twice(21) == 42
    assert twice.nopython_signatures
