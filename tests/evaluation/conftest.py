"""The tiny model, made once."""

from pathlib import Path

import pytest
import torch

from tests.tiny import write_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """A model this small is slower in two threads than in one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of hidden size 32 with its tokenizer."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model_folder_64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of hidden size 64: bitsandbytes quantises in blocks of 64."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny64", hidden=64)
