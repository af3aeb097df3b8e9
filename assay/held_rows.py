"""Held rows: those of a store's versions as they are asked about, and which of them are meant."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.errors import AssayError
from curate.forgotten import forms, hashed
from curate.publish.published import read_rows
from curate.publish.without import Gone, file_hashes, raw_mark
from curate.read.expressions import compile_expression
from curate.record import SPLITS, whole_of

HOLDING = (*SPLITS, "quarantine")
NAMES = "id group label language target turns text meta file documents row raw split stage reason".split()  # noqa: SIM905
"""What `where` may say of a row."""
MARK = "_mark"
"""Key of a row of which no record could be made: what it is known by."""
Row = dict[str, Any]


def wanted_rows(ids: Sequence[str], group: str | None, where: str | None) -> Callable[[Row], bool]:
    """Which rows are meant.

    Raises:
        AssayError: none is, or the expression is none.
    """
    if not ids and group is None and where is None:
        raise AssayError("Nothing to forget.", remedy="Name rows by their ids, or with --group or --where.")
    try:
        holds_of = None if where is None else compile_expression(where)
    except ValueError as error:
        raise AssayError(f"--where: {error}", remedy="docs/expressions.md says what may be said.") from None
    named, called = frozenset(ids), forms(group)

    def wanted(row: Row) -> bool:
        if row["id"] in named or whole_of(row["meta"]) in named:
            return True
        if called & forms(row["group"]):
            return True
        if holds_of is None:
            return False
        try:
            return bool(holds_of(row))
        except Exception as error:  # whatever Jinja raises of this row
            raise AssayError(
                f"--where: {where!r} cannot be said of row {row['id'] or row['file']}: {error}",
                remedy=f"It is over {', '.join(NAMES)}; what may be missing is asked for first: `raw and 'x' in raw`.",
            ) from None

    return wanted


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a published table as they are asked about; none of a folder that was not finished."""
    if not path.is_file():
        return
    quarantined, sha256 = path.stem == "quarantine", file_hashes(path.parent)
    for row in read_rows(path):
        meta = row["meta"] or ()
        pairs = (tuple(each.values()) if isinstance(each, dict) else each for each in meta)
        source, said = row.pop("source"), [turn["content"] for turn in row["turns"] or ()]
        places = source.get("places") or ()
        yield (
            {"stage": None, "reason": None, "raw": None}
            | row
            | {
                "meta": dict(pairs),
                "file": source["file"],
                "row": source["row"],
                "text": "\n".join([*said, row["target"] or row.get("raw") or ""]),
                "split": None if quarantined else path.stem,
                "documents": [source["file"], *dict.fromkeys(place["file"] for place in places if place["file"])],
                MARK: raw_mark(row["raw"], source, sha256) if row["id"] is None else None,
            }
        )


def all_rows(path: Path) -> Iterator[Row]:
    return (row for name in HOLDING for row in rows_of(path / f"{name}.parquet"))


def prompt_of(row: Row) -> str | None:
    """A hash of what a row asks; None where no record was made."""
    return hashed("\n".join(turn["content"] for turn in row["turns"])) if row["turns"] else None


def is_gone(row: Row, gone: Gone) -> bool:
    if row["id"] is None:
        return row[MARK] in gone.raws
    return row["id"] in gone.ids or whole_of(row["meta"]) in gone.ids
