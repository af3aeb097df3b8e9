"""A model folder's tokenizer, read as what comes from elsewhere: within bounds, with patterns that end."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST = 256 << 20
"""Bytes of tokenizer.json that are read; those of 260,000 tokens have 33 MB."""
REMEDY = "Save the model's fast tokenizer there: AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)."


def read_tokenizer(folder: Path) -> "tuple[Tokenizer, dict[str, str]]":
    """The tokenizer of tokenizer.json, and the special tokens that tokenizer_config.json names, `eos_token` say.

    Raises:
        AssayError: a file is not there or cannot be read, is larger than LARGEST, or has a pattern that may take time
            exponential in a text (`repeats_a_choice`).
    """
    from tokenizers import Tokenizer

    path, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not path.is_file():
        raise AssayError(f"{folder}: no tokenizer.json.", remedy=REMEDY)
    if (size := path.stat().st_size) > LARGEST:
        raise AssayError(f"{path}: {size:,} bytes; a tokenizer of at most {LARGEST:,} is read.", remedy=REMEDY)
    tokens = special_tokens(config)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower one
        raise AssayError(f"{path}: no tokenizer: {error}", remedy=REMEDY) from None
    parts = (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder)
    for pattern in _patterns([json.loads(part.__getstate__()) for part in parts if part is not None]):
        if repeats_a_choice(pattern):
            raise AssayError(
                f"{path}: the pattern {pattern[:200]!r} repeats a group that matches in more than one way, so that a "
                "text can keep it busy for ever.",
                remedy="Write it without such a group, or name another model.",
            )
    return tokenizer, tokens


def read_config(path: Path) -> dict[str, Any]:
    """What a JSON file of a model's folder says; nothing where there is no such file.

    Raises:
        AssayError: it cannot be read, or is no object.
    """
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise AssayError(f"{path}: cannot be read: {type(error).__name__}: {error}", remedy=REMEDY) from None
    if not isinstance(said, dict):
        raise AssayError(f"{path}: cannot be read: expected an object, found {type(said).__name__}", remedy=REMEDY)
    return said


def special_tokens(path: Path) -> dict[str, str]:
    """The special tokens that a tokenizer_config.json names, by name.

    Raises:
        AssayError: it is not there or cannot be read.
    """
    if not path.is_file():
        raise AssayError(f"{path}: cannot be read: there is no such file", remedy=REMEDY)
    try:
        return {
            name: _content(value)
            for name, value in read_config(path).items()
            if name.endswith("_token") and not name.startswith("add_") and value
        }
    except (LookupError, TypeError) as error:
        raise AssayError(f"{path}: cannot be read: {type(error).__name__}: {error}", remedy=REMEDY) from None


def stop_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end what a model generates, as its generation_config.json or, without it, config.json says."""
    ends = read_config(folder / "generation_config.json") or read_config(folder / "config.json")
    stops = ends.get("eos_token_id")
    return tuple(each for each in (stops if isinstance(stops, list) else [stops]) if isinstance(each, int))


def adds_bos(tokenizer: "Tokenizer", bos: str, folder: Path) -> bool:
    """Whether the tokenizer begins a text with `bos` by itself, as its configuration or its post-processor says."""
    said = read_config(folder / "tokenizer_config.json").get("add_bos_token")
    return said if isinstance(said, bool) else tokenizer.encode("a").ids[:1] == [tokenizer.token_to_id(bos)]


def _content(token: Any) -> str:
    """The text of a special token, which may be an object."""
    text = token["content"] if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no token")
    return text


def _patterns(part: Any) -> Iterator[str]:
    """The regular expressions of a part of a tokenizer."""
    if isinstance(part, dict):
        if isinstance(part.get("Regex"), str):
            yield part["Regex"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _patterns(each)


_TOKEN = re.compile(
    r"""\\[pPxu]\{[^}]*\}|\\.|(?P<open>\((?:\?(?:<?[=!]|[a-zA-Z-]*:|>|<\w+>|\#[^)]*\)?))?)|(?P<close>\))"""
    r"""|(?P<many>[*+]|\{\d*,\d*\})|(?P<times>\{\d+\})|(?P<maybe>\?)|(?P<either>\|)|(?P<class>\[)|.""",
    re.DOTALL,
)


def repeats_a_choice(pattern: str) -> bool:
    """Whether a pattern repeats a group that may match in more than one way: by a quantifier or an alternative inside.

    The patterns of tokenizers in use do not. Oniguruma goes back over each combination, of which there are as many as
    2 to the length of a text.
    """
    choices = [False]  # for each group that is open, whether it has one
    closed = False  # whether the group that ended last, right before here, has one
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        assert token is not None  # noqa: S101 - the last alternative matches anything
        at = _class_end(pattern, token.end()) if token["class"] else token.end()
        if token["open"]:
            choices.append(False)
        elif token["close"] and len(choices) > 1:
            closed = choices.pop()
            choices[-1] |= closed
            continue
        elif (token["many"] or token["times"]) and closed:
            return True
        elif token["many"] or token["maybe"] or token["either"]:
            choices[-1] = True
        closed = False
    return False


def _class_end(pattern: str, at: int) -> int:
    """Where the class of characters ends whose opening bracket stands before `at`; classes stand in classes."""
    depth = 1
    while at < len(pattern) and depth:
        char = pattern[at]
        at += 2 if char == "\\" else 1
        depth += (char == "[") - (char == "]")
    return at
