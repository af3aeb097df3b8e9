"""The record: the canonical row that every stage takes and gives back."""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
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

PART = re.compile(r"\d+ of \d+")
ID = re.compile("[0-9a-f]{32}")

TURN = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field("content", pa.string()),
        pa.field("reasoning", pa.string()),
        pa.field("trained", pa.bool_()),
    ]
)
"""role: system, user, assistant or tool; content: what is said; reasoning: what was thought before, or null; trained:
false where an assistant's turn stays in the conversation and is not trained, else null."""
TURNS = pa.list_(TURN)
MESSAGES = pa.list_(pa.struct([TURN.field("role"), TURN.field("content"), TURN.field("trained")]))
"""What a template makes of turns: what is thought is written in what is said, if anywhere."""
PLACES = pa.list_(
    pa.struct(
        [
            pa.field("turn", pa.int32()),
            pa.field("page", pa.int32()),
            pa.field("begin", pa.int64()),
            pa.field("end", pa.int64()),
            pa.field("file", pa.string()),
        ]
    )
)
"""Where in a document turns stand, as they were read, a place for each page: the number of the turn, from 0, and of the
page, from 1, null where the document has no pages; characters of the document's text; and the document's name where
that is another file than the row's, which has asked for it by a lookup. A turn that does not stand there word for word,
or more than once, has no place; null of rows that come from no document."""
SOURCE = pa.struct(
    [
        pa.field("drop", pa.string()),
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("places", PLACES),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("turns", TURNS),
        pa.field("target", pa.string()),
        pa.field("reasoning", pa.string()),
        pa.field("group", pa.string()),
        pa.field("label", pa.string()),
        pa.field("language", pa.string()),
        pa.field("source", SOURCE),
        pa.field("meta", pa.map_(pa.string(), pa.string())),
    ]
)
"""Columns of a record.

id: 128-bit hash (32 hex digits) of the turns, the target and its reasoning as they were read; it never changes after.
turns: what was said, see TURN; target: the expected structured answer as canonical JSON text, or null; reasoning: what
was thought before the target, or null; group: rows of one group share a split (of several keys, with KEYS between them,
those that share one); label: what the split is stratified by; language: ISO 639 code or "und"; source: drop (its hash),
file (relative to the source's root), row (0-based within the file, where a tree of messages that are rows of their own
counts as one), places (see PLACES); meta: any other strings.
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


def whole_of(meta: Any) -> str | None:
    """The id of the row that a row is a part of; None where it is whole.

    Args:
        meta: of the row: a mapping, or the pairs or {key, value} that tables hold, or null.
    """
    if not isinstance(meta, dict):
        meta = dict([*each.values()] if isinstance(each, dict) else each for each in meta or ())
    part, whole = meta.get("part"), meta.get("part_of")
    ours = part is not None and whole is not None and PART.fullmatch(part) and ID.fullmatch(whole)
    return str(whole) if ours else None


def dicts(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as dicts, maps as dicts too: `table.to_pylist(maps_as_pydicts="strict")` in a fifth of the time."""
    names = table.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*map(_values, table.columns), strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    return _python(whole(column)) if column.num_chunks else []


