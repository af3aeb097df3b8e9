"""What the terminal shows: progress, tables, previews, and the text of rows made harmless."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import yaml
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from assay.inspect import Group, Inspection, named
from assay.preview import Preview
from curate.errors import AssayError
from curate.read.profile import example
from curate.table import Table

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters by which a row could steer the terminal: C0 controls except tab and newline, DEL, C1 controls,
bidirectional marks, embeddings and isolates, line separators, and lone surrogates (which no terminal can be sent)."""


def harmless(text: str) -> str:
    """`text` with every character that could steer a terminal written as its escape."""
    return UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def rate(done: float, seconds: float, unit: str) -> str:
    """`1,234 rows/s`; nothing where there is not more than one to count."""
    if done <= 1 or seconds <= 0:
        return ""
    pace = done / seconds
    return f"{pace:,.0f} {unit}/s" if pace >= 10 else f"{pace:.1f} {unit}/s"


def standard_output() -> Console:
    """The console of results: as wide as the terminal, or wide enough for every table where there is none."""
    console = Console()
    if not console.is_terminal:
        console.width = 100
    return console


class Rate(ProgressColumn):
    """Units per second since the stage began."""

    def render(self, task: Task) -> Text:
        return Text(rate(task.completed, task.elapsed or 0.0, task.fields["unit"]), style="cyan", justify="right")


