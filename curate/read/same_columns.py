"""The same columns: a drop's files have those that the recipe reads, as the files before them had.

A producer who renames a column breaks a drop without a word: an expression may take its default for it, a verdict that
is gone judges nothing, or every row goes. New files are compared with those of the last version; a recipe that reads
otherwise now is taken at its word.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from curate.errors import SetAsideError
from curate.manifest import DatasetManifest
from curate.read.files import InputFile
from curate.read.mapping import RecordMapping
from curate.read.shapes import CORE, NAMES
from curate.read.verdicts import JUDGING
from curate.store import verified

LEAST = 20
"""Rows of a version, at least: of a few a column that rows may do without can be in all."""
SHOWN = 3
"""Files that an error names."""


class ColumnsChangedError(SetAsideError):
    """Files of a drop lack columns that the recipe reads and that those before had; nothing was published."""

    why = "columns"


def require_same_columns(record: RecordMapping, files: Sequence[InputFile], version: Path) -> None:
    """See to it that no new file lacks a column that is read and that every row of a version had.

    Args:
        record: the recipe's.
        files: of the drop, read.
        version: the last one; where its recipe read otherwise, or it tells of no columns, nothing is compared.

    Raises:
        ColumnsChangedError: names files, the columns that they lack and those that are new.
    """
    manifest = DatasetManifest.read(version)
    if manifest.counts.rows_in < LEAST or manifest.recipe["record"] != record.model_dump(mode="json"):
        return
    known = pq.read_table(verified(version, "sources.parquet"))
    if "columns" not in known.column_names:
        return
    of_files = [{*names} for names in known["columns"].to_pylist() if names]
    read = record.names() | ({*NAMES, *CORE, *JUDGING} if record.turns is None else set())
    always = set.intersection(*of_files) & read if of_files else set()
    there, seen = {*known["sha256"].to_pylist()}, set().union(*of_files)
    lacking = [file for file in files if file.sha256 not in there and file.columns and always - {*file.columns}]
    if not lacking:
        return
    shown = [
        f"  {file.name} lacks {_listed(always - {*file.columns})}"
        + (f"; new in it: {_listed(new)}" if (new := {*file.columns} - seen) else "")
        for file in lacking[:SHOWN]
    ]
    more = [f"  and {len(lacking) - SHOWN:,} more files"] if len(lacking) > SHOWN else []
    told = "\n".join([*shown, *more])
    raise ColumnsChangedError(
        f"Columns have changed since version {version.name}: nothing was published.\n{told}",
        remedy="Have the producer name them as before. If the change is meant, say in `record` what is read now: a "
        "recipe that reads otherwise is not compared.",
    )


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
