"""Batches: what a model sees of a row in a batch is what it would see of the row alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import ModelOutput

from train.batches import WORTH_SHARING, call, forward, lay_out, length_grouped

ROWS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()


@given(tails=ROWS, common=st.lists(st.integers(0, 3), max_size=2 * WORTH_SHARING), left=st.booleans(), data=st.data())
def test_rows_come_back_from_a_batch(
    tails: list[list[int]], common: list[int], left: bool, data: st.DataObject
) -> None:
    rows = [common + tail for tail in tails]
    needed = [data.draw(st.integers(1, len(row))) for row in rows]
    batch = lay_out(rows, needed, left=left)
    shared = batch.prefix.shape[1]
    assert shared == 0 or shared >= WORTH_SHARING
    assert batch.attention_mask.shape == (len(rows), shared + batch.input_ids.shape[1])
    whole = batch.joined()
    for index, row in enumerate(rows):
        real = batch.attention_mask[index, shared:].bool()
        assert batch.prefix[0].tolist() + batch.input_ids[index][real].tolist() == row
        assert whole.input_ids[index][whole.attention_mask[index].bool()].tolist() == row
        assert batch.attention_mask[index, :shared].all()
        assert batch.position_ids[index][real].tolist() == list(range(shared, len(row)))
        assert real[-needed[index] :].all() if left else real[: len(row) - shared].all()
        assert len(row) - shared >= needed[index]
    assert whole.prefix.shape == (1, 0)
    assert lay_out(rows, needed, share=False).prefix.shape == (1, 0)


@pytest.mark.parametrize("common", [0, WORTH_SHARING - 1, WORTH_SHARING, 40])
@pytest.mark.parametrize("left", [False, True])
def test_logits_are_those_of_each_row_alone(model: PreTrainedModel, common: int, left: bool) -> None:
    draw = torch.Generator().manual_seed(common)
    beginning = torch.randint(3, 300, (common,), generator=draw).tolist()
    rows = [beginning + torch.randint(3, 300, (n,), generator=draw).tolist() for n in (3, 9, 5, 20)]
    batch = lay_out(rows, [3] * 4, left=left)
    every = torch.arange(batch.input_ids.shape[1])
    with torch.inference_mode():
        logits, kept = forward(model, batch, every, masked=left, cache=True)
        for index, row in enumerate(rows):
            alone = model(input_ids=torch.tensor([row])).logits[0, batch.prefix.shape[1] :]
            real = batch.attention_mask[index, batch.prefix.shape[1] :].bool()
            torch.testing.assert_close(logits[index][real], alone, atol=1e-4, rtol=1e-4)
    assert kept["past_key_values"].get_seq_length() == common + 20


def test_the_beginning_is_held_once(model: PreTrainedModel) -> None:
    beginning = list(range(10, 10 + WORTH_SHARING))
    assert lay_out([[*beginning, 1, 2], [*beginning, 3]], [1, 1]).prefix.tolist() == [beginning]
    assert lay_out([[*beginning, 1, 2]], [1]).prefix.tolist() == [[]], "a single row shares nothing"
    assert lay_out([[*beginning, 1], [*beginning, 1]], [2, 2]).prefix.tolist() == [[]], "needed tokens are not shared"


def test_a_model_is_called_with_what_it_takes() -> None:
    class Plain(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
            return ModelOutput(logits=torch.nn.functional.one_hot(input_ids, 10), cache_params="kept")

    given = {"attention_mask": torch.ones(1, 3), "position_ids": torch.arange(3)[None]}
    logits, kept = call(Plain(), torch.tensor([0, 2]), input_ids=torch.tensor([[4, 5, 6]]), use_cache=True, **given)
    assert logits.argmax(dim=-1).tolist() == [[4, 6]]
    assert kept == {"cache_params": "kept"}


@settings(max_examples=50)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=100), st.integers(1, 9), st.integers(0, 5))
def test_every_row_once_and_the_incomplete_batch_last(lengths: list[int], batch_size: int, seed: int) -> None:
    order = length_grouped(lengths, batch_size, torch.Generator().manual_seed(seed))
    assert Counter(order) == Counter(range(len(lengths)))
    assert order == length_grouped(lengths, batch_size, torch.Generator().manual_seed(seed))


def test_the_incomplete_batch_is_of_all_lengths() -> None:
    """It is the last step, whose rate is the least: it shall not be always the longest rows."""
    lengths = list(range(250))
    last = [length_grouped(lengths, 8, torch.Generator().manual_seed(seed))[-2:] for seed in range(200)]
    assert 110 < sum(map(sum, last)) / 400 < 140


def test_rows_of_a_batch_are_of_like_length() -> None:
    lengths = torch.randint(20, 200, (256,), generator=torch.Generator().manual_seed(0)).tolist()
    order = length_grouped(lengths, 8, torch.Generator().manual_seed(0))
    batches = [[lengths[i] for i in order[at : at + 8]] for at in range(0, 256, 8)]
    padded, real = sum(8 * max(batch) for batch in batches), sum(lengths)
    assert padded / real < 1.1
    assert [max(batch) for batch in batches] != sorted(max(batch) for batch in batches)
