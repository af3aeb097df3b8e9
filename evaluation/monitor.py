"""Monitor: does the live adapter still fit the data that comes?

The newest version of a data set is compared with the one that its live adapter was trained on, and the adapter is asked
test rows that it has not been judged by: those of the newest version that the other does not hold. A row keeps its
split, so none of them was trained on. Each look is a line of the store's `monitor/NAME.jsonl`, and a page is drawn of
them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.publish.drift import TEXTS, drift, published_rows
from curate.publish.flat import flatten
from curate.publish.pages import inlined, report_environment
from curate.record import SPLITS
from curate.shared import add_lines, fresh, held, replace_file
from curate.store import Store, verified
from curate.table import Table
from evaluation.card.format import read_scorecard
from evaluation.card.manifest import EvaluationInputs, ScorecardManifest
from evaluation.evaluate import Asked, columns_of, evaluate
from evaluation.settings import FullRecipe, SystemSettings
from train.examples import Row, read_split, select
from train.manifest import AdapterManifest, DatasetParent

COMPARED = ("label", "language", "tokens", "prompt")
"""Columns whose drift is measured: of prompts, that of their words."""
LIVE = "tuned"
"""The system that the adapter is asked as."""


@dataclass(frozen=True)
class Reading:
    """What one look finds."""

    time: str
    adapter: str
    trained_on: str
    """The data set version."""
    newest: str
    drift: Mapping[str, float]
    """By column: the population stability index."""
    fresh: int
    """Rows that could be asked."""
    right: Mapping[str, float] | None
    """The share that the adapter answers right: value, low and high; None of too few rows."""
    before: float | None
    """That of the scorecard on the version that it was trained on; None where there is none."""
    scorecard: str | None
    past: Sequence[str]
    """The recipe's bounds that are passed, a sentence each."""

    def tables(self) -> list[Table]:
        """As a run tells it."""
        rows = [
            ["adapter", self.adapter],
            ["trained on", self.trained_on],
            ["newest version", self.newest],
            *([f"drift of {name}", f"{value:.3f}"] for name, value in self.drift.items()),
            ["fresh test rows", f"{self.fresh:,}"],
            ["right of them", "not known" if self.right is None else _share(self.right)],
            ["right when it was scored", "not known" if self.before is None else f"{self.before:.1%}"],
        ]
        past = [Table("past", "Past the recipe's bounds", [""], [[each] for each in self.past])] if self.past else []
        return [Table("monitor", f"Monitor: {self.adapter}", ["", ""], rows), *past]


def look(recipe: FullRecipe, store: Store, progress: Progress = silent) -> Reading:
    """Compare, ask, and add a line to the history.

    Args:
        recipe: names the data set, and with it the live adapter; says what is asked, and its bounds (`monitor`).
        store: holds them.
        progress: told of what is asked.

    Raises:
        AssayError: no adapter is live, or the version that it was trained on is gone.
    """
    adapter = store.resolve("adapters", recipe.name)
    parent = AdapterManifest.read(adapter).inputs.dataset
    trained = store.resolve("datasets", f"{parent.name}/{parent.version}")
    newest = store.resolve("datasets", recipe.name)
    drifted = {} if newest == trained else _drift(newest, trained)
    fresh = _fresh(newest, trained, recipe)
    card = right = None
    if len(fresh) >= recipe.monitor.min_rows:
        asked = Asked(DatasetParent.of(DatasetManifest.read(newest)), fresh)
        card = evaluate(newest, adapter, _of_one_system(recipe), store, progress, asked)
        right = _right(card)
    before = _scored_before(store, recipe.name, adapter.name, trained.name)
    reading = Reading(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        adapter=f"{recipe.name}/{adapter.name}",
        trained_on=f"{parent.name}/{parent.version}",
        newest=f"{recipe.name}/{newest.name}",
        drift=drifted,
        fresh=len(fresh),
        right=right,
        before=before,
        scorecard=None if card is None else f"{recipe.name}/{card.name}",
        past=_past(recipe, drifted, right, before),
    )
    _remember(reading, recipe, store)
    return reading


