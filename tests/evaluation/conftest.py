"""The tiny model of the training tests, and what it is evaluated with: a data set version and an adapter.

Each module that uses `adapter` says by a `recipe` of its own how it is trained.
"""

from pathlib import Path

import pytest

from curate.store import Store
from evaluation.settings import FullRecipe
from tests.tiny import write_version
from tests.train.conftest import forecasts_kept, garbage_left, model_folder, model_folder_64, one_thread
from train.qlora import train

__all__ = ["forecasts_kept", "garbage_left", "model_folder", "model_folder_64", "one_thread"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def version(store: Store, model_folder_64: Path) -> Path:
    return write_version(store, model_folder_64)


@pytest.fixture(scope="module")
def adapter(store: Store, version: Path, recipe: FullRecipe) -> Path:
    return train(version, recipe, store)
