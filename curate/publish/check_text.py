"""What a row asks, answers and is compared by: the definitions of the stages, a second time, in plain Python."""

import json
import re
import unicodedata
from collections.abc import Iterator
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


DASHES = "‐‑–—﹣－"
BRACKETS = re.compile(r"(?<![\w\x80-\U0010ffff])([(\[])([0-9+.,\- \t]{1,64})([)\]])")
"""Brackets around numbers, as far as 64 characters apart."""


def shingles(text: str, size: int) -> frozenset[str]:
    """The runs of `size` words in a text, see `curate.text.words`: of all its words if it has fewer, and if it has
    none, its characters without spaces."""
    found = words(text)
    if not found:
        return frozenset([f" {''.join(text.split())}"])  # no shingle of words begins so
    size = min(size, len(found))
    return frozenset(" ".join(found[at : at + size]) for at in range(len(found) - size + 1))


def words(text: str) -> list[str]:
    """The words of a text, case folded: runs of letters, digits, underscores and the marks on them; single characters
    in scripts without spaces; and the signs that stand as operators."""
    signs = {at for first, last in _signs(text) for at in range(first, last)}
    found: list[str] = []
    within = False
    for at, original in enumerate(text):
        for char in original.casefold():
            part = char.isalnum() or char == "_"
            mark = not part and unicodedata.category(char)[0] == "M"
            if at in signs or _is_sign(char):
                found.append({**dict.fromkeys(DASHES, "-"), "−": "-", "％": "%"}.get(char, char))
                within = False
            elif _spaceless(ord(char)) and (part or mark or ord(char) >= 0x20000):
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


def _is_sign(char: str) -> bool:
    """Whether a character beyond ASCII is a sign wherever it stands."""
    category = unicodedata.category(char)
    picture = 0x2600 <= ord(char) <= 0x2793 or 0x1F000 <= ord(char) <= 0x1FAFF
    return char > "\x7f" and (category in ("Sm", "Sc") or char in "°‰′″％" or (category in ("So", "Sk") and picture))


def _signs(text: str) -> Iterator[tuple[int, int]]:
    """Where signs of ASCII, and dashes, stand as operators: the first, and after the last of equal ones."""
    begin = 0
    for line in re.split(r"(?<=[\r\n])", text):
        bare = line.rstrip("\r\n")
        for match in re.finditer(rf"(?<![\w)\]}}\x80-\U0010ffff])[{DASHES}](?=\.?[0-9０-９])", bare):
            yield begin + match.start(), begin + match.end()
        for match in BRACKETS.finditer(bare):
            if _are_numbers(match[2], match[1] + match[3] == "()"):
                yield begin + match.start(), begin + match.start() + 1
                yield begin + match.end() - 1, begin + match.end()
        for match in re.finditer(r"([!#$%&'*+\-/<=>^|~])\1*", bare):
            if _stands(match[1], len(match[0]), bare[: match.start()], bare[match.end() :]):
                yield begin + match.start(), begin + match.end()
        begin += len(line)


def _are_numbers(held: str, round_ones: bool) -> bool:
    """Whether what stands between two brackets is numbers and commas, and in round ones not one number with commas."""
    pieces = held.split(",")
    several = any(re.match(r"[0-9]{3}(?![0-9])", piece) is None for piece in pieces[1:])
    begun = re.match(r"[ \t]*[0-9+.\-]", held) and re.search(r"[0-9.][ \t]*$", held)
    return bool(begun) and len(pieces) > 1 and (several or not round_ones)


def _stands(sign: str, run: int, before: str, after: str) -> bool:
    """Whether a sign, so often repeated, is an operator between what is before and after it on its line."""
    left, right = before.rstrip(" \t"), after.lstrip(" \t")
    spaced = bool(left and right) and left != before and right != after
    tight = bool(re.search(r"[\w)\]}\x80-\U0010ffff]$", before) and re.match(r"[\w(\[{\x80-\U0010ffff]", after))
    free = not re.search(r"[\w)\]}\x80-\U0010ffff]$", before)
    match sign:
        case "=":
            return run <= 3
        case "+" | "^":
            return run <= 3 and not (not left and (not after or right != after))
        case "~":
            return run == 1 and not after.startswith("/") and not (not left and right != after)
        case "*":
            points = run == 1 and free and left and re.match("[A-Za-z]", after) and "*" not in after
            return run <= 2 and ((spaced and not left.endswith("*")) or tight or bool(points))
        case "/":
            numbers = re.search(r"[0-9)\]}]$", before) and re.match(r"[0-9(\[{]", after)
            return run <= 2 and (spaced or bool(numbers))
        case "%":
            return run == 1 and (spaced or bool(re.search("[0-9]$", left)))
        case "&":
            points = free and re.match("[A-Za-z]", after) and not re.match("[A-Za-z0-9]*;", after)
            return run == 2 or (run == 1 and (spaced or bool(points)))
        case "'":
            return run <= 3 and after.startswith("(") and bool(re.search("[A-Za-z]$", before))
        case "|":
            return run == 2 or (run == 1 and tight)
        case "$":
            return run == 1 and bool(re.match("[0-9]", after))
        case "#":
            return run == 1 and bool(re.search("[A-Za-z0-9]$", before)) and not re.match(r"[\w\x80-\U0010ffff]", after)
        case "!":
            negates = free and not before.endswith("<") and re.match(r"[A-Za-z(]", after)
            factorial = re.search("[0-9]$", before) and not re.match("[0-9]", after)
            variable = r"(?<![\w\x80-\U0010ffff'])[a-z]$"
            product = re.search(variable, before) and not re.match(r"[\w\x80-\U0010ffff]", after)
            return run == 1 and (after.startswith("=") or bool(negates or product or factorial))
        case "-":
            signed = free and re.match(r"\.?[0-9]", after)
            first = re.search(r"([0-9)\]}]|(?<![\w\x80-\U0010ffff])[A-Za-z])$", left)
            second = re.match(r"[0-9(\[{.\-]|[A-Za-z](?![\w\x80-\U0010ffff])", right)
            negated = free and re.match(r"[A-Za-z](?![\w\x80-\U0010ffff])", after)
            formula = (
                r"(?<![\w\x80-\U0010ffff])"
                r"([A-Z][A-Za-z0-9]?|[A-Z][A-Za-z0-9]*[0-9]|(?<=\^)[A-Za-z0-9]*[0-9][A-Za-z0-9]*)$"
            )
            charged = re.search(formula, before) and not re.match(r"[\w(\[{\x80-\U0010ffff]", after)
            operates = signed or negated or charged or (spaced and first and second)
            return run == 1 and (after.startswith("=") or bool(operates))
        case "<":
            return run <= 3 and not (run == 1 and re.match(r"[A-Za-z/!?][^<>]*>", after))
        case _:
            tag = run == 1 and re.search(r"<[A-Za-z/!?][^<>]*$", before)
            return run <= 3 and not tag and bool(left) and not (left.endswith(">") and left != before)


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
