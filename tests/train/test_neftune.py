"""Noise on the embeddings: as large as the paper says, of real tokens, while training and then alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tiny import recipe_for
from train.base_model import prepare
from train.batches import Layout
from train.examples import Example
from train.layout import training_layout
from train.methods.trained import adapted
from train.neftune import Noise

ALPHA = 5.0


@pytest.fixture(scope="module")
def model(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = recipe_for(model_folder).training
    return adapted(prepare(str(model_folder), tmp_path_factory.mktemp("cache")), settings)


def moved(model: Any, noise: Noise, ids: torch.Tensor) -> torch.Tensor:
    embeddings = model.get_input_embeddings()
    plain = torch.nn.functional.embedding(ids, embeddings.weight)
    with noise:
        found: torch.Tensor = embeddings(ids) - plain
    return found.detach()


def test_noise_is_as_large_as_each_rows_own_length_says(model: Any) -> None:
    model.train()
    torch.manual_seed(0)
    lengths, width, dimensions = [100, 25, 4], 100, 32
    ids = torch.randint(5, 200, (3, width))
    noise = Noise(model, ALPHA)
    noise.real = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).long()
    found = moved(model, noise, ids)
    for row, length in zip(found, lengths, strict=True):
        most = ALPHA / (length * dimensions) ** 0.5  # the paper's algorithm 1
        assert row[length:].abs().max() == 0 if length < width else True, "padding is left as it is"
        assert row[:length].abs().max() <= most + 1e-6
        assert row[:length].abs().max() > 0.95 * most
        assert row[:length].square().mean().item() == pytest.approx(most**2 / 3, rel=0.3), "uniform"
        # The expected norm of a row's noise is alpha / sqrt 3, whatever its length (section 3).
        assert row.norm().item() == pytest.approx(ALPHA / 3**0.5, rel=0.15)


def test_a_row_that_is_computed_alone_is_its_own_length(model: Any) -> None:
    model.train()
    noise = Noise(model, ALPHA)
    noise.real = torch.ones(4, 50, dtype=torch.long)
    found = moved(model, noise, torch.randint(5, 200, (1, 400)))
    assert 0.95 < found.abs().max() / (ALPHA / (400 * 32) ** 0.5) <= 1 + 1e-5


def test_there_is_none_but_in_training(model: Any) -> None:
    ids = torch.randint(5, 200, (2, 10))
    model.eval()
    assert not moved(model, Noise(model, ALPHA), ids).any(), "nor in validation"
    model.train()
    assert moved(model, Noise(model, ALPHA), ids).any()
    assert not moved(model, Noise(model, None), ids).any()
    assert torch.equal(model.get_input_embeddings()(ids), model.get_input_embeddings()(ids)), "nor afterwards"


def test_rows_with_noise_share_no_beginning(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    rows = [Example(str(n), [*range(5, 45), n, 7, 8], [*[-100] * 40, n, 7, 8]) for n in (50, 51)]
    assert training_layout(model, rows) == Layout("shared")
    assert training_layout(model, rows, noisy=True) == Layout(
        "padded", "with noise on its embeddings each row has noise of its own"
    )
