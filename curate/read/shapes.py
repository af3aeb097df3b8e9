"""Shapes: rows of the usual formats of instruction data, known by their columns -> conversations.

A column whose value is null counts as absent. Where a row fits several shapes, the first of `SHAPES` is taken: what is
structured before what is text, and the more particular names before the more general ones. A row with both `messages`
and `text` is therefore read from `messages`, of which its `text` is commonly a rendering.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from curate.read.alternatives import Layout, layout_of
from curate.read.chat_markup import chatml_turns, guanaco_turns, llama2_turns, markup_reader
from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    INPUTS,
    PROMPTS,
    REJECTED_ANSWER,
    SYSTEMS,
    TOOLS,
    AskingError,
    Conversation,
    NotTextError,
    Paths,
    Reader,
    Rejection,
    ShapeError,
)
from curate.read.json_value import text_value
from curate.read.message_list import are_messages, is_message, messages, sharegpt
from curate.read.message_tree import oasst
from curate.read.python_value import is_python
from curate.read.question_answer import alpaca, prompt
from curate.read.raw_row import Row
from curate.read.reasoning import REASONING, add_thought, set_apart, thought_text
from curate.read.verdicts import GRADES, WEIGHT, judge, judging, normal, number

Shape = Literal["oasst", "messages", "sharegpt", "alpaca", "guanaco", "llama2", "chatml", "prompt"]

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
MEDIA = ("image", "images", "audio", "audios", "video", "videos", "pixel_values", "picture", "pictures")
"""Columns of pictures and the like, which belong to what is said where the text has a place for them."""
PLACES = ("<image>", "<audio>", "<video>", "<|image|>", "<|image_pad|>", "<|audio|>")

READERS: dict[Shape, Reader] = {
    "oasst": oasst,
    "messages": messages,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "guanaco": markup_reader(r"###\s*Human:", r"###\s*Assistant:", guanaco_turns),
    "llama2": markup_reader(r"\[INST\]", r"\[/INST\]", llama2_turns),
    "chatml": markup_reader(r"<\|im_start\|>\w+\n", r"<\|im_end\|>", chatml_turns),
    "prompt": prompt,
}


@dataclass
class Columns:
    """What has to be looked at in rows of these columns, beside what the shapes' readers read."""

    names: tuple[Any, ...]
    nested: tuple[Any, ...]
    """Those that may hold messages or lists as JSON text."""
    layout: Layout | None
    thoughts: tuple[Any, ...]
    media: tuple[Any, ...]
    judging: bool
    taken: dict[Shape, dict[str, str]] = field(default_factory=dict)


class Recognised(NamedTuple):
    """What a row was recognised to be."""

    shape: Shape
    conversations: list[Conversation]
    """At least one; good answers come first."""
    taken: dict[str, str]
    """Column -> what it was taken for; a column that is not there was not looked at."""


@lru_cache(maxsize=1024)
def columns_of(names: tuple[Any, ...]) -> Columns:
    """What rows of these columns, in this order, are looked at for."""
    layout = layout_of(names)
    nested = {*CONVERSATIONS, "prompt", "completion", "history", "instances", *(layout.taken if layout else ())}
    return Columns(
        names,
        tuple(name for name in names if name in nested or (layout and name in PROMPTS)),
        layout,
        tuple(name for name in names if name in REASONING),
        tuple(name for name in names if name in MEDIA),
        bool(judging(names)),
    )


def recognise(row: Row, only: Shape | None = None, paths: Paths = "preferred") -> Recognised:
    """A row's shape and its conversations.

    Args:
        row: a raw row.
        only: the one shape that it may have; any, if None.
        paths: of a tree of messages, the paths of preferred replies, the one of the best-ranked replies, or all.

    Raises:
        ShapeError: says what was looked for and which columns the row has, or what is wrong within.
    """
    known = {name: value for name, value in row.items() if value is not None}
    columns = columns_of(tuple(known))
    for name in columns.nested:
        known[name] = _unfolded(name, known[name])
    if columns.layout is not None and (several := columns.layout.read(known)):
        answers = [(recognise(each.row, only, paths), each.evidence) for each in several]
        return _of_several(known, columns.layout, answers)
    for shape in SHAPES if only is None else (only,):
        if found := READERS[shape](known, paths):
            for each in found:
                for turn in each.turns:
                    if turn["role"] == "assistant" and "<" in turn["content"] and set_apart(turn):
                        each.told["reasoning_not_ended"] = 1
            if columns.judging or columns.thoughts or columns.media:
                found = _with_columns(shape, known, columns, found)
            return Recognised(shape, found, columns.taken.get(shape) or _taken(shape, columns))
    has_worse = columns.layout is not None and "rejected answer" in columns.layout.taken.values()
    raise (AskingError if has_worse else ShapeError)(_unrecognised(row, known, only))


