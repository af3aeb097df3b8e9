"""Tables as JSON lines: the bytes that orjson gives of each row as a dict, without the dicts, from Arrow's buffers."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.record import dicts
from curate.text.kernel import kernel, read_only

TEXT = pa.large_string()
"""A few rows as JSON may be longer than 2 GiB."""
SHORT = dict(zip(b'"\\\b\t\n\f\r', b'"\\btnfr', strict=True))
"""Bytes that JSON writes as a backslash and another."""
AFTER = np.array([SHORT.get(byte, 0) for byte in range(256)], np.uint8)
MORE = np.array([1 if byte in SHORT else 5 if byte < 32 else 0 for byte in range(256)], np.uint8)
"""How many bytes more JSON takes for a byte; for 5 it is a code point in hexadecimal."""
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


class Json(NamedTuple):
    """Values as JSON, none of them null, without what all of them begin and end with."""

    texts: pa.Array
    begin: str = ""
    end: str = ""

    def whole(self) -> pa.Array:
        return _joined([self.begin, self.texts, self.end])


def json_lines(table: pa.Table) -> pa.Buffer:
    """The rows as JSON, a line each."""
    rows = _object(table.column_names, map(whole, table.columns))
    lines = rows._replace(end=rows.end + "\n").whole()
    _, ends, text = lines.buffers()
    return text.slice(0, int(np.frombuffer(ends, np.int64)[len(lines)]))


def _json(values: pa.Array) -> Json:
    said = _said(values)
    return Json(pc.if_else(values.is_valid(), said.whole(), pa.scalar("null", TEXT))) if values.null_count else said


def _said(values: pa.Array) -> Json:
    """Values as JSON, something in the place of null."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Json(_escaped(pc.fill_null(values, "").cast(TEXT)), '"', '"')
    if pa.types.is_integer(kind):
        return Json(pc.fill_null(values, 0).cast(TEXT))
    if pa.types.is_boolean(kind):
        return Json(pc.if_else(pc.fill_null(values, False), "true", "false").cast(TEXT))
    if pa.types.is_struct(kind) and kind.num_fields:
        return _object([field.name for field in kind], values.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _listed(values, _json(values.flatten()), "[]")
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
        lists = values.cast(pa.list_(kind.field(0)))
        names, items = lists.flatten().flatten()
        if not _any_twice(lists, names):
            name, item = _json(names), _json(items)
            pairs = _joined([name.texts, f"{name.end}:{item.begin}", item.texts])
            return _listed(lists, Json(pairs, name.begin, item.end), "{}")
    return Json(pa.array((orjson.dumps(row[""]) for row in dicts(pa.table({"": values}))), TEXT))


def _object(names: Sequence[str], values: Iterable[pa.Array]) -> Json:
    parts: list[Any] = ["{"]
    for name, each in zip(names, map(_json, values), strict=True):
        before = f"{parts.pop()}{',' if len(parts) else ''}{orjson.dumps(name).decode()}:{each.begin}"
        parts += [before, each.texts, each.end]
    begin, *between, end = parts
    return Json(_joined(between), begin, f"{end}}}")


def _listed(lists: pa.Array, items: Json, brackets: str) -> Json:
    """Lists by their items."""
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    ends = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    between = pa.scalar(f"{items.end},{items.begin}", TEXT)
    texts = pc.binary_join(pa.LargeListArray.from_arrays(ends, items.texts), between)
    found = Json(texts, brackets[0] + items.begin, items.end + brackets[1])
    return (
        found
        if (counts > 0).all()
        else Json(pc.if_else(pa.array(counts > 0), found.whole(), pa.scalar(brackets, TEXT)))
    )


def _any_twice(lists: pa.Array, names: pa.Array) -> bool:
    """Whether a name is there twice in a list: of a dict it would be the last."""
    codes = names.dictionary_encode()
    places = pc.list_parent_indices(lists).to_numpy() * len(codes.dictionary) + codes.indices.to_numpy()
    return len(np.unique(places)) < len(places)


def _joined(parts: Sequence[Any]) -> pa.Array:
    """Strings and arrays of strings, one after the other."""
    said = [pa.scalar(each, TEXT) if isinstance(each, str) else each for each in (*parts, "")]
    return pc.binary_join_element_wise(*said)


def _escaped(texts: pa.Array) -> pa.Array:
    """Texts as they stand in JSON between quotation marks."""
    _, offsets, data = texts.buffers()
    begins = read_only(np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1])
    said = read_only(np.frombuffer(data or b"", np.uint8))
    ends = np.zeros(len(texts) + 1, np.int64)
    if not _sizes(said, begins, ends):
        return texts
    written = np.empty(ends[-1], np.uint8)
    _write(said, begins, ends, written)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(written))


@kernel
def _sizes(data, begins, ends):  # type: ignore[no-untyped-def]
    """Fills in where each text ends when it is written; gives how many bytes are added."""
    added = 0
    for text in range(len(begins) - 1):
        for at in range(np.uint64(begins[text]), np.uint64(begins[text + 1])):
            added += MORE[data[at]]
        ends[text + 1] = begins[text + 1] - begins[0] + added
    return added


@kernel
def _write(data, begins, ends, out):  # type: ignore[no-untyped-def]
    for text in range(len(begins) - 1):
        at, end = np.uint64(begins[text]), np.uint64(begins[text + 1])
        to = np.uint64(ends[text])
        while at < end:
            byte = data[at]
            more = MORE[byte]
            if more == 0:
                out[to] = byte
            else:
                out[to] = 92
                if more == 1:
                    out[to + np.uint64(1)] = AFTER[byte]
                else:
                    out[to + np.uint64(1)] = 117
                    out[to + np.uint64(2)] = 48
                    out[to + np.uint64(3)] = 48
                    out[to + np.uint64(4)] = HEX[byte >> 4]
                    out[to + np.uint64(5)] = HEX[byte & 15]
            to += np.uint64(1) + np.uint64(more)
            at += np.uint64(1)
