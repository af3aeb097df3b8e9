"""Kernels are compiled wherever the package lies, and what is kept of them is loaded without the compiler."""

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from curate.text import kernel
from curate.text.kernel import read_only

LOADED = """
import sys
from curate.text.words import ngrams
import numpy as np
found = ngrams(np.arange(10, dtype=np.uint64), 5)
print(len(found), "numba.np.linalg" in sys.modules)
"""
"""`numba.np.linalg` is among what numba sets up to compile."""


def test_a_kernel_needs_no_folder_to_be_kept_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere_to_write(_function: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(kernel, "_Kept", nowhere_to_write)

    @kernel.kernel
    def twice(value):  # type: ignore[no-untyped-def]
        return 2 * value

    assert twice(21) == 42
    assert twice.nopython_signatures


def test_what_is_kept_is_loaded_without_the_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    printed = [
        subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    ]
    assert printed == [["6", "True"], ["6", "False"]]


class Pair(NamedTuple):
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]


def test_arrays_of_a_file_and_others_are_of_one_kind() -> None:
    """Else a kernel is compiled for each, which takes seconds."""

    @kernel.kernel
    def summed(values, pair):  # type: ignore[no-untyped-def]
        return values.sum() + pair.first[0] * pair.second[0]

    own, files = np.arange(4), np.arange(4)
    files.flags.writeable = False
    for values in (own, files):
        for pair in (Pair(own, files), Pair(files, own)):
            assert summed(read_only(values), read_only(pair)) == 6
    assert len(summed.nopython_signatures) == 1
    own[0] = 1
    assert own[0] == 1, "it is the view that is not written to"
