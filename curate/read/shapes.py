"""Shapes: rows of the usual formats of instruction data, known by their columns -> conversations.

A column whose value is null counts as absent. Where a row fits several shapes, the first of `SHAPES` is taken: what is
structured before what is text, and the more particular names before the more general ones. A row with both `messages`
and `text` is therefore read from `messages`, of which its `text` is commonly a rendering.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from curate.read.raw import Row, Unread
from curate.record import content_id

Turn = dict[str, str]
Shape = Literal["oasst", "messages", "sharegpt", "alpaca", "guanaco", "llama2", "chatml", "prompt"]
Paths = Literal["all", "best"]

LOOKED_FOR: dict[Shape, str] = {
    "oasst": "prompt {message_id, text, role, replies}, or message_id, parent_id, text, role",
    "messages": "messages or conversations: [{role, content}]",
    "sharegpt": "conversations or messages: [{from, value}]",
    "alpaca": "instruction, (input) and output or response; or instruction and instances: [{input, output}]",
    "guanaco": "text: ### Human: ... ### Assistant: ...",
    "llama2": "text: [INST] ... [/INST] ...",
    "chatml": "text: <|im_start|>user ... <|im_end|>",
    "prompt": "prompt, question or input; and completion, response, answer or output",
}
"""What a row of each shape has, in the order in which they are tried."""
SHAPES: tuple[Shape, ...] = get_args(Shape)

MOST_COLUMNS = 20
"""Columns named when a row fits no shape."""

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


def recognise(row: Row, only: Shape | None = None, paths: Paths = "all") -> tuple[Shape, list[Conversation]]:
    """A row's shape and its conversations, at least one.

    Args:
        row: a raw row.
        only: the one shape that it may have; any, if None.
        paths: of a tree of messages, every path from the root to a leaf, or the one of the best-ranked replies.

    Raises:
        ShapeError: says what was looked for and which columns the row has, or what is wrong within.
    """
    known = {name: value for name, value in row.items() if value is not None}
    for shape in SHAPES if only is None else (only,):
        if found := READERS[shape](known, paths):
            return shape, found
    columns = [str(name) for name in known]
    more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
    wanted = "; ".join(f"{shape}: {LOOKED_FOR[shape]}" for shape in (SHAPES if only is None else (only,)))
    hint = "; a preference pair is no answer: map `turns` to the side that is to be learned" if _preference(row) else ""
    raise ShapeError(f"columns {', '.join(columns[:MOST_COLUMNS]) or '(none)'}{more}; looked for {wanted}{hint}")


def gathered(rows: Iterator[Row | Unread]) -> Iterator[Row | Unread]:
    """Rows, in which rows that are the messages of one tree have become one: the tree.

    A tree's messages follow one another in the file. A message whose parent is not among them comes by itself.
    """
    tree: list[Row] = []
    ids: set[str] = set()
    for row in rows:
        if isinstance(row, dict) and _is_flat_message(row):
            named = row.get("message_tree_id")
            if named != tree[0].get("message_tree_id") if tree and named else row.get("parent_id") not in ids:
                yield from _planted(tree)
                tree, ids = [], set()
            tree.append(row)
            ids.add(row["message_id"])
        else:
            yield from _planted(tree)
            tree, ids = [], set()
            yield row
    yield from _planted(tree)


# Trees of messages, as OpenAssistant exports them

DEEPEST_TREE = 100
"""Messages of a path: far more than people write, and few enough for what walks a nested value level by level."""


def _is_flat_message(row: Row) -> bool:
    """Whether a row is a message of a tree whose other messages are other rows."""
    return (
        all(isinstance(row.get(name), str) for name in MESSAGE)
        and ("parent_id" in row or "message_tree_id" in row)
        and all(isinstance(row.get(name), (str, type(None))) for name in ("parent_id", "message_tree_id"))
        and row.get("replies") is None
    )


def _planted(tree: list[Row]) -> Iterator[Row]:
    """Flat messages as nested trees, then those that hang on none of the others, or too deep, as they are."""
    replies: dict[Any, list[int]] = {}
    for place, message in enumerate(tree):
        replies.setdefault(message.get("parent_id"), []).append(place)
    nested = [message | {"replies": []} for message in tree]
    roots = replies.pop(None, [])
    depth = dict.fromkeys(roots, 1)
    reached = list(roots)
    for place in reached:
        for child in replies.pop(nested[place]["message_id"], ()) if depth[place] < DEEPEST_TREE else ():
            nested[place]["replies"].append(nested[child])
            depth[child] = depth[place] + 1
            reached.append(child)
    yield from (nested[place] for place in roots)
    yield from (message for place, message in enumerate(tree) if place not in depth)


def _oasst(row: Row, paths: Paths) -> list[Conversation]:
    root = row.get("prompt")
    if not (isinstance(root, dict) and "text" in root and "role" in root):
        if not all(isinstance(row.get(name), str) for name in MESSAGE):
            return []
        if row.get("parent_id") is not None:
            raise ShapeError(
                f"oasst: the message {row['parent_id']!r} that this one replies to is not in the rows beside it, or "
                f"more than {DEEPEST_TREE} messages came before: those of a tree must follow one another"
            )
        root = row
    group = str(row.get("message_tree_id") or root.get("message_id") or "") or None
    kept, left_out = _paths(root, paths)
    return [
        Conversation([_message_turn(message) for message in path], group, 0 if number else left_out)
        for number, path in enumerate(kept)
    ]


MESSAGE = ("message_id", "text", "role")


def _paths(root: Row, paths: Paths) -> tuple[list[list[Row]], int]:
    """The paths from the root to its leaves, each up to its last answer; and how many messages are on none of them.

    Left out are deleted messages with all that replies to them, and questions that nobody has answered unless the
    tree has no answer at all. The best path is that of the lowest rank at each step; what has no rank comes last.
    """
    found: list[list[tuple[Any, Row]]] = []
    stack: list[list[tuple[Any, Row]]] = [[((), root)]]
    count = 0
    while stack:
        path = stack.pop()
        count += 1
        replies = path[-1][1].get("replies") or []
        if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
            raise ShapeError("oasst: expected replies to be a list of messages")
        ranked = [((reply.get("rank") is None, reply.get("rank") or 0, n), reply) for n, reply in enumerate(replies)]
        alive = [each for each in ranked if not each[1].get("deleted")]
        count += sum(_size(reply) for _, reply in ranked if reply.get("deleted"))
        stack += [[*path, each] for each in reversed(alive)]
        if not alive:
            found.append(path[: _answered([_speaker(message.get("role")) for _, message in path])])
    begun = {tuple(id(message) for _, message in path[:end]) for path in found for end in range(1, len(path))}
    whole = {tuple(id(message) for _, message in path): path for path in found}
    kept = [path for key, path in whole.items() if key not in begun]
    if any(_speaker(path[-1][1].get("role")) == "assistant" for path in kept):
        kept = [path for path in kept if _speaker(path[-1][1].get("role")) == "assistant"]
    if paths == "best":
        kept = [min(kept, key=lambda path: [rank for rank, _ in path])]
    on_them = {id(message) for path in kept for _, message in path}
    return [[message for _, message in path] for path in kept], count - len(on_them)


def _size(message: Row) -> int:
    """How many messages a tree has."""
    found = [message]
    for each in found:
        replies = each.get("replies")
        found += [reply for reply in replies if isinstance(reply, dict)] if isinstance(replies, list) else []
    return len(found)


def _message_turn(message: Row) -> Turn:
    return {"role": _speaker(message.get("role")), "content": _text("oasst: text", message.get("text"))}


# Lists of messages


def _messages(row: Row, paths: Paths) -> list[Conversation]:
    said = _said(row, "role", "content")
    return [] if said is None else [_conversation(row, [_openai_turn(message) for message in said], _names(said))]


def _sharegpt(row: Row, paths: Paths) -> list[Conversation]:
    said = _said(row, "from", "value")
    if said is None:
        return []
    turns = [
        {"role": _speaker(message["from"]), "content": _text("sharegpt: value", message.get("value"))}
        for message in said
    ]
    return [_conversation(row, turns)]


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
    role = _speaker(message["role"])
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
        content = _json({key: message[key] for key in named} | {"content": content})
    return {"role": role, "content": content}


def _parts(content: Any) -> str:
    """A message's content: text, or a list of parts of which each is text."""
    if not isinstance(content, list):
        return _text("messages: content", content)
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
            arguments = _json(arguments)
    else:
        arguments = _json(arguments)
    identity = f'"id": {_json(call["id"])}, ' if call.get("id") is not None else ""
    return f'{{{identity}"name": {_json(function["name"])}, "arguments": {arguments}}}'


