"""The tokenizer of a GGUF file, where it is GPT-2's in kind: written as transformers writes it, to the byte.

To import transformers and torch, which it reads such files with, takes ten times as long as all that is done here.
"""

import json
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("gpt-2", "smollm")
"""What llama.cpp calls ways to cut texts that transformers takes for GPT-2's."""
NORMAL, CONTROL = 1, 3
"""Types of tokens."""
NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
ALWAYS = "<|endoftext|>"
"""A special token that transformers adds to tokenizers of this kind where it is none."""
WIDTHS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Values of a fixed width, as `struct` calls them."""
STRING, ARRAY = 8, 9
MOST_TOKENS = 100_000
"""Of more, transformers looks at the pattern too."""
NO_BOUND = 1000000000000000019884624838656
"""What transformers writes for a model's longest text where nothing says it."""


def write_tokenizer(gguf: Path, folder: Path) -> bool:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja; False where that is for transformers to do.

    It is where the file cannot be read, or says anything of its tokenizer that is not understood here.
    """
    try:
        known = {name.removeprefix("tokenizer."): value for name, value in _metadata(gguf).items()}
        tokens, types = known["ggml.tokens"], set(known["ggml.token_type"])
        control = [token for token, of in zip(tokens, known["ggml.token_type"], strict=True) if of == CONTROL]
        named = {name: tokens[known[f"ggml.{key}_token_id"]] for name, key in NAMED.items()}
        understood = (
            known["ggml.model"] == "gpt2"
            and known["ggml.pre"] in KINDS
            and types <= {NORMAL, CONTROL}
            and {*named.values(), ALWAYS} <= {*control}
            and _is_spelled_in_bytes(tokens)
            and len(tokens) == len(set(tokens)) <= MOST_TOKENS
            and not (known.get("ggml.add_bos_token") or known.get("ggml.add_eos_token"))
        )
        template = known.get("chat_template")
        tokenizer = _tokenizer(tokens, known["ggml.merges"], control) if understood else None
    except Exception:  # whatever is wrong with the file, transformers says it
        return False
    if tokenizer is None:
        return False
    tokenizer.save(str(folder / "tokenizer.json"))
    config = named | {
        "backend": "tokenizers",
        "model_max_length": NO_BOUND,
        "tokenizer_class": "TokenizersBackend",
    }
    written = json.dumps(config, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(written + "\n", encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")
    return True


def _is_spelled_in_bytes(tokens: list[str]) -> bool:
    """Whether the tokens are written in letters that stand for bytes, as transformers would write them otherwise."""
    from tokenizers.pre_tokenizers import ByteLevel

    return set().union(*tokens) <= set(ByteLevel.alphabet())


def _tokenizer(tokens: list[str], merges: list[str], control: list[str]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=pairs, continuing_subword_prefix="", end_of_word_suffix="")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return tokenizer


def _metadata(gguf: Path) -> dict[str, Any]:
    """What a GGUF file says before its weights.

    Raises:
        Exception: it is none.
    """
    said: dict[str, Any] = {}
    with gguf.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        magic, _, _, count = struct.unpack_from("<4sIQQ", data)
        if magic != b"GGUF":
            raise ValueError(gguf)
        at = 24
        for _ in range(count):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            said[key], at = _value(data, at + 4, kind)
    return said


def _value(data: mmap, at: int, kind: int) -> tuple[Any, int]:
    """A value, and where the next thing begins."""
    if kind == STRING:
        return _string(data, at)
    if kind != ARRAY:
        return struct.unpack_from(f"<{WIDTHS[kind]}", data, at)[0], at + struct.calcsize(f"<{WIDTHS[kind]}")
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if kind == STRING:
        texts = []
        for _ in range(count):
            text, at = _string(data, at)
            texts.append(text)
        return texts, at
    end = at + count * struct.calcsize(f"<{WIDTHS[kind]}")
    return np.frombuffer(data[at:end], f"<{WIDTHS[kind]}"), end


def _string(data: mmap, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, at)
    return data[at + 8 : at + 8 + size].decode(), at + 8 + size
