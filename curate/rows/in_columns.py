"""In columns: what task template, chat template and tokenizer make of a row, for all rows of a table at once.

Where templates decide nothing by what is said (`curate.rows.plain_template`), which most do not, all rows of the same
roles have the same words around what is said: messages, text and length are found without a row's becoming objects.
What they decide by a row is made row by row, as `TaskTemplate` and `Renderer` do it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.record import MESSAGES, TURN, dicts
from curate.rows.chat_template import MOST_PLAIN, Message, Refusal
from curate.rows.renderer import ASKED, Renderer, Span
from curate.rows.task_template import TaskTemplate
from curate.text.tokenise import unchanged

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MOST_TURNS = 1000
"""Turns of a row from which its messages are made row by row, with a bound on what is made of it."""


@dataclass(frozen=True)
class Said:
    """Turns or messages by columns."""

    fields: dict[str, pa.Array]
    begins: Numbers
    """Where those of each row begin, and those of the last one end."""

    @classmethod
    def of(cls, lists: pa.ListArray) -> "Said":
        flat = lists.flatten()
        offsets = lists.offsets.to_numpy().astype(np.int64)
        return cls({field.name: pc.struct_field(flat, field.name) for field in flat.type}, offsets - offsets[0])

    @property
    def sizes(self) -> Numbers:
        """How many each row has."""
        return np.diff(self.begins)

    @property
    def trained(self) -> Flags:
        """Which of them may be trained."""
        answers = pc.equal(self.fields["role"], "assistant")
        return _flags(pc.and_(answers, pc.fill_null(self.fields["trained"], True)))

    @cached_property
    def bytes_until(self) -> Numbers:
        """Bytes of the contents before each, and of all."""
        return _bounds(self.fields["content"])

    def longest(self) -> int:
        """Bytes of the contents of one row, at most."""
        return int(np.diff(self.bytes_until[self.begins]).max(initial=0))

    @cached_property
    def shapes(self) -> tuple[Numbers, list[list[tuple[str, bool]]]]:
        """The shape of each row, by number, and by shape the roles and whether each may be trained."""
        roles = self.fields["role"].dictionary_encode()
        codes = (roles.indices.to_numpy() * 2 + self.trained).astype(np.uint8)
        buffers = [None, pa.py_buffer(self.begins.astype(np.int32)), pa.py_buffer(codes)]
        rows = pa.Array.from_buffers(pa.binary(), len(self.begins) - 1, buffers).dictionary_encode()
        names = roles.dictionary.to_pylist()
        shapes = [[(names[code >> 1], bool(code & 1)) for code in each] for each in rows.dictionary.to_pylist()]
        return rows.indices.to_numpy().astype(np.int64), shapes


def messages_of(table: pa.Table, task: TaskTemplate) -> tuple[pa.Array, dict[int, Refusal]]:
    """The messages of each row, and which rows are refused, which have none.

    Raises:
        AssayError: as `TaskTemplate.messages`.
    """
    turns = Said.of(whole(table["turns"]))
    if task.around is None or turns.longest() > MOST_PLAIN or turns.sizes.max(initial=0) > MOST_TURNS:
        return _messages_by_row(table, task)
    asked = _with_target(turns, whole(table["target"]), whole(table["reasoning"]), _opens(task.around))
    ends = asked.begins[1:]
    trained = np.where(asked.trained, np.arange(asked.begins[-1]), -1)
    last = np.maximum.accumulate(trained)[ends - 1] if len(trained) else np.empty(0, np.int64)
    if len(trained):
        ends = np.where((asked.sizes > 0) & (last >= asked.begins[:-1]), last + 1, ends)
    place = np.arange(asked.begins[-1])
    kept = place < np.repeat(ends, asked.sizes)
    is_last = place + 1 == np.repeat(ends, asked.sizes)
    role, content, thought, marks = (asked.fields[field.name].filter(pa.array(kept)) for field in TURN)
    for name, (before, behind) in task.around.items():
        if before or behind:
            written = pc.binary_join_element_wise(before, content, behind, "")
            content = pc.if_else(pc.equal(role, name), written, content)
    thoughts = task.thoughts
    if thoughts.written != "none" and thought.null_count < len(thought):
        written = pc.binary_join_element_wise(thoughts.open, thought, thoughts.close, content, "")
        writes = pc.fill_null(pc.greater(pc.binary_length(thought), 0), False)
        if thoughts.written == "last":
            writes = pc.and_(writes, pa.array(is_last[kept]))
        content = pc.if_else(writes, written, content)
    begins = np.concatenate([[0], np.cumsum(ends - asked.begins[:-1])]).astype(np.int32)
    said = pa.StructArray.from_arrays([role, content, marks], fields=[*MESSAGES.value_type])
    return pa.ListArray.from_arrays(pa.array(begins), said, type=MESSAGES), {}


def _opens(around: dict[str, tuple[str, str]]) -> bool:
    """Whether a system's message begins each row, that a template has without one."""
    return any(around.get("system", ()))


