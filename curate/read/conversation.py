"""Conversations: what a row of instruction data says, by whatever names; what all shapes' readers share."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from curate.read.padding import MEANT, unpadded
from curate.read.raw_row import Row
from curate.record import content_id

Turn = dict[str, Any]
"""{role, content}, and where it has them: `reasoning`, the text thought before the content, and `trained`, false where
the turn stays in the conversation and is not to be learned."""
Paths = Literal["preferred", "best", "all"]

CONVERSATIONS = ("messages", "conversations", "conversation")
TALKS = (
    *("dialog", "dialogue", "dialogs", "dialogues", "chat", "chats", "turns", "thread", "msgs", "contents"),
    *("data", "text"),
)
"""Names of columns that are one of `CONVERSATIONS` where messages are what they hold."""
INPUTS = ("input", "context", "question")
PROMPTS = ("input", "prompt", "question", "query")
ANSWERS = ("output", "response", "completion", "answer")
SYSTEMS = ("system", "system_prompt", "system_instruction", "systeminstruction")
TOOLS = ("tools", "functions")
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
    "bot": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""Who speaks, by the names that data sets have for them."""


UNRECOGNISED = "unrecognised"
"""Reason: the row fits no known shape, or not the one that its columns tell; the evidence says what was looked for."""
REJECTED_ANSWER = "rejected_answer"
"""Reason: the row says that the answer is bad, or that another one is better; the evidence names where."""
UNGRADED_ANSWER = "ungraded_answer"
"""Reason: the row grades the answer, and only the recipe can say which grades are good: `record.accept`."""
NOT_TEXT = "not_text"
"""Reason: pictures, sound or the like are part of what is said."""


class ShapeError(Exception):
    """A row that fits no shape, or does not keep to the one that its columns tell."""

    reason = UNRECOGNISED
    more: ClassVar[dict[str, Any]] = {}
    """What the evidence says beside the message."""


class AskingError(ShapeError):
    """A row of which only the recipe can say what is to be learned: nothing is to be guessed of it."""

    more: ClassVar[dict[str, Any]] = {"asks": True}


class NotTextError(ShapeError):
    """A row of which a part is no text."""

    reason = NOT_TEXT
    more: ClassVar[dict[str, Any]] = {"asks": True}


@dataclass(frozen=True)
class Rejection:
    """Why an answer is not to be learned."""

    reason: str
    evidence: dict[str, Any]
    preferred: "Conversation | None" = None
    """The one with the better answer, where there is one."""


@dataclass(frozen=True)
class Conversation:
    """What one record is made of."""

    turns: list[Turn]
    group: str | None = None
    """Equal for conversations that begin alike or come from one tree."""
    left_out: int = 0
    """Turns behind the last answer, which nobody has answered; and of a tree, all messages that are on no path."""
    meta: dict[str, str] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    """What else is counted of it."""
    rejected: Rejection | None = None
    judged: Rejection | None = None
    """The same by columns that judge or grade the answer; the recipe's `accept` takes their place."""


Reader = Callable[[Row, Paths], list[Conversation]]
"""The conversations of a row without nulls, none where it has another shape; ShapeError where it breaks its own."""


def conversation_of(row: Row, turns: list[Turn], meta: dict[str, str] | None = None) -> Conversation:
    """What the turns of a row make: up to the last answer to be learned, behind the row's own system prompt, in its
    group."""
    turns = [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]
    if not turns:
        raise ShapeError("no turns")
    end = len(turns)
    while end and not (turns[end - 1]["role"] == "assistant" and turns[end - 1].get("trained", True)):
        end -= 1
    group = named_group(row) or beginning(turns)
    rejected: Rejection | None = None
    if not end:
        end = len(turns)
        if any("trained" in turn for turn in turns):
            rejected = Rejection(REJECTED_ANSWER, {"message": "its messages say that none of its answers is trained"})
    return Conversation(with_system(row, turns[:end]), group, len(turns) - end, meta or {}, rejected=rejected)


def answered(roles: list[str]) -> int:
    """How many turns there are up to the last answer; all of them, where there is none."""
    return max((number for number, role in enumerate(roles, 1) if role == "assistant"), default=len(roles))


def beginning(turns: list[Turn]) -> str:
    """What a conversation and its continuations have in common: a hash of its turns, but the system's, up to the user's
    first. An assistant that speaks first greets everybody alike."""
    said = [turn for turn in turns if turn["role"] != "system"] or turns[:1]
    end = next((number for number, turn in enumerate(said) if turn["role"] == "user"), 0)
    return content_id(said[: end + 1], None)


def named_group(row: Row) -> str | None:
    """The conversation that the row says it is of."""
    named = row.get("conversation_id")
    return str(named) if isinstance(named, (str, int)) else None


def with_system(row: Row, turns: list[Turn]) -> list[Turn]:
    """The turns, with the row's system prompt and the tools that it offers as their first, the system's."""
    system = first_of(row, SYSTEMS)
    said = [_system_text(system, row[system])] if system and turns[0]["role"] != "system" else []
    tools = first_of(row, TOOLS)
    if turns[0]["role"] == "system":
        said, turns = [turns[0]["content"]], turns[1:]
    if tools and row[tools] not in ("", [], "[]"):
        said.append(text_of(tools, unpadded(row[tools], MEANT)))
    content = "\n\n".join(each for each in said if each.strip())
    return [{"role": "system", "content": content}, *turns] if content else turns


def _system_text(name: str, value: Any) -> str:
    """A system prompt: text, or as Anthropic and Google have it, parts of text."""
    parts = value.get("parts") if isinstance(value, dict) else value
    if isinstance(parts, list) and parts and all(isinstance(part, dict) and "text" in part for part in parts):
        return "\n".join(text_of(name, part["text"]) for part in parts)
    return text_of(name, value)


def first_of(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of some names that is a column of the row."""
    for name in names:  # a generator's set-up would be felt: every row is asked several times
        if row.get(name) is not None:
            return name
    return None


def tools_of(row: Row) -> Any:
    """The tools that a row offers, as it holds them; None where it offers none."""
    name = first_of(row, TOOLS)
    return None if name is None else row[name]


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
