"""Studies end to end on the tiny model: what is trained, pruned, found again and told, and that the test split is not
read: in the stores of these tests it cannot be."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.errors import AssayError, ShortOfMemory
from curate.progress import Progress, silent
from curate.store import Store
from evaluation.settings import FullRecipe
from evaluation.tune import study, trial
from evaluation.tune.space import Space
from evaluation.tune.trial import Work
from tests.assay.conftest import Finished
from tests.documented import missing
from train.halted import NotFinite
from train.manifest import AdapterManifest

TRAINING: dict[str, Any] = {"rows": 16, "max_tokens": 150, "batch_size": 4, "method": "lora", "eval_steps": 2}
GRID: dict[str, Any] = {
    "method": "grid",
    "search": {"learning_rate": [0.01, "3e-2", 0.02, 0.05, 1e-7, 0.02, 1e30], "target_modules": [["q_proj"]]},
}
"""Of seven trials one is hopeless, one equals another and one diverges."""
TPE: dict[str, Any] = {
    "search": {"learning_rate": {"low": 1e-5, "high": 1, "log": True}, "weight_decay": {"low": 0, "high": 1}},
    "trials": 3,
}


class Interrupted(Exception):
    """As ^C does."""


def stopping(lines: list[str], at: str = "never", done: int = 0) -> Progress:
    """Keeps what is told, and stops where something begins and so much of it is done."""

    def progress(what: str, so_far: int, total: int, unit: str) -> None:
        lines.append(what)
        if what.startswith(at) and so_far >= done:
            raise Interrupted

    return progress


@pytest.fixture(scope="module")
def recipe(finished: Finished) -> Callable[..., Path]:
    """Writes a recipe beside the one of the data set version."""

    def write(name: str, **sections: Any) -> Path:
        own = yaml.safe_load(finished.project.recipe_path.read_text())
        path = finished.project.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(own | {"training": TRAINING} | sections, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="module")
def fresh(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes stores that hold the data set version alone, its test split no more than some bytes."""

    def copy() -> Path:
        store = tmp_path_factory.mktemp("tune") / "store"
        shutil.copytree(finished.store, store, ignore=shutil.ignore_patterns("adapters", "scorecards"))
        for name in ("test.parquet", "test.jsonl"):
            (store / "datasets/demo" / finished.version.id / name).write_bytes(b"not to be read")
        return store

    return copy


def runs(store: Path) -> int:
    """How many adapters were trained to their end."""
    return sum(event["event"] == "adapters" and not event["found"] for event in Store(store).events()) - 1


@pytest.fixture(scope="module")
def grid(recipe: Callable[..., Path], fresh: Callable[[], Path]) -> assay.Study:
    """Stopped as its fourth trial begins, and run again."""
    path, store, lines = recipe("grid", tune=GRID), fresh(), list[str]()
    searched = partial(assay.tune, recipe=path, store=store, apart=False)
    with pytest.raises(Interrupted):
        searched(progress=stopping(lines, "trial 4 of 7"))
    assert any(re.fullmatch(r"6 trials to train, 1 found; at most [\d,]+ tokens.*", line) for line in lines)
    assert any(re.fullmatch(r"trial 1 of 7 finished: loss \d\.\d{4}, the best so far", line) for line in lines)
    lines.clear()
    done = searched(progress=stopping(lines))
    assert any(line.startswith("3 trials to train, 4 found; ") for line in lines)
    return done


def test_every_point_is_tried_and_nothing_twice(grid: assay.Study) -> None:
    trials = grid.result.trials
    assert [each.values["learning_rate"] for each in trials] == [0.01, 0.03, 0.02, 0.05, 1e-7, 0.02, 1e30]
    assert [each.state for each in trials] == [*["complete"] * 4, "pruned", "complete", "failed"]
    assert [each.same_as for each in trials] == [None] * 5 + [3, None]
    assert trials[5].adapter == trials[2].adapter
    store = grid.made.store
    assert runs(store.root) == 4
    assert len(list((store.root / "adapters/demo").glob("[0-9a-f]*"))) == 4
    lines: list[str] = []
    again = assay.tune(recipe=grid.made.recipe, store=store.root, apart=False, progress=stopping(lines, "train"))
    assert again.folder == grid.folder
    assert "no trial to train, 7 found" in lines


