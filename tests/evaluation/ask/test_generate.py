"""Generation in batches against generation one by one, and against transformers' own."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora.dora import DoraLinearLayer
from transformers import AutoModelForCausalLM, PreTrainedModel

from curate.rows.renderer import Renderer
from evaluation.ask.constrained import Constraint
from evaluation.ask.generate import generate
from evaluation.judge.answer import Generated
from evaluation.judge.form import validator_of
from tests.tiny import NOTICES, QUESTION, recipe_for, renderer_of
from train.base_model import prepare
from train.batches import SHARED
from train.methods.trained import adapted

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
        renderer.stop_token_ids = frozenset({stop})
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


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "license": {"type": ["string", "null"], "pattern": "^[a-z][a-z0-9-]{0,30}$"},
        "kind": {"enum": ["notice", "text", "tag"]},
        "level": {"type": "integer", "minimum": 0, "maximum": 30},
    },
    "required": ["license", "kind", "level"],
    "additionalProperties": False,
}


def logprob_of(
    model: PreTrainedModel, prompt: list[int], tokens: list[int], constraint: Constraint | None = None
) -> float:
    """The log probability of tokens after a prompt, from one forward pass over all of it, unpadded, in float64."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1].double().numpy()
    if constraint is not None:
        matcher = constraint.matcher()
        for row, token in zip(logits, tokens, strict=True):
            row[~constraint.allowed([matcher], len(row))[0]] = -np.inf
            constraint.ends(matcher, token)
    shifted = logits - logits.max(axis=1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(logprobs[np.arange(len(tokens)), tokens].sum())


def test_log_probabilities_and_tokens_in(
    model: PreTrainedModel, renderer: Renderer, prompts: list[list[int]], said: list[list[int]]
) -> None:
    renderer.stop_token_id = said[0][3]
    renderer.stop_token_ids = frozenset({said[0][3]})
    answers = generate(model, renderer, prompts, max_new_tokens=NEW, batch_size=6)
    assert {answer.truncated for answer in answers} == {False, True}
    for prompt, wanted, answer in zip(prompts, said, answers, strict=True):
        assert answer.tokens_in == len(prompt)
        tokens = wanted[: answer.tokens + (not answer.truncated)]  # the stop token is of the answer too
        assert answer.logprob == pytest.approx(logprob_of(model, prompt, tokens), abs=1e-3)


def test_constrained_batches_say_what_one_by_one_says(
    model: PreTrainedModel, model_folder: Path, prompts: list[list[int]]
) -> None:
    renderer = renderer_of(model_folder)
    constraint = Constraint(SCHEMA, renderer)
    validator = validator_of(SCHEMA)

    def said(prompts: list[list[int]], batch_size: int, most: int = 64) -> list[Generated]:
        return generate(model, renderer, prompts, max_new_tokens=most, batch_size=batch_size, constraint=constraint)

    one_by_one = [said([prompt], 1)[0] for prompt in prompts]
    assert {validator.is_valid(json.loads(answer.text)) for answer in one_by_one} == {True}
    assert not any(answer.truncated for answer in one_by_one)
    assert len({answer.tokens for answer in one_by_one}) > 2, "they end at several places, so rows leave their batches"
    for batch_size in (4, 32):
        for alone, answer in zip(one_by_one, said(prompts, batch_size), strict=True):
            assert (answer.text, answer.tokens, answer.truncated) == (alone.text, alone.tokens, alone.truncated)
            assert answer.logprob == pytest.approx(alone.logprob, abs=1e-3)

    for prompt, answer in zip(prompts, one_by_one, strict=True):
        tokens = greedy(model, prompt, constraint, renderer.stop_token_id)
        assert renderer.decode(tokens) == answer.text
        assert answer.logprob == pytest.approx(logprob_of(model, prompt, tokens, constraint), abs=1e-3)

    most = sorted(answer.tokens for answer in one_by_one)[len(prompts) // 2]
    for alone, answer in zip(one_by_one, said(prompts, 4, most), strict=True):
        assert answer.truncated is (alone.tokens > most)
        assert alone.text.startswith(answer.text)


def greedy(model: PreTrainedModel, prompt: list[int], constraint: Constraint, stop: int) -> list[int]:
    """The same by the plainest loop: no cache, no batch, all of the text each time."""
    matcher, tokens = constraint.matcher(), list[int]()
    while True:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, -1].numpy()
        allowed = constraint.allowed([matcher], len(logits))[0]
        token = int(np.where(allowed, logits, -np.inf).argmax())
        if token == stop:
            return tokens
        tokens.append(token)
        if constraint.ends(matcher, token):
            return tokens


@pytest.mark.parametrize("method", ["dora", "qdora"])
def test_norms_of_dora_are_computed_once_and_say_the_same(
    method: str, model_folder_64: Path, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = prepare(str(model_folder_64), tmp_path)
    model: Any = adapted(base, recipe_for(model_folder_64, method=method).training).eval()
    layers = [each for each in model.modules() if isinstance(each, DoraLinearLayer)]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    prompts = [renderer.prompt_ids([{"role": "user", "content": each}]) for each in NOTICES]
    norms: list[int] = []

    def kept_in(*_: Any) -> None:
        norms.append(sum(each.nbytes for layer in layers for each in layer._dora_cache.values()))

    def answers() -> list[Generated]:
        said = generate(model, renderer, prompts, max_new_tokens=6, batch_size=2, layout=SHARED, progress=kept_in)
        return [replace(each, seconds=0.0) for each in said]

    kept = answers()
    assert norms == [sum(layer.weight.nbytes for layer in layers)] * 2, "and nothing else"
    assert not any(layer._dora_cache for layer in layers)
    monkeypatch.setattr("train.methods.dora.norms_kept", lambda _: nullcontext())
    assert kept == answers()
    with torch.no_grad():
        layers[0].weight.mul_(3)
    assert kept != answers(), "norms count"