def _names(said: list[Row]) -> dict[str, str]:
    """Who of several speakers of one role said each message, where the messages say so."""
    names = [message.get("name") if _speaker(message["role"]) != "tool" else None for message in said]
    return {"names": _json(names)} if any(name is not None for name in names) else {}


# Columns of question and answer


def _alpaca(row: Row, paths: Paths) -> list[Conversation]:
    if "instruction" not in row:
        return []
    instances = row.get("instances")
    if isinstance(instances, list) and instances and all(isinstance(each, dict) for each in instances):
        task = content_id([{"role": "user", "content": _text("instruction", row["instruction"])}], None)
        each_asked = [_alpaca(row | {"instances": None} | each, paths) for each in instances]
        if not all(each_asked):
            raise ShapeError(f"alpaca: instances.{each_asked.index([])} has no output")
        return [Conversation(one.turns, task) for each in each_asked for one in each]
    answer = _first(row, ANSWERS)
    if answer is None:
        return []
    question = _text("instruction", row["instruction"]).strip()
    name = _first(row, INPUTS)
    given = _text(name, row[name]).strip() if name else ""
    return [_asked(row, f"{question}\n\n{given}" if given else question, answer)]


def _prompt(row: Row, paths: Paths) -> list[Conversation]:
    prompt, answer = _first(row, PROMPTS), _first(row, ANSWERS)
    if prompt is None or answer is None or _preference(row):
        return []
    if len(several := [name for name in PROMPTS if name in row]) > 1:
        raise ShapeError(f"prompt: {' or '.join(several)} may be what is asked; map `turns` to say which")
    if isinstance(row[prompt], list):
        said = row[answer] if isinstance(row[answer], list) else [{"role": "assistant", "content": row[answer]}]
        return _messages(row | {CONVERSATIONS[0]: row[prompt] + said}, paths)
    if not isinstance(row[answer], (str, list, dict)):  # a number is the place of a choice, more often than an answer
        return []
    question, context = _text(prompt, row[prompt]), _text("context", row.get("context"))
    return [_asked(row, f"{question}\n\n{context}" if context.strip() else question, answer)]