def test_what_is_found_is_the_recipe_as_it_is(
    grid: assay.Study, recipe: Callable[..., Path], finished: Finished
) -> None:
    """Where another section has changed the trials are found, and the study is another one."""
    evaluation = yaml.safe_load(finished.project.recipe_path.read_text())["evaluation"] | {"rows": 5}
    path = recipe("grid_asked_less", tune=GRID, evaluation=evaluation)
    lines: list[str] = []
    done = assay.tune(recipe=path, store=grid.made.store.root, apart=False, progress=stopping(lines, "train"))
    assert "no trial to train, 7 found" in lines
    assert done.folder != grid.folder
    assert FullRecipe.load(done.recipe).evaluation.rows == 5


def test_what_others_trained_is_pruned_as_though_it_were_at_work(grid: assay.Study) -> None:
    """So that what a study gives does not depend on what its store holds."""
    loaded = FullRecipe.load(Path(str(grid.made.recipe)))
    training = Space.of(loaded).training({"learning_rate": 0, "target_modules": 0})
    version = grid.made.store.root / "datasets" / grid.result.dataset
    work = Work(Path(str(grid.made.recipe)), None, training, 16, version, grid.made.store.root, None)
    trained = work.known()
    assert trained is not None
    assert trained.adapter == grid.result.trials[0].adapter
    assert replace(work, curves=[{8: 9.0}] * 4).known() == trained
    assert replace(work, curves=[{8: 0.1}] * 3).known() == trained
    pruned = replace(work, curves=[{8: 0.1}] * 4).known()
    assert pruned is not None
    assert (pruned.state, pruned.adapter) == ("pruned", None)
    assert pruned.validations == trained.validations[:2]
    assert pruned.value == trained.validations[1].loss
    steps = pq.read_table(grid.made.store.root / "adapters" / str(trained.adapter) / "steps.parquet").to_pylist()
    assert pruned.tokens == sum(step["trained"] for step in steps if step["step"] in (1, 2))


def test_a_trial_is_worth_its_best_validation(grid: assay.Study) -> None:
    for tried in grid.result.trials[:4]:
        manifest = AdapterManifest.read(grid.made.store.root / "adapters" / str(tried.adapter))
        assert manifest.run is not None
        assert tried.validations == manifest.run.validations
        assert [each.step for each in tried.validations] == [0, 2, 4]
        assert tried.value == min(each.loss for each in tried.validations[1:])
        assert manifest.inputs.settings["keep_best"] == "loss"
        assert tried.seconds is not None  # in tenths, of which a step on a machine at rest takes none
        assert (tried.memory_mib or 0) > 0
        assert tried.tokens == manifest.tokens.trained
    values = [each.value or 9 for each in grid.result.trials[:4]]
    assert grid.result.best == 1 + values.index(min(values))
    assert grid.result.rows == len(grid_version(grid).validation)


def grid_version(grid: assay.Study) -> assay.Version:
    return assay.load(grid.result.dataset, store=grid.made.store.root)


def test_what_is_hopeless_is_pruned_and_what_diverges_is_told(grid: assay.Study) -> None:
    *_, pruned, _, failed = grid.result.trials
    assert [each.step for each in pruned.validations] == [0, 2]
    assert pruned.adapter is None
    assert pruned.tokens
    others = sorted(each.validations[1].loss for each in grid.result.trials[:4])
    assert pruned.value == pruned.validations[1].loss > (others[1] + others[2]) / 2
    assert "is nan; nothing is published" in str(failed.error)
    assert failed.value is None
    left = {each.parent for each in (grid.made.store.cache / "training").glob("*/checkpoint-*")}
    assert len(left) <= 1, "of the run that diverged; nothing of the one that was pruned"


