"""`assay diff`: what differs between two data set versions, as tables, as data and as a page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.door import Place, load
from assay.result import Result
from assay.results import Version
from curate.table import Table

if TYPE_CHECKING:
    from curate.publish.diff import Diff

MOST = 20
"""Fates, values and settings that a table shows; a page has all fates and settings, and so many values."""


@dataclass(frozen=True)
class Difference(Result):
    """What differs between two data set versions."""

    found: "Diff"
    page: Path | None = None
    """The page that was written."""

    @property
    def same(self) -> bool:
        """Whether every row of both is in the other, at the same place of the data set, with the same content."""
        rows = self.found.rows
        return not any(rows[name] for name in ("changed", "gone", "added", "moved"))

    @property
    def names(self) -> list[str]:
        """Both, as NAME/VERSION."""
        return [f"{each.name}/{each.version}" for each in (self.found.before, self.found.after)]

    def __repr__(self) -> str:
        told = ", ".join(f"{self.found.rows[name]:,} {name}" for name in ("same", "changed", "gone", "added", "moved"))
        return f"Difference({' to '.join(self.names)}: {told})"

    def tables(self) -> list[Table]:
        from curate.publish.diff import FIGURES

        said = {"before": f"before: {self.names[0]}", "after": f"after: {self.names[1]}"}
        counts = [[said.get(name, name), f"{count:,}"] for name, count in self.found.rows.items()]
        tables = [Table("diff", "What differs", ["", "rows"], counts)]
        fates = [
            [
                each.before or "(not there)",
                each.after or "(not there)",
                "" if None in (each.before, each.after) else "changed" if each.changed else "same",
                f"{each.rows:,}",
            ]
            for each in self.found.fates
        ]
        tables.append(_short("fates", "What became of the rows", ["before", "after", "content", "rows"], fates, 3))
        for name, figures in self.found.figures.items():
            rows = [[value, f"{a:,}", f"{b:,}", f"{b - a:+,}"] for value, (a, b) in figures.items() if a != b]
            if rows:
                tables.append(_short(name, FIGURES[name], ["", "before", "after", "difference"], rows, 1))
        if self.found.inputs:
            rows = [[key, _value(a), _value(b)] for key, a, b in self.found.inputs]
            tables.append(_short("inputs", "Made from", ["", "before", "after"], rows, 3))
        return tables

    def places(self) -> dict[str, Path]:
        return {} if self.page is None else {"page": self.page}

    def data(self) -> dict[str, Any]:
        return {
            "before": self.names[0],
            "after": self.names[1],
            "same": self.same,
            "rows": self.found.rows,
            "fates": [vars(each) for each in self.found.fates],
            "figures": self.found.figures,
            "inputs": [{"key": key, "before": one, "after": other} for key, one, other in self.found.inputs],
            "html": self.page,
        }

    def html(self) -> str:
        """The page: one file that loads nothing, every text of a row escaped."""
        from curate.publish.diff import FIGURES
        from curate.publish.pages import report_environment

        page = report_environment().get_template("diff.html.jinja")
        told = {name: getattr(self.found, name) for name in ("rows", "fates", "figures", "inputs")}
        return page.render(names=self.names, titles=FIGURES, most=MOST, **told)


def diff(
    before: Version | Place, after: Version | Place, *, html: Place | None = None, store: Place | None = None
) -> Difference:
    """Compare two data set versions row by row: what was added, has gone, has changed, or has moved, and why.

    Args:
        before: a version, or the name of one as `load` takes it.
        after: another.
        html: a file to write the page to.
        store: folder, or URL in a bucket, that Assay writes to.

    Raises:
        AssayError: there is no such version, or a file of one is not as it was published.
    """
    from curate.publish.diff import diff as compared

    folders = [(each if isinstance(each, Version) else load(each, store=store)).folder for each in (before, after)]
    found = Difference(compared(*folders))
    if html is None:
        return found
    page = Path(html)
    page.write_text(found.html(), encoding="utf-8")
    return replace(found, page=page)


def _short(key: str, title: str, columns: list[str], rows: Sequence[list[str]], texts: int) -> Table:
    """A table of the first rows, which says how many more there are."""
    more = [[f"and {len(rows) - MOST:,} more", *[""] * (len(columns) - 1)]] if len(rows) > MOST else []
    return Table(key, title, columns, [*rows[:MOST], *more], texts)


def _value(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