def _with_target(turns: Said, target: pa.Array, reasoning: pa.Array, opens: bool) -> Said:
    """The turns with the target as the last one, and a system's as the first one if it `opens`."""
    answered = _flags(target.is_valid())
    if not opens and not answered.any():
        return turns
    count, targets = len(turns.fields["role"]), int(answered.sum())
    more = {
        "role": pa.array(["assistant"] * targets + ["system"], pa.string()),
        "content": pa.concat_arrays([target.filter(pa.array(answered)), pa.array([""])]),
        "reasoning": pa.concat_arrays([reasoning.filter(pa.array(answered)), pa.nulls(1, pa.string())]),
        "trained": pa.nulls(targets + 1, pa.bool_()),
    }
    sizes = turns.sizes + answered + opens
    begins = np.concatenate([[0], np.cumsum(sizes)])
    order = np.empty(begins[-1], np.int64)
    if opens:
        order[begins[:-1]] = count + targets
    order[np.arange(count) + np.repeat(begins[:-1] + opens - turns.begins[:-1], turns.sizes)] = np.arange(count)
    order[begins[1:][answered] - 1] = count + np.arange(targets)
    fields = {name: pa.concat_arrays([turns.fields[name], each]).take(pa.array(order)) for name, each in more.items()}
    return Said(fields, begins)


def _messages_by_row(table: pa.Table, task: TaskTemplate) -> tuple[pa.Array, dict[int, Refusal]]:
    refused: dict[int, Refusal] = {}
    messages: list[list[Message]] = []
    for row, record in enumerate(dicts(table.select(ASKED))):
        try:
            messages.append(task.messages(record))
        except Refusal as refusal:
            messages.append([])
            refused[row] = refusal
    return pa.array(messages, MESSAGES), refused


def texts_of(messages: pa.Array, renderer: Renderer, asked: Flags) -> tuple[pa.Array, dict[int, Refusal]]:
    """The text of each row that is asked for, and which rows are refused; that of the others is not said.

    Raises:
        AssayError: as `Renderer.text`.
    """
    said = Said.of(messages)
    kinds, shapes = said.shapes
    pool, first, refusals = [""], np.zeros(len(shapes), np.int64), {}
    for kind in np.unique(kinds[asked]).tolist():
        try:
            around = renderer.template.around([role for role, _ in shapes[kind]], renderer.tokens)
        except Refusal as refusal:
            refusals[kind] = refusal
            continue
        if around is None or said.longest() > MOST_PLAIN:
            return _texts_by_row(messages, renderer, asked)
        first[kind] = len(pool)
        pool += around
    count, rows = int(said.begins[-1]), np.arange(len(kinds))
    place, row_of = np.arange(count), np.repeat(rows, said.sizes)
    order = np.empty(2 * count + len(rows), np.int64)  # by row: a text, a content, a text, a content, ..., a text
    order[2 * place + row_of + 1] = place
    order[2 * place + row_of] = count + _within(first[kinds][row_of], place - said.begins[row_of])
    order[2 * said.begins[1:] + rows] = count + _within(first[kinds], said.sizes)
    joined = pa.concat_arrays([said.fields["content"], pa.array(pool)]).take(pa.array(order))
    begins = _bounds(joined)[2 * said.begins + np.arange(len(rows) + 1)].astype(np.int32)
    texts = pa.Array.from_buffers(pa.string(), len(rows), [None, pa.py_buffer(begins), joined.buffers()[2]])
    refused = {row: refusals[kinds[row]] for row in np.flatnonzero(np.isin(kinds, [*refusals]) & asked).tolist()}
    return texts, refused


def _within(first: Numbers, at: Numbers) -> Numbers:
    """A shape's texts from its first one on; the empty one of shapes that have none."""
    return np.where(first, first + at, 0)


