"""Rows that go on together say what each says alone, whatever the model, or are put together less closely."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from evaluation.ask.decoding import Decoding, batches, decoding_layout
from evaluation.ask.generate import generate
from tests.families import FAMILIES, model_of, rows_of
from train.batches import Layout

NEW = 12

FOUND = (
    dict.fromkeys(FAMILIES, "shared")
    | dict.fromkeys(
        ["mistral", "gemma2", "gemma3", "phi3", "gpt-oss", "llama4", "cohere2", "gpt-neo", "bamba"], "padded"
    )
    | {"bamba": "padded"}
    | dict.fromkeys(["roberta", "mamba"], "equal")
    | dict.fromkeys(["openai-gpt", "recurrent-gemma"], "recomputed")  # one keeps nothing, the other in its modules
)


class Numbers:
    """Text that is token ids."""

    stop_token_id = 2
    stop_token_ids = frozenset({2})

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def alone(model: PreTrainedModel, prompt: list[int]) -> str:
    """What transformers generates of one prompt."""
    asked = torch.tensor([prompt])
    out = model.generate(
        asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=Numbers.stop_token_id,
        pad_token_id=0,
    )
    said = out[0, len(prompt) :].tolist()
    return Numbers().decode(said[: said.index(2)] if 2 in said else said)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_transformers_one_by_one(family: str) -> None:
    model = model_of(family)
    prompts = [*rows_of(), [5, 6, 7]]
    told: list[str] = []
    renderer: Any = Numbers()
    answers = generate(
        model, renderer, prompts, max_new_tokens=NEW, batch_size=5, progress=lambda what, *_: told.append(what)
    )
    layout = decoding_layout(model, prompts)
    assert layout.rows == FOUND[family]
    assert told[0] == (f"rows are put together: {layout}" if layout.reason else "generate")
    # transformers' generate counts roberta's positions from another place than roberta's forward
    oracle = plainly if family == "roberta" else alone
    wanted = [oracle(model, prompt) for prompt in prompts]
    assert [answer.text for answer in answers] == wanted


def plainly(model: PreTrainedModel, prompt: list[int]) -> str:
    """By the plainest loop: no cache, all of the text each time."""
    ids = list(prompt)
    with torch.inference_mode():
        while len(ids) < len(prompt) + NEW:
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == Numbers.stop_token_id:
                return Numbers().decode(ids[len(prompt) : -1])
    return Numbers().decode(ids[len(prompt) :])


@pytest.mark.parametrize("layout", ["shared", "padded", "equal", "alone", "recomputed"])
def test_every_layout_is_right_where_all_are(layout: Any) -> None:
    model, prompts = model_of("llama"), [*rows_of(), [5, 6, 7]]
    renderer: Any = Numbers()
    answers = generate(model, renderer, prompts, max_new_tokens=NEW, batch_size=3, layout=Layout(layout))
    assert [answer.text for answer in answers] == [alone(model, prompt) for prompt in prompts]


def test_rows_leave() -> None:
    model, rows = model_of("gemma3"), rows_of()
    with torch.inference_mode():
        decoding = Decoding(model, [row[:-2] for row in rows], Layout("padded"))
        decoding.step(torch.tensor([row[-2] for row in rows]))
        decoding.keep([0, 2])
        decoding.step(torch.tensor([rows[0][-1], rows[2][-1]]))
        wanted = torch.stack([model(input_ids=torch.tensor([rows[at]])).logits[0, -1] for at in (0, 2)])
    torch.testing.assert_close(decoding.logits, wanted, atol=1e-3, rtol=1e-3)


def test_who_shares_a_batch() -> None:
    prompts = [[1] * length for length in (3, 5, 3, 4, 3, 5, 3)]
    assert list(batches(prompts, 3, Layout("padded"))) == [[0, 2, 4], [6, 3, 1], [5]]
    assert list(batches(prompts, 3, Layout("equal"))) == [[0, 2, 4], [6], [3], [1, 5]]
    assert all(len(batch) == 1 for batch in batches(prompts, 3, Layout("alone")))
    assert list(batches([], 3, Layout("shared"))) == []


def test_prompts_of_one_token_and_no_prompts() -> None:
    assert decoding_layout(model_of("llama"), [[5]]) == Layout("shared")
    renderer: Any = Numbers()
    assert generate(model_of("llama"), renderer, [], max_new_tokens=3, batch_size=2) == []
