"""A project of which everything has been made once: data set version, adapter and scorecard."""

from pathlib import Path
from typing import NamedTuple

import pytest

import assay
from tests.project import Project
from tests.tiny import small_project
from tests.train.conftest import forecasts_kept, garbage_left, one_thread

__all__ = ["forecasts_kept", "garbage_left", "one_thread"]


class Finished(NamedTuple):
    """A project, its store, and what the door gave."""

    project: Project
    store: Path
    version: assay.Version
    adapter: assay.Adapter
    scorecard: assay.Scorecard


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    strict = {"evaluation": {"gate": ["schema_valid > 1"]}}
    project = small_project(folder, {}, {"resamples": 100, "gate": ["schema_valid >= 0"]}, variants={"strict": strict})
    project.tokenizer = folder / "model"
    store = project.folder / "store"
    version = assay.curate(project.recipe_path, store=store, workers=1)
    adapter = assay.train(version)
    return Finished(project, store, version, adapter, assay.evaluate(adapter))
