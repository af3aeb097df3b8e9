"""Conversations: what a row of instruction data says, by whatever names; what all shapes' readers share."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from curate.read.raw_row import Row
from curate.record import content_id

Turn = dict[str, str]
Paths = Literal["all", "best"]

CONVERSATIONS = ("messages", "conversations", "conversation")
INPUTS = ("input", "context", "question")
PROMPTS = ("input", "prompt", "question", "query")
ANSWERS = ("output", "response", "completion", "answer")
SYSTEMS = ("system", "system_prompt")
TOOLS = ("tools", "functions")
PREFERENCES = ("chosen", "rejected")
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""Who speaks, by the names that data sets have for them."""


class ShapeError(Exception):
    """A row that fits no shape, or does not keep to the one that its columns tell."""


@dataclass(frozen=True)
class Conversation:
    """What one record is made of."""

    turns: list[Turn]
    group: str | None = None
    """Equal for conversations that begin alike or come from one tree."""
    left_out: int = 0
    """Turns behind the last answer, which nobody has answered; and of a tree, all messages that are on no path."""
    meta: dict[str, str] = field(default_factory=dict)


Reader = Callable[[Row, Paths], list[Conversation]]
"""The conversations of a row without nulls, none where it has another shape; ShapeError where it breaks its own."""


def conversation_of(row: Row, turns: list[Turn], meta: dict[str, str] | None = None) -> Conversation:
    """What the turns of a row make: up to the last answer, behind the row's own system prompt, in its group."""
    turns = [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]
    if not turns:
        raise ShapeError("no turns")
    end = answered([turn["role"] for turn in turns])
    group = named_group(row) or beginning(turns)
    return Conversation(with_system(row, turns[:end]), group, len(turns) - end, meta or {})


def answered(roles: list[str]) -> int:
    """How many turns there are up to the last answer; all of them, where there is none."""
    return max((number for number, role in enumerate(roles, 1) if role == "assistant"), default=len(roles))


def beginning(turns: list[Turn]) -> str:
    """What a conversation and its continuations have in common: a hash of the first turn that is not the system's."""
    first = next((turn for turn in turns if turn["role"] != "system"), turns[0])
    return content_id([first], None)


def named_group(row: Row) -> str | None:
    """The conversation that the row says it is of."""
    named = row.get("conversation_id")
    return str(named) if isinstance(named, (str, int)) else None


def with_system(row: Row, turns: list[Turn]) -> list[Turn]:
    """The turns, with the row's system prompt and the tools that it offers as their first, the system's."""
    system = first_of(row, SYSTEMS)
    said = [text_of(system, row[system])] if system and turns[0]["role"] != "system" else []
    tools = first_of(row, TOOLS)
    if turns[0]["role"] == "system":
        said, turns = [turns[0]["content"]], turns[1:]
    if tools and row[tools] not in ("", [], "[]"):
        said.append(text_of(tools, row[tools]))
    content = "\n\n".join(each for each in said if each.strip())
    return [{"role": "system", "content": content}, *turns] if content else turns


def first_of(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of some names that is a column of the row."""
    return next((name for name in names if row.get(name) is not None), None)


def is_preference(row: Row) -> bool:
    """Whether a row holds two answers, of which one was preferred."""
    return all(name in row for name in PREFERENCES)


def speaker(role: Any) -> str:
    """The role by its name in `ROLES`; ShapeError for a name that is not there."""
    known = ROLES.get(role.strip().lower().replace("-", "_")) if isinstance(role, str) else None
    if known is None:
        raise ShapeError(f"nobody knows who speaks as {role!r}; expected one of {', '.join(ROLES)}")
    return known


def text_of(name: str, value: Any) -> str:
    """A value as text: itself, nothing for null, and JSON for whatever else JSON can hold."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json_text(value)
    except (TypeError, ValueError):
        raise ShapeError(f"{name}: expected text, found {type(value).__name__}") from None


json_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