def _python(array: pa.Array) -> list[Any]:
    """What `to_pylist` gives, which makes a scalar of every value first."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and not array.null_count):
        values: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
    elif array.null_count:
        values = array.to_pylist(maps_as_pydicts="strict")
    elif pa.types.is_struct(kind) and kind.num_fields:
        names, fields = [field.name for field in kind], map(_python, array.flatten())
        values = [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]
    elif pa.types.is_list(kind):
        items, lengths = _python(array.flatten()), _python(pc.list_value_length(array))
        values = [items[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]
    elif pa.types.is_map(kind):
        begin, *ends = _python(array.offsets)
        parts = (_python(part[begin : ends[-1]]) if ends else [] for part in (array.keys, array.items))
        pairs = list(zip(*parts, strict=True))
        values = [dict(pairs[first - begin : last - begin]) for first, last in pairwise([begin, *ends])]
    else:
        values = array.to_pylist(maps_as_pydicts="strict")
    return values


def places_in(source: dict[str, Any] | None, turn: int, begin: int, end: int, length: int) -> list[dict[str, Any]]:
    """Where in a document a part of a turn stands, a place for each page (PLACES): to the character where the turn is
    as long as it was when it was read, else the whole of each page that it is on.

    Args:
        source: of the row.
        turn: its number.
        begin, end: characters of its content.
        length: of its content.
    """
    places = [place for place in (source or {}).get("places") or () if place["turn"] == turn]
    if not places:
        return []
    first, read = places[0]["begin"], places[-1]["end"] - places[0]["begin"]
    exact, scale = read == length, read / max(length, 1)
    begins, ends = first + begin * scale, first + end * scale
    on = [place for place in places if place["begin"] < ends and begins < place["end"]]
    if not exact:
        return on
    return [
        place | {"begin": max(place["begin"], first + begin), "end": min(place["end"], first + end)} for place in on
    ]


def pages_of(source: dict[str, Any]) -> str:
    """Where in documents a row's turns stand, to people: "page 3", "a.pdf, pages 1 to 4"; empty where nothing tells."""
    pages: dict[str | None, list[int]] = {}
    for place in source.get("places") or ():
        known = pages.setdefault(place["file"], [])
        known += [] if place["page"] is None else [place["page"]]
    told = []
    for file, numbers in pages.items():
        said = "" if not numbers else f"page {numbers[0]}"
        if numbers and min(numbers) < max(numbers):
            said = f"pages {min(numbers)} to {max(numbers)}"
        told.append(", ".join(each for each in (file, said) if each))
    return "; ".join(each for each in told if each)


def content_id(turns: Sequence[dict[str, Any]], target: str | None, reasoning: str | None = None) -> str:
    """128-bit XXH3 (32 hex digits) of a row's canonical content.

    Args:
        turns: see TURN; what may be null may be absent, and counts only where it is not.
        target: the structured answer.
        reasoning: what was thought before it.
    """
    content = [[_said(turn) for turn in turns], target]
    return xxhash.xxh3_128_hexdigest(orjson.dumps(content if reasoning is None else [*content, reasoning]))


def _said(turn: dict[str, Any]) -> list[Any]:
    said = [turn["role"], turn["content"]]
    if len(turn) == 2:  # as nearly all are
        return said
    reasoning = turn.get("reasoning")
    if turn.get("trained") is False:
        return [*said, reasoning, False]
    return said if reasoning is None else [*said, reasoning]


def prompt_text(table: pa.Table) -> pa.Array:
    """What each row asks, as one string: the turns before the answer, or all of them; separated by blank lines.

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
    """Whether each turn, row after row, is part of what is asked: those before an answer that is a turn."""
    lengths = pc.list_value_length(whole(table["turns"])).to_numpy(zero_copy_only=False)
    answers = answer_places(table)
    asked = np.ones(lengths.sum(), dtype=bool)
    if (answers >= 0).any():
        of_row = np.repeat(answers, lengths)
        asked[(of_row >= 0) & (np.arange(len(asked)) >= of_row)] = False
    return asked


def _contents(table: pa.Table) -> pa.Array:
    """What is said in each turn, row after row."""
    return pc.struct_field(whole(table["turns"]).flatten(), "content")


def _joined(table: pa.Table, keep: Any, texts: pa.Array, separator: str) -> pa.Array:
    """The texts, one for each turn, of the turns that are kept; those of a row are joined."""
    lengths = pc.list_value_length(whole(table["turns"])).to_numpy(zero_copy_only=False)
    if keep.all() and (lengths == 1).all():  # nothing to copy
        return texts
    texts = texts.filter(pa.array(keep))
    kept = np.concatenate([[0], np.cumsum(keep)])[np.concatenate([[0], np.cumsum(lengths)])]
    return pc.binary_join(_lists(np.diff(kept), texts), separator)


def answer_places(table: pa.Table) -> Any:
    """Where among all turns each row's answer is, -1 where it is none of them: an int64 NumPy array.

    It is the last trained turn of the assistant, where there is no target and the assistant speaks last.
    """
    turns = whole(table["turns"])
    said = turns.flatten()
    lengths = pc.list_value_length(turns).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    spoken = pc.fill_null(pc.equal(pc.struct_field(said, "role"), "assistant"), False).to_numpy(zero_copy_only=False)
    trained = pc.fill_null(pc.struct_field(said, "trained"), True).to_numpy(zero_copy_only=False)
    latest = np.maximum.accumulate(np.where(spoken & trained, np.arange(len(said)), -1))
    places = np.full(len(lengths), -1)
    open_ = (lengths > 0) & pc.is_null(whole(table["target"])).to_numpy(zero_copy_only=False)
    lasts = ends[open_] - 1
    places[open_] = np.where(spoken[lasts], latest[lasts], -1)
    places[places < ends - lengths] = -1
    return places


def answer_is_last_turn(table: pa.Table) -> pa.Array:
    """Whether each row's answer is its last turn (no target, and the assistant speaks last), or before those of its
    turns that are not trained: boolean array."""
    return pa.array(answer_places(table) >= 0)


def answer_text(table: pa.Table) -> pa.Array:
    """What the model is to answer: the target, or else the last trained turn where the assistant speaks last, or else
    "". What was thought before is no part of it.

    Returns a string array of length `table.num_rows`.
    """
    places = answer_places(table)
    spoken = _contents(table).take(pa.array(places, mask=places < 0))
    return pc.fill_null(pc.coalesce(whole(table["target"]), spoken), "")


def untrained_turns(table: pa.Table) -> Any:
    """How many of each row's turns are not trained though the assistant says them: an int64 NumPy array."""
    turns = whole(table["turns"])
    rows = pc.list_parent_indices(turns).filter(pc.equal(pc.struct_field(turns.flatten(), "trained"), False))
    return np.bincount(rows.to_numpy(), minlength=table.num_rows)


