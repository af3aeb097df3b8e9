"""Enough rows: nothing empty is published, and who asked for it is told why the rows went and what mends it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curate.manifest import StageAccount
from curate.publish.mends import ASKED
from curate.publish.reasons import why_gone
from curate.publish.refused import Broken, RefusedError
from curate.record import SPLITS, prompt_text
from curate.sets.split import Split

LARGE = 0.5
"""Share of the rows from which one cluster or group is named as what leaves the other splits empty."""


class EmptyError(RefusedError):
    """A version would hold too few rows, or none of a split that is asked for; nothing was published."""

    why = "empty"


@dataclass(frozen=True)
class Wanted:
    """What a version is to hold."""

    name: str
    """The data set's."""
    min_rows: int
    split: Split
    """Which splits are asked for."""
    held_before: Collection[str]
    """The splits that rows are in of the earlier versions that it adds to."""


def require_enough(
    wanted: Wanted,
    table: pa.Table,
    quarantine: pa.Table,
    stages: Sequence[StageAccount],
    kept_in: Path,
) -> None:
    """See to it that a version holds rows, of every split that the recipe asks for.

    A split is asked for by its share or, with `split.named`, by a row that names it. One that rows of earlier versions
    are in may stay without new ones.

    Args:
        table: the rows that are left.
        quarantine: those that are not.
        stages: the account of the run.
        kept_in: the folder where the candidate will lie.

    Raises:
        EmptyError: names the reasons by their rows, and the most likely mend.
    """
    present = {*pc.unique(table["split"]).to_pylist(), *wanted.held_before}
    lacking = [split for split in _asked_for(wanted, table, quarantine) if split not in present]
    if table.num_rows >= wanted.min_rows and not lacking:
        return
    gone, mend = why_gone(stages, quarantine)
    lies = f"The candidate is kept in {kept_in}."
    left = f"{wanted.name}: {table.num_rows:,} of {stages[0].rows_in:,} rows would be left"
    if table.num_rows < wanted.min_rows:
        least = f", `min_rows` asks for {wanted.min_rows:,}" if wanted.min_rows > 1 else ""
        lower = " To do with fewer, lower `min_rows`." if wanted.min_rows > 1 else ""
        raise EmptyError(
            f"{left}{least}: nothing was published.\n{gone}\n{lies}",
            remedy=f"{mend}{lower}",
            broken=[Broken("min_rows", None, f"at least {wanted.min_rows:,} rows", f"{table.num_rows:,} rows")],
        )
    tied = _tied(table) if table.num_rows >= len(SPLITS) else None
    because, mend = tied or (f"; too few for every split.\n{gone}", mend)
    broken = [Broken("split", "split", f"rows in {split}", "0 rows") for split in lacking]
    raise EmptyError(
        f"{left}, and none for {' and '.join(lacking)}, which the recipe asks for: nothing was published{because}\n"
        f"{lies}",
        remedy=mend
        if wanted.split.named
        else f"{mend} To do without that split: `split: {_without(wanted, lacking)}`.",
        broken=broken,
    )


def _asked_for(wanted: Wanted, table: pa.Table, quarantine: pa.Table) -> list[str]:
    """The splits that are to have rows."""
    if wanted.split.named is None:
        return [split for split in SPLITS if getattr(wanted.split, split) > 0]
    said = [pc.map_lookup(each["meta"], wanted.split.named, "first").unique() for each in (table, quarantine)]
    return [split for split in SPLITS if any(split in names.to_pylist() for names in said)]


def _tied(table: pa.Table) -> tuple[str, str] | None:
    """What ties most of the rows together, so that they must share a split, and the mend; None where nothing does."""
    prompts = pc.count_distinct(pa.chunked_array([prompt_text(batch) for batch in map(_table, table.to_batches())]))
    if prompts.as_py() == 1:
        return (
            ": all rows have the same prompt, and rows of one prompt share a split.",
            "Let the text that differs be asked: if all rows are given one task, put the task into a system turn and "
            "the row's own text into the user's (record.turns).",
        )
    for name, mend in (
        (
            "cluster",
            "`duplicates.scope: answer` or a higher `threshold`, or name in `boilerplate` what all rows repeat.",
        ),
        (
            "group",
            "See whether `record.group` is what ties rows together: without it, conversations whose user begins alike "
            "are one group.",
        ),
    ):
        counts = pc.value_counts(table[name].drop_null())
        most = pc.max(counts.field("counts")).as_py() if len(counts) else 0
        if most > LARGE * table.num_rows:
            share = f"{most / table.num_rows:.0%}"
            return f": one {name} holds {share} of the rows, and rows of one {name} share a split.", f"{mend} {ASKED}"
    return None


def _without(wanted: Wanted, lacking: Collection[str]) -> str:
    """The shares without some splits, in what YAML calls a flow mapping."""
    shares = {split: 0 if split in lacking else getattr(wanted.split, split) for split in SPLITS}
    shares["train"] = 1 - sum(share for split, share in shares.items() if split != "train")
    return "{" + ", ".join(f"{split}: {share:g}" for split, share in shares.items()) + "}"


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])
