"""Lists of messages, in OpenAI's format and in ShareGPT's -> conversations."""

import json
from typing import Any

from curate.read.conversation import (
    CONVERSATIONS,
    Conversation,
    Paths,
    ShapeError,
    Turn,
    conversation_of,
    json_text,
    speaker,
    text_of,
)
from curate.read.raw_row import Row


def messages(row: Row, paths: Paths) -> list[Conversation]:
    """Rows whose messages are {role, content}, with calls of tools: OpenAI's format."""
    said = _said(row, "role", "content")
    return [] if said is None else [conversation_of(row, [_openai_turn(message) for message in said], _names(said))]


def sharegpt(row: Row, paths: Paths) -> list[Conversation]:
    """Rows whose messages are {from, value}."""
    said = _said(row, "from", "value")
    if said is None:
        return []
    turns = [
        {"role": speaker(message["from"]), "content": text_of("sharegpt: value", message.get("value"))}
        for message in said
    ]
    return [conversation_of(row, turns)]


def _said(row: Row, who: str, what: str) -> list[Row] | None:
    """The first column of a conversation whose messages have the keys `who` and `what`."""
    for name in CONVERSATIONS:
        said = row.get(name)
        if isinstance(said, list) and said and isinstance(said[0], dict) and who in said[0]:
            wrong = [number for number, each in enumerate(said) if not (isinstance(each, dict) and who in each)]
            if wrong:
                raise ShapeError(f"{name}.{wrong[0]}: expected {{{who}, {what}}}")
            return said
    return None


def _openai_turn(message: Row) -> Turn:
    """One message of OpenAI's format.

    Calls of tools stand in the content as JSON, one object {(id), name, arguments} or a list of several, behind the
    text if there is any. So does a tool's result that names its tool or its call: {name, tool_call_id, content}.
    """
    role = speaker(message["role"])
    content = _parts(message.get("content"))
    if not content and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    if message.get("function_call") is not None:
        calls.append(_call(message["function_call"]))
    if calls:
        written = calls[0] if len(calls) == 1 else f"[{', '.join(calls)}]"
        content = f"{content}\n{written}" if content else written
    if role == "tool" and (named := [key for key in ("name", "tool_call_id") if message.get(key) is not None]):
        content = json_text({key: message[key] for key in named} | {"content": content})
    return {"role": role, "content": content}


def _parts(content: Any) -> str:
    """A message's content: text, or a list of parts of which each is text."""
    if not isinstance(content, list):
        return text_of("messages: content", content)
    for part in content:
        if not (isinstance(part, dict) and isinstance(part.get("text"), str)):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ShapeError(f"messages: a part of type {kind!r}; only text can be learned")
    return "\n".join(part["text"] for part in content)


def _call(call: Any) -> str:
    """A tool's call as JSON; its arguments as the model wrote them, where those are JSON."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or "name" not in function:
        raise ShapeError("messages: expected a call {function: {name, arguments}}")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            json.loads(arguments)
        except ValueError:
            arguments = json_text(arguments)
    else:
        arguments = json_text(arguments)
    identity = f'"id": {json_text(call["id"])}, ' if call.get("id") is not None else ""
    return f'{{{identity}"name": {json_text(function["name"])}, "arguments": {arguments}}}'


def _names(said: list[Row]) -> dict[str, str]:
    """Who of several speakers of one role said each message, where the messages say so."""
    names = [message.get("name") if speaker(message["role"]) != "tool" else None for message in said]
    return {"names": json_text(names)} if any(name is not None for name in names) else {}
