"""Several processes: they take the steps that one takes, publish once, go on from any number's checkpoint, and end
together."""

import gc
import json
import os
import pickle
import shutil
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils.launch import prepare_multi_gpu_env
from safetensors.torch import load_file
from typer.testing import CliRunner

from assay.cli import app
from curate.errors import AssayError
from curate.store import Store
from tests.tiny import recipe_for, write_version
from tests.train.test_dpo import pair_of, rows_of, write
from tests.train.test_memory import CPU, llama, settings
from tests.train.test_trainer import steps
from train import trainer
from train.forecast import Length, Room, forecast
from train.manifest import AdapterManifest
from train.preferences import PairRow, unseen_in
from train.processes import FSDP, Processes, Strategy
from train.qlora import train
from train.settings import TrainingSettings
from train.sharded import require_shares

CONFIGURATIONS = Path(__file__).parents[2] / "recipes/accelerate"
SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rows": 9, "epochs": 2, "learning_rate": 0.01, "keep_best": "loss"},
    "full": {"rows": 10, "method": "full", "batch_size": 2, "gradient_accumulation_steps": 2, "save_steps": 1},
    "qlora": {"rows": 9, "method": "qlora", "gradient_checkpointing": True},
    "noisy": {"rows": 6, "batch_size": 2, "dropout": 0.3, "save_steps": 1},
    "preferences": {"rows": 5, "objective": "dpo", "rpo_alpha": 0.5},
}
"""Batches of 4 rows where nothing is said: in the last of an epoch one process may have none."""


