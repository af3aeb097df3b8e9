"""Lists of messages, in OpenAI's format and in ShareGPT's -> conversations."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    ROLES,
    UNGRADED_ANSWER,
    AskingError,
    Conversation,
    NotTextError,
    Paths,
    Rejection,
    ShapeError,
    Turn,
    conversation_of,
    first_of,
    json_text,
    speaker,
    text_of,
    tools_of,
)
from curate.read.padding import are_calls, unpadded_arguments, unpadded_calls
from curate.read.raw_row import Row
from curate.read.reasoning import PARTS, add_thought, is_thought, thought_text
from curate.read.verdicts import WEIGHT, UnknownVerdict, evidence, message_verdict, number
from curate.stage import UNREAD_KEY

READ = {"role", "content", "from", "value", "refusal", "tool_calls", "function_call", "channel"}
"""Keys of a message that are read by themselves, whoever speaks."""
ROLE_KEYS, FROM_KEYS = ("role", "content"), ("from", "value")
SAID = ("content", "value", "text", "markdown", "parts", "message")
"""Keys of what is said, by whatever key says who speaks; the first that holds something is read."""
NOT_TEXT_KEYS = ("image", "images", "audio", "audios", "video", "videos", "image_url", "input_audio")
"""Keys of a message that hold what is no text."""
NOT_TEXT_TYPES = ("image", "audio", "video", "file", "document", "media")
"""What the types of parts that are no text have in their names."""


def messages(row: Row, paths: Paths) -> list[Conversation]:
    """Rows whose messages are {role, content}, with calls of tools: OpenAI's format."""
    said = _said(row, "role", "content")
    return [] if said is None else [_conversation(row, said, ROLE_KEYS, _openai_content)]


def sharegpt(row: Row, paths: Paths) -> list[Conversation]:
    """Rows whose messages are {from, value}."""
    said = _said(row, "from", "value")
    return [] if said is None else [_conversation(row, said, FROM_KEYS, _sharegpt_content)]


def is_message(value: Any) -> bool:
    """Whether a value is one message, of either format."""
    return isinstance(value, dict) and ("from" in value or ("role" in value and "text" not in value))


def are_messages(value: Any) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


def in_keys_of(example: Row, said: list[Row]) -> list[Row]:
    """Messages with the keys that `example` has for who speaks and what is said."""
    to, was = (FROM_KEYS, ROLE_KEYS) if "from" in example else (ROLE_KEYS, FROM_KEYS)
    renamed = dict(zip(was, to, strict=True))
    return [{renamed.get(key, key): value for key, value in message.items()} for message in said]


def _said(row: Row, who: str, what: str) -> list[Row] | None:
    """The first column of a conversation whose messages have the keys `who` and `what`."""
    for name in CONVERSATIONS:
        said = row.get(name)
        if isinstance(said, list) and said and isinstance(said[0], dict) and who in said[0]:
            wrong = [number for number, each in enumerate(said) if not (isinstance(each, dict) and who in each)]
            if wrong:
                raise ShapeError(f"{name}.{wrong[0]}: expected {{{who}, {what}}}")
            answer = first_of(row, ANSWERS)
            if answer is not None and ROLES.get(str(said[-1][who]).strip().lower()) == "user":
                return said + answering(row, said[0], answer)
            return said
    return None


def answering(row: Row, example: Row, name: str) -> list[Row]:
    """The messages by which a column answers: those that it holds, or one of its text; none where it holds nothing, or
    a number, which is the place of a choice more often than an answer.

    Args:
        example: a message with the keys that they are to have.

    Raises:
        AskingError: it is several texts.
    """
    answer = row[name]
    if not isinstance(answer, (str, list, dict)) or not answer or (isinstance(answer, str) and not answer.strip()):
        return []
    said: Any = [answer] if is_message(answer) else answer
    if not are_messages(said):
        parts = isinstance(answer, list) and all(isinstance(part, dict) and "type" in part for part in answer)
        content = answer if parts or are_calls(answer) else text_of(name, one_answer(name, answer))
        said = [{"role": "assistant", "content": content}]
    return in_keys_of(example, said)


