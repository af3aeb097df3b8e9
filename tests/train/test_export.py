"""An adapter as a GGUF file: read back by transformers it has the same tokens and, rounding aside, the same logits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate
from curate.store import Store
from tests.curate.rows.families import LLAMA3, byte_level, published
from tests.curate.rows.test_model_templates import LLAMA3_TOKENS, QWEN
from tests.families import FAMILIES, SMALL, model_of
from tests.tiny import NOTICES, QUESTION, recipe_for, write_version
from train.adapter import merge
from train.base_model import prepare
from train.export import LETTERS, REST, export_into, round_as
from train.qlora import train

TEXTS = [*(QUESTION + notice for notice in NOTICES), "Ünï 1234 don't  x\n\n<|im_start|>\t'LL", " a"]
WINDOW = 64
QWEN_CUT = LETTERS + r"\p{N}" + REST


def whole_words(special: list[str]) -> Any:
    tokenizer = byte_level(special, LLAMA3)
    tokenizer.model.ignore_merges = True
    return tokenizer


MADE: dict[str, tuple[Any, str, list[str], str | None, dict[str, Any]]] = {
    "llama": (
        lambda: whole_words(LLAMA3_TOKENS),
        "<|begin_of_text|>",
        ["<|eot_id|>", "<|end_of_text|>"],
        "llama3",
        {},
    ),
    "mistral": (lambda: byte_level(QWEN), "<|im_start|>", ["<|im_end|>"], None, {"sliding_window": WINDOW}),
    "qwen2": (lambda: byte_level(QWEN, QWEN_CUT, "NFC"), "", ["<|im_end|>", "<|endoftext|>"], "qwen2_5", {}),
    # transformers takes a head for one of 128 numbers, as the published models have
    "qwen3": (lambda: byte_level(QWEN, QWEN_CUT, "NFC"), "", ["<|im_end|>"], "qwen3", {"head_dim": 128}),
}
"""Tokenizer, first token, tokens that end an answer, chat template, and what else the model's configuration says."""


def write(folder: Path, family: str) -> tuple[Path, str]:
    """A tiny model of a family, and the chat template it is trained with."""
    make, bos, stops, chat, changes = MADE[family]
    tokenizer = make()
    ids = [tokenizer.token_to_id(each) for each in stops]
    special = {
        "bos_token_id": tokenizer.token_to_id(bos) if bos else None,
        "eos_token_id": ids,
        "pad_token_id": ids[0],
        "vocab_size": tokenizer.get_vocab_size() + 3,  # as models have that are padded
    }
    model = model_of(family, max_position_embeddings=512, **special, **changes)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"eos_token": stops[0], "pad_token": stops[0], "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named | ({"bos_token": bos} if bos else {})))
    if chat is None:
        return folder, "chatml"
    (folder / "chat_template.jinja").write_text(published(chat))
    return folder, "model"


def trained(store: Store, model: Path, chat: str) -> Path:
    recipe = recipe_for(model, learning_rate=0.02, max_tokens=400, rows=8)
    recipe = recipe.model_copy(update={"render": recipe.render.model_copy(update={"chat": chat})})
    return train(write_version(store, model, rows=24, template=chat), recipe, store)


@pytest.mark.parametrize(
    "family", [pytest.param(each, marks=[pytest.mark.slow] * (each in ("mistral", "qwen3"))) for each in MADE]
)
def test_it_is_read_back_with_the_same_tokens_and_logits(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "qwen2", ("qwen2", SMALL))
    model, chat = write(tmp_path / "model", family)
    store = Store(tmp_path / "store")
    adapter = trained(store, model, chat)
    merged = merge(adapter, prepare(str(model), store.cache), ChatTemplate.load(chat, model), store.cache).folder
    wanted, tokenizer = AutoModelForCausalLM.from_pretrained(merged).eval(), AutoTokenizer.from_pretrained(merged)
    texts = [*TEXTS, tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)]
    for kind, most in (("f16", 0.02), ("q8_0", 0.25)):
        out = export_into(tmp_path / f"{kind}.gguf", adapter, store.cache, kind)  # type: ignore[arg-type]
        as_read: dict[str, Any] = {"gguf_file": out.name}
        read = AutoTokenizer.from_pretrained(tmp_path, **as_read)
        assert read.chat_template == tokenizer.chat_template
        whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
        round_as(whole, kind)  # type: ignore[arg-type]
        quantised = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
        found = AutoModelForCausalLM.from_pretrained(tmp_path, **as_read, **quantised).eval()
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert read.encode(text, add_special_tokens=False) == ids
            seen = torch.tensor([ids[:WINDOW]])
            with torch.inference_mode():
                here, there, rounded = (each(seen).logits for each in (wanted, found, whole))
            assert (there - here).abs().max() / here.abs().max() < most
            assert torch.allclose(rounded, there, atol=1e-5), "what a server makes of the file"
    fields = GGUFReader(tmp_path / "f16.gguf").fields
    keys = [key for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id") if key in fields]
    assert tokenizer.convert_ids_to_tokens([fields[key].contents() for key in keys]) == MADE[family][2]
    if family == "mistral":
        assert fields["llama.context_length"].contents() == WINDOW, "of which all is seen, as in its window"


def test_what_it_is_not_proven_for_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    model, chat = write(tmp_path / "model", "mistral")
    adapter = trained(store, model, chat)
    (tmp_path / "there").touch()
    with pytest.raises(AssayError, match="is there already"):
        export_into(tmp_path / "there", adapter, store.cache)
    said = json.loads((model / "tokenizer.json").read_bytes())
    said["pre_tokenizer"]["add_prefix_space"] = True
    (model / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(AssayError, match="cuts texts as none of those") as told:
        export_into(tmp_path / "new.gguf", adapter, store.cache)
    assert "convert_hf_to_gguf.py" in str(told.value.remedy)
    config = json.loads((model / "config.json").read_bytes())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "olmo2"}))
    with pytest.raises(AssayError, match="its architecture is olmo2"):
        export_into(tmp_path / "new.gguf", adapter, store.cache)
    assert not (tmp_path / "new.gguf").exists()
