"""Work in a process of its own; what another process imports here is light."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.experiments import in_a_process
from curate.errors import AssayError
from curate.progress import Progress


def give(progress: Progress) -> Path:
    progress("work", 1, 2, "rows")
    return Path(str(os.getpid()))


def fail(progress: Progress) -> Path:
    raise AssayError("It is wrong.", remedy="Mend it.")


def die(progress: Progress) -> Path:
    os._exit(9)


def test_work_in_a_process_of_its_own() -> None:
    told: list[tuple[Any, ...]] = []
    assert in_a_process(give, lambda *each: told.append(each)) != Path(str(os.getpid()))
    assert told == [("work", 1, 2, "rows")]
    wrong: list[tuple[Callable[[Progress], Path], str]] = [(fail, "It is wrong"), (die, r"died \(exit status 9\)")]
    for work, said in wrong:
        with pytest.raises(AssayError, match=said):
            in_a_process(work, lambda *each: None)
