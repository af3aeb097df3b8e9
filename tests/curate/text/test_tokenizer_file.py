"""Tokenizers from elsewhere: of a size that can be read, and with patterns that end."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from curate.errors import AssayError
from curate.text import tokenizer_file
from curate.text.tokenise import Tokeniser
from curate.text.tokenizer_file import read_tokenizer, repeats_a_choice

IN_USE = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama 3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}&&[^\p{Han}]]*[\p{Ll}&&[^\p{Han}]]+(?i:'s|'t)?|\s+(?!\S)|\s+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "clip": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    "digits in threes": r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "spaces": r" {2,}",
}
FOR_EVER = [
    *(
        "(a+)+$",
        "(a|a)*b",
        "(a*)*b",
        "(?:a?){40}a{40}",
        "(x+x+)+y",
        "((a+))*",
        "(?i:a|b)+",
        "(?:(?:a|b)c){2,}",
        "(a{1,3})*",
    ),
    *(
        "(?<n>a+)+",
        "(?=(a+)+b)",
        "x|(y|(a*)*)",
        "([ab]+)*",
        "(a+)++",
        "(a+)+?",
        "(?:a+){3}",
        "([[a]b]+)*",
        "(\\p{L}+)*",
    ),
]


@pytest.mark.parametrize("name", IN_USE)
def test_patterns_in_use_are_read(name: str, tmp_path: Path) -> None:
    assert not repeats_a_choice(IN_USE[name])
    read_tokenizer(written(tmp_path, IN_USE[name]))


def written(folder: Path, pattern: str, part: str = "split", **config: Any) -> Path:
    """A folder with a tokenizer of this pattern."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    if part == "split":
        tokenizer.pre_tokenizer = split
    elif part == "sequence":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), split])
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(pattern), "")])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "bos_token": None} | config))
    return folder


@pytest.mark.parametrize("pattern", FOR_EVER)
def test_patterns_that_take_for_ever_are_not(pattern: str, tmp_path: Path) -> None:
    assert repeats_a_choice(pattern)
    assert repeats_a_choice(f"\\(a|b|[(+)]|{pattern}|c")
    if "(?" not in pattern:
        for part in ("split", "sequence", "normalizer"):
            with pytest.raises(AssayError, match=r"tokenizer\.json: the pattern '.*' repeats a group") as error:
                read_tokenizer(written(tmp_path, pattern, part))
            assert error.value.remedy


def test_its_special_tokens(tmp_path: Path) -> None:
    said = {"pad_token": {"content": "<pad>", "special": True}, "unk_token": None, "clean_up": True}
    _, tokens = read_tokenizer(written(tmp_path, " ", **said))
    assert tokens == {"eos_token": "</s>", "pad_token": "<pad>"}


def test_a_tokenizer_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, " ") / "tokenizer.json"
    os.truncate(path, tokenizer_file.LARGEST + 1)  # sparse: it takes no room on the disk
    with pytest.raises(
        AssayError, match=r"tokenizer\.json: 268,435,457 bytes; a tokenizer of at most 268,435,456 is read"
    ):
        read_tokenizer(tmp_path)


def test_a_tokenizer_that_gives_up_is_an_error(tmp_path: Path) -> None:
    tokenizer, _ = read_tokenizer(written(tmp_path, r"x+x+x+x+x+x+x+x+x+x+y"))
    with pytest.raises(AssayError, match=r"tokenizer fails on a text: .*retry-limit"):
        Tokeniser(tokenizer)(["x" * 400])