def one_answer(name: str, value: Any) -> Any:
    """An answer as it is; AskingError where it is several texts, of which nobody knows the one to be learned."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        if len(value) == 1:
            raise AskingError(
                f"{name} is a list of one text: that text is the answer, or the list is; map `turns`, e.g. "
                f"`{name}[0]`, or `target` to `{name}`"
            )
        raise AskingError(
            f"{name} is a list of {len(value)} texts: a pair or several answers, and nothing says which is the better; "
            f"map `turns`, e.g. `{name}[0]` for the first, or `{name} | join` for all as one"
        )
    return value


Content = Callable[[Row, Row, Turn, dict[str, int]], str]
"""A row's message's content as text; what was thought goes into the turn, what is not read is counted."""


def _conversation(row: Row, said: list[Row], keys: tuple[str, str], content_of: Content) -> Conversation:
    who, what = keys
    told: dict[str, int] = {}
    turns: list[Turn] = []
    names: dict[int, Any] = {}
    analysis: list[str] = []
    graded: Rejection | None = None
    if any(isinstance(message.get(what), list) for message in said):
        said = list(_flattened(said, what))
    for message in said:
        if len(message) == 2 and isinstance(content := message.get(what), str) and not analysis:
            turns.append({"role": speaker(message[who]), "content": content})
            continue
        turn: Turn = {"role": speaker(message[who])}
        turn["content"] = content_of(row, message, turn, told)
        try:
            _read_beside(message, turn, told)
        except UnknownVerdict as grade:
            key, value = grade.args
            graded = Rejection(UNGRADED_ANSWER, evidence(key, value, f"{first_of(row, CONVERSATIONS)}[-1].{key}"))
        if turn["role"] == "assistant":
            if message.get("channel") == "analysis":
                analysis.append(turn["content"])
                continue
            add_thought(turn, "\n".join(analysis).strip())
            analysis = []
        if message.get("name") is not None and turn["role"] != "tool" and who == "role":
            names[len(turns)] = message["name"]
        turns.append(turn)
    meta = {"names": json_text([names.get(place) for place in range(len(turns))])} if names else {}
    made = conversation_of(row, turns, meta)
    if told or graded or analysis:
        made = replace(made, told=told, judged=graded, left_out=made.left_out + len(analysis))
    return made


def _flattened(said: list[Row], what: str) -> Iterator[Row]:
    """Messages, of which those with Anthropic's parts that call tools or give their results are as OpenAI has them."""
    for message in said:
        held = message.get(what)
        parts = [part for part in held if isinstance(part, dict)] if isinstance(held, list) else []
        kinds = {part.get("type") for part in parts}
        if not kinds & {"tool_use", "tool_result"}:
            yield message
            continue
        for part in parts:
            if part.get("type") == "tool_result":
                yield {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": part.get("content")}
        calls = [
            {"id": part.get("id"), "name": part.get("name"), "arguments": part.get("input")}
            for part in parts
            if part.get("type") == "tool_use"
        ]
        left = [part for part in held or () if part not in parts or part.get("type") not in ("tool_use", "tool_result")]
        if calls or left:
            yield message | {what: left} | ({"tool_calls": calls} if calls else {})


def _read_beside(message: Row, turn: Turn, told: dict[str, int]) -> None:
    """What a message holds beside who speaks and what is said: thoughts, whether it is to be learned, or unread.

    Raises:
        UnknownVerdict: with key and value, where the message's answer is graded.
    """
    answers = turn["role"] == "assistant"
    for key, value in message.items():
        if key in READ or value is None or value in ("", [], {}):
            continue
        if key in NOT_TEXT_KEYS and not (key == "audio" and turn["content"]):  # which text is the transcript of
            raise NotTextError(f"messages: {key}; only text can be learned")
        if key in SAID and value is _held(message, "value" if "from" in message else "content"):
            continue
        if key in ("name", "tool_call_id") and "role" in message and (key == "name" or turn["role"] == "tool"):
            continue
        if answers and is_thought(key) and (thought := thought_text(value)):
            add_thought(turn, thought)
            continue
        try:
            learned = message_verdict(key, value)
        except UnknownVerdict:
            if answers:
                raise UnknownVerdict(key, value) from None
            continue
        if learned is None:
            told[UNREAD_KEY + str(key)[:60]] = 1
        elif answers and not learned:
            turn["trained"] = False
        elif answers and key == WEIGHT and number(value) != 1:
            told["weighted_messages"] = 1


def _openai_content(row: Row, message: Row, turn: Turn, told: dict[str, int]) -> str:
    """The content of one message of OpenAI's format.

    Calls of tools stand in the content as JSON, one object {(id), name, arguments} or a list of several, behind the
    text if there is any. So does a tool's result that names its tool or its call: {name, tool_call_id, content}.
    """
    content = _parts(_answer(message, "content", row, turn, told), turn, told)
    if not content and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    calls = [_call(call, row, told) for call in message.get("tool_calls") or ()]
    if message.get("function_call") is not None:
        calls.append(_call(message["function_call"], row, told))
    if calls:
        written = calls[0] if len(calls) == 1 else f"[{', '.join(calls)}]"
        content = f"{content}\n{written}" if content else written
    named = [key for key in ("name", "tool_call_id") if message.get(key) is not None] if turn["role"] == "tool" else []
    return json_text({key: message[key] for key in named} | {"content": content}) if named else content


def _sharegpt_content(row: Row, message: Row, turn: Turn, told: dict[str, int]) -> str:
    return _parts(_answer(message, "value", row, turn, told), turn, told, "sharegpt: value")


def _answer(message: Row, key: str, row: Row, turn: Turn, told: dict[str, int]) -> Any:
    """What a message says; an answer that is calls of tools as JSON, without what pads them."""
    held = _held(message, key)
    if turn["role"] != "assistant" or not isinstance(held, (dict, list)) or not are_calls(held):
        return held
    plain = unpadded_calls(held, tools_of(row))
    if plain != held:
        told["null_arguments"] = 1
    return json_text(plain)


def _held(message: Row, key: str) -> Any:
    """What a message says under a key or, where that holds nothing, under one of the others."""
    if message.get(key) not in (None, ""):
        return message[key]
    return next((message[other] for other in SAID if message.get(other) not in (None, "", [])), message.get(key))


def _parts(content: Any, turn: Turn, told: dict[str, int], name: str = "messages: content") -> str:
    """A message's content: text, or a list of parts of which each is text or thought."""
    texts_alone = isinstance(content, list) and len(content) > 1 and all(isinstance(part, str) for part in content)
    if texts_alone and turn["role"] == "assistant":
        raise AskingError(f"{name} is a list of {len(content)} texts, and nothing says which is learned; map `turns`")
    if not isinstance(content, list) or (name != "messages: content" and not all(isinstance(p, dict) for p in content)):
        return text_of(name, content)
    texts: list[str] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind in PARTS and turn["role"] == "assistant":
            add_thought(turn, thought_text(part))
        elif isinstance(part, dict) and isinstance(text := part.get("text", part.get("refusal")), str):
            texts.append(text)
            for key in part.keys() - {"type", "text", "refusal", "cache_control"}:
                if part[key] not in (None, "", [], {}):
                    told[UNREAD_KEY + str(key)[:60]] = 1
        else:
            wrong = f"messages: a part of type {kind!r}; only text can be learned"
            raise NotTextError(wrong) if any(word in str(kind) for word in NOT_TEXT_TYPES) else ShapeError(wrong)
    return "\n".join(texts)


def _call(call: Any, row: Row, told: dict[str, int]) -> str:
    """A tool's call as JSON; its arguments as the model wrote them, where those are JSON in text, else without what
    pads them."""
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
        if isinstance(arguments, dict):
            plain = unpadded_arguments(function["name"], arguments, tools_of(row))
            if plain != arguments:
                told["null_arguments"] = 1
                arguments = plain
        arguments = json_text(arguments)
    identity = f'"id": {json_text(call["id"])}, ' if call.get("id") is not None else ""
    return f'{{{identity}"name": {json_text(function["name"])}, "arguments": {arguments}}}'