def history(store: Store, name: str) -> list[Reading]:
    """All readings of a data set, the oldest first.

    Raises:
        AssayError: a line is not as it was written.
    """
    path = fresh(_lines(store, name))
    if not path.is_file():
        return []
    try:
        return [Reading(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
    except (orjson.JSONDecodeError, TypeError):
        raise AssayError(
            f"{path}: a line is not as it was written.", remedy="Restore it from a copy, or remove the line."
        ) from None


def page(store: Store, name: str) -> Path:
    """Where the page that is drawn of the history lies."""
    return store.root / "monitor" / f"{name}.html"


def _lines(store: Store, name: str) -> Path:
    return store.root / "monitor" / f"{name}.jsonl"


def _drift(newest: Path, trained: Path) -> dict[str, float]:
    new, old = (
        flatten(published_rows(folder), [name for name in COMPARED if name in TEXTS]) for folder in (newest, trained)
    )
    return {name: round(drift("psi", new[name], old[name], name in TEXTS), 6) for name in COMPARED}


def _fresh(newest: Path, trained: Path, recipe: FullRecipe) -> list[Row]:
    """The test rows of the newest version that the other does not hold, as many as are to be asked."""
    if newest == trained:
        return []
    settings = recipe.evaluation
    known: set[str] = set()
    for split in SPLITS:
        known |= {*pq.read_table(verified(trained, f"{split}.parquet"), columns=["id"])["id"].to_pylist()}
    rows = [row for row in read_split(newest, "test", columns_of(newest, "test", settings)) if row["id"] not in known]
    return select(rows, settings.rows, settings.max_tokens, settings.seed)


def _of_one_system(recipe: FullRecipe) -> FullRecipe:
    live = {"systems": {LIVE: SystemSettings(model="adapter")}, "gate": [], "split": "test"}
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update=live)})


def _right(scorecard: Path) -> dict[str, float]:
    """The share of right answers of the live adapter."""
    told: dict[str, Any] = dict(read_scorecard(scorecard)["systems"][LIVE])
    rate = told["whole_match"] if "whole_match" in told else told["exact_match"]
    return {key: rate[key] for key in ("value", "low", "high")}


def _scored_before(store: Store, name: str, adapter: str, dataset: str) -> float | None:
    """What the adapter's last scorecard on the test rows of the version that it was trained on says."""
    for event in reversed(store.told("scorecards", name)):
        folder = store.root / "scorecards" / name / event["version"]
        if not folder.is_dir():
            continue
        inputs = ScorecardManifest.read(folder).inputs
        if not isinstance(inputs, EvaluationInputs) or inputs.adapter is None:
            continue
        own = (inputs.adapter.version, inputs.dataset.version) == (adapter, dataset)
        own = own and inputs.asked is None and "split" not in inputs.settings  # its test rows: see `deciding`
        if own and LIVE in read_scorecard(folder)["systems"]:
            return _right(folder)["value"]
    return None


def _past(
    recipe: FullRecipe, drifted: Mapping[str, float], right: Mapping[str, float] | None, before: float | None
) -> list[str]:
    """The bounds that are passed. A lower share counts only where chance does not explain it."""
    bounds = recipe.monitor
    found = [
        f"Drift of {name}: a population stability index of {value:.3f}, at most {bounds.max_drift:g} is expected."
        for name, value in drifted.items()
        if value > bounds.max_drift
    ]
    if (
        right is not None
        and before is not None
        and before - right["value"] > bounds.max_loss
        and right["high"] < before
    ):
        found.append(
            f"Right answers to fresh rows: {_share(right)}, {before:.1%} when it was scored; at most "
            f"{bounds.max_loss:.0%} less is expected."
        )
    return found


def _share(rate: Mapping[str, float]) -> str:
    return f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"


def _remember(reading: Reading, recipe: FullRecipe, store: Store) -> None:
    """Add a reading to the history, and draw the page anew."""
    path = _lines(store, recipe.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.parent):
        line = orjson.dumps(asdict(reading)) + b"\n"
        if not add_lines(path, line):
            replace_file(path, (path.read_bytes() if path.is_file() else b"") + line)
        readings = history(store, recipe.name)
        environment = report_environment()
        text = environment.get_template("monitor.html.jinja").render(
            style=inlined(environment, "style.css"),
            name=recipe.name,
            readings=readings,
            drifts={name: [each.drift[name] for each in readings if name in each.drift] for name in COMPARED},
            bounds=recipe.monitor,
        )
        replace_file(fresh(page(store, recipe.name)), text.encode())
