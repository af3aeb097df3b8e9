"""`--json`: one document on standard output and nothing else, of every command, whether it succeeds or fails."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from assay.cli import app
from assay.result import plain
from tests.assay.conftest import Finished
from tests.documented import KEYS, missing

ROOT = Path(__file__).resolve().parents[2]


def names(group: TyperGroup, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from names(command, f"{before}{name} ")
        else:
            yield before + name


COMMANDS = [
    name for name in names(typer.main.get_group(app)) if name not in ("serve", "review")
]  # which have no result


def arguments(command: str, finished: Finished, folder: Path) -> list[str]:
    """Of a command that succeeds."""
    recipe = str(finished.project.recipe_path)
    scorecard = str(finished.scorecard.folder)
    return {
        "curate": [recipe],
        "train": [recipe],
        "forecast": [recipe],
        "merge": [str(finished.adapter.folder), "--out", str(folder / "merged")],
        "pairs": [scorecard, "--split", "test", "--out", str(folder / "pairs.jsonl")],
        "export": [str(finished.adapter.folder), "--out", str(folder / "model.gguf")],
        "evaluate": [recipe],
        "compare": [scorecard, scorecard, "--other-system", "base"],
        "inspect": [str(finished.project.drop), "--write", str(folder / "new")],
        "preview": [recipe],
        "check": ["demo"],
        "contract show": [recipe],
        "contract diff": ["demo", recipe],
        "versions": ["demo"],
        "gc": [],
        "forget": ["--where", "split == 'train'"],
        "diff": ["demo", "demo"],
        "show": ["demo"],
        "promote": [f"demo/{finished.version.id}"],
        "lineage": ["demo"],
        "stages": [],
        "schema": [],
        "index check": ["demo"],
        "index rebuild": ["demo", "--recipe", recipe],
    }[command]


FORKS = """
import json, os, sys
from assay.cli import app
import evaluation.evaluate, train.trainer, train.methods.trained
for line in sys.stdin:
    given = json.loads(line)
    if not (child := os.fork()):
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(given[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ |= given["environment"]
        sys.argv = ["assay", *given["arguments"]]
        try:
            app()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)
        os._exit(70)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
"""
"""A process with the libraries loaded, which forks one for each command: most of a command's time is loading them."""


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", FORKS], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(forks: subprocess.Popen[str], tmp_path: Path) -> Run:
    def _run(command: str, *given: str, store: Path) -> tuple[int, Any, str]:
        """Exit status, the document on standard output, and standard error."""
        arguments = [*command.split(), *given, "--json"]
        environment = {"ASSAY_STORE": str(store)}
        out = {name: str(tmp_path / name) for name in ("stdout", "stderr")}
        assert forks.stdin is not None
        assert forks.stdout is not None
        forks.stdin.write(json.dumps(out | {"environment": environment, "arguments": arguments}) + "\n")
        forks.stdin.flush()
        status = int(forks.stdout.readline())
        told, errors = (Path(path).read_text() for path in out.values())
        assert told.endswith("}\n"), errors
        return status, json.loads(told), errors

    return _run


ELSEWHERE = {"run", "parity", "experiment", "tune", "rollback", "retract", "decide"}
"""What wants a server (of Prefect, or of a model), trains several adapters, takes from a store, or decides: their own
tests read their documents."""


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ELSEWHERE])
def test_a_result_is_one_document(command: str, run: Run, finished: Finished, tmp_path: Path) -> None:
    given = arguments(command, finished, tmp_path)
    status, document, errors = run(command, *given, store=finished.store)
    assert status == 0, errors
    assert "error" not in document
    version = finished.version.id
    expected: dict[str, Any] = {
        "curate": lambda: document["version"] == version and document["counts"]["in"] == 240,
        "train": lambda: document["version"] == finished.adapter.id and document["dataset"] == f"demo/{version}",
        "forecast": lambda: document["fits"] is True,
        "merge": lambda: Path(document["folder"], "model.safetensors").is_file(),
        "pairs": lambda: len(Path(document["file"]).read_text().splitlines()) == document["pairs"] > 0,
        "export": lambda: Path(document["folder"]).read_bytes()[:4] == b"GGUF" and document["dtype"] == "f16",
        "evaluate": lambda: len(document["systems"]) == 5 and document["rows"] == 6,
        "compare": lambda: document["a"]["system"] == "tuned" and document["b"]["system"] == "base",
        "inspect": lambda: document["groups"][0]["files"] == ["rows.jsonl"] and len(document["written"]) >= 3,
        "preview": lambda: any(row["pieces"] for row in document["rows"]),
        "check": lambda: document["passed"] and len(document["checks"]) == 14,
        "lineage": lambda: {each["eventType"] for each in document["events"]} == {"COMPLETE"},
        "contract show": lambda: document["contract"]["name"] == "demo" and document["suite"],
        "contract diff": lambda: document["changes"] == [] and document["new"] == "1.0.0",
        "stages": lambda: document["stages"][0]["name"] == "read" and document["stages"][-1]["name"] == "split",
        "schema": lambda: document["properties"].keys() >= {"sources", "split", "training", "evaluation"},
        "versions": lambda: document["latest"] == version and document["versions"][0]["means"] == "latest",
        "show": lambda: f"adapter demo/{finished.adapter.id}" in document["children"] and document["means"] == "latest",
        "promote": lambda: document["version"] == version and document["before"] == [],
        "diff": lambda: document["same"] and document["rows"]["same"] == document["rows"]["before"] == 240,
        "gc": lambda: document["removed"] is False and document["bytes"] == 0,
        "index check": lambda: document["versions"] == [version] and document["problems"] == [],
        "index rebuild": lambda: document["rows"] > 0,
        "forget": lambda: len(document["rows"]) > 0 and document["removed"] is False,
    }  # fmt: skip
    assert expected[command]()
    documented = command.removesuffix(" show")  # which need not be said
    assert documented not in KEYS or missing(documented, document) == [], "as AGENTS.md says"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("stages", "schema", "gc")])