def _of_several(row: Row, layout: Layout, answers: list[tuple[Recognised, dict[str, Any] | None]]) -> Recognised:
    """Of several answers each as a conversation, the worse ones rejected for the first of the good ones."""
    shape, [kept, *_], taken = answers[0][0]
    preferred = kept if answers[0][1] is None else None
    found: list[Conversation] = []
    for (_, made, _), evidence in answers:
        rejected = None if evidence is None else Rejection(REJECTED_ANSWER, evidence, preferred)
        found += made if rejected is None else [replace(each, rejected=rejected) for each in made]
    return Recognised(shape, found, {name: use for name, use in taken.items() if name in row} | layout.taken)


def _with_columns(shape: Shape, row: Row, columns: Columns, found: list[Conversation]) -> list[Conversation]:
    """The conversations with what columns say of their answers: verdicts, grades and thoughts."""
    for name in columns.media:
        if (place := _place(found, row[name])) is not None:
            raise NotTextError(f"{name}: what is said has {place}; only text can be learned")
    for name in columns.thoughts if shape in ("alpaca", "prompt") else ():
        for each in found:
            if each.turns[-1]["role"] == "assistant":
                add_thought(each.turns[-1], thought_text(row[name]))
    if not columns.judging or shape == "oasst":
        return found
    judged, grades = judge(row)
    weighs = any(normal(name) == WEIGHT and number(grade) != 1 for name, grade in grades.items())
    weighted = {"weighted": 1} if judged is None and weighs else {}
    return [
        replace(each, judged=judged or each.judged, meta=each.meta | grades, told=each.told | weighted)
        for each in found
    ]


def _place(found: list[Conversation], value: Any) -> str | None:
    """What of a column of pictures or the like belongs to what is said."""
    if value in ("", [], {}):
        return None
    held = value if isinstance(value, list) else [value]
    if any(isinstance(each, bytes) or (isinstance(each, dict) and each.keys() & {"bytes", "path"}) for each in held):
        return "pictures or sound beside it"
    texts = [turn["content"] for each in found for turn in each.turns]
    return next((place for place in PLACES if any(place in text for text in texts)), None)


def _unfolded(name: Any, value: Any) -> Any:
    """A value of messages or a list, where it is one as JSON text, or as lists by key.

    Raises:
        AskingError: the column can hold nothing else, and its text is no JSON.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            found = text_value(value)
        except ValueError as error:
            if name not in CONVERSATIONS:
                return value
            mend = f"in Python's notation, not JSON: map `turns` to `{name} | from_python`"
            raise AskingError(f"{name}: text that is {mend if is_python(value) else f'no JSON: {error}'}") from None
        return found if name in CONVERSATIONS or is_message(found) or are_messages(found) else value
    if isinstance(value, dict) and name in CONVERSATIONS and value.keys() & {"role", "from"}:
        lists = list(value.values())
        if all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
            return [dict(zip(value, each, strict=True)) for each in zip(*lists, strict=True)]
    return value


def _unrecognised(row: Row, known: Row, only: Shape | None) -> str:
    """What is said of a row that fits no shape."""
    empty = [name for name, value in row.items() if value is None and name in NAMES]
    columns = [str(name) for name in known]
    more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
    having = f"columns {', '.join(columns[:MOST_COLUMNS]) or '(none)'}{more}"
    if empty and known.keys() & NAMES:
        return f"null in {', '.join(empty)}; {having}"
    wanted = "; ".join(f"{shape}: {LOOKED_FOR[shape]}" for shape in (SHAPES if only is None else (only,)))
    return f"{having}; looked for {wanted}"


NAMES = {"instruction", *PROMPTS, *ANSWERS, *CONVERSATIONS, "text", "chosen"}
"""Columns of which a shape needs one."""


def _taken(shape: Shape, columns: Columns) -> dict[str, str]:
    """What each column is taken for in rows of a shape; kept for the next row of these columns."""

    def first(names: tuple[str, ...], use: str) -> dict[Any, str]:
        return next(({name: use} for name in names if name in columns.names), {})

    taken = first(SYSTEMS, "system") | first(TOOLS, "tools") | first(("conversation_id",), "group")
    if shape == "oasst":
        tree = ("text", "role", "message_id", "parent_id", "replies", "rank", "deleted", "review_result", "labels")
        taken = first(("prompt",), "conversation") or dict.fromkeys(
            (n for n in tree if n in columns.names), "conversation"
        )
        taken |= first(("message_tree_id",), "group")
    elif shape in ("messages", "sharegpt"):
        taken |= first(CONVERSATIONS, "conversation") or first(PROMPTS, "prompt") | first(ANSWERS, "answer")
    elif shape in ("alpaca", "prompt"):
        asked = first(("instruction",), "prompt") | first(INPUTS, "prompt")
        asked = asked if shape == "alpaca" else first(PROMPTS, "prompt") | first(("context",), "prompt")
        answered = first(ANSWERS, "answer") if "instances" not in columns.names else {"instances": "answer"}
        taken |= asked | answered | first(("history",), "history") | dict.fromkeys(columns.thoughts, "reasoning")
    else:
        taken |= first(("text", *PROMPTS), "conversation") | first(ANSWERS, "answer")
    if shape != "oasst":
        taken |= {name: "grade" if known in GRADES | {WEIGHT} else "feedback" for name, known in judging(columns.names)}
    columns.taken[shape] = taken
    return taken
