"""The tiny model, made once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tiny import write_model
from train import memory


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """A model this small is slower in two threads than in one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def garbage_left() -> Iterator[None]:
    """Whoever has trained or asked a model has the heap looked through, for its memory: of tests that takes longer than
    the training, and the models are small."""
    with pytest.MonkeyPatch.context() as patched:
        for module in ("accelerate.utils.memory", "evaluation.ask.systems"):
            patched.setattr(f"{module}.gc", SimpleNamespace(collect=lambda: 0))
        yield


IDLE = {
    "early_stopping_patience", "epochs", "eval_steps", "learning_rate", "lr_scheduler_type", "max_grad_norm",
    "pairs", "reft", "report_to", "rows", "save_steps", "save_total_limit", "seed", "start_from", "warmup_ratio",
    "weight_decay",
}  # fmt: skip
"""Settings that no forecast of memory depends on."""


@pytest.fixture(scope="session", autouse=True)
def forecasts_kept() -> Iterator[None]:
    """What a batch of a model takes is found once: half of the time that a tiny model is trained goes there."""
    found: dict[tuple[Any, ...], Any] = {}
    step = memory.step

    def kept(config: Any, settings: Any, batch: Any, machine: Any) -> Any:
        alone = replace(machine, libraries=0)
        key = config.to_json_string(), settings.model_dump_json(exclude=IDLE), batch, alone
        if key not in found:
            found[key] = step(config, settings, batch, alone)
        return replace(found[key], memory={**found[key].memory, "libraries": machine.libraries})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "step", kept)
        yield


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden size 32 with its tokenizer."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model_folder_64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of hidden size 64: bitsandbytes quantises in blocks of 64."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny64", hidden=64)
