"""Shapes: rows of the usual formats of instruction data, known by their columns -> conversations.

A column whose value is null counts as absent. Where a row fits several shapes, the first of `SHAPES` is taken: what is
structured before what is text, and the more particular names before the more general ones. A row with both `messages`
and `text` is therefore read from `messages`, of which its `text` is commonly a rendering.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from curate.read.alternatives import Layout, layout_of, pair_within
from curate.read.chat_exports import exported
from curate.read.chat_markup import chatml_turns, guanaco_turns, llama2_turns, markup_reader
from curate.read.conversation import (
    ANSWERS,
    CONVERSATIONS,
    INPUTS,
    PROMPTS,
    REJECTED_ANSWER,
    SYSTEMS,
    TALKS,
    TOOLS,
    UNGRADED_ANSWER,
    AskingError,
    Conversation,
    NotTextError,
    Paths,
    Reader,
    Rejection,
    ShapeError,
    first_of,
)
from curate.read.json_value import text_value
from curate.read.message_list import are_messages, is_message, messages, sharegpt
from curate.read.message_tree import oasst
from curate.read.python_value import is_python
from curate.read.question_answer import alpaca, prompt
from curate.read.raw_row import Row
from curate.read.reasoning import add_thought, is_thought, set_apart, thought_text
from curate.read.verdicts import BESIDE, GRADES, PRODIGY, PRODIGYS, WEIGHT, judge, judging, normal, number

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
    renamed: dict[Any, str]
    """Names in another case, to the names that the shapes have."""
    aliases: dict[Any, str]
    """Names of a question and its answer that say so together only, and of texts, to those that the shapes have."""
    talk: Any
    """The name that may be another one for a conversation, None where there is none."""
    annotated: bool
    """Whether `answer` may be what Prodigy says of an annotation."""
    plain: tuple[str, str | None, str] | None
    """Of an instruction, perhaps its input, and its answer the names, where there are no others."""
    taken: dict[Shape, dict[str, str]] = field(default_factory=dict)


class Recognised(NamedTuple):
    """What a row was recognised to be."""

    shape: Shape
    conversations: list[Conversation]
    """At least one; good answers come first."""
    taken: dict[str, str]
    """Column -> what it was taken for; a column that is not there was not looked at."""


HISTORIES = ("chat_history", "conversation_history")
"""Other names of a `history`."""
TOGETHER = (
    *(("inputs", "targets"), ("user", "assistant"), ("human", "assistant"), ("human", "bot"), ("problem", "solution")),
    *(("prompt", "generation"), ("instruction", "generation")),
)
"""Names that are those of a question and its answer where both are there, and nothing is that says so by itself."""


@lru_cache(maxsize=1024)
def columns_of(names: tuple[Any, ...]) -> Columns:
    """What rows of these columns, in this order, are looked at for."""
    plain = {name: re.sub(r"[\s-]+", "_", str(name).strip().lower()) for name in names}
    renamed = {name: known for name, known in plain.items() if known != name and known in CORE and known not in names}
    there = {known: name for name, known in plain.items()}
    before = next((there[known] for known in HISTORIES if known in there), None)
    if before is not None and "history" not in there:
        renamed[before] = "history"
        if "message" in there and not there.keys() & {*PROMPTS, "instruction"}:
            renamed[there["message"]] = "prompt"
    aliases: dict[Any, str] = {}
    if not there.keys() & {*ANSWERS, *CONVERSATIONS}:
        asked, answered = next(((q, a) for q, a in TOGETHER if q in there and a in there), ("", ""))
        if asked in (*PROMPTS, "instruction") or (asked and not there.keys() & {*PROMPTS, "instruction"}):
            aliases = {there[answered]: "completion"} | ({there[asked]: "prompt"} if asked not in CORE else {})
    layout = layout_of(names)
    nested = {*CONVERSATIONS, "prompt", "completion", "history", "instances", *(layout.taken if layout else ())}
    return Columns(
        names,
        tuple(name for name in names if name in nested or (layout and layout.taken and name in PROMPTS)),
        layout,
        tuple(name for name in names if is_thought(name)),
        tuple(name for name in names if name in MEDIA),
        bool(judging(names)),
        renamed,
        aliases,
        next((there[name] for name in TALKS if name in there and not there.keys() & {*CONVERSATIONS}), None),
        "answer" in names and any(name in names for name in (*PRODIGYS, *ANSWERS) if name != "answer"),
        _plain_names(names, nested),
    )


def _plain_names(names: tuple[Any, ...], nested: set[str]) -> tuple[str, str | None, str] | None:
    if nested & {*names}:
        return None
    given, answer = (next((name for name in some if name in names), None) for some in (INPUTS, ANSWERS))
    if answer is None or {*names} != {"instruction", answer} | ({given} if given else set()):
        return None
    return "instruction", given, answer


def recognise(row: Row, only: Shape | None = None, paths: Paths = "preferred") -> Recognised:
    """A row's shape and its conversations.

    Args:
        row: a raw row.
        only: the one shape that it may have; any, if None.
        paths: of a tree of messages, the paths of preferred replies, the one of the best-ranked replies, or all.

    Raises:
        ShapeError: says what was looked for and which columns the row has, or what is wrong within.
    """
    if only in (None, "alpaca") and (plain := _plain(row)) is not None:
        return plain
    known = {name: value for name, value in row.items() if value is not None}
    columns = columns_of(tuple(known))
    if names := _other_names(known, columns):
        found = recognise({names.get(name, name): value for name, value in known.items()}, only, paths)
        back = {known_as: name for name, known_as in names.items()}
        return found._replace(taken={back.get(name, name): use for name, use in found.taken.items()})
    if (chat := exported(known)) is not None:
        found = _opened(known, chat.column, {CONVERSATIONS[0]: chat.messages}, only, paths)
        first, *others = found.conversations
        return found._replace(conversations=[replace(first, left_out=first.left_out + chat.left_out), *others])
    if (name := pair_within(known)) is not None:
        return _opened(known, name, known[name], only, paths)
    if (held := _talk_within(known, columns)) is not None:
        return _opened(known, *held, only, paths)
    for name in columns.nested:
        known[name] = _unfolded(name, known[name])
    if columns.layout is not None and (several := columns.layout.read(known)):
        answers = [(recognise(each.row, only, paths), each.evidence) for each in several]
        return _of_several(known, columns.layout, answers)
    for shape in SHAPES if only is None else (only,):
        if made := READERS[shape](known, paths):
            for each in made:
                for turn in each.turns:
                    if turn["role"] == "assistant" and set_apart(turn):
                        each.told["reasoning_not_ended"] = 1
            if columns.judging or columns.thoughts or columns.media or dict in map(type, known.values()):
                made = _with_columns(shape, known, columns, made)
            return Recognised(shape, made, columns.taken.get(shape) or _taken(shape, columns))
    if "segments" in known:
        raise AskingError(
            "segments: texts of which a label says whether they are learned; map `turns` to say who says them"
        )
    has_worse = columns.layout is not None and "rejected answer" in columns.layout.taken.values()
    raise (AskingError if has_worse else ShapeError)(_unrecognised(row, known, only))


def _plain(row: Row) -> Recognised | None:
    """What a row is of which nothing is to be asked but its texts, as most rows are; None for any other."""
    columns = columns_of(tuple(row))
    if columns.plain is None or {*map(type, row.values())} != {str}:
        return None
    asked, given, answer = columns.plain
    said = [row[asked].strip(), *([row[given].strip()] if given else [])]
    turns = [{"role": "user", "content": "\n\n".join(said) if said[-1] else said[0]}]
    turns.append({"role": "assistant", "content": row[answer]})
    told = {"reasoning_not_ended": 1} if set_apart(turns[1]) else {}
    return Recognised(
        "alpaca", [Conversation(turns, told=told)], columns.taken.get("alpaca") or _taken("alpaca", columns)
    )


def _opened(row: Row, name: Any, held: Row, only: Shape | None, paths: Paths) -> Recognised:
    """What a row is with the keys of the object in a column in that column's place."""
    found = recognise({each: row[each] for each in row if each != name} | held, only, paths)
    return found._replace(taken={name if each in held else each: use for each, use in found.taken.items()})


