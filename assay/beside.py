"""Beside: documents that lie beside a table whose rows name them, by a column of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from curate.read.mapping import build_lookup
from curate.read.places import SideTable
from curate.read.profile import Profile
from curate.read.raw import InputFile, Row, read_rows

LOOKUP = "documents"
"""What a recipe calls them."""
STEM = 'name | sub("[.][^.]*$", "")'
FOUND = 0.5
"""The share of a column's values, at least, that are names of documents."""


@dataclass(frozen=True)
class Beside:
    """Documents, and the column that names them."""

    column: str
    key: str
    """The expression that gives a document's key: its name, or that without its suffix."""
    files: tuple[InputFile, ...]

    def lookups(self) -> dict[str, Any]:
        """The recipe's `lookups`."""
        paths = [PurePosixPath(file.name) for file in self.files]
        patterns = {f"{path.parent}/*{path.suffix}".removeprefix("./") for path in paths}
        return {LOOKUP: {"files": sorted(patterns), "key": self.key}}

    def tables(self, rows: Iterable[Row] | None = None) -> dict[str, SideTable]:
        """The side table that a mapping asks.

        Args:
            rows: that ask; by default all documents are read.
        """
        asked = None if rows is None else {str(row.get(self.column)) for row in rows}
        files = [file for file in self.files if asked is None or asked & {*_keys(file)}]
        return {LOOKUP: build_lookup(LOOKUP, self.key, (row for file in files for row in read_rows(file)))}


def beside(profile: Profile, files: Iterable[InputFile]) -> Beside | None:
    """The documents that a column of rows names, if there is one.

    Args:
        profile: of the rows.
        files: documents, of formats of which a file is a row.
    """
    found = tuple(files)
    names, stems = ({_keys(file)[at] for file in found} for at in (0, 1))
    for column, values in profile.distinct.items():
        for known, key in ((names, "name"), (stems, STEM)):
            if len(known) == len(found) and values and len(values & known) >= FOUND * len(values):
                return Beside(column, key, found)
    return None


def _keys(file: InputFile) -> tuple[str, str]:
    name = file.path.name
    return name, name.rpartition(".")[0] or name
