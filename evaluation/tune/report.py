"""What people read of a study: report.html, one file that loads nothing and runs nothing, and table.md."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.publish.pages import report_environment
from evaluation.tune.manifest import StudyManifest
from evaluation.tune.result import StudyResult, TrialResult
from evaluation.tune.tables import optimistic, shown, state_of, tables
from train.report import short, ticks_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 250, 56, 16, 12, 38
"""Of a plot's drawing, in its own units: the whole, and what is left around the points."""
WIDE = 8
"""Values of which the largest is so many times the least are drawn by their logarithm."""
SIZE = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
LETTERS = 72
"""Below a plot."""


@dataclass(frozen=True)
class Axis:
    """Where values stand, from 0 to 1."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    """(value, label)."""
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], most: int, log: bool | None = None) -> "Axis":
        """An axis that holds some values.

        Args:
            values: at least one.
            most: about as many ticks.
            log: whether they are drawn by their logarithm; by default if they are wide apart.
        """
        low, high = min(values), max(values)
        if low <= 0 or low == high or not (log or (log is None and high >= WIDE * low)):
            ticks = ticks_of(low, high, most)
            return cls(ticks[0], ticks[-1], [(tick, short(tick)) for tick in ticks])
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        known = [times * 10.0**power for power in decades for times in (1, 2, 5)]
        first = max(each for each in known if each <= low * (1 + 1e-9))
        last = min(each for each in [*known, 10.0 ** (decades[-1] + 1)] if each >= high * (1 - 1e-9))
        ticks = [each for each in known if first <= each <= last]
        round_ones = [each for each in ticks if f"{each:e}".startswith("1.0")]
        kept = ticks if len(ticks) <= most or len(round_ones) < 2 else round_ones
        return cls(first, last, [(tick, short(tick)) for tick in kept], log=True)

    @classmethod
    def of_names(cls, names: Sequence[str]) -> "Axis":
        """Names beside each other, at 0, 1, 2 and so on."""
        room = max(4, LETTERS // len(names))
        ticks = [(float(at), name if len(name) <= room else f"{name[: room - 1]}…") for at, name in enumerate(names)]
        return cls(-0.5, len(names) - 0.5, ticks)

    def at(self, value: float) -> float:
        low, high, value = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Plot:
    """A drawing, laid out."""

    title: str
    under: str
    """What the ticks below are of."""
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    dots: list[tuple[float, float, str, str]] = field(default_factory=list)
    """(x, y, class, what it says)."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """(class, points)."""


def write_reports(folder: Path, manifest: StudyManifest, result: StudyResult) -> None:
    """Write report.html and table.md.

    Args:
        folder: the study's.
        manifest: of the study.
        result: what result.json says.
    """
    told, said = tables(result), optimistic(result)
    text = "\n".join(each.markdown() for each in told)
    (folder / "table.md").write_text(f"{text}\n{said}\n", encoding="utf-8")
    page = (
        report_environment()
        .get_template("study.html.jinja")
        .render(
            manifest=manifest.content(),
            result=result,
            tables=told,
            optimistic=said,
            plots=[_history(result), *(_scatter(key, result) for key in result.search), _curves(result)],
            size=SIZE,
        )
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + (WIDTH - RIGHT - LEFT) * axis.at(value), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * axis.at(value), 1)


def _plot(title: str, under: str, across: Axis, up: Axis) -> Plot:
    return Plot(
        title,
        under,
        [(_x(across, tick), name) for tick, name in across.ticks],
        [(_y(up, tick), name) for tick, name in up.ticks],
    )


def _known(result: StudyResult) -> list[tuple[TrialResult, float]]:
    """The trials that have a value."""
    return [(each, each.value) for each in result.trials if each.value is not None]


def _class(trial: TrialResult, result: StudyResult) -> str:
    return "best" if trial.number == result.best else trial.state


def _says(trial: TrialResult, value: float) -> str:
    values = ", ".join(f"{key} {shown(each)}" for key, each in trial.values.items())
    return f"trial {trial.number}, {state_of(trial)}: {value:.4f} ({values})"


def _history(result: StudyResult) -> Plot:
    """The value of each trial, and the best until then."""
    known = _known(result)
    count = len(result.trials)
    across = Axis(0, count + 1, [(n, f"{n:,.0f}") for n in ticks_of(1, count, 10) if 1 <= n <= count and n % 1 == 0])
    up = Axis.of([value for _, value in known], 5)
    plot = _plot("Trial by trial", "trial", across, up)
    better = min if result.lower_is_better else max
    best: float | None = None
    steps: list[str] = []
    for trial, value in known:
        plot.dots.append((_x(across, trial.number), _y(up, value), _class(trial, result), _says(trial, value)))
        if trial.state == "complete":
            steps += [f"{_x(across, trial.number)},{_y(up, best)}"] if best is not None else []
            best = value if best is None else better(best, value)
            steps.append(f"{_x(across, trial.number)},{_y(up, best)}")
    if best is not None:
        steps.append(f"{_x(across, count + 1)},{_y(up, best)}")
    plot.lines.append(("best", " ".join(steps)))
    return plot


def _scatter(key: str, result: StudyResult) -> Plot:
    """The value of each trial by that of one key."""
    known = [(trial, value) for trial, value in _known(result) if key in trial.values]
    values: Any = result.search[key]
    if not isinstance(values, list):
        across = Axis.of([values["low"], values["high"]], 6, log=values["log"])
        places = [float(trial.values[key]) for trial, _ in known]
    elif all(isinstance(each, int | float) and not isinstance(each, bool) for each in values) and len(set(values)) > 1:
        across = Axis.of(values, 6)
        across = Axis(across.low, across.high, [(each, short(each)) for each in sorted(set(values))], across.log)
        places = [float(trial.values[key]) for trial, _ in known]
    else:
        across = Axis.of_names([shown(each) for each in values])
        places = [float(values.index(trial.values[key])) for trial, _ in known]
    up = Axis.of([value for _, value in _known(result)], 5)
    plot = _plot(key, "", across, up)
    for (trial, value), place in zip(known, places, strict=True):
        plot.dots.append((_x(across, place), _y(up, value), _class(trial, result), _says(trial, value)))
    return plot


def _curves(result: StudyResult) -> Plot:
    """The metric of each trial at its validations, by epochs."""
    curves = [
        (
            trial,
            [(v.epoch, v.loss if result.metric == "loss" or v.score is None else v.score) for v in trial.validations],
        )
        for trial in result.trials
        if trial.validations and trial.same_as is None
    ]
    points = [point for _, curve in curves for point in curve]
    across = Axis.of([0.0, *(epoch for epoch, _ in points)], 8, log=False)
    up = Axis.of([value for _, value in points], 5)
    plot = _plot("Validations", "epochs", across, up)
    for trial, curve in sorted(curves, key=lambda each: each[0].number == result.best):
        line = " ".join(f"{_x(across, epoch)},{_y(up, value)}" for epoch, value in curve)
        plot.lines.append((_class(trial, result), line))
        epoch, value = curve[-1]
        plot.dots.append((_x(across, epoch), _y(up, value), _class(trial, result), _says(trial, value)))
    return plot
