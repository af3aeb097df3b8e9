"""The record: the canonical row that every stage takes and gives back."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.arrow import whole

SPLITS = ("train", "validation", "test")
KEYS = "\x1f"
"""What is between the keys of a group: the separator of units in ASCII."""

TURN = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])
TURNS = pa.list_(TURN)
SOURCE = pa.struct([pa.field("drop", pa.string()), pa.field("file", pa.string()), pa.field("row", pa.int64())])

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("turns", TURNS),
        pa.field("target", pa.string()),
        pa.field("group", pa.string()),
        pa.field("label", pa.string()),
        pa.field("language", pa.string()),
        pa.field("source", SOURCE),
        pa.field("meta", pa.map_(pa.string(), pa.string())),
    ]
)
"""Columns of a record.

id: 128-bit hash (32 hex digits) of the turns and the target as they were read; it never changes after.
turns: what was said, as {role, content}; target: the expected structured answer as canonical JSON text, or null;
group: rows of one group share a split (of several keys, with KEYS between them, those that share one); label: what the
split is stratified by; language: ISO 639 code or "und";
source: drop (its hash), file (relative to the source's root), row (0-based within the file, where a tree of messages
that are rows of their own counts as one); meta: any other strings.
"""

QUARANTINE_SCHEMA = pa.schema(
    [
        *SCHEMA,
        pa.field("stage", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("raw", pa.string()),
    ]
)
"""A rejected row, whole: the record's columns as far as they were known, then which stage rejected it, the reason's
code, the evidence as JSON, and the raw text where no record could be made of it."""


def dicts(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as dicts, maps as dicts too: `table.to_pylist(maps_as_pydicts="strict")` in a fifth of the time."""
    names = table.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*map(_values, table.columns), strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_map(column.type) or column.null_count:
        values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
        return values
    whole = column.combine_chunks()
    ends, keys, items = (each.to_pylist() for each in (whole.offsets, whole.keys, whole.items))
    return [dict(zip(keys[begin:end], items[begin:end], strict=True)) for begin, end in pairwise(ends)]


def content_id(turns: Sequence[dict[str, str]], target: str | None) -> str:
    """128-bit XXH3 (32 hex digits) of a row's canonical content."""
    return xxhash.xxh3_128_hexdigest(orjson.dumps([[[t["role"], t["content"]] for t in turns], target]))


def prompt_text(table: pa.Table) -> pa.Array:
    """What each row asks, as one string: every turn but the answer, separated by blank lines.

    Returns a string array of length `table.num_rows`. The template's own words are never part of it.
    """
    return _joined(table, _asked(table), _contents(table), "\n\n")


def prompt_form(table: pa.Table) -> pa.Array:
    """Who says how much of `prompt_text`: each turn's role and the bytes of its content, e.g. "system:12 user:40".

    Two prompts with the same text and form are equal turn by turn. Returns a string array of length `table.num_rows`.
    """
    turns = whole(table["turns"])
    said = turns.flatten()
    sizes = pc.binary_length(pc.struct_field(said, "content")).cast(pa.string())
    return _joined(table, _asked(table), pc.binary_join_element_wise(pc.struct_field(said, "role"), sizes, ":"), " ")


def said_text(table: pa.Table) -> pa.Array:
    """`prompt_text` without the system turns, except where a row has no other turn before the answer."""
    turns = whole(table["turns"])
    asked = _asked(table)
    system = pc.fill_null(pc.equal(pc.struct_field(turns.flatten(), "role"), "system"), False)
    said = asked & ~system.to_numpy(zero_copy_only=False)
    row_of = np.repeat(np.arange(len(turns)), pc.list_value_length(turns).to_numpy(zero_copy_only=False))
    silent = np.bincount(row_of[said], minlength=len(turns)) == 0
    return _joined(table, said | (asked & silent[row_of]), _contents(table), "\n\n")