def test_an_error_is_one_document(command: str, run: Run, finished: Finished, tmp_path: Path) -> None:
    wanted = {
        "compare": ["b"],
        "contract diff": ["licences"],
        "decide": ["0" * 32, "drop"],
        "diff": ["b"],
        "parity": ["--endpoint", "http://127.0.0.1:9/v1"],
    }
    wanted |= {name: ["--out", "b"] for name in ("merge", "export")}
    given = ["no-such-thing", *wanted.get(command, [])]
    status, document, errors = run(command, *given, store=finished.store)
    assert status == 1
    assert document.keys() == {"error"}
    assert "no-such-thing" in document["error"]["message"]
    assert document["error"]["remedy"]
    assert "Remedy: " in errors, "people are told too"


def test_a_command_line_that_is_wrong_is_told_in_a_document_too(run: Run, finished: Finished, tmp_path: Path) -> None:
    status, document, errors = run("curate", "--no-such-option", store=finished.store)
    assert status == 2
    assert "standard error says how" in document["error"]["message"]
    assert "--no-such-option" in errors


def test_what_does_not_pass_is_told_with_what_was_found(run: Run, finished: Finished, tmp_path: Path) -> None:
    given = [str(finished.project.recipe_path), "--variant", "strict"]
    status, document, _ = run("evaluate", *given, store=finished.store)
    assert status == 1
    assert document["gate"]["passed"] is False
    assert document["rows"] == 6
    assert "does not pass the gate" in document["error"]["message"]


def test_what_libraries_and_processes_print_stays_out_of_it(finished: Finished) -> None:
    code = (
        "import os, assay.door, assay.cli\n"
        "check = assay.door.check\n"
        "def noisy(*given, **options):\n"
        "    print('a library')\n"
        "    os.system('echo a process')\n"
        "    return check(*given, **options)\n"
        "assay.door.check = noisy\n"
        "assay.cli.app(['check', 'demo', '--json'])\n"
    )
    environment = os.environ | {"ASSAY_STORE": str(finished.store)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["passed"]
    assert "a library\n" in done.stderr
    assert "a process\n" in done.stderr


def test_what_json_cannot_hold() -> None:
    given = {"path": Path("a/b"), 1: (float("nan"), float("inf"), 0.5, None, True), "text": "\ud800\x7f"}
    assert plain(given) == {"path": "a/b", "1": [None, None, 0.5, None, True], "text": "\ud800\x7f"}
