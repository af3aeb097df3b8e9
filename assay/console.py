"""The terminal's standard output: tables, places, and the text of rows made harmless."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from curate.table import Table

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters by which a row could steer the terminal: C0 controls except tab and newline, DEL, C1 controls,
bidirectional marks, embeddings and isolates, line separators, and lone surrogates (which no terminal can be sent)."""


def harmless(text: str) -> str:
    """`text` with every character that could steer a terminal written as its escape."""
    return UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def standard_output() -> Console:
    """The console of results: as wide as the terminal, or wide enough for every table where there is none."""
    console = Console()
    if not console.is_terminal:
        console.width = 100
    return console


NAME = 24
"""Characters of a first column that is not folded."""


def print_tables(tables: "Iterable[Table]") -> None:
    """Print summary tables on standard output: text left, numbers right."""
    console = standard_output()
    for table in tables:
        drawn = RichTable(title=Text(harmless(table.title)), title_justify="left", title_style="bold")
        for number, column in enumerate(table.columns):
            longest = max((len(row[number]) for row in table.rows), default=0)
            drawn.add_column(
                Text(harmless(column)),
                justify="left" if number < table.texts else "right",
                overflow="fold",
                min_width=longest if number == 0 and longest <= NAME else None,
            )
        for row in table.rows:
            drawn.add_row(*(Text(harmless(cell)) for cell in row))
        console.print(drawn)


def print_places(places: Mapping[str, Path]) -> None:
    """Say where the outputs are, one a line, from the working directory if they lie below it; no path is broken."""
    console = standard_output()
    width = max(map(len, places), default=0)
    here = Path.cwd()
    for name, path in places.items():
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        console.print(Text(harmless(f"{name:<{width}}  {shown}")), soft_wrap=True)