def _asked(table: pa.Table) -> Any:
    """Whether each turn, row after row, is part of what is asked: all but an answer that is the last one."""
    ends = np.cumsum(pc.list_value_length(whole(table["turns"])).to_numpy(zero_copy_only=False))
    asked = np.ones(ends[-1] if len(ends) else 0, dtype=bool)
    asked[ends[answer_is_last_turn(table).to_numpy(zero_copy_only=False)] - 1] = False
    return asked


def _contents(table: pa.Table) -> pa.Array:
    return pc.struct_field(whole(table["turns"]).flatten(), "content")


def _joined(table: pa.Table, keep: Any, texts: pa.Array, separator: str) -> pa.Array:
    """The texts, one for each turn, of the turns that are kept; those of a row are joined."""
    lengths = pc.list_value_length(whole(table["turns"])).to_numpy(zero_copy_only=False)
    if keep.all() and (lengths == 1).all():  # nothing to copy
        return texts
    texts = texts.filter(pa.array(keep))
    kept = np.concatenate([[0], np.cumsum(keep)])[np.concatenate([[0], np.cumsum(lengths)])]
    return pc.binary_join(_lists(np.diff(kept), texts), separator)


def answer_is_last_turn(table: pa.Table) -> pa.Array:
    """Whether each row's answer is its last turn (no target, and the assistant speaks last): boolean array."""
    turns = whole(table["turns"])
    roles = pc.struct_field(turns.flatten(), "role")
    lengths = pc.list_value_length(turns).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    last = np.zeros(len(lengths), dtype=bool)
    nonempty = lengths > 0
    last[nonempty] = pc.equal(roles.take(pa.array(ends[nonempty] - 1)), "assistant").to_numpy(zero_copy_only=False)
    return pa.array(last & pc.is_null(table["target"]).to_numpy())


def answer_text(table: pa.Table) -> pa.Array:
    """What the model is to answer: the target, or else the last turn where the assistant speaks last, or else "".

    Returns a string array of length `table.num_rows`.
    """
    turns = whole(table["turns"])
    contents = pc.struct_field(turns.flatten(), "content")
    lengths = pc.list_value_length(turns).to_numpy(zero_copy_only=False)
    last_is_answer = answer_is_last_turn(table).to_numpy(zero_copy_only=False)
    index = np.where(last_is_answer, np.cumsum(lengths) - 1, 0)
    spoken = contents.take(pa.array(index, mask=~last_is_answer))
    return pc.fill_null(pc.coalesce(whole(table["target"]), spoken), "")


def map_contents(table: pa.Table, change: Any) -> pa.Table:
    """`table` with every turn's content replaced by `change(contents)`, a function of one string array to another."""
    turns = whole(table["turns"])
    flat = turns.flatten()
    contents = change(pc.struct_field(flat, "content"))
    changed = pa.StructArray.from_arrays([pc.struct_field(flat, "role"), contents], fields=list(TURN))
    rebuilt = _lists(pc.list_value_length(turns).to_numpy(zero_copy_only=False), changed)
    return table.set_column(table.schema.get_field_index("turns"), SCHEMA.field("turns"), rebuilt)


def roles_text(table: pa.Table) -> pa.Array:
    """Who speaks in each row, e.g. "user assistant": the turns' roles joined by spaces, null where a role is null."""
    turns = whole(table["turns"])
    lengths = pc.fill_null(pc.list_value_length(turns), 0).to_numpy(zero_copy_only=False)
    return pc.binary_join(_lists(lengths, pc.struct_field(turns.flatten(), "role")), " ")


def _lists(lengths: Any, values: pa.Array) -> pa.ListArray:
    """`values` cut into lists of these lengths, none of them null."""
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), values)


def group_keys(groups: pa.ChunkedArray) -> tuple[Any, pa.Array]:
    """The keys of rows' groups, of which each row has none, one, or several with KEYS between them.

    Returns the number of the row of each key, ascending, and the keys.
    """
    lists = pc.split_pattern(whole(groups), KEYS)
    return pc.list_parent_indices(lists).to_numpy(), lists.flatten()
