"""Reasoning: what was thought before an answer, kept apart from what was answered."""

import re
from typing import Any

from curate.read.conversation import Turn

REASONING = (
    *("reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking", "thinking_blocks"),
    *("thinking_content", "think", "thought", "thoughts", "chain_of_thought", "cot", "complex_cot", "rationale"),
)
"""Keys of an answer's message, or columns beside an answer, that hold what was thought before it."""
PARTS = ("thinking", "reasoning", "reasoning_content", "thought", "reasoning_text", "summary_text")
"""Types of a content's parts that are thought."""

MODES = ("on", "off", "yes", "no", "true", "false", "none", "low", "medium", "high", "auto", "n/a")
"""What a column of such a name says where it is no thought but how much was to be thought."""

BEFORE = re.compile(
    r"\s*<(think|thinking|thought|reasoning)>(.*?)</\1>\s*"
    r"|\s*<\|begin_of_thought\|>(.*?)<\|end_of_thought\|>\s*(?:<\|begin_of_solution\|>(.*?)<\|end_of_solution\|>\s*)?",
    re.DOTALL,
)
BEGUN = re.compile(r"\s*<(?:think(?:ing)?>|thought>|reasoning>|\|begin_of_thought\|>)")
END = re.compile(r"\n</think>[ \t]*\n")
"""Some templates have written the opening tag into the prompt."""


def thought_text(value: Any) -> str:
    """What was thought, by any of its forms: a text, or a list of texts or of parts that hold one; "" for others."""
    if isinstance(value, str):
        return "" if value.strip().lower() in MODES else value.strip()
    if isinstance(value, dict):
        held = (value.get(key) for key in ("text", *PARTS, "content", "summary"))
        return next((text for each in held if (text := thought_text(each))), "")
    if isinstance(value, list):
        return "\n".join(text for each in value if (text := thought_text(each)))
    return ""


def set_apart(turn: Turn) -> bool:
    """Take the thought, between tags, that an answer's content begins with out of it.

    Returns whether one is begun and not ended; such a content stays as it is.
    """
    content = turn["content"]
    if BEGUN.match(content) is None:
        if "</think>" not in content or "<think>" in content or len(pieces := END.split(content)) != 2:
            return False
        thought, rest = pieces[0], pieces[1].lstrip()
    elif (found := BEFORE.match(content)) is not None:
        thought = found[2] or found[3] or ""
        rest = (found[4] or "").strip() + content[found.end() :]
    else:
        return True
    turn["content"] = rest
    add_thought(turn, thought.strip())
    return False


def add_thought(turn: Turn, thought: str) -> None:
    """Put what was thought before a turn into it, unless it says so already."""
    if thought and thought not in turn.get("reasoning", ""):
        turn["reasoning"] = "\n\n".join([*([turn["reasoning"]] if "reasoning" in turn else []), thought])
