"""The result of one check: what was claimed, what it was held to, and what breaks it."""

from dataclasses import dataclass, field

NAMED = 20
"""How many offending rows a check names; all are counted."""
ALL = "all"


@dataclass
class Check:
    """One thing that was checked."""

    name: str
    claim: str
    """What holds unless there are failures."""
    law: str
    """Number of the law it proves; "" where it is of what the other checks rest on."""
    compared: int = 0
    what: str = "rows"
    """What `compared` counts."""
    how: str = ALL
    """ "all", or which sample."""
    failures: int = 0
    offences: list[str] = field(default_factory=list)
    """The first NAMED failures: which row, and what is wrong with it."""

    def fail(self, offence: str) -> None:
        self.failures += 1
        if len(self.offences) < NAMED:
            self.offences.append(offence)

    def told(self) -> list[str]:
        """The failures, one a line, as far as they are named."""
        more = self.failures - len(self.offences)
        return [f"  {offence}" for offence in self.offences] + ([f"  and {more:,} more"] if more else [])
