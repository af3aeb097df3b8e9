"""What people read of an adapter: report.html, one file that loads nothing and runs nothing."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.publish.pages import report_environment
from train.history import REWARD, History
from train.manifest import AdapterManifest, Run

WIDTH, LEFT, TOP, BOTTOM = 640, 56, 14, 26
"""Of a plot's drawing, in its own units: the whole, and what is left beside the curves."""
POINTS = 400
"""A curve of more is drawn as the least and the most of each of half as many stretches."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """A curve over the steps, laid out: coordinates are those of the drawing."""

    title: str
    height: int
    bottom: float
    """Of the curves."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """(class, points)."""
    dots: list[tuple[float, float, str]] = field(default_factory=list)
    """(x, y, what it says)."""
    across: list[tuple[float, str]] = field(default_factory=list)
    """Ticks of the steps."""
    up: list[tuple[float, str]] = field(default_factory=list)
    """Ticks of the values."""
    marks: list[tuple[float, str, str]] = field(default_factory=list)
    """(x, class, what stands there)."""


def write_report(folder: Path, manifest: AdapterManifest, run: Run, history: History) -> None:
    """Write report.html.

    Args:
        folder: the adapter's.
        manifest: of the adapter.
        run: of its manifest.
        history: of its run.
    """
    steps, validations = history.steps, history.validations
    lowest = min(validations[1:], key=lambda each: each.loss, default=None)
    turn = None if lowest is None or lowest.step == validations[-1].step else lowest
    marks = [(run.kept, "kept", "kept")]
    if turn is not None:
        marks.append((turn.step, "turn", "validation turns up"))
    train = [(each.step, each.loss) for each in steps]
    paired = [each for each in steps if each.pairs is not None]
    rewarded = [each for each in steps if each.answers is not None]
    drawn = [*paired, *rewarded]
    validated = {"validation": [(v.step, v.loss) for v in validations]}
    loss = _plot("Loss", 260, validated if drawn and validations else {"train": train} | validated, marks)
    scored = [(each.step, each.score) for each in validations if each.score is not None]
    chosen_by = manifest.inputs.settings["keep_best"] or "reward"
    curves = {
        **{
            name.replace("_", ", ").capitalize(): [(each.step, getattr(each, name)) for each in rewarded]
            for name in REWARD
        },
        "Share of prompts whose answers are worth the same": [(each.step, each.alike or 0.0) for each in rewarded],
        "Share truncated": [(each.step, each.truncated or 0.0) for each in rewarded],
        "KL divergence": [(each.step, each.kl) for each in rewarded if each.kl is not None],
        "Loss of reinforcement": train if rewarded else [],
        "Loss of preferences": train if paired else [],
        "Pairs whose chosen answer is preferred": [(each.step, each.preferred or 0.0) for each in paired],
        "Margin of implicit rewards": [(each.step, each.margin or 0.0) for each in paired],
        "Reward of validation answers" if chosen_by == "reward" else chosen_by: scored,
        "Learning rate": [(each.step, each.learning_rate) for each in steps],
        "Gradient norm": [(each.step, each.grad_norm) for each in steps if each.grad_norm is not None],
        "Tokens per second": [(each.step, each.tokens_per_second) for each in steps],
        "Memory, MiB": [(each.step, float(each.memory_mib)) for each in steps],
    }
    kind = {True: "validation", False: "train"}
    text = (
        report_environment()
        .get_template("adapter.html.jinja")
        .render(
            manifest=manifest.content(),
            loss=loss,
            plots=[
                _plot(title, 150, {kind[values is scored]: values}, [(run.kept, "kept", "")])
                for title, values in curves.items()
                if values
            ],
            turn=turn,
            counted="Pairs" if paired else "Rows",
            drawn=bool(drawn),
            rewarded=bool(rewarded),
            chosen_by=chosen_by,
            lowest=lowest,
            run=run,
            validations=validations,
            pace=sum(each.tokens for each in steps) / history.seconds(),
            memory=max(each.memory_mib for each in steps),
            settings=list(_flat(manifest.inputs.settings)),
            provenance=list(_flat(manifest.inputs.content() | {"settings": {}} | {"libraries": manifest.libraries})),
        )
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _flat(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as lines of a name and a text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{key} · ")
        else:
            yield f"{within}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plot(
    title: str, height: int, curves: Mapping[str, Sequence[Point]], marks: Sequence[tuple[int, str, str]] = ()
) -> Plot:
    """Lay out curves of (step, value); those of the class `validation` have dots. One of them has a point."""
    points = [point for curve in curves.values() for point in curve]
    last = max(max(step for step, _ in points), 1)
    up = ticks_of(min(value for _, value in points), max(value for _, value in points), height // 50)
    low, high = up[0], up[-1]
    bottom = height - BOTTOM

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 10) * step / last, 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - TOP) * (value - low) / (high - low), 1)

    plot = Plot(title, height, bottom)
    for name, curve in curves.items():
        plot.lines.append((name, " ".join(f"{x(step)},{y(value)}" for step, value in _thinned(curve))))
        if name == "validation":
            plot.dots.extend((x(step), y(value), f"step {step}: {value:.4f}") for step, value in curve)
    plot.across.extend((x(tick), f"{tick:,.0f}") for tick in ticks_of(0, last, 8) if tick <= last and tick % 1 == 0)
    plot.up.extend((y(tick), short(tick)) for tick in up)
    plot.marks.extend((x(step), kind, said) for step, kind, said in marks)
    return plot


def _thinned(curve: Sequence[Point]) -> list[Point]:
    """Few enough points to draw; no peak of the curve is lost."""
    if len(curve) <= POINTS:
        return list(curve)
    kept = []
    for part in range(POINTS // 2):
        begin, end = (len(curve) * at // (POINTS // 2) for at in (part, part + 1))
        stretch = curve[begin:end]
        kept += sorted({min(stretch, key=lambda each: each[1]), max(stretch, key=lambda each: each[1])})
    return kept


def ticks_of(low: float, high: float, most: int) -> list[float]:
    """Round numbers from one that is not above `low` to one that is not below `high`, about as many as `most`."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    width = next(power * times for times in (1, 2, 5, 10) if span / (power * times) <= most)
    first, end = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
    return [float(f"{at * width:.10g}") for at in range(first, max(end, first + 1) + 1)]


def short(value: float) -> str:
    """A tick's number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
