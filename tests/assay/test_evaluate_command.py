"""`assay evaluate --from-file` and `assay compare`: tables, exit status, and what is said when something is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from assay.cli import app
from tests.project import RECIPE, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, evaluation={"resamples": 200, "gate": ["schema_valid >= 0.9"]})


def assay(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def write(path: Path, outputs: list[str], system: str) -> Path:
    rows = [
        {"output": output, "expected": {"colour": "red", "count": number}, "id": number, "system": system}
        for number, output in enumerate(outputs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def right(number: int) -> str:
    return json.dumps({"colour": "red", "count": number})


def test_replies_are_scored_held_to_the_gate_and_compared(project: Project) -> None:
    store = project.folder / "store"
    good = write(project.folder / "good.jsonl", [right(number) for number in range(40)], "tuned")
    done = assay("evaluate", project.recipe_path, "--from-file", good, "--store", store)
    assert done.exit_code == 0, done.output
    assert "Gate: passed" in done.output
    bad = write(project.folder / "bad.jsonl", [f"Sure! {right(number)}" for number in range(40)], "tuned")
    done = assay("evaluate", project.recipe_path, "--from-file", bad, "--store", store)
    assert done.exit_code == 1
    assert "schema_valid >= 0.9: it is 0" in done.stderr
    assert "text before" in done.stdout, "the tables are shown all the same"

    one, other = sorted(
        (store / "scorecards/demo").iterdir(),
        key=lambda path: "Sure" in (path / "predictions.parquet").read_bytes().decode("latin1"),
    )
    done = assay("compare", one, other, "--store", store)
    assert done.exit_code == 0, done.output
    assert "better" in done.stdout
    assert "40 rows" in done.stdout
    done = assay("compare", one, other, "--system", "base", "--store", store)
    assert done.exit_code == 1
    assert "no system 'base'" in done.stderr


def test_what_is_missing_is_said(project: Project) -> None:
    replies = write(project.folder / "replies.jsonl", ["{}"], "tuned")
    done = assay("evaluate", "--from-file", replies, "--store", project.folder / "store")
    assert done.exit_code == 1
    assert "nothing says what these replies should be" in done.stderr
    assert "Nothing to evaluate" in assay("evaluate").stderr
    done = assay("evaluate", project.recipe_path, "--from-file", project.folder / "none", "--store", project.folder)
    assert "no such file" in done.stderr
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"evaluation": {"gate": ["import os"]}}))
    done = assay("evaluate", project.recipe_path, "--from-file", replies)
    assert "evaluation.gate.0: expected `MEASURE >= NUMBER`" in done.stderr
