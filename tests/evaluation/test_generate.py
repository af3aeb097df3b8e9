"""Generation in batches against generation one by one, and against transformers' own."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from curate.render import Renderer
from evaluation.generate import Generated, generate
from tests.tiny import NOTICES, QUESTION, renderer_of

NEW = 24


@pytest.fixture(scope="module")
def model(model_folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def renderer(model_folder: Path) -> Renderer:
    return renderer_of(model_folder)


@pytest.fixture(scope="module")
def prompts(renderer: Renderer) -> list[list[int]]:
    """Half of them begin alike; lengths differ."""
    asked = [QUESTION + notice + " again" * n for n in range(4) for notice in NOTICES]
    asked += [f"What is {n}?" for n in ("one", "two hundred and seven", "x" * 40)]
    return [renderer.prompt_ids([{"role": "user", "content": each}]) for each in asked]


@pytest.fixture(scope="module")
def said(model: PreTrainedModel, prompts: list[list[int]]) -> list[list[int]]:
    """What transformers generates greedily, one by one and without a stop."""
    said = []
    for prompt in prompts:
        asked = torch.tensor([prompt])
        everything = torch.ones_like(
            asked
        )  # else transformers masks the pad token, which is the stop token, in the prompt
        out = model.generate(
            asked, attention_mask=everything, max_new_tokens=NEW, do_sample=False, eos_token_id=-1, pad_token_id=2
        )
        said.append(out[0, len(prompt) :].tolist())
    return said


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_batches_say_what_transformers_says_one_by_one(
    model: PreTrainedModel, renderer: Renderer, prompts: list[list[int]], said: list[list[int]], batch_size: int
) -> None:
    lengths = set()
    for stop in (said[0][3], said[5][11]):  # tokens that some say early, others late or never
        renderer.stop_token_id = stop
        answers = generate(model, renderer, prompts, max_new_tokens=NEW, batch_size=batch_size)
        for wanted, answer in zip(said, answers, strict=True):
            tokens = wanted[: wanted.index(stop)] if stop in wanted else wanted
            assert answer.text == renderer.decode(tokens)
            assert answer.tokens == len(tokens)
            assert answer.truncated is (stop not in wanted)
            lengths.add(len(tokens))
    assert len(lengths) > 3, "the stop token came at several places, so rows left their batches"


def test_progress_and_order(model: PreTrainedModel, renderer: Renderer, prompts: list[list[int]]) -> None:
    told: list[tuple[str, int, int, str]] = []
    answers = generate(
        model, renderer, prompts, max_new_tokens=3, batch_size=4, progress=lambda *each: told.append(each), what="ask"
    )
    assert len(answers) == len(prompts) == 15
    assert told == [("ask", done, 15, "rows") for done in (4, 8, 12, 15)]
    assert all(isinstance(answer, Generated) and answer.seconds is not None for answer in answers)
