"""Work in a process of its own; what another process imports here is light."""

import atexit
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay import experiments
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


@dataclass(frozen=True)
class Late:
    """Work whose process writes a file as it exits, some seconds later."""

    file: Path
    seconds: float

    def __call__(self, progress: Progress) -> Path:
        atexit.register(self.write)
        return self.file

    def write(self) -> None:
        time.sleep(self.seconds)
        self.file.touch()


def test_a_process_ends_by_itself_if_it_does_so_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_a_process(Late(tmp_path / "soon", 0.1), lambda *_: None).exists()
    monkeypatch.setattr(experiments, "ENDING", 0.1)
    assert not in_a_process(Late(tmp_path / "late", 600), lambda *_: None).exists()


def test_work_in_a_process_of_its_own() -> None:
    told: list[tuple[Any, ...]] = []
    assert in_a_process(give, lambda *each: told.append(each)) != Path(str(os.getpid()))
    assert told == [("work", 1, 2, "rows")]
    wrong: list[tuple[Callable[[Progress], Path], str]] = [(fail, "It is wrong"), (die, r"died \(exit status 9\)")]
    for work, said in wrong:
        with pytest.raises(AssayError, match=said):
            in_a_process(work, lambda *each: None)
