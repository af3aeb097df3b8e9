"""The monitor: new data beside what the live adapter was trained on, and the adapter on fresh rows."""

from pathlib import Path
from typing import Any

import pytest

from curate.errors import AssayError
from curate.store import Store
from evaluation.evaluate import Asked, columns_of, evaluate
from evaluation.monitor import Reading, _remember, _scored_before, history, look, page
from evaluation.promotion import trained
from evaluation.settings import FullRecipe, MonitorSettings
from tests.project import Project, make_rows
from train.examples import read_split
from train.manifest import AdapterManifest
from train.qlora import train


@pytest.fixture(scope="module")
def project(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(
        tmp_path_factory.mktemp("monitor"),
        fit={"model": str(model_folder), "max_tokens": 150},
        training={"rows": 8, "method": "lora", "batch_size": 8, "epochs": 1, "rank": 4, "alpha": 8},
        evaluation={"rows": 6, "max_new_tokens": 4, "systems": {"tuned": {"model": "adapter"}}, "resamples": 100},
        monitor={"min_rows": 3},
    )
    made.tokenizer = model_folder
    made.add("rows.jsonl", make_rows(200))
    version = made.curate().folder
    trained(train(version, made.recipe, store_of(made)), made.recipe, store_of(made))
    return made


def store_of(project: Project) -> Store:
    return Store(project.recipe_path.parent / "store")


def bounded(project: Project, **bounds: Any) -> FullRecipe:
    return project.recipe.model_copy(update={"monitor": MonitorSettings(**{"min_rows": 3} | bounds)})


def test_from_nothing_new_to_past_the_bounds(project: Project) -> None:
    store = store_of(project)
    first = look(project.recipe, store)
    assert (first.drift, first.fresh, first.right, first.past) == ({}, 0, None, [])
    adapter = store.resolve("adapters", "demo")
    own = evaluate(store.resolve("datasets", "demo"), adapter, project.recipe, store)

    changed = [row | {"colour": "blue"} for row in make_rows(160, seed=5)]
    project.add("more.jsonl", changed)
    newest = project.curate().folder
    second = look(project.recipe, store)
    assert second.newest == f"demo/{newest.name}"
    assert second.trained_on == first.newest
    assert second.drift["label"] > second.drift["language"]
    assert second.fresh == 6
    assert second.right is not None
    assert second.before is not None
    assert second.scorecard in [f"demo/{each.name}" for each in store.versions("scorecards", "demo")]
    assert store.resolve("scorecards", "demo") == own, "NAME means no scorecard of other rows than its version's"
    third = look(bounded(project, max_drift=0.01, min_rows=7), store)
    assert third.right is None, "fewer rows than are asked for"
    assert third.past[0].startswith("Drift of label: a population stability index of 0.")
    assert [each.newest for each in history(store, "demo")] == [first.newest, second.newest, second.newest]
    told = page(store, "demo").read_text()
    assert "Drift of label" in told
    assert told.count("<circle") == 8, "four columns at two looks"
    assert [table.key for table in third.tables()] == ["monitor", "past"]


def test_before_is_of_the_versions_own_test_rows(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store, adapter = store_of(project), store_of(project).resolve("adapters", "demo")
    parent = AdapterManifest.read(adapter).inputs.dataset
    trained_on = store.root / "datasets/demo" / parent.version
    own = evaluate(trained_on, adapter, project.recipe, store)
    rows = read_split(trained_on, "test", columns_of(trained_on, "test", project.recipe.evaluation))
    others = evaluate(trained_on, adapter, project.recipe, store, asked_rows=Asked(parent, rows[:4]))
    settings = project.recipe.evaluation.model_copy(update={"split": "train"})
    learnt = evaluate(trained_on, adapter, project.recipe.model_copy(update={"evaluation": settings}), store)
    assert len({own, others, learnt}) == 3
    monkeypatch.setattr("evaluation.monitor._right", lambda folder: {"value": folder.name})
    assert _scored_before(store, "demo", adapter.name, trained_on.name) == own.name


def test_a_lower_share_counts_where_chance_does_not_explain_it(project: Project) -> None:
    from evaluation.monitor import _past

    recipe = bounded(project, max_loss=0.1)
    assert _past(recipe, {}, {"value": 0.5, "low": 0.3, "high": 0.7}, 0.65) == []
    assert len(_past(recipe, {}, {"value": 0.5, "low": 0.45, "high": 0.55}, 0.65)) == 1
    assert _past(recipe, {}, {"value": 0.6, "low": 0.58, "high": 0.62}, 0.65) == [], "no more than the bound"


def test_without_a_live_adapter(tmp_path: Path) -> None:
    made = Project(tmp_path)
    made.add("rows.jsonl", make_rows(20))
    made.curate()
    with pytest.raises(AssayError, match="no such version in"):
        look(made.recipe, Store(tmp_path / "store"))


def test_a_history_that_has_changed(tmp_path: Path) -> None:
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor/demo.jsonl").write_text('{"time": "now"}\n')
    with pytest.raises(AssayError, match="not as it was written"):
        history(Store(tmp_path), "demo")


def test_the_page_loads_nothing_and_shows_words_as_text(tmp_path: Path) -> None:
    made, store = Project(tmp_path), Store(tmp_path / "store")
    words = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    past = [words, "{{ 7 * 7 }}"]
    reading = Reading(words, f"demo/{words}", words, f"demo/{words}", {"label": 0.4}, 40, None, None, None, past)
    _remember(reading, made.recipe, store)
    drawn = page(store, "demo").read_text()
    assert "<script" not in drawn
    assert "<img" not in drawn
    assert "&lt;script&gt;alert(1)" in drawn
    assert "{{ 7 * 7 }}" in drawn
    assert "default-src 'none'" in drawn
