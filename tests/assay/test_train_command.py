"""`assay train`: given again after it was killed, the command goes on where it was and says so."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.errors import AssayError
from curate.store import Store
from tests.assay.conftest import Finished
from train import forecast, trainer


def recipe_of(finished: Finished, name: str) -> Path:
    """The project's recipe with a run of its own."""
    recipe = yaml.safe_load(finished.project.recipe_path.read_text())
    recipe["training"] |= {"seed": 7, "save_steps": 1, "dropout": 0.1, "keep_best": "colour.macro_f1", "epochs": 2}
    path = finished.project.recipe_path.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_a_killed_command_goes_on_where_it_was(finished: Finished, tmp_path: Path) -> None:
    store = Path(shutil.copytree(finished.store, tmp_path / "store"))
    before = {*Store(store).versions("adapters", "demo")}
    command = ["train", str(recipe_of(finished, "killed")), "--store", str(store)]
    child = os.fork()
    if child == 0:
        save = trainer.Trainer._save_checkpoint

        def save_and_die(self: trainer.Trainer, *known: object) -> None:
            save(self, *known)
            if self.state.global_step == 5:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.Trainer._save_checkpoint = save_and_die  # type: ignore[method-assign]
        CliRunner().invoke(app, command)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    kept = list(store.glob("cache/training/*/checkpoint-*"))
    assert len(kept) == 2

    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert "train (goes on after step 5 of 8)" in again.output
    assert "training report" in again.output
    assert not any(checkpoint.parent.exists() for checkpoint in kept)
    (folder,) = {*Store(store).versions("adapters", "demo")} - before
    assert pq.read_table(folder / "steps.parquet")["step"].to_pylist() == list(range(9))
    assert (folder / "report.html").is_file()
    found = CliRunner().invoke(app, command)
    assert "train (found in the store)" in found.output


@pytest.mark.slow
def test_the_command_is_launched_as_several_processes(finished: Finished, tmp_path: Path) -> None:
    """What `tests/train/test_processes.py` tells of copies of its own process, by the real launcher."""
    store = Path(shutil.copytree(finished.store, tmp_path / "store"))
    configuration = Path(__file__).parents[2] / "recipes/accelerate/fsdp.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    recipe = yaml.safe_load(finished.project.recipe_path.read_text())
    recipe["training"] |= {"seed": 8}
    path = finished.project.recipe_path.with_name("launched.yaml")
    path.write_text(yaml.safe_dump(recipe))
    command = ["--main_process_port", "0", "-m", "assay", "train", str(path), "--store", str(store), "--json"]
    surroundings = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["compute"]["processes"], told["compute"]["strategy"]) == (2, "fsdp")
    assert done.stderr.count("forecast: ") == 1

    recipe["training"] |= {"batch_size": 3}
    path.write_text(yaml.safe_dump(recipe))
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 1
    assert done.stderr.count("3 rows cannot be dealt to 2 processes alike") == 1


@pytest.mark.parametrize(
    "short",
    [
        pytest.param({"memory": 1000, "disk": 2**40}, id="memory", marks=pytest.mark.slow),
        pytest.param({"memory": 2**40, "disk": 10}, id="disk"),
    ],
)
def test_who_can_be_forced_says_so(short: dict[str, int], finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast.Room, "here", lambda *_: forecast.Room(**short))
    recipe = yaml.safe_load(finished.project.recipe_path.read_text())
    recipe["training"] |= {"seed": 9}
    path = finished.project.recipe_path.with_name("forced.yaml")
    path.write_text(yaml.safe_dump(recipe))
    told = CliRunner().invoke(app, ["train", str(path), "--store", str(finished.store), "--json"])
    assert told.exit_code == 1
    assert "Or train all the same with --force." in json.loads(told.stdout)["error"]["remedy"]
    with pytest.raises(AssayError, match="too little") as error:
        assay.train(recipe=path, store=finished.store)
    assert "--force" not in error.value.remedy, "experiments and studies have no such option"


def test_keep_best_of_no_such_field_is_told_before_work_begins(finished: Finished) -> None:
    recipe = yaml.safe_load(finished.project.recipe_path.read_text())
    recipe["training"]["keep_best"] = "color.macro_f1"
    path = finished.project.recipe_path.with_name("wrong.yaml")
    path.write_text(yaml.safe_dump(recipe))
    told = CliRunner().invoke(app, ["train", str(path), "--store", str(finished.store)])
    assert told.exit_code == 1
    assert "no field 'color' of the answer is a class" in " ".join(told.output.split())
    assert "colour" in told.output