def _talk_within(row: Row, columns: Columns) -> tuple[Any, Row] | None:
    """The column that holds a conversation as an object or its JSON, `{"messages": [...]}`, and that object."""
    name = columns.talk if columns.talk is not None else first_of(row, CONVERSATIONS)
    held: Any = None if name is None else row[name]
    if isinstance(held, str) and held.lstrip()[:1] == "{":
        with suppress(ValueError):
            held = text_value(held)
    is_talk = isinstance(held, dict) and are_messages(held.get(first_of(held, CONVERSATIONS) or ""))
    return (name, held) if is_talk else None


def _other_names(row: Row, columns: Columns) -> dict[Any, str]:
    """The columns that the shapes have by other names."""
    if columns.annotated and row["answer"] in PRODIGY:
        return columns.renamed | {"answer": "verdict"}
    if columns.talk is not None and are_messages(_unfolded(columns.talk, row[columns.talk])):
        return columns.renamed | {columns.talk: CONVERSATIONS[0]}
    if columns.aliases and all(isinstance(row[name], str) for name in columns.aliases):
        return columns.renamed | columns.aliases
    return columns.renamed


def _of_several(row: Row, layout: Layout, answers: list[tuple[Recognised, dict[str, Any] | None]]) -> Recognised:
    """Of several answers each as a conversation, the worse ones rejected for the first of the good ones."""
    shape, [kept, *_], taken = answers[0][0]
    preferred = kept if answers[0][1] is None else None
    found: list[Conversation] = []
    for (_, made, _), evidence in answers:
        if evidence is None:  # what grades the row does not ask: it says which answer is the better
            found += [replace(each, judged=None) if _is_graded(each) else each for each in made]
        else:
            rejected = Rejection(REJECTED_ANSWER, evidence, preferred)
            found += [replace(each, rejected=rejected) for each in made]
    return Recognised(shape, found, {name: use for name, use in taken.items() if name in row} | layout.taken)


