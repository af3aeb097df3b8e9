"""A GGUF file's tokenizer is written as transformers writes it, or left to it."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from train.base_model import _save_tokenizer
from train.gguf_tokenizer import CONTROL, NORMAL, write_tokenizer

ALPHABET = sorted(ByteLevel.alphabet())
TOKENS = ["<|endoftext|>", "<|start|>", "ĠĊ", *ALPHABET, "he", "the", "Ġt", "Ġthe"]
TYPES = [CONTROL, CONTROL, CONTROL] + [NORMAL] * (len(TOKENS) - 3)
SAID: dict[str, Any] = {
    "general.architecture": "llama",
    "general.languages": ["en", "fr"],
    "llama.rope.freq_base": 10000.5,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": np.array(TYPES, np.int32),
    "tokenizer.ggml.merges": ["h e", "t he", "Ġ t", "Ġt he"],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 0,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 2,
}
SCORES = np.zeros(len(TOKENS), np.float32)
TEMPLATE = "{% for m in messages %}{{ m.content }}é\r\n{% endfor %}"
WRITTEN = {
    "plain": {},
    "with a chat template": {"tokenizer.chat_template": TEMPLATE},
    "with scores": {"tokenizer.ggml.pre": "smollm", "tokenizer.ggml.scores": SCORES},
    "nothing added": {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": False},
    "without special tokens": {"tokenizer.ggml.token_type": np.array([CONTROL] * len(TOKENS), np.int32)},
}
LEFT = {
    "another pattern": {"tokenizer.ggml.pre": "qwen2"},
    "an unknown pattern": {"tokenizer.ggml.pre": "default"},
    "another kind": {"tokenizer.ggml.model": "llama"},
    "a token before texts": {"tokenizer.ggml.add_bos_token": True},
    "without the token that is always added": {"tokenizer.ggml.tokens": ["<|end|>", *TOKENS[1:]]},
    "a token of the user's": {"tokenizer.ggml.token_type": np.array([*TYPES[:-1], 4], np.int32)},
    "too few types": {"tokenizer.ggml.token_type": np.array(TYPES[1:], np.int32)},
    "letters that are no bytes": {"tokenizer.ggml.tokens": [*TOKENS[:-1], "中"]},
    "a token twice": {"tokenizer.ggml.tokens": [*TOKENS[:-1], "he"]},
    "a named token that is not special": {"tokenizer.ggml.padding_token_id": 9},
    "no such token": {"tokenizer.ggml.padding_token_id": 1 << 20},
    "a merge of no token": {"tokenizer.ggml.merges": ["h e", "t h"]},
}


def gguf_of(said: dict[str, Any], path: Path) -> Path:
    """A GGUF file without weights that says this."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value_of(value: Any) -> bytes:
        if isinstance(value, str):
            return struct.pack("<I", 8) + text(value)
        if isinstance(value, bool):
            return struct.pack("<I?", 7, value)
        if isinstance(value, float):
            return struct.pack("<If", 6, value)
        if isinstance(value, int):
            return struct.pack("<II", 4, value)
        if isinstance(value, list):
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        kind = {"int32": 5, "float32": 6}[value.dtype.name]
        return struct.pack("<IIQ", 9, kind, len(value)) + bytes(value.tobytes())

    pairs = b"".join(text(key) + value_of(value) for key, value in said.items())
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(said)) + pairs)
    return path


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_written_as_transformers_writes_it(name: str, tmp_path: Path) -> None:
    gguf = gguf_of(SAID | WRITTEN[name], tmp_path / "model.gguf")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    assert write_tokenizer(gguf, ours)
    _save_tokenizer(theirs, gguf)
    written = {path.name: path.read_bytes() for path in theirs.iterdir()}
    assert {path.name: path.read_bytes() for path in ours.iterdir()} == written


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_understood_is_left_to_transformers(name: str, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    assert not write_tokenizer(gguf_of(SAID | LEFT[name], tmp_path / "model.gguf"), tmp_path / "to")
    assert not [*(tmp_path / "to").iterdir()]


@pytest.mark.parametrize("missing", [name for name in SAID if name.startswith("tokenizer.")])
def test_a_file_that_does_not_say_all_is_left_to_transformers(missing: str, tmp_path: Path) -> None:
    said = {key: value for key, value in SAID.items() if key != missing}
    assert not write_tokenizer(gguf_of(said, tmp_path / "model.gguf"), tmp_path)


def test_a_file_that_is_cut_off_or_none_is_left_to_transformers(tmp_path: Path) -> None:
    whole = gguf_of(SAID, tmp_path / "model.gguf").read_bytes()
    for raw in (b"", b"GGUF", whole[:-1], whole[: len(whole) // 2], b"JSON" + whole[4:], whole[:16] + b"\xff" * 99):
        (tmp_path / "model.gguf").write_bytes(raw)
        assert not write_tokenizer(tmp_path / "model.gguf", tmp_path)
