"""`assay decide`: what somebody decides of rows, one by one or from a table."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.desk import Desk
from assay.door import Place
from assay.result import Result
from curate.errors import AssayError
from curate.rows.decisions import Decision
from curate.table import Table

COLUMNS = ("id", "action", "value", "reason")


@dataclass(frozen=True)
class Decided(Result):
    """Decisions that were written down; the next `curate` applies them."""

    file: Path
    version: str
    """NAME/VERSION that the rows are of."""
    decisions: list[Decision]

    def tables(self) -> list[Table]:
        counts = Counter(each.action for each in self.decisions)
        return [Table("decided", "Decided", ["", "rows"], [[name, str(n)] for name, n in sorted(counts.items())])]

    def places(self) -> dict[str, Path]:
        return {"decisions": self.file}

    def data(self) -> dict[str, Any]:
        said = [each.model_dump(mode="json") for each in self.decisions]
        return {"file": self.file, "version": self.version, "decisions": said}


def decide(
    recipe: Place,
    id: str | None = None,
    action: str | None = None,
    value: str | None = None,
    *,
    reason: str = "",
    table: Place | None = None,
    version: str | None = None,
    who: str | None = None,
    file: str | None = None,
    store: Place | None = None,
) -> Decided:
    """Decide on one row, or on those of a table: all lines are written, or none where one is wrong.

    Args:
        recipe: a recipe's YAML file, or a packaged one's name; it names the file of decisions.
        id: the row's.
        action: keep, drop, target, label, same, different, note or undo, see docs/review.md.
        value: of `target` the answer as JSON, of `label` a label, of `same` and `different` the other row's id.
        reason: why.
        table: a CSV file instead, with the columns id, action, value and reason; the last two may lack.
        version: of the data set, by which the rows are known; by default the recipe's latest.
        who: decides; by default the environment's ASSAY_WHO, else who is logged in.
        file: which of the recipe's files the lines go to.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: a row is not there, or a value is none for what is decided.
    """
    if (table is None) == (id is None or action is None):
        raise AssayError("What is decided?", remedy="Name an id and an action, or a table with --csv.")
    desk = Desk(recipe, version, who=who, file=file, store=store)
    if table is None:
        decisions = [desk.decision(str(id), str(action), value, reason)]
    else:
        decisions = [*_of_table(desk, Path(table))]
    desk.decide(decisions)
    return Decided(desk.file, f"{desk.manifest.name}/{desk.manifest.version}", decisions)


def _of_table(desk: Desk, path: Path) -> Iterator[Decision]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AssayError(f"{path}: not readable: {error}", remedy="Write it as CSV in UTF-8.") from None
    rows = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        columns = rows.fieldnames or []
        if {*columns} - {*COLUMNS} or not {"id", "action"} <= {*columns}:
            raise AssayError(
                f"{path}: its columns are {', '.join(map(str, columns)) or 'none'}.",
                remedy=f"Expected {', '.join(COLUMNS)}; the last two may lack.",
            )
        for row in rows:
            try:
                yield desk.decision(row["id"], row["action"], row.get("value") or None, row.get("reason") or "")
            except AssayError as error:
                raise AssayError(f"{path}, line {rows.line_num}: {error.message}", remedy=error.remedy) from None
    except csv.Error as error:
        raise AssayError(f"{path}, line {rows.line_num}: {error}", remedy="Write it as CSV in UTF-8.") from None
