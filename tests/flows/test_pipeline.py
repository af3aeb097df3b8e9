"""`assay run`: from a drop to a scorecard in one command, and what a second run finds done."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli import app
from curate.manifest import DatasetManifest
from curate.store import Store
from evaluation.card.manifest import ScorecardManifest
from tests.documented import missing
from tests.project import Project
from tests.tiny import small_project
from train.manifest import AdapterManifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small_project(tmp_path_factory.mktemp("project"), {"keep_best": "colour.macro_f1"}, {})


@pytest.fixture(scope="module")
def first(project: Project) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"
    }  # other tests' server
    return subprocess.run(
        [sys.executable, "-c", "from assay.cli import app; app()", "run", str(project.recipe_path)],
        cwd=ROOT,
        env=environment
        | {"ASSAY_STORE": str(project.folder / "store"), "PREFECT_HOME": str(project.folder / "prefect")},
        capture_output=True,
        text=True,
        timeout=280,
    )


def published(project: Project) -> dict[str, list[Path]]:
    store = Store(project.folder / "store")
    return {kind: store.versions(kind, "demo") for kind in ("datasets", "adapters", "scorecards")}


def test_one_command_publishes_all_three_and_they_name_each_other(
    project: Project, first: subprocess.CompletedProcess[str]
) -> None:
    assert first.returncode == 0, first.stderr
    found = published(project)
    ((dataset,), (adapter,), (scorecard,)) = found.values()
    trained, scored = AdapterManifest.read(adapter).inputs, ScorecardManifest.read(scorecard).inputs
    assert trained.dataset.version == scored.dataset.version == dataset.name
    assert scored.adapter.version == adapter.name
    for folder in (dataset, adapter, scorecard):
        assert str(folder) in first.stdout


def test_it_is_one_flow_run_with_a_task_run_for_each_part(
    project: Project, first: subprocess.CompletedProcess[str]
) -> None:
    with closing(sqlite3.connect(project.folder / "prefect/prefect.db")) as database:
        flow_runs = database.execute("SELECT name, state_type FROM flow_run").fetchall()
        tasks = [name for (name,) in database.execute("SELECT name FROM task_run")]
    (version,) = published(project)["datasets"]
    assert flow_runs == [(f"pipeline demo drop {version.name}", "COMPLETED")]
    assert len(tasks) == len(set(tasks))
    assert {"tokenizer", "read", "clean to fit", "split", "train", "evaluate"} <= {*tasks}


def test_the_closing_tables_hold_what_was_published(project: Project, first: subprocess.CompletedProcess[str]) -> None:
    ((dataset,), (adapter,), (scorecard,)) = published(project).values()
    lines = [" ".join(line.replace("│", " ").split()) for line in first.stdout.splitlines()]
    counts = DatasetManifest.read(dataset).counts
    assert f"kept {counts.kept}" in lines
    before, after = AdapterManifest.read(adapter).loss.validation
    assert f"validation loss before {before:.3f}" in lines
    assert f"validation loss after each epoch {after:.3f}" in lines
    systems = json.loads((scorecard / "scorecard.json").read_text())["systems"]
    for name, system in systems.items():
        assert any(line.startswith(f"{name} {100 * system['schema_valid']['value']:.1f} (") for line in lines), name
    assert "┃ system ┃ colour ┃ count ┃" in lines


def test_progress_is_told_and_nothing_else(first: subprocess.CompletedProcess[str]) -> None:
    told = [line.split("  ")[0] for line in first.stderr.splitlines()]
    for stage in ("read", "split", "gate", "train"):
        assert stage in told
    assert "Traceback" not in first.stderr
    assert "prefect" not in first.stderr, "Prefect's log goes to its server, not to the terminal"


def test_a_second_run_finds_everything_publishes_nothing_and_gives_one_document(
    project: Project, first: subprocess.CompletedProcess[str], prefect_server: None
) -> None:
    before = published(project)
    command = ["run", str(project.recipe_path), "--store", str(project.folder / "store"), "--json"]
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert published(project) == before
    document = json.loads(again.stdout)
    assert again.stdout.endswith("}\n")
    assert {Path(document[kind]["folder"]) for kind in ("dataset", "adapter", "scorecard")} == {
        folder for (folder,) in before.values()
    }
    assert {Path(document[kind]["folder"]).name for kind in document} == {
        document[kind]["version"] for kind in document
    }
    assert missing("run", document) == [], "as AGENTS.md says"
    cached = document["dataset"]["cached"]
    assert "clean" in cached
    assert all(hit == of for hit, of in cached.values())
    assert "train (found in the store)" in again.stderr
    assert "evaluate (found in the store)" in again.stderr


@pytest.mark.parametrize(("command", "kind"), [("train", "adapters"), ("evaluate", "scorecards")])
def test_train_and_evaluate_alone_find_the_same(
    command: str, kind: str, project: Project, first: subprocess.CompletedProcess[str]
) -> None:
    (folder,) = published(project)[kind]
    done = CliRunner().invoke(app, [command, str(project.recipe_path), "--store", str(project.folder / "store")])
    assert done.exit_code == 0, done.output
    assert str(folder) in done.stdout
    assert "found in the store" in done.stderr