@pytest.fixture(scope="module")
def version(model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(Store(tmp_path_factory.mktemp("data")), model_folder_64)


@pytest.fixture(scope="module")
def run(version: Path, model_folder_64: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    asked = [PairRow.model_validate(pair_of(row, "")) for row in rows_of(version, "test")]
    rows = unseen_in(rows_of(version, "train"), asked)
    pairs = write(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", [pair_of(row, "I do not know") for row in rows])

    recipes = {
        name: recipe_for(model_folder_64, **settings | ({"pairs": pairs} if name == "preferences" else {}))
        for name, settings in SETTINGS.items()
    }

    fits = forecast(llama(num_hidden_layers=2), settings(), [Length(100, 20)], CPU, Room(2**40, 2**40))

    def _run(name: str, store: Path, told: Callable[..., None] = lambda *_: None, foreseen: bool = False) -> Path:
        with pytest.MonkeyPatch.context() as patched:
            if not foreseen:  # it takes longer than to train
                patched.setattr("train.qlora.foresee", lambda *_: fits)
            return train(version, recipes[name], Store(store), told)

    return _run


@pytest.fixture(scope="module")
def alone(run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What one process trains."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: run(name, folder / name) for name in SETTINGS if name != "noisy"}


def environment(configuration: str) -> dict[str, str]:
    """What `accelerate launch` tells the processes that it starts."""
    file = str(CONFIGURATIONS / f"{configuration}.yaml")
    given = launch_command_parser().parse_args(["--config_file", file, "--main_process_port", "0", "-m", "assay"])
    arguments, *_ = _validate_launch_command(given)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    count = str(arguments.num_processes)
    return prepare_multi_gpu_env(arguments) | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
    }  # fmt: skip


def launched(configuration: str, folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """What work gives in each of the processes of a configuration: copies of this one, which has imported all."""
    told = environment(configuration)
    children = []
    gc.freeze()  # what is here need not be looked through by each
    for number in range(int(told["WORLD_SIZE"])):
        child = os.fork()
        if child == 0:
            try:
                os.environ |= told | {"RANK": str(number), "LOCAL_RANK": str(number)}
                AcceleratorState._reset_state(reset_partial_state=True)
                Processes.joined.cache_clear()
                (folder / f"{number}.pickle").write_bytes(pickle.dumps(work(number)))
            except BaseException:
                (folder / f"{number}.txt").write_text(traceback.format_exc())
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    gc.unfreeze()
    problems = [path.read_text() for path in folder.glob("*.txt")]
    assert problems == []
    return [pickle.loads((folder / f"{number}.pickle").read_bytes()) for number in range(len(children))]


class Stopped(Exception):
    """A run that ends in the middle."""


def stopped(work: Callable[[], Any]) -> None:
    """Have a run end in all processes once the checkpoint of its second step is there."""
    save = trainer.Trainer._save_checkpoint

    def save_and_stop(self: trainer.Trainer, *known: Any) -> None:
        save(self, *known)
        if self.state.global_step == 2:
            raise Stopped

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer.Trainer, "_save_checkpoint", save_and_stop)
        with pytest.raises(Stopped):
            work()


@pytest.fixture(scope="module")
def two(run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of what two processes trained by DDP, and what each of them was given and heard."""
    folder = tmp_path_factory.mktemp("two")

    def work(number: int) -> dict[str, Any]:
        told: list[str] = []
        found = {
            name: run(name, folder / name, lambda what, *_: told.append(what), foreseen=name == "lora")
            for name in SETTINGS
        }
        heard = told.copy()
        run("lora", folder / "lora", lambda what, *_: told.append(what))
        stopped(lambda: run("full", folder / "stopped"))
        stopped(lambda: run("noisy", folder / "goes on"))
        found["goes on"] = run("noisy", folder / "goes on")
        if number:
            computed = trainer.answer_loss
            trainer.answer_loss = lambda *given, **named: (computed(*given, **named)[0] * torch.nan, 1)  # type: ignore[attr-defined]
        with pytest.raises(AssayError) as error:
            run("lora", folder / "not finite")
        return {"found": found, "heard": heard, "again": told[len(heard) :], "error": error.value.message}

    return folder, launched("ddp", tmp_path_factory.mktemp("processes"), work)


@pytest.fixture(scope="module")
def dealt_out(
    run: Callable[..., Path], two: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What two processes trained by FSDP; `full` goes on where DDP has stopped."""
    folder = tmp_path_factory.mktemp("dealt-out")
    shutil.copytree(two[0] / "stopped", folder / "full")

    def work(number: int) -> dict[str, Path]:
        return {name: run(name, folder / name) for name in ("full", "qlora")}

    found: list[dict[str, Path]] = launched("fsdp", tmp_path_factory.mktemp("processes"), work)
    assert found[0] == found[1]
    return found[0]


def assert_same_run(one: Path, other: Path) -> None:
    """To what the order of sums rounds."""
    here, there = steps(one), steps(other)
    for name in ("step", "epoch", "learning_rate", "tokens", "trained"):
        assert here[name] == there[name], name
    for name, apart in (("loss", 1e-5), ("grad_norm", 1e-5), ("validation_loss", 1e-4)):  # of what steps made
        assert [x for x in here[name] if x] == pytest.approx([x for x in there[name] if x], rel=apart), name
    weights, others = (load_file(next(each.glob("*.safetensors"))) for each in (one, other))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=5e-4)
    first, second = (AdapterManifest.read(each) for each in (one, other))
    assert (first.inputs, first.rows, first.tokens) == (second.inputs, second.rows, second.tokens)


@pytest.mark.parametrize("name", ["lora", "full", "qlora", "preferences"])
def test_two_processes_take_the_steps_of_one(
    name: str, alone: dict[str, Path], two: tuple[Path, list[dict[str, Any]]]
) -> None:
    found = two[1][0]["found"][name]
    assert_same_run(found, alone[name])
    compute = AdapterManifest.read(found).compute
    assert (compute.processes, compute.strategy) == (2, "ddp")
    assert not AdapterManifest.read(alone[name]).compute.content().keys() & {"processes", "strategy"}
    if name == "preferences":
        import pyarrow.parquet as pq

        here, there = (pq.read_table(each / "steps.parquet").to_pydict() for each in (found, alone[name]))
        assert here["pairs"] == there["pairs"]
        assert here["preferred"][2] == pytest.approx(there["preferred"][2]), "before the first step all are alike"
        assert here["margin"][1:] == pytest.approx(there["margin"][1:], rel=1e-4, abs=1e-5)


def test_one_of_them_tells_and_publishes_for_all(two: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, second) = two
    assert first["found"] == second["found"]
    for name in SETTINGS:
        assert Store(folder / name).versions("adapters", "tiny") == [first["found"][name]]
        assert len(Store(folder / name).told("adapters", "tiny")) == 1 + (name == "lora"), "it was asked for again"
    assert "train" in first["heard"]
    assert [what for what in first["heard"] if "in each of 2 processes" in what]
    assert first["again"] == ["train (found in the store)"]
    assert second["heard"] == second["again"] == []


def test_what_is_not_finite_in_one_ends_all_with_its_words(two: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, (first, second) = two
    assert first["error"] == second["error"]
    assert first["error"].startswith("Step 1: the loss is nan; nothing is published.")
    assert Store(folder / "not finite").versions("adapters", "tiny") == []


def test_a_stopped_run_goes_on_as_though_it_had_not_been(two: tuple[Path, list[dict[str, Any]]]) -> None:
    """Also where each process has noise of its own."""
    found = two[1][0]["found"]
    assert found["goes on"].name == found["noisy"].name
    assert steps(found["goes on"]) == steps(found["noisy"])


def test_any_number_of_processes_goes_on(
    two: tuple[Path, Any], run: Callable[..., Path], alone: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(two[0] / "stopped", tmp_path / "store")
    told: list[str] = []
    found = run("full", tmp_path / "store", lambda what, *_: told.append(what))
    assert "train (goes on after step 2 of 3)" in told
    assert_same_run(found, alone["full"])


@pytest.mark.parametrize("name", ["full", "qlora"])
def test_weights_that_are_dealt_out_take_the_same_steps(
    name: str, alone: dict[str, Path], dealt_out: dict[str, Path]
) -> None:
    assert_same_run(dealt_out[name], alone[name])
    compute = AdapterManifest.read(dealt_out[name]).compute
    assert (compute.processes, compute.strategy, compute.rows) == (2, "fsdp", "padded")


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_the_configurations_are_those_that_accelerate_takes(name: str) -> None:
    assert environment(name).get(FSDP, "false") == str(name == "fsdp").lower()


@pytest.mark.parametrize(
    ("settings", "strategy", "message"),
    [
        ({"batch_size": 6}, "ddp", "training.batch_size: 6 rows cannot be dealt to 4 processes alike"),
        ({"use_unsloth": True}, "ddp", "training.use_unsloth: Unsloth trains in one process"),
        ({"optim": "muon"}, "fsdp", "training.optim: muon: wants whole weights"),
        ({"objective": "dpo", "pairs": "pairs.jsonl"}, "fsdp", "training.objective: dpo: wants whole weights"),
        ({"keep_best": "whole_match"}, "fsdp", "training.keep_best: whole_match: wants whole weights"),
    ],
)
def test_what_they_cannot_do_together_is_said(settings: dict[str, Any], strategy: Strategy, message: str) -> None:
    processes = Processes(3, 4, 4, strategy)
    require_shares(TrainingSettings(batch_size=8), processes, scored=False)
    with pytest.raises(AssayError, match=message):
        require_shares(TrainingSettings(**settings), processes, scored="keep_best" in settings)


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_of_them_speaks_for_all(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    told = CliRunner().invoke(app, ["stages", "--json"])
    assert told.exit_code == 1
    if number:
        assert told.output == ""
    else:
        assert "which is for `assay train`" in json.loads(told.stdout)["error"]["message"]
    wrong = CliRunner().invoke(app, ["train", "licences", "--store", str(tmp_path)])
    assert wrong.exit_code == 1
    assert ("no such version" in wrong.output) == (not number)


def test_the_forecast_is_that_of_each_process() -> None:
    rows, config, room = [Length(100, 20)] * 32, llama(num_hidden_layers=2), Room(2**40, 2**40)
    whole, half = (forecast(config, settings(batch_size=size), rows, CPU, room) for size in (8, 4))
    ddp, fsdp = (
        forecast(config, settings(batch_size=8), rows, CPU, room, Processes(0, 2, 2, strategy))
        for strategy in get_args(Strategy)
    )
    assert (ddp.steps, ddp.tokens, ddp.disk) == (whole.steps, whole.tokens, whole.disk)
    assert ddp.batch == fsdp.batch == half.batch
    assert ddp.step.memory == {**half.step.memory, "gradients": 2 * half.step.memory["gradients"]}
    for part in ("weights", "adapters", "gradients", "optimizer state"):
        assert fsdp.step.memory[part] == -(-half.step.memory[part] // 2)
    assert "in each of 2 processes" in ddp.line()
