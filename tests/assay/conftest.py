"""A project of which everything has been made once: data set version, adapter and scorecard."""

from pathlib import Path
from typing import NamedTuple

import pytest

import assay
from tests.project import Project, make_rows
from tests.tiny import write_model
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
    model = write_model(folder / "model")
    project = Project(
        folder / "made",
        fit={"model": str(model), "max_tokens": 150},
        training={"rows": 16, "max_tokens": 150, "batch_size": 4, "rank": 4, "method": "lora"},
        evaluation={
            "rows": 6, "max_tokens": 150, "max_new_tokens": 8, "batch_size": 4, "resamples": 100,
            "gate": ["schema_valid >= 0"],
        },
        variants={"strict": {"evaluation": {"gate": ["schema_valid > 1"]}}},
    )  # fmt: skip
    project.add("rows.jsonl", make_rows(240))
    project.tokenizer = model
    store = project.folder / "store"
    version = assay.curate(project.recipe_path, store=store, workers=1)
    adapter = assay.train(version)
    return Finished(project, store, version, adapter, assay.evaluate(adapter))