def test_what_is_told(grid: assay.Study) -> None:
    document = json.loads((grid.folder / "result.json").read_bytes())
    jsonschema.validate(document, json.loads((grid.folder / "result.schema.json").read_bytes()))
    table = (grid.folder / "table.md").read_text()
    _, trials, _, failed = table.split("### ")
    assert re.findall(r"^\| (\d) \| (\w+)", trials, re.MULTILINE)[-2:] == [("5", "pruned"), ("7", "failed")]
    assert "| 7 | Step " in failed
    assert "| pruned after step 2 | 1e-7 |" in table
    assert "| finished, as trial 3 | 0.02 |" in table
    assert "importance" not in table, "of five trials none is known"
    page = (grid.folder / "report.html").read_text()
    assert page.count("<svg") == 1 + 2 + 1
    assert page.count('<circle class="best"') == 4
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=", page)
    for told in (table, page):
        assert "The best of 5 values on the same validation rows is better than it would be on others" in told
    command = ["tune", str(grid.made.recipe), "--store", str(grid.made.store.root)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    assert missing("tune", json.loads(done.stdout)) == [], "as AGENTS.md says"
    assert json.loads(done.stdout)["result"]["best"] == grid.result.best
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert "recipe of the best trial" in shown.stdout
    assert "optuna" not in shown.output.lower() + done.output.lower().replace("libraries", ""), (
        "it tells nothing itself"
    )


def test_the_result_is_a_recipe_whose_adapter_is_there(grid: assay.Study, finished: Finished, tmp_path: Path) -> None:
    """From another folder; curated from the raw files into another store, it gives the same data set version."""
    loaded, own = (FullRecipe.load(path) for path in (grid.recipe, Path(str(grid.made.recipe))))
    assert loaded.settings() == own.settings()
    assert loaded.evaluation == own.evaluation
    assert loaded.tune is None
    assert grid.recipe.read_text().startswith(f"# The best of 7 trials of study demo/{grid.id}: loss ")
    store = tmp_path / "store"
    shutil.copytree(finished.store, store)
    shutil.copytree(grid.made.store.root / "adapters", store / "adapters", dirs_exist_ok=True)
    version = assay.curate(grid.recipe, store=store, workers=1)
    assert version.id == finished.version.id
    lines: list[str] = []
    adapter = assay.train(version, progress=stopping(lines))
    assert f"demo/{adapter.id}" == grid.result.winner.adapter
    assert "train (found in the store)" in lines


@pytest.mark.slow
def test_a_killed_study_gives_what_it_would_have_given(recipe: Callable[..., Path], fresh: Callable[[], Path]) -> None:
    """Killed as its second trial begins, and again in the middle of that."""
    path, whole, killed = recipe("tpe", tune=TPE, training=TRAINING | {"rows": 8}), fresh(), fresh()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study, "AT_RANDOM", 1)
        one = assay.tune(recipe=path, store=whole, apart=False)
        for at, done in (("trial 2 of 3: ", 0), ("train", 1)):
            with pytest.raises(Interrupted):
                assay.tune(recipe=path, store=killed, apart=False, progress=stopping([], at, done))
        other = assay.tune(recipe=path, store=killed, apart=False)
    assert other.id == one.id
    assert runs(killed) == runs(whole) == 3
    assert (other.folder / "table.md").is_file()


def test_the_section_changes_no_identity(finished: Finished, recipe: Callable[..., Path]) -> None:
    """Of a data set version, an adapter or a scorecard; a variant may change it."""
    own = yaml.safe_load(finished.project.recipe_path.read_text())
    sections = {"tune": TPE, "training": own["training"], "variants": {"short": {"tune": {"trials": 2}}}}
    searched, plain = recipe("both", **sections), finished.project.recipe_path
    one, other = FullRecipe.load(searched), FullRecipe.load(plain)
    assert one.settings() == other.settings()
    assert assay.train(finished.version, searched, store=finished.store).id == finished.adapter.id
    assert assay.evaluate(finished.adapter, searched).id == finished.scorecard.id
    short = FullRecipe.load(searched, "short")
    assert short.tune is not None
    assert Space.of(short).count == 2
    assert short.training == other.training


def test_answers_decide_where_the_metric_is_theirs(recipe: Callable[..., Path], fresh: Callable[[], Path]) -> None:
    """The more, the better; and what fails for want of anything but the run is tried again."""
    tune = {"method": "grid", "metric": "schema_valid", "search": {"learning_rate": [0.01, 0.02]}}
    path, store = recipe("answers", tune=tune, training=TRAINING | {"rows": 8}), fresh()
    train = trial.train

    def short(version: Path, settings: FullRecipe, *rest: Any, **more: Any) -> Path:
        if settings.training.learning_rate == 0.01:
            raise ShortOfMemory("Training takes more memory than there is.", "Take less.")
        return train(version, settings, *rest, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trial, "train", short)
        first = assay.tune(recipe=path, store=store, apart=False)
    assert [each.state for each in first.result.trials] == ["failed", "complete"]
    assert first.result.trials[0].error == "Training takes more memory than there is."
    assert first.result.best == 2
    done = assay.tune(recipe=path, store=store, apart=False)
    assert [each.state for each in done.result.trials] == ["complete", "complete"]
    assert done.id != first.id
    for each in done.result.trials:
        assert each.value == max(point.score or 0.0 for point in each.validations[1:])
    assert done.result.winner.value == max(each.value or 0.0 for each in done.result.trials)