def _texts_by_row(messages: pa.Array, renderer: Renderer, asked: Flags) -> tuple[pa.Array, dict[int, Refusal]]:
    refused: dict[int, Refusal] = {}
    texts = [""] * len(asked)
    rows = np.flatnonzero(asked)
    for row, record in zip(rows.tolist(), dicts(pa.table({"messages": messages}).take(rows)), strict=True):
        try:
            texts[row] = renderer.text(record["messages"])
        except Refusal as refusal:
            refused[row] = refusal
    return pa.array(texts, pa.string()), refused


def lengths_of(table: pa.Table, renderer: Renderer) -> list[int | Refusal]:
    """How many tokens each row has up to the last answer that is trained, or why it is refused.

    Args:
        table: with the columns `messages` and `text`.
        renderer: of the base model.

    Raises:
        AssayError: as `Renderer.measured`.
    """
    counted = _counted(Said.of(whole(table["messages"])), whole(table["text"]), renderer)
    lengths: list[int | Refusal] = counted.tolist()
    others = np.flatnonzero(counted < 0)
    spans: dict[int, list[Span]] = {}
    for row, record in zip(others.tolist(), dicts(table.select(["messages", "text"]).take(others)), strict=True):
        try:
            spans[row] = renderer.spans(record["messages"], record["text"])
        except Refusal as refusal:
            lengths[row] = refusal
    for row, length in zip(spans, renderer.measured(spans.values()), strict=True):
        lengths[row] = length
    return lengths


def _counted(said: Said, texts: pa.Array, renderer: Renderer) -> Numbers:
    """The length of each row of which one answer is trained, and that one stands last; -1 of others, and where the
    template or the tokenizer decides by what is said."""
    kinds, shapes = said.shapes
    before = np.array([_bytes_before(shape, renderer) for shape in shapes], np.int64)[kinds]
    known = before >= 0
    if not known.any():
        return np.full(len(kinds), -1)
    bounds, data = _bounds(texts), texts.buffers()[2]
    answer = np.maximum(said.begins[1:] - 1, 0)
    ahead = before + said.bytes_until[answer] - said.bytes_until[said.begins[:-1]]
    cut = bounds[:-1] + np.where(known, ahead, 0)
    halves = _strings([bounds[:-1], cut], bounds[-1], data)
    found = pc.find_substring_regex(halves, re.escape(renderer.stop)).to_numpy()[1::2]
    known &= found >= 0
    end = np.where(known, cut + found + len(renderer.stop.encode()), cut)
    pieces = _strings([bounds[:-1], cut, end], bounds[-1], data)
    if renderer.tokenizer.normalizer is not None:
        answers = pieces.take(pa.array(np.arange(1, len(pieces), 3)))
        for row in np.flatnonzero(known & ~_flags(pc.string_is_ascii(answers))).tolist():
            known[row] = unchanged(renderer.tokenizer, answers[row].as_py())
    counts = renderer.tokenise.counts(pieces).reshape(-1, 3)[:, :2].sum(axis=1)
    return np.where(known, counts, -1)


def _bytes_before(shape: Sequence[tuple[str, bool]], renderer: Renderer) -> int:
    """Bytes of a template's own words before the answer that is trained, where that is the last message and the only
    one, and what is before it is what a server is sent; else -1."""
    trained = [at for at, (_, may_be) in enumerate(shape) if may_be]
    last = len(shape) - 1
    only = trained[-1:] == [last] and (renderer.answers == "last" or len(trained) == 1)
    if not only or not renderer.independent or renderer.reasoning == "context":
        return -1
    roles = [role for role, _ in shape]
    try:
        all_, asked = (
            renderer.template.around(each, renderer.tokens, prompts)
            for each, prompts in ((roles, False), (roles[:last], True))
        )
    except Refusal:
        return -1
    if all_ is None or asked is None or asked[:last] != all_[:last] or not all_[last].startswith(asked[last]):
        return -1
    return sum(len(text.encode()) for text in asked)


def _flags(array: pa.Array) -> Flags:
    flags: Flags = array.to_numpy(zero_copy_only=False)
    return flags


def _bounds(strings: pa.Array) -> Numbers:
    """Where each begins in the bytes of all, and the last one ends."""
    offsets = strings.buffers()[1]
    return np.frombuffer(offsets, np.int32, len(strings) + 1, 4 * strings.offset).astype(np.int64)


def _strings(begins: Sequence[Numbers], end: int, data: pa.Buffer) -> pa.Array:
    """The texts that begin one behind the other in some bytes: of each row as many as there are `begins`."""
    offsets = np.append(np.stack(begins, axis=1).ravel(), end)
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(offsets), data])
