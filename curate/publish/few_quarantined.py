"""Few quarantined: a drop most of whose rows are not what the recipe expects is broken, and is not published.

A renamed column, another format, a half-written export: each leaves a few rows that pass. What counts is how many rows
were turned away each by itself; that an earlier version holds a row already, or that there are enough of its kind, says
nothing of the drop. The bound is the contract's service level `quarantined`.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curate.account import Account
from curate.contract import Contract
from curate.publish.reasons import why_gone
from curate.publish.refused import MOST, Broken, RefusedError


class QuarantinedError(RefusedError):
    """More of a drop's rows were quarantined than the contract allows; nothing was published."""

    why = "quarantined"


def require_few_quarantined(
    name: str, contract: Contract, account: Account, quarantine: pa.Table, kept_in: Path
) -> None:
    """See to it that no more than the contract's share of the rows was turned away by stages that judge each by itself.

    Args:
        name: of the data set.
        contract: its service level `quarantined`.
        account: of the run.
        quarantine: the rows that went, whatever for.
        kept_in: the folder where the candidate will lie.

    Raises:
        QuarantinedError: says how many, names the reasons by their rows, and the most likely mend.
    """
    stages, bound = account.each_row(), contract.service_levels["quarantined"].value
    rows = stages[0].rows_in + sum(stage.made for stage in stages)
    gone = sum(stage.rejected for stage in stages)
    if gone <= bound * rows:
        return
    observed = f"{gone:,} of {rows:,} rows ({gone / rows:.4g})"
    why, mend = why_gone(stages, quarantine)
    mine = pc.is_in(quarantine["stage"], pa.array([stage.name for stage in stages]))
    raise QuarantinedError(
        f"{name}: {observed} were quarantined each by itself; the contract {contract.name} allows a share of "
        f"{bound:g}: nothing was published.\n{why}\nThe candidate is kept in {kept_in}.",
        remedy=f"{mend} If so few are to stay, say so in the contract: "
        "`slaProperties: [{property: quarantined, value: 1, unit: share}]`.",
        broken=[
            Broken("quarantined", None, f"a share of at most {bound:g}", observed, _first(quarantine.filter(mine)))
        ],
    )


def _first(rows: pa.Table) -> list[str]:
    """Ids of the first rows."""
    return [id_ for id_ in rows["id"][:MOST].to_pylist() if id_ is not None]
