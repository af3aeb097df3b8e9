"""Exports of chats by the programs that people chat with -> lists of messages in OpenAI's format.

ChatGPT's has a tree of messages in `mapping`, a branch for each time that somebody asked again or had an answer made
again; Claude's a list in `chat_messages`. Read is what their programs show: the branch that was there last.
"""

from typing import Any, NamedTuple

from curate.read.raw_row import Row

TREE, LIST = "mapping", "chat_messages"
UNSAID = ("user_editable_context", "model_editable_context", "reasoning_recap")
"""Types of contents that nobody has said: settings, and what stands over hidden thoughts."""
CLAUDES = frozenset(
    {"sender", "content", "text", "uuid", "created_at", "updated_at", "parent_message_uuid", "index", "truncated"}
)
"""Keys of a message of Claude's that are read, or say nothing of what is said."""


class Exported(NamedTuple):
    """A chat as its export has it."""

    column: str
    messages: list[Row]
    left_out: int
    """Messages on branches that were left."""


def exported(row: Row) -> Exported | None:
    """The chat that a row is; None if it is none, or nobody says anything in it."""
    tree, listed = row.get(TREE), row.get(LIST)
    if isinstance(tree, dict) and tree and all(map(_is_node, tree.values())):
        said = {name: _said(node["message"]) for name, node in tree.items() if node.get("message") is not None}
        branch = [said.get(name) for name in _branch(tree, row.get("current_node"))]
        messages = [message for message in branch if message is not None]
        left_out = sum(message is not None for message in said.values()) - len(messages)
        return Exported(TREE, messages, left_out) if messages else None
    if isinstance(listed, list) and listed and all(isinstance(each, dict) and "sender" in each for each in listed):
        return Exported(LIST, [_of_claude(each) for each in listed], 0)
    return None


def _is_node(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("children") or [], list):
        return False
    message = value.get("message")
    if message is None:
        return True
    held = message.get("content") if isinstance(message, dict) else None
    return (
        isinstance(held, dict)
        and isinstance(message.get("author"), dict)
        and isinstance(message.get("metadata") or {}, dict)
        and all(isinstance(held.get(key) or [], list) for key in ("parts", "thoughts"))
    )


def _branch(tree: Row, last: Any) -> list[str]:
    """The names of the nodes from the root to the last; where none is named, to the end of the last branches."""
    if not _is_name(tree, last):
        last, ahead = None, next(iter(tree))
        seen: set[str] = set()
        while _is_name(tree, ahead) and ahead not in seen:
            seen.add(ahead)
            last, ahead = ahead, (tree[ahead].get("children") or [None])[-1]
    found: dict[str, None] = {}
    while _is_name(tree, last) and last not in found:
        found[last] = None
        last = tree[last].get("parent")
    return [*reversed(found)]


def _is_name(tree: Row, name: Any) -> bool:
    return isinstance(name, str) and name in tree


def _said(message: Row) -> Row | None:
    """What a message of ChatGPT's says, if it says something."""
    held, role = message["content"], message["author"].get("role")
    kind = held.get("content_type")
    if kind in UNSAID or (message.get("metadata") or {}).get("is_visually_hidden_from_conversation"):
        return None
    if kind == "thoughts":
        thoughts = [each.get("content") for each in held.get("thoughts") or () if isinstance(each, dict)]
        return {"role": "assistant", "channel": "analysis", "content": "\n".join(map(str, filter(None, thoughts)))}
    parts = [
        {"type": part.get("content_type")} | part if isinstance(part, dict) else {"type": "text", "text": part}
        for part in held.get("parts") or [held.get("text") or held.get("result") or ""]
    ]
    if all(part["type"] == "text" and not part.get("text") for part in parts):
        return None
    if role == "assistant" and message.get("recipient") not in (None, "all"):
        code = "".join(str(part.get("text", "")) for part in parts)
        return {"role": role, "function_call": {"name": message["recipient"], "arguments": code}}
    beside: Row = {"name": message["author"].get("name")} if role == "tool" else {}
    if role == "assistant" and message.get("weight") == 0:
        beside = {"weight": 0}
    return {"role": role, "content": parts} | beside


def _of_claude(message: Row) -> Row:
    """A message with the names that OpenAI has; attachments and the like stay, and are counted."""
    beside = {key: value for key, value in message.items() if key not in CLAUDES}
    return beside | {"role": message["sender"], "content": message.get("content") or message.get("text")}