def test_another_start_is_another_trial(
    recipe: Callable[..., Path], fresh: Callable[[], Path], finished: Finished
) -> None:
    store = fresh()
    shutil.copytree(finished.store / "adapters", store / "adapters")
    start = f"demo/{finished.adapter.id}"
    tune = {"method": "grid", "search": {"start_from": [None, start, None]}}
    lines: list[str] = []
    done = assay.tune(
        recipe=recipe("starts", tune=tune, training=TRAINING | {"rows": 8, "rank": 4}),
        store=store,
        apart=False,
        progress=stopping(lines),
    )
    fresh_one, further, again = done.result.trials
    assert [each.same_as for each in done.result.trials] == [None, None, 1]
    assert fresh_one.adapter != further.adapter
    assert AdapterManifest.read(store / "adapters" / str(further.adapter)).inputs.adapter is not None
    assert again.adapter == fresh_one.adapter
    assert any(line.startswith("2 trials to train, 1 found") for line in lines)
    assert lines.index("3 trials, grid") < next(at for at, line in enumerate(lines) if "trials to train" in line)


def test_a_metric_of_no_such_field_is_told_before_work_begins(
    recipe: Callable[..., Path], fresh: Callable[[], Path]
) -> None:
    search: dict[str, Any] = {"search": {"rank": [2]}}
    path = recipe("no_field", tune=search | {"metric": "zzz.macro_f1"})
    with pytest.raises(AssayError, match=r"^tune\.metric: no field 'zzz' of the answer is a class"):
        assay.tune(recipe=path, store=fresh(), apart=False, progress=stopping([], "trial"))
    path = recipe("no_field", tune=search, training=TRAINING | {"keep_best": "zzz.macro_f1"})
    with pytest.raises(AssayError, match=r"^training\.keep_best: no field 'zzz'"):
        assay.tune(recipe=path, store=fresh(), apart=False, progress=stopping([], "trial"))


def test_what_is_not_a_trials_own_doing_ends_the_study(
    recipe: Callable[..., Path], fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def on_a_full_disk(version: Path, settings: FullRecipe, *_: Any, **__: Any) -> Path:
        tried.append(settings.training.learning_rate)
        raise AssayError("The store's disk has 0.0 MiB free.", "Make room, or lower training.learning_rate.")

    monkeypatch.setattr(trial, "train", on_a_full_disk)
    path = recipe("full", tune={"method": "grid", "search": {"learning_rate": [0.01, 0.02]}})
    with pytest.raises(AssayError, match=r"^The store's disk has"):
        assay.tune(recipe=path, store=fresh(), apart=False)
    assert tried == [0.01]


def test_nothing_is_published_where_no_trial_finishes(
    recipe: Callable[..., Path], fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(*_: Any, **__: Any) -> Path:
        raise NotFinite("Step 1: the loss is nan.")

    monkeypatch.setattr(trial, "train", diverging)
    path, store = recipe("none", tune={"method": "grid", "search": {"rank": [2, 3]}}), fresh()
    said = r"None of 2 trials finished, so nothing is published\. The first failed: Step 1: the loss is nan\."
    with pytest.raises(AssayError, match=said):
        assay.tune(recipe=path, store=store, apart=False)
    assert not (store / "studies").exists()
    monkeypatch.undo()
    lines: list[str] = []
    with pytest.raises(AssayError, match=said):
        assay.tune(recipe=path, store=store, apart=False, progress=stopping(lines))
    assert "no trial to train, 2 found" in lines, "what diverges is known"


def test_another_process_is_told_of_a_trial(finished: Finished) -> None:
    space = Space.of(FullRecipe.load(finished.project.recipe_path, changes={"tune": GRID}))
    work = Work(Path("a"), None, space.training(space.grid[0]), 16, Path("b"), Path("c"), [{4: 1.0}])
    assert pickle.loads(pickle.dumps(work)) == work
    assert assay.tune.__kwdefaults__["progress"] is silent
