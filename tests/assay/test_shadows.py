"""Folders of other people that are called as Assay's packages are: who says so, and what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.shadows import PACKAGES, require_own_packages
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "from assay.cli import app; app()"


def python(*arguments: str | Path, cwd: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise SystemExit('it is imported')\n")
    return folder / name


def test_where_all_is_well_nothing_is_said() -> None:
    require_own_packages()


def test_every_package_beside_assay_is_looked_for() -> None:
    beside = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"assay", "benchmarks", "tests"}
    assert set(PACKAGES) == beside


@pytest.mark.parametrize("name", PACKAGES)
def test_the_command_says_which_package_where_and_how_to_mend_it(name: str, tmp_path: Path) -> None:
    other = package(tmp_path, name)
    done = python("-P", "-c", COMMAND, "check", "demo", cwd=tmp_path, path=f".{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{name}: found at {other}, expected at {ROOT / name}\n" in done.stderr
    assert f"Remedy: Take {tmp_path} out of PYTHONPATH, or give {name!r} there another name." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_s_file_hides_a_package_too(tmp_path: Path) -> None:
    (tmp_path / "flows.py").touch()
    package(tmp_path, "train")
    done = python("-P", "-c", COMMAND, "check", "demo", "--json", cwd=tmp_path, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    message = json.loads(done.stdout)["error"]["message"]
    assert f"flows: found at {tmp_path / 'flows.py'}" in message
    assert f"train: found at {tmp_path / 'train'}" in message


def test_a_program_is_told_on_what_it_does_first(tmp_path: Path) -> None:
    package(tmp_path, "train")
    program = "import assay\nprint('imported', flush=True)\nassay.load('demo')"
    done = python("-c", program, cwd=tmp_path, path=str(ROOT))
    assert done.stdout == "imported\n"
    assert "ShadowedError" in done.stderr
    assert f"train: found at {tmp_path / 'train'}" in done.stderr
    assert f"PYTHONSAFEPATH=1 (or run `python -P`), or start from another folder than {tmp_path}" in done.stderr
    safe = python("-P", "-c", program, cwd=tmp_path, path=str(ROOT))
    assert "demo: no such version" in safe.stderr, "the remedy helps"


def test_a_folder_without_init_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/my_flow.py").touch()
    done = python("-P", "-c", COMMAND, "check", "demo", cwd=tmp_path, path=f".{os.pathsep}{ROOT}")
    assert "demo: no such version" in done.stderr


def test_a_working_directory_that_is_not_on_the_path_may_hold_anything(tmp_path: Path) -> None:
    for name in PACKAGES:
        package(tmp_path / "work", name)
    project = Project(tmp_path / "project", fit={"model": str(tmp_path / "project/tokenizer"), "max_tokens": 150})
    project.add("rows.jsonl", make_rows(40))
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/assay"
    script.write_text(f"if __name__ == '__main__':\n    {COMMAND}\n")
    store = tmp_path / "store"
    done = python(script, "curate", project.recipe_path, "--store", store, cwd=tmp_path / "work", path=str(ROOT))
    assert done.returncode == 0, done.stderr