def _is_graded(made: Conversation) -> bool:
    return made.judged is not None and made.judged.reason == UNGRADED_ANSWER


def _with_columns(shape: Shape, row: Row, columns: Columns, found: list[Conversation]) -> list[Conversation]:
    """The conversations with what columns say of their answers: verdicts, grades and thoughts."""
    for name in columns.media:
        if shape in ("messages", "sharegpt") and isinstance(row[name], list) and any(row[name]):
            raise NotTextError(f"{name}: pictures or sound beside a conversation; only text can be learned")
        if (place := _place(found, row[name])) is not None:
            raise NotTextError(f"{name}: what is said has {place}; only text can be learned")
    beside = shape in ("alpaca", "prompt") or first_of(row, ANSWERS) is not None
    for name in columns.thoughts if beside else ():
        for each in found:
            if each.turns[-1]["role"] == "assistant":
                add_thought(each.turns[-1], thought_text(row[name]))
    if shape == "oasst":
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
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", '"'):
        try:
            found = text_value(value)
        except ValueError as error:
            if name not in CONVERSATIONS:
                return value
            if are_messages(said := _lines(value)):
                return said
            mend = f"in Python's notation, not JSON: map `turns` to `{name} | from_python`"
            raise AskingError(f"{name}: text that is {mend if is_python(value) else f'no JSON: {error}'}") from None
        if name in CONVERSATIONS:
            return _unfolded(name, found) if found else found
        return found if is_message(found) or are_messages(found) else value
    if isinstance(value, list) and name in CONVERSATIONS and value:
        return _spoken(value)
    if isinstance(value, dict) and name in CONVERSATIONS and value.keys() & {"role", "from"}:
        lists = list(value.values())
        if all(isinstance(each, list) and len(each) == len(lists[0]) for each in lists):
            return [dict(zip(value, each, strict=True)) for each in zip(*lists, strict=True)]
    return value


def _lines(text: str) -> list[Any]:
    """The values of JSON lines; none where a line is no JSON."""
    try:
        return [text_value(line) for line in text.split("\n") if line.strip()]
    except ValueError:
        return []


def _spoken(value: list[Any]) -> list[Any]:
    """A conversation as messages, where it is texts in turn, as LIMA has it, pairs of input and output, or messages
    each as JSON text."""
    if isinstance(value[0], str) and all(isinstance(each, str) for each in value):
        if are_messages(said := [_unfolded("prompt", each) for each in value]):
            return said
        return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(value)]
    if is_message(value[0]):
        return value
    for asked, answered in EXCHANGES:
        if all(_is_exchange(each, {asked, answered}) for each in value):
            roles = (("system", "system"), ("user", asked), ("assistant", answered))
            return [{"role": role, "content": each[key]} for each in value for role, key in roles if key in each]
    return value


EXCHANGES = (
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("user", "bot"),
    ("question", "answer"),
)
"""Keys of an object of which a conversation may have one for each question and its answer."""


def _is_exchange(value: Any, names: set[str]) -> bool:
    return isinstance(value, dict) and names <= value.keys() <= names | {"system"}


def _unrecognised(row: Row, known: Row, only: Shape | None) -> str:
    """What is said of a row that fits no shape."""
    empty = [name for name, value in row.items() if value is None and name in NAMES]
    columns = [str(name) for name in known]
    more = f" and {len(columns) - MOST_COLUMNS} more" if len(columns) > MOST_COLUMNS else ""
    having = f"columns {', '.join(columns[:MOST_COLUMNS]) or '(none)'}{more}"
    if binary := [name for name, value in known.items() if name in NAMES and isinstance(value, bytes)]:
        return f"{', '.join(binary)}: bytes that are no UTF-8; if they are text, state the source's `encoding`"
    if empty and known.keys() & NAMES:
        return f"null in {', '.join(empty)}; {having}"
    wanted = "; ".join(f"{shape}: {LOOKED_FOR[shape]}" for shape in (SHAPES if only is None else (only,)))
    return f"{having}; looked for {wanted}"


NAMES = {"instruction", *PROMPTS, *ANSWERS, *CONVERSATIONS, "text", "chosen"}
"""Columns of which a shape needs one."""
CORE = (NAMES - {"text", "chosen"}) | {*SYSTEMS, *TOOLS, *INPUTS, "history", "instances", "context"}
"""Columns that are known in any case."""


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
        taken |= {
            name: "grade" if known in GRADES | {WEIGHT} else "feedback"
            for name, known in judging(columns.names)
            if known not in BESIDE
        }
    columns.taken[shape] = taken
    return taken
