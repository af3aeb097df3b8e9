"""The loop: a killed run goes on as though it had not been, what is not finite stops it, each setting has effect."""

import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from assay.results import Adapter, Made
from curate import cache
from curate.errors import AssayError
from curate.store import Store
from tests.tiny import recipe_for, write_version
from train import loop, trainer
from train.arguments import arguments, let_go, trackers_in
from train.checkpoints import Checkpoints
from train.loss import answer_loss
from train.manifest import AdapterManifest
from train.qlora import train
from train.settings import TrainingSettings
from train.summary import training_tables
from train.trainer import ByLength, Trainer

Told = tuple[str, int, int, str]
LONG = {"rows": 12, "epochs": 2, "batch_size": 2, "dropout": 0.1, "learning_rate": 0.01, "save_steps": 1}
"""Settings of a run of 12 steps in which every random generator counts."""
REPEATED = ["step", "epoch", "loss", "grad_norm", "learning_rate", "tokens", "trained", "validation_loss", "score"]
"""Columns of steps.parquet that are no measures of the machine."""


@pytest.fixture(scope="module")
def version(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_version(Store(tmp_path_factory.mktemp("data")), model_folder)


@pytest.fixture
def run(version: Path, model_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    def _run(progress: Callable[..., None] = lambda *_: None, store: str = "store", **settings: Any) -> Path:
        score = settings.pop("score", None)
        return train(version, recipe_for(model_folder, **settings), Store(tmp_path / store), progress, score)

    return _run


def steps(adapter: Path) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = pq.read_table(adapter / "steps.parquet", columns=REPEATED).to_pydict()
    return told


def killed(work: Callable[[], None]) -> int:
    """The signal that ended a copy of this process at work; 0 where it got to the end."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def dies(at: int) -> Callable[..., None]:
    """A progress that kills its process when training speaks for the so manieth time."""
    told = 0

    def progress(what: str, *_: Any) -> None:
        nonlocal told
        told += what == "train"
        if told == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


@pytest.fixture(scope="module")
def undisturbed(version: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(version, recipe_for(model_folder, **LONG), Store(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize("moments", [pytest.param((1,), marks=pytest.mark.slow), (7, 3)], ids=str)
def test_a_killed_run_goes_on_as_though_it_had_not_been(
    moments: tuple[int, ...], undisturbed: Path, run: Callable[..., Path], tmp_path: Path
) -> None:
    for moment in moments:
        assert killed(lambda moment=moment: run(dies(moment), **LONG)) == signal.SIGKILL  # type: ignore[misc]
    told: list[Told] = []
    adapter = run(lambda *each: told.append(each), **LONG)
    taken = sum(moments) - len(moments)
    goes_on = [what for what, *_ in told if "goes on" in what]
    assert goes_on == ([f"train (goes on after step {taken} of 12)"] if taken else [])
    assert steps(adapter) == steps(undisturbed)
    for name in ("adapter_model.safetensors", "manifest.json"):
        assert (adapter / name).read_bytes() == (undisturbed / name).read_bytes()
    left = [told_of for told_of in told if told_of[0] == "train"]
    assert left[-1][1] == left[-1][2], "what is told is what is left to do"
    assert list((tmp_path / "store/cache/training").rglob("*")) == [], "nothing is left behind"


def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    undisturbed: Path, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seal, written = cache._seal, []

    def seal_and_die(draft: Path, folder: Path, base: Path | None) -> None:
        seal(draft, folder, base)
        written.append(folder)
        if folder.name == "checkpoint-4":
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(cache, "_seal", seal_and_die)
        assert killed(lambda: run(**LONG)) == signal.SIGKILL  # type: ignore[func-returns-value]
    (key,) = (tmp_path / "store/cache/training").iterdir()
    kinds = sorted(path.name.partition("-")[0] for path in key.iterdir())
    assert kinds == [".draft", "checkpoint", "checkpoint", "turn"]
    told: list[str] = []
    adapter = run(lambda what, *_: told.append(what), **LONG)
    assert "train (goes on after step 3 of 12)" in told
    assert adapter.name == undisturbed.name
    assert not key.exists()


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(
    undisturbed: Path, run: Callable[..., Path], tmp_path: Path
) -> None:
    killed(lambda: run(dies(6), **LONG))  # type: ignore[arg-type, return-value]
    found = sorted((tmp_path / "store/cache/training").glob("*/checkpoint-*"))
    assert [each.name for each in found] == ["checkpoint-4", "checkpoint-5"], "at most save_total_limit"
    assert not any(
        "model.safetensors.index" in path.name or path.stat().st_size > 1 << 20 for path in found[1].iterdir()
    )
    (found[1] / "optimizer.pt").write_bytes(b"rot")
    told: list[str] = []
    adapter = run(lambda what, *_: told.append(what), **LONG)
    assert any("checkpoint-5 is damaged" in what for what in told)
    assert "train (goes on after step 4 of 12)" in told
    assert adapter.name == undisturbed.name


def test_a_run_of_other_inputs_begins_by_itself(run: Callable[..., Path]) -> None:
    killed(lambda: run(dies(6), **LONG))  # type: ignore[arg-type, return-value]
    told: list[str] = []
    run(lambda what, *_: told.append(what), **LONG | {"learning_rate": 0.02, "epochs": 1})
    assert not any("goes on" in what for what in told)


def test_who_is_told_and_how_often_it_is_kept_makes_no_other_adapter(
    run: Callable[..., Path], undisturbed: Path
) -> None:
    adapter = run(**LONG | {"save_steps": 5, "save_total_limit": 1})
    assert adapter.name == undisturbed.name
    assert not AdapterManifest.read(adapter).inputs.settings.keys() & {"save_steps", "save_total_limit", "report_to"}


def test_the_order_of_rows_is_a_function_of_seed_and_epoch() -> None:
    lengths = [7 * n % 31 + 1 for n in range(50)]
    sampler, again = ByLength(lengths, 4, 0), ByLength(lengths, 4, 0)
    first = list(sampler)
    assert list(sampler) == first
    again.set_epoch(1)
    assert list(again) != first
    sampler.set_epoch(1)
    assert list(sampler) == list(again)
    assert list(ByLength(lengths, 4, 1)) != first


@pytest.mark.parametrize("what", ["the loss", "the norm of the gradient"])
def test_what_is_not_finite_stops_the_run_and_names_the_rows(
    what: str, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: Path
) -> None:
    class Steep(torch.autograd.Function):
        """The same value, and a slope that is not finite."""

        @staticmethod
        def forward(context: Any, loss: torch.Tensor) -> torch.Tensor:
            return loss.clone()

        @staticmethod
        def backward(context: Any, slope: torch.Tensor) -> torch.Tensor:
            return slope * torch.nan

    asked = 0

    def broken(model: Any, targets: torch.Tensor, **batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        nonlocal asked
        asked += 1
        loss, trained = answer_loss(model, targets, **batch)
        if asked == 4:
            loss = loss * torch.nan if what == "the loss" else Steep.apply(loss)
        return loss, trained

    monkeypatch.setattr(trainer, "answer_loss", broken)
    with pytest.raises(AssayError) as error:
        run(**LONG)
    ids = pq.read_table(version / "train.parquet")["id"].to_pylist()
    assert error.value.message.startswith(f"Step 4: {what} is nan; nothing is published. The learning rate was 0.0")
    assert sum(each in error.value.message for each in ids) == 2
    assert "lower training.learning_rate" in error.value.remedy
    (kept,) = (tmp_path / "store/cache/training").glob("*/checkpoint-3")
    assert str(kept) in error.value.remedy
    assert Store(tmp_path / "store").versions("adapters", "tiny") == []


def test_a_validation_that_is_not_finite_stops_the_run(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "mean_loss", lambda *_: float("inf"))
    with pytest.raises(AssayError, match="After step 0 the loss over the validation rows is inf; nothing is published"):
        run()


def test_a_manifest_holds_no_number_that_is_no_json(tmp_path: Path) -> None:
    with Store(tmp_path).publishing("adapters", "x") as draft, pytest.raises(ValueError, match="not JSON compliant"):
        draft.publish({"loss": float("nan")})
    assert Store(tmp_path).versions("adapters", "x") == []


def test_a_step_of_several_batches_is_that_of_the_big_batch(run: Callable[..., Path]) -> None:
    """The mean over the trained tokens of all of them: batches of long answers count more."""
    whole, parts = (
        run(
            store=name, rows=16, batch_size=batch, gradient_accumulation_steps=16 // batch, epochs=3, learning_rate=0.01
        )
        for name, batch in (("whole", 16), ("parts", 2))
    )
    one, other = steps(whole), steps(parts)
    assert one["trained"] == other["trained"]
    for key in ("loss", "grad_norm", "validation_loss"):
        assert [x for x in one[key] if x] == pytest.approx([x for x in other[key] if x], rel=1e-5)
    weights, others = (load_file(each / "adapter_model.safetensors") for each in (whole, parts))
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=1e-5)


def test_an_incomplete_last_step_counts_its_own_tokens(run: Callable[..., Path]) -> None:
    adapter = run(rows=10, batch_size=2, gradient_accumulation_steps=3)
    manifest = AdapterManifest.read(adapter)
    assert steps(adapter)["step"] == [0, 1, 2]
    assert manifest.tokens.seen == sum(tokens or 0 for tokens in steps(adapter)["tokens"])


@pytest.mark.parametrize(
    ("name", "rates"),
    [("linear", [0.5, 1, 0.75, 0.5, 0.25]), ("cosine", [0.5, 1, 0.854, 0.5, 0.146]), ("constant", [0.5, 1, 1, 1, 1])],
)
def test_the_learning_rate_follows_its_schedule(name: str, rates: list[float], run: Callable[..., Path]) -> None:
    adapter = run(rows=10, batch_size=2, lr_scheduler_type=name, warmup_ratio=0.2, learning_rate=1.0, rank=1)
    assert steps(adapter)["learning_rate"][1:] == pytest.approx(rates, abs=1e-3)


def test_each_setting_reaches_the_optimizer(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(self: Trainer, *_: Any, **__: Any) -> None:
        seen.update(vars(self.args) | {"optimizer": type(self.create_optimizer()).__name__})
        seen["decay"] = [group["weight_decay"] for group in self.optimizer.param_groups]
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", look)
    with pytest.raises(KeyboardInterrupt):
        run(weight_decay=0.1, max_grad_norm=None, gradient_checkpointing=True, seed=3)
    assert seen["decay"][0] == 0.1
    assert (seen["max_grad_norm"], seen["activation_checkpointing"], seen["seed"]) == (0.0, True, 3)
    assert seen["optimizer"] == "AdamW"


def test_a_second_gpu_makes_no_batch_larger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert arguments(TrainingSettings(batch_size=4), "tiny", tmp_path, "cpu").train_batch_size == 4


def scores(*values: float, deciding: Any = None) -> Callable[[Any], float]:
    """A score of these values, one after the other."""
    left = iter(values)

    def score(model: Any) -> float:
        return next(left)

    score.deciding = {"values": deciding or values}  # type: ignore[attr-defined]
    return score


def test_the_checkpoint_of_the_best_score_is_kept(run: Callable[..., Path], tmp_path: Path) -> None:
    chosen = {"keep_best": "whole_match", "epochs": 4, "learning_rate": 0.02}
    adapter = run(score=scores(0.9, 0.1, 0.5, 0.5, 0.2), **chosen)
    manifest = AdapterManifest.read(adapter)
    assert manifest.run is not None
    assert [each.score for each in manifest.run.validations] == [0.9, 0.1, 0.5, 0.5, 0.2]
    assert [each.step for each in manifest.run.validations] == [0, 4, 8, 12, 16]
    assert (manifest.run.kept, manifest.run.steps) == (8, 16), "of equals the first; untrained it is no checkpoint"
    last = run(store="other", score=scores(0, 1, 2, 3, 4), **chosen)
    weights, others = (load_file(each / "adapter_model.safetensors") for each in (adapter, last))
    assert any(not torch.equal(tensor, others[name]) for name, tensor in weights.items())
    assert manifest.tokens.seen < AdapterManifest.read(last).tokens.seen
    assert ["kept", "step 8, best by whole_match"] in training_tables(adapter, Store(tmp_path / "store"))[0].rows
    gist = Adapter(adapter, Made(Store(tmp_path / "store"))).gist()
    assert f"to {manifest.run.validations[2].loss:.3f}" in gist


def test_the_best_checkpoint_outlives_a_kill(run: Callable[..., Path]) -> None:
    """It lies in each later checkpoint, so that of one checkpoint on disk it is not lost."""
    chosen = LONG | {"keep_best": "whole_match", "eval_steps": 1, "save_total_limit": 1, "epochs": 1}

    def score(*values: float) -> Any:
        return scores(*values, deciding="each by its place")

    adapter = run(store="undisturbed", score=score(0, 1, 3, 2, 2, 1, 1), **chosen)
    manifest = AdapterManifest.read(adapter)
    assert manifest.run is not None
    assert manifest.run.kept == 2
    died = killed(lambda: run(dies(6), score=score(0, 1, 3, 2, 2, 1), **chosen))  # type: ignore[arg-type, return-value]
    assert died == signal.SIGKILL
    assert run(score=score(1), **chosen).name == adapter.name


def test_training_ends_where_nothing_gets_better(run: Callable[..., Path]) -> None:
    told: list[Told] = []
    stopping = {"keep_best": "schema_valid", "early_stopping_patience": 2, "eval_steps": 1, "rows": 16, "batch_size": 2}
    adapter = run(lambda *each: told.append(each), score=scores(0, 0.1, 0.3, 0.2, 0.3), **stopping)
    manifest = AdapterManifest.read(adapter)
    assert manifest.run is not None
    assert (manifest.run.steps, manifest.run.planned, manifest.run.kept) == (4, 8, 2)
    assert [each[1] == each[2] for each in told if each[0] == "train"][-1], "the bar comes to its end"


@pytest.mark.parametrize(
    ("settings", "message", "remedy"),
    [
        ({"keep_best": "whole_match"}, "nobody who trains was given one", "choose by `loss`"),
        ({"report_to": ["mlflow"]}, "training.report_to: mlflow is not installed", "pip install mlflow"),
        ({"dtype": "float16"}, "a CPU does not compute in float16", "Leave the key out"),
    ],
)
def test_what_cannot_be_done_is_said_before_work_begins(
    settings: dict[str, Any],
    message: str,
    remedy: str,
    run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch.cuda.is_available() and "dtype" in settings:
        pytest.skip("a GPU computes in float16")
    monkeypatch.setattr("train.arguments.find_spec", lambda name: None)
    monkeypatch.setattr(Trainer, "train", lambda *_, **__: pytest.fail("work has begun"))
    with pytest.raises(AssayError, match=message) as error:
        run(**settings)
    assert remedy in error.value.remedy


def test_a_tracker_is_told_each_step(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    logs: list[dict[str, float]] = []

    class Fake(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:  # type: ignore[override]
            told.append(dict(logs))
            folders.add(os.environ["TRACKIO_DIR"])

    told, folders = logs, set()
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Fake)
    monkeypatch.setattr("train.arguments.find_spec", lambda name: True)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    adapter = run(report_to=["trackio"])
    assert folders == {str(tmp_path / "store/tracked/trackio")}, "on this machine"
    assert "TRACKIO_DIR" not in os.environ, "for this run"
    assert [each["loss"] for each in logs if "loss" in each] == steps(adapter)["loss"][1:]
    assert sum("eval_loss" in each for each in logs) == 2
    assert {"grad_norm", "learning_rate", "tokens_per_second", "padding", "memory_mib"} <= logs[1].keys()


def test_runs_of_tensorboard_lie_apart(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By what the run depends on, so that one that goes on stays where it was."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "mine"))  # what the user's environment says
    told = {"report_to": ["tensorboard"], "rows": 8, "save_steps": 1}
    assert killed(lambda: run(dies(2), **told)) == signal.SIGKILL  # type: ignore[arg-type, return-value]
    (key,) = (tmp_path / "store/cache/training").iterdir()
    adapter = run(**told)
    (folder,) = (tmp_path / "mine").iterdir()
    assert folder.name == f"tiny-{key.name[:8]}"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "mine")
    events = EventAccumulator(str(folder)).Reload()
    losses = {each.step: each.value for each in events.Scalars("train/loss")}
    assert losses == pytest.approx(dict(enumerate(steps(adapter)["loss"][1:], 1)))


@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "trackio"])
def test_what_a_tracker_begins_ends_with_the_training(
    tracker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where it fails; the user's own run goes on."""
    ended: list[Any] = []
    there = SimpleNamespace(run=None)
    known = SimpleNamespace(get=lambda: there.run, set=lambda run: setattr(there, "run", run))

    def end(how: Any = None, **said: Any) -> None:
        ended.append(said.get("exit_code", how))
        if tracker != "trackio":  # which takes one that has ended for the current one
            there.run = fake.run = None

    fake: Any = SimpleNamespace(run=None, finish=end, end_run=end, active_run=known.get)
    fake.context_vars = SimpleNamespace(current_run=known)
    monkeypatch.setitem(sys.modules, tracker, fake)
    settings = TrainingSettings(report_to=[tracker])

    def begin() -> None:
        there.run = fake.run = "run"

    with trackers_in(tmp_path, settings, "a"):
        begin()
    with suppress(ValueError), trackers_in(tmp_path, settings, "b"):
        begin()
        raise ValueError
    assert ended == {"wandb": [0, 1], "mlflow": ["FINISHED", "FAILED"], "trackio": [None, None]}[tracker]
    begin()
    with trackers_in(tmp_path, settings, "c"):
        pass
    with trackers_in(tmp_path, TrainingSettings(), "d"):
        pass
    assert there.run == "run"
    if tracker == "trackio":  # it begins one of its own beside
        with trackers_in(tmp_path, settings, "e"):
            there.run = "another"
        assert (there.run, len(ended)) == ("run", 3)


def test_a_callback_that_is_collected_ends_no_later_run() -> None:
    callback = SimpleNamespace(_auto_end_run=True)
    let_go([callback, SimpleNamespace()])
    assert not callback._auto_end_run


def test_checkpoints_are_no_more_than_wanted(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "training/key", 2)
    assert kept.last() is None
    for step in (1, 9, 10, 100):
        kept.add(step, lambda folder: (folder / "state").write_text("x"))  # type: ignore[arg-type, return-value]
    assert sorted(path.name for path in kept.folder.iterdir()) == ["checkpoint-10", "checkpoint-100"]
    assert kept.last() == kept.folder / "checkpoint-100"
    kept.clear()
    assert not kept.folder.exists()


def test_steps_are_told_with_what_they_took(run: Callable[..., Path]) -> None:
    adapter = run(rows=12, batch_size=4)
    table = pq.read_table(adapter / "steps.parquet").to_pylist()
    manifest = AdapterManifest.read(adapter)
    assert [row["step"] for row in table] == [0, 1, 2, 3]
    assert all(row["tokens_per_second"] > 0 and row["memory_mib"] > 100 for row in table[1:])
    assert manifest.run is not None
    assert manifest.run.padding == pytest.approx(
        sum(row["padding"] for row in table[1:]) / sum(row["computed"] for row in table[1:]), abs=1e-6
    )
    mean = sum(row["loss"] * row["trained"] for row in table[1:]) / sum(row["trained"] for row in table[1:])
    assert manifest.loss.train == pytest.approx([mean])
    files = json.loads((adapter / "manifest.json").read_bytes())["files"].keys()
    assert not files & {"steps.parquet", "report.html", "SHA256SUMS"}, "times are no part of what it is"


def test_a_run_that_another_is_at_is_waited_for(run: Callable[..., Path], tmp_path: Path) -> None:
    begun, waiting = Event(), Event()
    first: list[str] = []
    second: list[str] = []

    def at_work(what: str, *_: Any) -> None:
        first.append(what)
        if what == "train":
            begun.set()
            assert waiting.wait(60)

    def behind(what: str, *_: Any) -> None:
        second.append(what)
        waiting.set()

    with ThreadPoolExecutor() as pool:
        made = pool.submit(run, at_work)
        assert begun.wait(60)
        assert pool.submit(run, behind).result() == made.result()
    assert second == ["train (another run's turn)"] * 2 + ["train (found in the store)"]
    assert not list((tmp_path / "store/cache/training").iterdir())
