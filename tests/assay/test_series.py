"""The versions of a series are listed and shown, and a name is made to mean another of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.store import Store
from tests.assay.conftest import Finished
from tests.documented import missing
from tests.project import Project, make_rows


def command(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store with three versions, oldest first."""
    project = Project(tmp_path_factory.mktemp("three"))
    versions = []
    for number in range(3):
        project.drop = project.folder / f"drop-{number}"
        project.add("rows.jsonl", make_rows(40, seed=number))
        versions.append(project.curate().folder.name)
    return project.folder / "store", versions


@pytest.fixture
def store(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "store"))


def test_versions_are_listed_with_drop_rows_and_parents(made: tuple[Path, list[str]]) -> None:
    store, (a, b, c) = made
    status, told = command("versions", "demo", "--store", store)
    assert status == 0
    assert missing("versions", told) == []
    assert told["latest"] == c
    assert [(each["version"], each["means"]) for each in told["versions"]] == [
        (a, "before"),
        (b, "before"),
        (c, "latest"),
    ]
    assert [each["parents"] for each in told["versions"]] == [
        [],
        [f"data set demo/{a}"],
        sorted(f"data set demo/{each}" for each in (a, b)),
    ]
    for number, each in enumerate(told["versions"]):
        counts = assay.load(f"demo/{each['version']}", store=store).manifest.counts
        assert (each["kept"], each["quarantined"]) == (counts.kept, counts.quarantined)
        assert each["where"].endswith(f"drop-{number}")
        assert each["time"].endswith("+00:00")
    page = CliRunner().invoke(app, ["versions", "demo", "--store", str(store)]).stdout
    assert all(each in page for each in (a, b, c, "latest"))


def test_a_name_is_rolled_back_and_promoted(made: tuple[Path, list[str]], store: Path) -> None:
    a, b, c = made[1]
    status, told = command("rollback", "demo", "--store", store)
    assert (status, told["version"], told["before"]) == (0, b, [a])
    assert missing("rollback", told) == []
    assert assay.load("demo", store=store).id == b
    status, told = command("promote", f"demo/{c}", "--store", store)
    assert (status, told["version"], told["before"]) == (0, c, [a, b])
    assert assay.load("demo", store=store).id == c
    assay.rollback("demo", store=store)
    assert assay.rollback("demo", store=store).pointer.version == a
    status, told = command("rollback", "demo", "--store", store)
    assert status == 1
    assert f"demo: no version before {a}" in told["error"]["message"]


def test_a_damaged_version_is_listed_and_not_promoted(made: tuple[Path, list[str]], store: Path) -> None:
    a, _, c = made[1]
    manifest = store / "datasets/demo" / a / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"kept"', '"keqt"'))
    first = assay.versions("demo", store=store).versions[0]
    assert first.version == a
    assert "manifest.json" in first.problem
    with pytest.raises(assay.AssayError, match=r"manifest\.json"):
        assay.promote(f"demo/{a}", store=store)
    assert assay.load("demo", store=store).id == c


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["versions", "nothing"], "nothing: no version in "),
        (["versions", "demo", "--kind", "models"], "There is no kind 'models'"),
        (["promote", "demo"], "demo: expected NAME/VERSION"),
        (["promote", "demo/0123456789abcdef"], "demo/0123456789abcdef: no such version"),
        (["promote", "demo/0123456789abcdef", "--kind", "scorecards"], "A name of scorecards means the last one"),
        (["rollback", "nothing"], "nothing: no version before the first"),
        (["show", "nothing"], "nothing: no such version"),
        (["show", "demo", "--kind", "studies"], "One of studies is not shown"),
    ],
)
def test_what_is_not_there_is_told(arguments: list[str], message: str, made: tuple[Path, list[str]]) -> None:
    status, told = command(*arguments, "--store", made[0])
    assert status == 1
    assert message in told["error"]["message"]
    assert told["error"]["remedy"]


def test_one_is_shown_with_what_it_was_made_from_and_what_was_made_from_it(finished: Finished) -> None:
    shown = assay.published("demo", kind="adapters", store=finished.store)
    assert shown.result.id == finished.adapter.id
    assert shown.means == "latest"
    assert shown.parents == [f"data set demo/{finished.version.id}"]
    assert f"scorecard demo/{finished.scorecard.id}" in shown.children
    status, told = command("show", f"demo/{finished.version.id}", "--store", finished.store)
    assert status == 0
    assert told["counts"] == assay.load("demo", store=finished.store).data()["counts"]
    assert f"adapter demo/{finished.adapter.id}" in told["children"]
    assert Store(finished.store).resolve("datasets", "demo").name == told["version"]
