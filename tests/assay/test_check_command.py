"""`assay check`: what it prints, and that it fails when a check does."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from assay.cli import app
from tests.project import Project, make_rows


def assay_check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("rows.jsonl", make_rows(120))
    return project.curate().folder.parents[2]


@pytest.fixture
def version(store: Path, tmp_path: Path) -> Path:
    """A copy of the version, to tamper with."""
    (published,) = (store / "datasets/demo").iterdir()
    return Path(shutil.copytree(published, tmp_path / published.name))


def test_a_sound_version(store: Path) -> None:
    done = assay_check("demo", "--store", store)
    assert done.exit_code == 0, done.output
    (version,) = (store / "datasets/demo").iterdir()
    assert f"Check of demo/{version.name}" in done.stdout
    counts = json.loads((version / "manifest.json").read_text())["counts"]
    train, others = counts["splits"]["train"], counts["splits"]["validation"] + counts["splits"]["test"]
    pairs = train * others + counts["splits"]["validation"] * counts["splits"]["test"]
    assert f"{pairs:,} pairs" in done.stdout
    assert "FAILS" not in done.stdout
    assert "compare" in done.stderr, "progress goes to standard error"


def test_a_broken_version_names_the_rows_and_fails(version: Path) -> None:
    lines = (version / "test.jsonl").read_text().splitlines(keepends=True)
    (version / "test.jsonl").write_text("".join(lines[1:]))
    row = json.loads(lines[0])["source"]["row"]
    done = assay_check(version)
    assert done.exit_code == 1
    assert done.stdout.count("FAILS") == 2
    assert "2 of 14 checks fail" in done.stderr
    assert "  test.jsonl: changed since it was published: its SHA-256 is " in done.stderr
    assert f"  test.jsonl, line 1: rows.jsonl, row {row}\n" in done.stderr
    assert "Remedy: " in done.stderr
    assert "Traceback" not in done.stderr


def test_many_failures_are_counted(version: Path) -> None:
    (version / "train.jsonl").write_text("")
    rows = json.loads((version / "manifest.json").read_text())["counts"]["splits"]["train"]
    assert rows > 20
    assert f"  and {rows - 20} more\n" in assay_check(version).stderr


def test_what_is_no_version(store: Path, tmp_path: Path) -> None:
    done = assay_check("other", "--store", store)
    assert done.exit_code == 1
    assert "other: no such version" in done.stderr
    (tmp_path / "manifest.json").write_text("{}")
    assert "not a data set version" in assay_check(tmp_path).stderr


def test_help_shows_an_example() -> None:
    assert "assay check licences/0123456789abcdef" in CliRunner().invoke(app, ["check", "--help"]).output
