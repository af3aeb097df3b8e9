"""What people read of an experiment: report.html, one file that loads nothing and runs nothing, and table.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curate.publish.pages import report_environment
from evaluation.card.measures import WORDS
from evaluation.experiment.manifest import ExperimentManifest
from evaluation.experiment.result import ExperimentResult, Score
from evaluation.experiment.settings import LOSS
from evaluation.experiment.tables import tables
from train.report import short, ticks_of

WIDTH, RIGHT, TOP, BOTTOM = 640, 16, 12, 30
"""Of a plot's drawing, in its own units: the whole, and what is left around the points."""
LINE = 30
"""Between two arms."""
NAME = 6.6
"""Of a letter of a name."""


@dataclass(frozen=True)
class Mark:
    """An arm's score, laid out."""

    name: str
    x: float
    y: float
    ends: tuple[float, float, float, float]
    """Of its interval: x, y, x, y."""
    baseline: bool
    text: str


@dataclass(frozen=True)
class Plot:
    """A metric of all arms, laid out: arms below each other, or along the key that they differ in."""

    title: str
    height: float
    left: float
    right: float
    bottom: float
    marks: list[Mark] = field(default_factory=list)
    curve: str = ""
    """Points of a line through the marks."""
    across: list[tuple[float, str]] = field(default_factory=list)
    up: list[tuple[float, str]] = field(default_factory=list)
    names: list[tuple[float, str]] = field(default_factory=list)
    under: str = ""
    """What the ticks below are of."""


def write_reports(folder: Path, manifest: ExperimentManifest, result: ExperimentResult) -> None:
    """Write report.html and table.md.

    Args:
        folder: the experiment's.
        manifest: of the experiment.
        result: what result.json says.
    """
    told = tables(result)
    (folder / "table.md").write_text("\n".join(each.markdown() for each in told), encoding="utf-8")
    text = (
        report_environment()
        .get_template("experiment.html.jinja")
        .render(
            manifest=manifest.content(),
            result=result,
            tables=told,
            plots=[_curve(metric, result) if result.axis else _forest(metric, result) for metric in result.metrics],
        )
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _title(metric: str) -> str:
    words: Mapping[str, str] = WORDS
    return "Loss of an answer's token, nats" if metric == LOSS else words.get(metric, metric.replace("_", " "))


def _ends(scores: Mapping[str, Score], most: int) -> tuple[list[float], dict[str, tuple[float, float, float]]]:
    """Ticks that hold all intervals; and (value, low, high) of the arms that have a value."""
    known = {
        name: (each.value, each.low, each.high)
        for name, each in scores.items()
        if each.value is not None and each.low is not None and each.high is not None
    }
    bounds = [bound for each in known.values() for bound in each] or [0.0, 1.0]
    return ticks_of(min(bounds), max(bounds), most), known


def _forest(metric: str, result: ExperimentResult) -> Plot:
    """The arms below each other, each with its interval."""
    scores = {name: arm.scores[metric] for name, arm in result.arms.items()}
    across, known = _ends(scores, 6)
    left = 14 + NAME * max(map(len, scores))
    bottom = TOP + LINE * len(scores)
    plot = Plot(_title(metric), bottom + BOTTOM, left, WIDTH - RIGHT, bottom)

    def x(value: float) -> float:
        return round(left + (WIDTH - RIGHT - left) * (value - across[0]) / (across[-1] - across[0]), 1)

    for number, name in enumerate(scores):
        y = TOP + LINE * (number + 0.5)
        plot.names.append((y + 4, name))
        if name in known:
            value, low, high = known[name]
            text = f"{name}: {value:.3f} ({low:.3f} to {high:.3f})"
            plot.marks.append(Mark(name, x(value), y, (x(low), y, x(high), y), name == result.baseline, text))
    plot.across.extend((x(tick), short(tick)) for tick in across)
    return plot


def _curve(metric: str, result: ExperimentResult) -> Plot:
    """The arms along the key that they differ in, by a logarithm where the largest is eight times the least."""
    import math

    scores = {name: arm.scores[metric] for name, arm in result.arms.items()}
    places = {name: arm.x for name, arm in result.arms.items() if arm.x is not None}
    up, known = _ends(scores, 5)
    logarithmic = min(places.values()) > 0 and max(places.values()) >= 8 * min(places.values())
    along = {name: math.log(each) if logarithmic else each for name, each in places.items()}
    first, last = min(along.values()), max(along.values())
    left, height = 56, 260
    bottom = height - BOTTOM - 8
    plot = Plot(_title(metric), height, left, WIDTH - RIGHT, bottom, under=str(result.axis))

    def x(value: float) -> float:
        return round(left + 14 + (WIDTH - RIGHT - left - 28) * (value - first) / (last - first), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - TOP) * (value - up[0]) / (up[-1] - up[0]), 1)

    for name in sorted(known, key=lambda each: along[each]):
        value, low, high = known[name]
        at, text = x(along[name]), f"{name}: {value:.3f} ({low:.3f} to {high:.3f})"
        plot.marks.append(Mark(name, at, y(value), (at, y(low), at, y(high)), name == result.baseline, text))
    plot.across.extend((x(along[name]), short(place)) for name, place in places.items())
    plot.up.extend((y(tick), short(tick)) for tick in up)
    curve = " ".join(f"{mark.x},{mark.y}" for mark in plot.marks)
    return Plot(**vars(plot) | {"curve": curve})
