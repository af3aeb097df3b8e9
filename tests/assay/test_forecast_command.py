"""assay forecast: what training would take, in a table and as JSON, from a published version."""

import json
from pathlib import Path

import pytest

import assay
from assay.results import Forecasted
from curate.store import Store
from tests.tiny import recipe_for, write_model, write_version
from train.qlora import forecast


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Forecasted:
    folder = tmp_path_factory.mktemp("forecast")
    model, store = write_model(folder / "model"), Store(folder / "store")
    return Forecasted(forecast(write_version(store, model), recipe_for(model), store))


def test_memory_by_part(told: Forecasted) -> None:
    memory, run = told.tables()
    assert {"weights", "adapters", "gradients", "optimizer state", "activations", "libraries"} & {
        row[0] for row in memory.rows
    }
    assert ["time", "not measured"] in run.rows
    assert told.fits
    assert repr(told).startswith("Forecasted(forecast: ")


def test_as_data(told: Forecasted) -> None:
    data = json.loads(json.dumps(told.data()))
    assert data["memory_bytes"] == sum(data["memory"].values())
    assert data["fits"] is True
    assert data["seconds"] is None


def test_there_must_be_something_to_forecast(tmp_path: Path) -> None:
    with pytest.raises(assay.AssayError, match="Nothing to train on"):
        assay.forecast(store=tmp_path)
