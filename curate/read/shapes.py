"""Shapes: rows of the usual formats of instruction data, known by their columns -> conversations.

A column whose value is null counts as absent. Where a row fits several shapes, the first of `SHAPES` is taken: what is
structured before what is text, and the more particular names before the more general ones. A row with both `messages`
and `text` is therefore read from `messages`, of which its `text` is commonly a rendering.
"""

from typing import Literal, get_args

from curate.read.chat_markup import chatml_turns, guanaco_turns, llama2_turns, markup_reader
from curate.read.conversation import Conversation, Paths, Reader, ShapeError, is_preference
from curate.read.message_list import messages, sharegpt
from curate.read.message_tree import oasst
from curate.read.question_answer import alpaca, prompt
from curate.read.raw_row import Row

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
    pair = "; a preference pair is no answer: map `turns` to the side that is to be learned"
    hint = pair if is_preference(row) else ""
    raise ShapeError(f"columns {', '.join(columns[:MOST_COLUMNS]) or '(none)'}{more}; looked for {wanted}{hint}")
