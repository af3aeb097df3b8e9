"""The processes of a run: `accelerate launch` starts several, which take every step together."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Literal, TypeVar, cast

from curate.errors import AssayError

Found = TypeVar("Found")
Strategy = Literal["ddp", "fsdp"]
"""Each process holds all weights (DDP), or its share of them (FSDP)."""

FSDP = "ACCELERATE_USE_FSDP"
"""By which `accelerate launch` tells its processes that its configuration says FSDP."""
WAITED = timedelta(days=7)
"""The most that processes wait for one another, for another run's turn say; if one dies, the launcher ends the rest."""


def launched() -> tuple[int, int]:
    """(the number of this process, how many there are), as a launcher tells it; (0, 1) of one by itself."""
    if "LOCAL_RANK" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@dataclass(frozen=True)
class Processes:
    """This process, among those that were launched beside it."""

    number: int = 0
    count: int = 1
    local: int = 1
    """How many of them are on this machine."""
    strategy: Strategy | None = None
    """None of one by itself."""

    @staticmethod
    @cache
    def joined() -> "Processes":
        """This process, connected with the others."""
        number, count = launched()
        if count == 1:
            return Processes()
        import torch
        from accelerate import PartialState

        # Kept from accelerate: it deals weights out on GPUs alone, and what is the same on a CPU can be tested.
        strategy: Strategy = "fsdp" if os.environ.pop(FSDP, "false") == "true" else "ddp"
        PartialState(cpu=not torch.cuda.is_available(), timeout=WAITED)
        return Processes(number, count, int(os.environ["LOCAL_WORLD_SIZE"]), strategy)

    @property
    def first(self) -> bool:
        """Whether this is the one that reads, tells and writes for all."""
        return self.number == 0

    def share(self, rows: Sequence[Found]) -> list[Found]:
        """This process's rows of a batch: every so manieth, for rows of like length stand beside one another."""
        return list(rows[self.number :: self.count])

    def gathered(self, mine: Found) -> list[Found]:
        """What each process gives, by their numbers."""
        if self.count == 1:
            return [mine]
        import torch

        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, mine)
        return found

    def agreed(self, work: Callable[[], Found]) -> Found:
        """What this process finds, if all find something.

        Raises:
            AssayError: that of the first process that has one.
        """
        found: Any = None
        wrong = None
        try:
            found = work()
        except AssayError as error:
            wrong = error
        if first := next((each for each in self.gathered(wrong) if each is not None), None):
            raise first
        return cast(Found, found)

    def led(self, work: Callable[[], Found]) -> Found:
        """What the first process finds; the others wait for it, and do nothing.

        Raises:
            AssayError: that of the first process, in all of them.
        """
        if self.count == 1:
            return work()
        import torch

        told: list[Any] = [None, None]
        if self.first:
            try:
                told[0] = work()
            except AssayError as error:
                told[1] = error
        torch.distributed.broadcast_object_list(told)
        found, wrong = told
        if wrong is not None:
            raise wrong
        return cast(Found, found)


ALONE = Processes()
"""A process that no other was launched beside."""