def texts_of(table: pa.Table) -> pa.Array:
    """All that was said or thought in some rows, but for targets and `meta`: the contents of all turns, then what was
    thought before turns, then before targets. See `rows_of_texts`, `with_texts`."""
    thought = [pc.drop_null(each) for each in _reasonings(table)]
    return pa.concat_arrays([_contents(table), *thought]) if any(map(len, thought)) else _contents(table)


def rows_of_texts(table: pa.Table) -> Any:
    """The row of each of `texts_of`: an int64 NumPy array."""
    of_turn = pc.list_parent_indices(whole(table["turns"]))
    before_turns, before_targets = _reasonings(table)
    thought = [of_turn.filter(pc.is_valid(before_turns)), pc.indices_nonzero(pc.is_valid(before_targets))]
    return np.concatenate([each.to_numpy() for each in (of_turn, *thought)]).astype(np.int64)


def with_texts(table: pa.Table, changed: pa.Array) -> pa.Table:
    """`table` with other texts in place of those that `texts_of` gives."""
    turns = whole(table["turns"])
    said = turns.flatten()
    before_turns, before_targets = _reasonings(table)
    ends = np.cumsum([len(said), len(before_turns) - before_turns.null_count])
    reasoning = _filled(before_turns, changed[ends[0] : ends[1]])
    columns = [pc.struct_field(said, "role"), changed[: ends[0]], reasoning, pc.struct_field(said, "trained")]
    rebuilt = _lists(
        pc.list_value_length(turns).to_numpy(zero_copy_only=False),
        pa.StructArray.from_arrays(columns, fields=list(TURN)),
    )
    for name, column in {"turns": rebuilt, "reasoning": _filled(before_targets, changed[ends[1] :])}.items():
        table = table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), column)
    return table


def _reasonings(table: pa.Table) -> tuple[pa.Array, pa.Array]:
    """What was thought before each turn, and before each row's target; null where nothing was."""
    return pc.struct_field(whole(table["turns"]).flatten(), "reasoning"), whole(table["reasoning"])


def _filled(known: pa.Array, values: pa.Array) -> pa.Array:
    """`known` with these values where it is not null."""
    return pc.replace_with_mask(known, pc.is_valid(known), values) if len(values) else known


def map_contents(table: pa.Table, change: Any) -> pa.Table:
    """`table` with all that was said or thought changed: `change` makes a string array of one, see `texts_of`; itself
    where that is the same one."""
    texts = texts_of(table)
    changed = change(texts)
    return table if changed is texts else with_texts(table, changed)


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
