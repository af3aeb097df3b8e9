"""The page of an adapter: curves of the run, where validation turns up, which checkpoint was kept; nothing hostile."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.browser import DESKTOP, PHONE, Browser, assert_printable, assert_readable
from tests.manifests import adapter_manifest
from train.history import History, Step, Validation
from train.manifest import AdapterManifest, Run
from train.report import POINTS, _thinned, ticks_of, write_report
from train.settings import TrainingSettings

HOSTILE = "<script>alert(1)</script>"


def page(folder: Path, losses: list[float], steps: int = 60, score: str | None = None, **settings: Any) -> Path:
    """The report of a made-up run with these validation losses."""
    told = [
        Step(n, n / 20, 3 / n**0.5, 1 + math.sin(n) / 3, 1e-3 * n, 800, 200, 700, 20, 900.0 + 40 * math.sin(n / 3), 900)
        for n in range(1, steps + 1)
    ]
    span = steps // max(len(losses) - 1, 1)
    validations = [
        Validation(n * span, n * span / 20, loss, n / len(losses) if score else None) for n, loss in enumerate(losses)
    ]
    history = History(told, validations, 20)
    best = history.best()
    chosen = TrainingSettings(keep_best=score or settings.pop("keep_best", None), epochs=3, **settings)
    manifest = adapter_manifest(schema_version=2, name=f"tiny {HOSTILE}") | {
        "run": {
            "steps": steps,
            "planned": 80,
            "kept": best.step if chosen.keep_best and best else steps,
            "validations": [each._asdict() for each in validations],
            "padding": 0.0312,
        }
    }
    manifest["inputs"] |= {"settings": chosen.deciding()}
    run = Run.model_validate(manifest["run"])
    write_report(folder, AdapterManifest.model_validate(manifest), run, history)
    return folder / "report.html"


def test_it_says_where_validation_turns_up_and_what_was_kept(tmp_path: Path) -> None:
    text = page(tmp_path, [3.0, 2.0, 1.5, 2.5], keep_best="loss").read_text()
    assert "Validation is lowest after step 40 (epoch 2.00, 1.500) and turns up from there to 2.500" in text
    assert ">validation turns up</text>" in text
    assert "step 40<small>best by loss" in text
    assert "stopped early, of 80" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    text = page(tmp_path, [3.0, 2.0, 1.5, 2.5]).read_text()
    assert "step 60<small>the last" in text
    assert "<code>training.keep_best: loss</code> keeps the lowest" in text


def test_it_says_where_it_does_not_or_is_not_known(tmp_path: Path) -> None:
    assert "still at its lowest when training ended" in page(tmp_path, [3.0, 2.0, 1.0]).read_text()
    text = page(tmp_path, []).read_text()
    assert "no row to validate on" in text
    assert "<h2>Validations" not in text


def test_a_long_run_is_drawn_with_few_points_and_all_its_peaks() -> None:
    curve = [(n, 1.0 + (n == 7777) * 50) for n in range(100_000)]
    drawn = _thinned(curve)
    assert len(drawn) <= POINTS
    assert (7777, 51.0) in drawn
    assert drawn == sorted(drawn)


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 240, [0, 50, 100, 150, 200, 250]), (0.2, 0.2, None), (6.3, 6.6, None), (0, 0, None)]
)
def test_ticks_are_round_and_hold_the_curve(low: float, high: float, ticks: list[float] | None) -> None:
    found = ticks_of(low, high, 5)
    assert ticks in (None, found)
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9
    assert found[0] < found[-1]
    assert len(found) <= 8


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_the_page_is_readable(width: int, dark: bool, browser: Browser, tmp_path: Path) -> None:
    path = page(tmp_path, [3.0, 2.0, 1.5, 2.5, 2.6, 2.8, 3.0], score="category.macro_f1")
    assert_readable(browser, path, width, dark, f"adapter_{width}")


def test_the_page_is_printable(browser: Browser, tmp_path: Path) -> None:
    assert_printable(browser, page(tmp_path, [3.0, 2.0, 1.5, 2.5]), "adapter")
