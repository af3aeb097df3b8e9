"""Reasoning: what was thought before an answer, kept apart from what was answered."""

import re
from functools import lru_cache
from typing import Any

from curate.read.conversation import Turn
from curate.read.verdicts import normal

THOUGHT = {"reasoning", "thinking", "think", "thought", "thoughts", "cot", "rationale", "scratchpad", "monologue"}
FORMS = {"content", "text", "details", "blocks", "trace", "traces", "process", "chain", "steps", "trajectory", "path"}
WHOSE = {"model", "assistant", "llm", "deepseek", "r1", "answer", "response", "internal", "generated", "complex"}
"""Words of the names of keys of an answer's message, or of columns beside an answer, that hold what was thought before
it: the last of them, but for one that tells in what form, and what may stand before it."""
PARTS = ("thinking", "reasoning", "reasoning_content", "thought", "reasoning_text", "summary_text")
"""Types of a content's parts that are thought."""

MODES = ("on", "off", "yes", "no", "true", "false", "none", "low", "medium", "high", "auto", "n/a")
"""What a column of such a name says where it is no thought but how much was to be thought."""

TAGS = "think|thinking|thoughts?|reasoning|seed:think|mm:think|longcat_think"
MARKS = (
    rf"<({TAGS})>(?P<thought>.*?)</\1>\s*",
    r"\[THINK\](?P<thought>.*?)\[/THINK\]\s*",
    r"◁think▷(?P<thought>.*?)◁/think▷\s*",
    r"<\|START_THINKING\|>(?P<thought>.*?)<\|END_THINKING\|>\s*",
    r"<\|channel>thought(?P<thought>.*?)<channel\|>\s*",
    r"<\|begin_of_thought\|>(?P<thought>.*?)<\|end_of_thought\|>\s*"
    r"(?:<\|begin_of_solution\|>(?P<answer>.*?)<\|end_of_solution\|>\s*)?",
    r"(?:<\|start\|>assistant)?<\|channel\|>analysis<\|message\|>(?P<thought>.*?)<\|end\|>\s*"
    r"(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>(?P<answer>.*?)(?:<\|(?:return|end)\|>\s*)?\Z",
)
"""What an answer begins with that was thought before: in tags, as DeepSeek-R1, Qwen, Seed-OSS and MiniMax have them;
Magistral; Kimi; Command A; Gemma; OpenThinker; gpt-oss."""
BEFORE = tuple(re.compile(rf"\s*{form}", re.DOTALL | re.IGNORECASE) for form in MARKS)
BEGUN = re.compile(
    rf"\s*(?:<(?:{TAGS})>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|channel>thought|<\|begin_of_thought\|>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>analysis)",
    re.IGNORECASE,
)
END = re.compile(r"\n</think>[ \t]*\n")
"""Some templates have written the opening tag into the prompt."""


@lru_cache(maxsize=1024)
def is_thought(name: Any) -> bool:
    """Whether a key of an answer's message, or a column beside an answer, holds what was thought before it."""
    words = normal(name).replace("co_t", "cot").split("_")  # CoT
    if len(words) > 1 and words[-1] in FORMS:
        del words[-1]
    if words[-3:] == ["chain", "of", "thought"]:
        del words[-3:-1]
    return words[-1] in THOUGHT and WHOSE.issuperset(words[:-1])


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
    elif found := next((match for form in BEFORE if (match := form.match(content))), None):
        thought = found["thought"]
        rest = (found.groupdict().get("answer") or "").strip() + content[found.end() :]
    else:
        return True
    turn["content"] = rest
    add_thought(turn, thought.strip())
    return False


def add_thought(turn: Turn, thought: str) -> None:
    """Put what was thought before a turn into it, unless it says so already."""
    if thought and thought not in turn.get("reasoning", ""):
        turn["reasoning"] = "\n\n".join([*([turn["reasoning"]] if "reasoning" in turn else []), thought])
