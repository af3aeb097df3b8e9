"""A titled table of text, of which a summary is made: the terminal prints it, notebooks show it, Prefect keeps it."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """A titled table of text."""

    key: str
    """Short name, e.g. "quarantine"."""
    title: str
    columns: list[str]
    rows: list[list[str]]
    texts: int = 1
    """How many of the first columns are text; the others are numbers."""

    def records(self) -> list[dict[str, str]]:
        """One dict per row, as Prefect's table artifacts want them."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def markdown(self) -> str:
        """A GitHub-flavoured Markdown table under its title."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"### {self.title}\n\n{table}\n"

    def html(self) -> str:
        """An HTML table with its title above, everything escaped."""
        sides = ["left" if number < self.texts else "right" for number in range(len(self.columns))]

        def line(tag: str, cells: list[str]) -> str:
            aligned = zip(sides, cells, strict=True)
            return (
                "<tr>"
                + "".join(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>' for side, cell in aligned)
                + "</tr>"
            )

        body = "".join(line("td", row) for row in self.rows)
        return (
            f'<table><caption style="text-align: left"><b>{escape(self.title)}</b></caption>'
            f"<thead>{line('th', self.columns)}</thead><tbody>{body}</tbody></table>"
        )
