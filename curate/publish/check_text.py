"""What a row asks, answers and is compared by: the definitions of the stages, a second time, in plain Python."""

import json
import re
import unicodedata
from typing import Any

from curate.publish.published import Row


def _answer_at(row: Row) -> int | None:
    """Which turn is the answer: without a target, where the assistant speaks last, the last that is trained."""
    turns = row["turns"]
    if row["target"] is not None or not turns or turns[-1]["role"] != "assistant":
        return None
    answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant" and turn.get("trained") is not False]
    return answers[-1] if answers else None


def asked_turns(row: Row) -> list[dict[str, str]]:
    """The turns that make the prompt, as who says what: those before an answer that is a turn, or all."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in row["turns"][: _answer_at(row)]]


def prompt_of(row: Row) -> str:
    """The text of these turns."""
    return "\n\n".join(turn["content"] for turn in asked_turns(row))


def answer_of(row: Row) -> str:
    """The target, or the turn that is the answer, or else ""."""
    at = _answer_at(row)
    return row["target"] or "" if at is None else str(row["turns"][at]["content"])


def reasoning_of(row: Row) -> str:
    """What was thought before the answer, or "" where nothing was."""
    at = _answer_at(row)
    return (row if at is None else row["turns"][at]).get("reasoning") or ""


def same_answer(first: Row, second: Row) -> bool:
    """Whether two answers are equal; JSON objects, in whatever order and spacing."""

    def canonical(text: str) -> str:
        try:
            return json.dumps(json.loads(text), sort_keys=True) if text.startswith("{") else text
        except ValueError:
            return text

    return canonical(answer_of(first)) == canonical(answer_of(second))


def shingles_of(row: Row, settings: dict[str, Any]) -> frozenset[str]:
    """The shingles of what a row is compared by: what is said besides system turns, the answer, or both."""
    asked = asked_turns(row)
    said = "\n\n".join(turn["content"] for turn in [turn for turn in asked if turn["role"] != "system"] or asked)
    text = {"prompt": said, "answer": answer_of(row), "both": f"{said}\n\n{answer_of(row)}"}[settings["scope"]]
    for boilerplate in settings.get("boilerplate", []):
        text = text.replace(boilerplate, "")
    return shingles(text, settings["shingle_words"])


def shingles(text: str, size: int) -> frozenset[str]:
    """The runs of `size` words in a text, see `curate.text.words`: of all its words if it has fewer, and if it has
    none, its characters without spaces."""
    found = words(text)
    if not found:
        return frozenset(["".join(text.split())])
    size = min(size, len(found))
    return frozenset(" ".join(found[at : at + size]) for at in range(len(found) - size + 1))


def words(text: str) -> list[str]:
    """The words of a text, case folded: runs of letters, digits, underscores and the marks on them; single characters
    in scripts without spaces."""
    if text.isascii():
        return re.findall(r"\w+", text.lower())
    found: list[str] = []
    within = False
    for char in text.casefold():
        part = char.isalnum() or char == "_"
        mark = not part and unicodedata.category(char)[0] == "M"
        if _spaceless(ord(char)) and (part or mark or ord(char) >= 0x20000):
            found.append(char)
            within = False
        elif part or (mark and within and ord(char) < 0x20000):
            if within:
                found[-1] += char
            else:
                found.append(char)
            within = True
        else:
            within = False
    return found


def _spaceless(code: int) -> bool:
    """Thai and Lao, Burmese, Khmer, kana, Han with its extensions A, compatibility and supplementary planes."""
    return code >= 0x0E00 and (
        code <= 0x0EFF
        or 0x1000 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)
