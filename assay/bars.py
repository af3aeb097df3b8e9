"""Bars: the progress of a command on its terminal, and the lines of it where there is none."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from assay.console import harmless
from curate.progress import Lines, rate


class Rate(ProgressColumn):
    """Units per second since the stage began."""

    def render(self, task: Task) -> Text:
        return Text(rate(task.completed, task.elapsed or 0.0, task.fields["unit"]), style="cyan", justify="right")


class Bars(Lines):
    """A `curate.progress.Progress` that draws a bar for what is at work and leaves a line for each finished stage.
    Where standard error is no terminal, only lines are written, and one at least every `interval` seconds."""

    def __init__(self, console: Console | None = None, interval: float = 30.0) -> None:
        self.console = console or Console(stderr=True)
        super().__init__(self._print, None if self.console.is_terminal else interval)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}", justify="right"),
            Rate(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._drawn: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._bars.stop()

    def __call__(self, what: str, done: int, total: int, unit: str) -> None:
        if what not in self._drawn:
            self._drawn[what] = self._bars.add_task(harmless(what), total=total, unit=unit, note="")
        self._bars.update(self._drawn[what], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._drawn.pop(what))
        super().__call__(what, done, total, unit)

    def note(self, what: str, text: str) -> None:
        if what in self._drawn:
            self._bars.update(self._drawn[what], note=harmless(text))
        super().note(what, text)

    def _print(self, line: str) -> None:
        self.console.print(Text(harmless(line)), soft_wrap=True)