class Bars:
    """A `curate.progress.Progress` that draws a bar for what is at work, leaves a line for each finished stage, and
    keeps the seconds. Where standard error is no terminal, only the lines are written."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.seconds: dict[str, float] = {}
        """Seconds that each finished stage took, in the order they finished."""
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}", justify="right"),
            Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._running: dict[str, tuple[TaskID, float]] = {}
        self._last = time.monotonic()

    def __enter__(self) -> "Bars":
        self._bars.start()
        self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if what not in self._running:
            # A stage that first speaks when part of it is done began when the one before it last spoke.
            began = now if done == 0 else self._last
            self._running[what] = (self._bars.add_task(harmless(what), total=total, unit=unit), began)
        bar, began = self._running[what]
        self._bars.update(bar, completed=done, total=total)
        self._last = now
        if done >= total:
            self._bars.remove_task(bar)
            del self._running[what]
            self.seconds[what] = self.seconds.get(what, 0.0) + now - began
            line = f"{what:<24} {f'{total:,} {unit}':>18} {rate(total, now - began, unit):>18} {now - began:>8.1f} s"
            self.console.print(Text(harmless(line)))


NAME = 24
"""Characters of a first column that is not folded."""


def print_tables(tables: Iterable[Table]) -> None:
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
    width = max(map(len, places))
    here = Path.cwd()
    for name, path in places.items():
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        console.print(Text(harmless(f"{name:<{width}}  {shown}")), soft_wrap=True)


def print_preview(preview: Preview) -> None:
    """Print one row: its record, its messages, and the text with what is trained marked (in brackets, too, where the
    output has no colours)."""
    console = standard_output()
    read_as = f", read as {preview.shape}" if preview.shape else ""
    console.print(Rule(Text(harmless(preview.source + read_as))))
    if preview.rejected is not None:
        console.print(Text("Quarantined by ", style="bold yellow") + Text(harmless(preview.rejected)))
        return
    record = json.dumps(preview.record, ensure_ascii=False, indent=1)
    console.print(Panel(Text(harmless(record)), title="record"))
    for message in preview.messages:
        console.print(Panel(Text(harmless(message["content"])), title=f"message: {message['role']}"))
    text = Text()
    for piece, trained in preview.pieces:
        shown = harmless(piece)
        if trained:
            text.append(shown if console.color_system else f"⟦{shown}⟧", style="black on green")
        else:
            text.append(shown)
    console.print(Panel(text, title="text (trained tokens marked)"))


MOST_GROUPS, MOST_COLUMNS, MOST_UNREAD, LONGEST_TURN = 8, 40, 3, 400
"""What is shown of an inspection: groups, columns, rows of a group that cannot be read, characters of a text."""


def print_inspection(inspection: Inspection) -> None:
    """Print what would be read: the files, and of the largest group its columns, how they are read, and one row."""
    console = standard_output()
    found = [
        [
            name if len(group.files) == 1 else f"{name} and {len(group.files) - 1:,} more",
            ", ".join([group.format or "archive", *group.encodings]),
            ", ".join(f"{shape} ({rows:,})" for shape, rows in group.shapes.most_common()) or "unknown",
            f"{group.size / 2**20:,.1f}",
            f"{group.profile.rows:,}",
            f"{group.unreadable:,}",
        ]
        for group in inspection.groups[:MOST_GROUPS]
        for name in [group.files[0].name]
    ]
    if len(inspection.groups) > MOST_GROUPS:
        found.append([f"... and {len(inspection.groups) - MOST_GROUPS:,} other kinds of files", *[""] * 5])
    columns = ["files", "format", "shape", "MiB", "rows", "unreadable"]
    print_tables([Table("files", f"Files of {inspection.path}", columns, found, texts=3)])
    if inspection.passed_over:
        passed_over = named(inspection.passed_over, MOST_GROUPS)
        console.print(Text(harmless(f"Passed over, of no known format: {passed_over}")))
    group = inspection.groups[0]
    unread = [each for other in inspection.groups for each in other.unread[:MOST_UNREAD]]
    for where, why in unread[:MOST_GROUPS]:
        console.print(Text("Cannot be read: ", style="bold yellow") + Text(harmless(f"{where}: {why}")))
    if not group.profile.rows:
        return
    if len(inspection.groups) > 1:
        console.print(Text(harmless(f"Below: {found[0][0]}. Inspect the others by themselves.")))
    print_tables([_columns(group)])
    console.print(Text(harmless(_reading(group))))
    try:
        mapping = group.mapping()
    except AssayError as error:
        console.print(Text(harmless(error.message), style="yellow"))
    else:
        if mapping:
            written = yaml.safe_dump({"record": mapping}, sort_keys=False, allow_unicode=True)
            console.print(Panel(Text(harmless(written.rstrip())), title="in a recipe"))
    if group.record is not None:
        record = json.dumps(_shortened(group.record), ensure_ascii=False, indent=1)
        console.print(Panel(Text(harmless(record)), title="the first row as a record"))


def _columns(group: Group) -> Table:
    """The columns of a group's rows; those that look like something say so."""
    found = group.guess
    roles: dict[str | None, str] = {found.id: "id", found.group: "group", found.label: "label"}
    if not group.recognised:
        roles |= {found.prompt: "prompt"}
        roles.update(dict.fromkeys(found.answers, "target" if found.target else "answer"))
    rows = []
    for name, seen in list(group.profile.columns.items())[:MOST_COLUMNS]:
        types = [kind for kind, _ in seen.types.most_common() if kind != "null"] or ["null"]
        kinds = (
            f"JSON in {types[0]}" if group.profile.holds_objects(name) and types[0] == "string" else " or ".join(types)
        )
        if seen.is_class():
            kinds += f", {len(seen.values or ())} values" if len(seen.values or ()) > 1 else ", always the same"
        filled = f"{100 * seen.filled // group.profile.rows}%" if 100 * seen.filled >= group.profile.rows else "<1%"
        rows.append([name, kinds, filled, roles.get(name, ""), example(seen.example, 60)])
    if len(group.profile.columns) > MOST_COLUMNS:
        rows.append([f"... and {len(group.profile.columns) - MOST_COLUMNS:,} more", *[""] * 4])
    return Table("columns", "Columns", ["column", "type", "filled", "looks like", "example"], rows, texts=5)


def _reading(group: Group) -> str:
    """How a starter recipe would read the rows."""
    if group.recognised:
        known = ", ".join(shape for shape, _ in group.shapes.most_common())
        ends = ", whose answers are JSON: they become the target" if group.structured else ""
        return f"Read as {known}{ends}. The recipe needs no mapping of turns."
    return f"No known shape; what the columns look like is a guess. Of the first row: {group.unrecognised}."


def _shortened(value: object) -> object:
    """A record with its long texts cut, and how much was cut."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, str) and len(value) > LONGEST_TURN:
        return f"{value[:LONGEST_TURN]}… ({len(value) - LONGEST_TURN:,} more characters)"
    return value
