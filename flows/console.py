"""What the terminal shows: progress, tables, previews, and the text of rows made harmless."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from flows.preview import Preview
from flows.summary import Table

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


def print_tables(tables: Iterable[Table]) -> None:
    """Print summary tables on standard output: first columns left, all others right."""
    console = standard_output()
    for table in tables:
        drawn = RichTable(title=table.title, title_justify="left", title_style="bold")
        for number, column in enumerate(table.columns):
            drawn.add_column(column, justify="right" if number else "left", overflow="fold")
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