def _asked(row: Row, question: str, answer: str) -> Conversation:
    """One question and its answer, behind what was said before where the row has a `history` of pairs."""
    turns: list[Turn] = []
    for pair in row.get("history") or ():
        if not (isinstance(pair, list) and len(pair) == 2):
            raise ShapeError("history: expected pairs of question and answer")
        turns += [{"role": role, "content": _text("history", said)} for role, said in zip(_TWO, pair, strict=True)]
    turns += [{"role": "user", "content": question}, {"role": "assistant", "content": _text(answer, row[answer])}]
    group = _beginning(turns) if len(turns) > 2 else None
    return Conversation(_with_system(row, turns), _named_group(row) or group)


_TWO = ("user", "assistant")


# Text that a chat template has written


GUANACO = re.compile(r"(?<!#)###\s*(Human|Assistant):")
LLAMA2 = re.compile(r"\[(/?)INST\]")
LLAMA2_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)


def guanaco_turns(text: str) -> list[Turn]:
    """Turns of a text in Guanaco's format, "### Human: ... ### Assistant: ...", each without outer spaces.

    An answer marker with nothing behind it (a prompt to be continued) gives no turn.
    """
    pieces = GUANACO.split(text)
    said = [("system", pieces[0])]
    said += [
        ("user" if name == "Human" else "assistant", content)
        for name, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    return _spoken(said)


def llama2_turns(text: str) -> list[Turn]:
    """Turns of a text in Llama 2's format, "<s>[INST] <<SYS>> ... <</SYS>> ... [/INST] ... </s>", trimmed likewise."""
    pieces = LLAMA2.split(text)
    said = [("system", pieces[0])]
    for closed, content in zip(pieces[1::2], pieces[2::2], strict=True):
        if not closed and (system := LLAMA2_SYSTEM.match(content)):
            said.append(("system", system[1]))
            content = content[system.end() :]
        said.append(("assistant" if closed else "user", content))
    return _spoken(said)


def chatml_turns(text: str) -> list[Turn]:
    """Turns of a text in ChatML, "<|im_start|>role ... <|im_end|>", their contents as they are."""
    said = [{"role": _speaker(role), "content": content} for role, content in CHATML.findall(text)]
    return [turn for turn in said if turn["content"]]


def _spoken(said: list[tuple[str, str]]) -> list[Turn]:
    """Turns without outer spaces, without the model's own tokens around them, and without those of which nothing is
    left."""
    turns: list[Turn] = []
    for role, content in said:
        content = content.strip().removesuffix("<s>").rstrip().removesuffix("<|endoftext|>").rstrip()
        if content.count("</s>") > content.count("<s>"):  # else it is HTML's, of what is struck out
            content = content.removesuffix("</s>").rstrip()
        if content:
            turns.append({"role": role, "content": content})
    return turns


def _markup(opening: str, closing: str, turns_of: Callable[[str], list[Turn]]) -> "Reader":
    """Reads rows whose `text`, or whose prompt with the answer beside it, a chat template has written.

    Such a text has an `opening` and behind it a `closing`, two patterns.
    """
    begins, ends = re.compile(opening), re.compile(closing)

    def read(row: Row, paths: Paths) -> list[Conversation]:
        answer = _first(row, ANSWERS)
        for name in (*PROMPTS, "text") if answer and not _preference(row) else ("text",):
            text = row.get(name)
            if isinstance(text, str) and (begin := begins.search(text)) and ends.search(text, begin.end()):
                turns = turns_of(text)
                if answer and name != "text":
                    turns.append({"role": "assistant", "content": _text(answer, row[answer])})
                return [_conversation(row, turns)] if turns else []
        return []

    return read


# What they share


def _conversation(row: Row, turns: list[Turn], meta: dict[str, str] | None = None) -> Conversation:
    turns = [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]
    if not turns:
        raise ShapeError("no turns")
    end = _answered([turn["role"] for turn in turns])
    group = _named_group(row) or _beginning(turns)
    return Conversation(_with_system(row, turns[:end]), group, len(turns) - end, meta or {})


def _answered(roles: list[str]) -> int:
    """How many turns there are up to the last answer; all of them, where there is none."""
    return max((number for number, role in enumerate(roles, 1) if role == "assistant"), default=len(roles))


def _beginning(turns: list[Turn]) -> str:
    """What a conversation and its continuations have in common: a hash of the first turn that is not the system's."""
    first = next((turn for turn in turns if turn["role"] != "system"), turns[0])
    return content_id([first], None)


def _named_group(row: Row) -> str | None:
    named = row.get("conversation_id")
    return str(named) if isinstance(named, (str, int)) else None


def _with_system(row: Row, turns: list[Turn]) -> list[Turn]:
    """The turns, with the row's system prompt and the tools that it offers as their first, the system's."""
    system = _first(row, SYSTEMS)
    said = [_text(system, row[system])] if system and turns[0]["role"] != "system" else []
    tools = _first(row, TOOLS)
    if turns[0]["role"] == "system":
        said, turns = [turns[0]["content"]], turns[1:]
    if tools and row[tools] not in ("", [], "[]"):
        said.append(_text(tools, row[tools]))
    content = "\n\n".join(each for each in said if each.strip())
    return [{"role": "system", "content": content}, *turns] if content else turns


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def _preference(row: Row) -> bool:
    return all(name in row for name in PREFERENCES)


def _speaker(role: Any) -> str:
    known = ROLES.get(role.strip().lower().replace("-", "_")) if isinstance(role, str) else None
    if known is None:
        raise ShapeError(f"nobody knows who speaks as {role!r}; expected one of {', '.join(ROLES)}")
    return known


def _text(name: str, value: Any) -> str:
    """A value as text: itself, nothing for null, and JSON for whatever else JSON can hold."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return _json(value)
    except (TypeError, ValueError):
        raise ShapeError(f"{name}: expected text, found {type(value).__name__}") from None


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

Reader = Callable[[Row, Paths], list[Conversation]]
READERS: dict[Shape, Reader] = {
    "oasst": _oasst,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "guanaco": _markup(r"###\s*Human:", r"###\s*Assistant:", guanaco_turns),
    "llama2": _markup(r"\[INST\]", r"\[/INST\]", llama2_turns),
    "chatml": _markup(r"<\|im_start\|>\w+\n", r"<\|im_end\|>", chatml_turns),
    "prompt": _prompt,
}
