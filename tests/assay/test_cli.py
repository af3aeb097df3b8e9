"""The command: its help, its exit status, and what it says when something is wrong."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from assay.cli import app
from assay.errors import explain
from tests.project import CONTRACT, Project, make_rows

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["run", "curate", "train", "evaluate", "preview"]
ASSAY = [sys.executable, "-c", "from assay.cli import app; app()"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, fit={"model": str(tmp_path / "tokenizer"), "max_tokens": 150})
    made.add("rows.jsonl", make_rows(240))
    return made


def assay(*arguments: str | Path, store: Path) -> subprocess.CompletedProcess[str]:
    command = [*ASSAY, *map(str, arguments), "--store", str(store)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def assay_here(*arguments: str | Path, store: Path) -> Result:
    """The same in this process, where the libraries are loaded once for all tests."""
    return CliRunner().invoke(app, [*map(str, arguments), "--store", str(store)], env={"COLUMNS": "200"})


@pytest.mark.parametrize("command", ["run", "curate", "train", "evaluate", "preview"])
def test_a_url_where_no_store_can_lie_is_refused_and_nothing_is_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [command, "licences", "--store", "https://host/store"], env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "https://host/store: a store is a folder, or lies on s3://, gs:// or abfs://." in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"assay {command} licences" in shown.output


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert [name for name in COMMANDS if name not in shown] == []


def test_curate_publishes_and_says_what_and_where(project: Project) -> None:
    store = project.folder / "store"
    done = assay("curate", project.recipe_path, store=store)
    assert done.returncode == 0, done.stderr
    (version,) = (store / "datasets/demo").iterdir()
    counts = json.loads((version / "manifest.json").read_text())["counts"]
    assert counts["in"] == 240
    for name, rows in [("rows in", 240), ("kept", counts["kept"]), ("train", counts["splits"]["train"])]:
        assert any(name in line and str(rows) in line for line in done.stdout.splitlines()), (name, rows)
    for reason in ("near_duplicate", "target_schema", "too_many_tokens"):
        assert reason in done.stdout
    assert str(version / "report.html") in done.stdout
    assert "rows/s" in done.stderr, "progress goes to standard error"

    again = assay_here("curate", project.recipe_path, store=store)
    assert again.exit_code == 0
    assert [path.name for path in (store / "datasets/demo").iterdir()] == [version.name]
    assert "0 of 1" not in again.stdout
    assert again.stdout.count("1 of 1") >= 11, "every stage says that it came from the cache"


def test_an_unknown_key_is_one_message_with_file_key_and_remedy(project: Project) -> None:
    recipe = yaml.safe_load(project.recipe_path.read_text())
    recipe["quality"]["min_charz"] = 3
    project.recipe_path.write_text(yaml.safe_dump(recipe))
    done = assay_here("curate", project.recipe_path, store=project.folder / "store")
    assert done.exit_code == 1
    assert str(project.recipe_path) in done.stderr
    assert "quality.min_charz: no such key" in done.stderr
    assert "Remedy: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    debugged = assay("curate", project.recipe_path, "--debug", store=project.folder / "store")
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr


def test_yaml_that_cannot_be_read_names_the_line(project: Project) -> None:
    project.recipe_path.write_text("name: demo\nquality: {min_chars: 1\nrender: x\n")
    done = CliRunner().invoke(app, ["preview", str(project.recipe_path)])
    assert done.exit_code == 1
    assert "line 3" in done.stderr
    assert "Remedy: " in done.stderr


def test_an_unknown_recipe_names_those_there_are() -> None:
    done = CliRunner().invoke(app, ["curate", "no-such-recipe"])
    assert done.exit_code == 1
    assert "no-such-recipe: no such recipe." in done.stderr
    assert "licences" in done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_without_a_data_set_version_it_says_so(command: str, project: Project) -> None:
    done = CliRunner().invoke(app, [command, str(project.recipe_path), "--store", str(project.folder / "store")])
    assert done.exit_code == 1
    assert "demo: no such version" in done.stderr


def test_an_unexpected_error_is_a_message_too(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a [bold]defect[/bold]")

    monkeypatch.setattr("curate.recipe.Recipe.load", broken)
    done = CliRunner().invoke(app, ["curate", str(project.recipe_path)])
    assert done.exit_code == 1
    assert "Unexpected ZeroDivisionError: a [bold]defect[/bold]" in done.stderr
    assert "--debug" in done.stderr


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setitem(sys.modules, "train.base_model", None)
    done = CliRunner().invoke(app, ["curate", str(project.recipe_path)])
    assert done.exit_code == 1
    assert "pip install" in done.stderr


def test_a_failed_gate_names_the_expectation_and_publishes_nothing(project: Project) -> None:
    contract = json.loads(json.dumps(CONTRACT))
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10_000}}
    contract["schema"][1]["quality"] = [
        {"name": "enough_rows", "type": "custom", "engine": "greatExpectations", "implementation": rule}
    ]
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    store = project.folder / "store"
    done = assay_here("curate", project.recipe_path, store=store)
    assert done.exit_code == 1
    assert "enough_rows" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((store / "datasets/demo").glob("*/manifest.json"))


def test_interrupted_it_leaves_cleanly_and_goes_on_later(project: Project) -> None:
    for number in range(8):
        project.add(f"more-{number}.jsonl", make_rows(400, seed=number))
    store = project.folder / "store"
    command = [*ASSAY, "curate", str(project.recipe_path), "--store", str(store)]

    def hear_interrupts() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs are started deaf to them

    pipe = subprocess.PIPE
    run = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear_interrupts)
    assert run.stderr is not None
    assert run.stderr.readline().startswith("read ")
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "Interrupted; nothing half-made was published." in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert not (store / "datasets").exists()
    assert assay_here("curate", project.recipe_path, store=store).exit_code == 0


def test_preview_shows_rows_and_writes_nothing(project: Project) -> None:
    store = project.folder / "store"
    shown = CliRunner().invoke(app, ["preview", str(project.recipe_path), "--rows", "2", "--store", str(store)])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("tokens (trained ones marked)") == 2
    assert "«<|im_start|>»│u│s│e│r│⏎" in shown.stdout
    assert '⟦{│"│c│o│l│o│u│r│"' in shown.stdout
    assert "}│«<|im_end|>»⟧" in shown.stdout
    assert not (store / "datasets").exists()


def test_a_drop_may_be_a_url(project: Project) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/remote/drop/far.jsonl", (project.drop / "rows.jsonl").read_bytes())
    store = project.folder / "store"
    drop = ["--drop", "memory://remote/drop", "--rows", "1", "--store", str(store)]
    shown = CliRunner().invoke(app, ["preview", str(project.recipe_path), *drop])
    assert shown.exit_code == 0, shown.output
    assert "remote/drop/far.jsonl, row" in shown.output


def test_preview_says_what_becomes_of_rows_that_do_not_stay(tmp_path: Path) -> None:
    project = Project(tmp_path, fit={"model": str(tmp_path / "tokenizer"), "max_tokens": 150})
    good = {"text": "the box on the shelf", "colour": "red", "count": 1}
    project.add("a.jsonl", [{"text": 7}, good | {"colour": "purple"}, good | {"text": "so long " * 60}, good])
    with (project.drop / "a.jsonl").open("a") as file:
        file.write("{broken\n")
    done = CliRunner().invoke(app, ["preview", str(project.recipe_path), "--rows", "5"])
    assert done.exit_code == 0, done.output
    shown = " ".join(done.stdout.split())
    for reason in ("read: unmappable", "validate: target_schema", "quality: too_long", "read: unreadable"):
        assert f"Quarantined by {reason}" in shown
    assert shown.count("tokens (trained ones marked)") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        ImportError("libfast.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        pa.ArrowException("Unknown error: Failed to launch worker thread: Resource temporarily unavailable"),
    ],
)
def test_want_of_memory_is_no_defect(error: Exception) -> None:
    message, remedy = explain(error)
    assert message.startswith("This process gets no more memory")
    assert "ulimit -v" in remedy


def test_want_of_a_gpu_s_memory_is_no_defect() -> None:
    message, remedy = explain(type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to\nallocate"))
    assert message.startswith("The GPU has no more memory (CUDA out of memory. Tried to allocate)")
    assert "assay forecast" in remedy


@pytest.mark.parametrize("command", ["curate", "run"])
def test_an_engine_that_there_is_not_is_told_at_once(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, "licences", "--engine", "spark", "--store", str(tmp_path / "store")])
    assert done.exit_code == 1
    assert "There is no engine 'spark'." in done.output
    assert "One of processes, dask, ray" in done.output
