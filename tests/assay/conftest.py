"""A project of which everything has been made once: data set version, adapter and scorecard."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

import assay
from curate.store import Store
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
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    strict = {"evaluation": {"gate": ["schema_valid > 1"]}}
    project = small_project(folder, {}, {"resamples": 100, "gate": ["schema_valid >= 0"]}, variants={"strict": strict})
    project.tokenizer = folder / "model"
    store = project.folder / "store"
    version = assay.curate(project.recipe_path, store=store, workers=1)
    adapter = assay.train(version)
    return Finished(project, store, version, adapter, assay.evaluate(adapter))


@pytest.fixture(scope="module")
def finished(made_once: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """With a store of the file's own: what its tests add there, those of no other file find."""
    store = shutil.copytree(made_once.store, tmp_path_factory.mktemp("finished") / "store")
    version, adapter, scorecard = (
        replace(
            each, folder=store / each.folder.relative_to(made_once.store), made=replace(each.made, store=Store(store))
        )
        for each in (made_once.version, made_once.adapter, made_once.scorecard)
    )
    return Finished(made_once.project, store, version, adapter, scorecard)
