"""Sizes of what Arrow holds: of values that share their bytes, once they are Python's; of buffers, once unpacked."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Sizes = NDArray[np.int64]


def value_sizes(array: Any) -> Sizes:
    """Bytes of each of an array's values, those of its items with it: one, and those of its text, binary or number.

    Nothing is decoded: a value that a dictionary, a run, a view or a list that overlaps another has many times costs
    its bytes each time. Of a sparse union a value costs those of all its members.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    kind = array.type
    count = len(array)
    if isinstance(kind, pa.BaseExtensionType):
        return value_sizes(array.storage)
    if types.is_dictionary(kind):
        places = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return np.where(_valid(array), _taken(value_sizes(array.dictionary), places), 1)
    if types.is_run_end_encoded(kind):
        at = np.arange(array.offset, array.offset + count)
        return _taken(value_sizes(array.values), np.searchsorted(array.run_ends.to_numpy(), at, side="right"))
    if types.is_struct(kind):
        return sum((value_sizes(field) for field in array.flatten()), _ones(count))
    if types.is_union(kind):
        members = [value_sizes(array.field(at)) for at in range(kind.num_fields)]
        if kind.mode == "sparse":
            return sum(members, _ones(count))
        here = slice(array.offset, array.offset + count)  # where pyarrow's own `type_codes` and `offsets` are not
        codes, places = (
            np.frombuffer(buffer, form)[here] if buffer else np.zeros(0, form)
            for buffer, form in zip(array.buffers()[1:3], (np.int8, np.int32), strict=True)
        )
        sizes = _ones(count)
        for code, member in zip(kind.type_codes, members, strict=True):
            sizes[codes == code] += member[places[codes == code]]
        return sizes
    if types.is_fixed_size_list(kind):
        items = array.values.slice(array.offset * kind.list_size, count * kind.list_size)
        ends = np.arange(count + 1) * kind.list_size
        return 1 + _between(items, ends[:-1], ends[1:])
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        begins = array.offsets.to_numpy()
        return 1 + _between(array.values, begins, begins + array.sizes.to_numpy())
    if types.is_nested(kind):  # lists and maps
        ends = array.offsets.to_numpy()
        first, last = (int(ends[0]), int(ends[-1])) if count else (0, 0)
        parts = (array.keys, array.items) if types.is_map(kind) else (array.values,)
        sliced = [part.slice(first, last - first) for part in parts]
        return sum((_between(part, ends[:-1] - first, ends[1:] - first) for part in sliced), _ones(count))
    if kind in (pa.string_view(), pa.binary_view()):
        views = array.buffers()[1]
        words = np.frombuffer(views, np.int32)[4 * array.offset :: 4] if views else np.zeros(count, np.int32)
        return 1 + words[:count].astype(np.int64)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        lengths: Sizes = pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        return 1 + lengths
    return np.full(count, 1 + _width(kind), np.int64)


def _ones(count: int) -> Sizes:
    return np.ones(count, np.int64)


def _valid(array: Any) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _width(kind: Any) -> int:
    """Bytes of a number, or of binary of one size."""
    import pyarrow as pa

    return 0 if pa.types.is_null(kind) else (kind.bit_width + 7) // 8


def _taken(sizes: Sizes, places: Any) -> Sizes:
    return sizes[places] if len(sizes) else _ones(len(places))  # of which none is one of them


def _between(items: Any, begins: Sizes, ends: Sizes) -> Sizes:
    """Bytes of the items from each place to another."""
    import pyarrow as pa

    if pa.types.is_primitive(items.type) or pa.types.is_null(items.type):  # lists of numbers may be very long
        return (ends - begins).astype(np.int64) * (1 + _width(items.type))
    total: Sizes = np.concatenate([[0], np.cumsum(value_sizes(items))])
    return total[ends] - total[begins]


def message_sizes(source: IO[bytes], is_file: bool) -> Iterator[tuple[int, int]]:
    """Of each message of an Arrow file or stream its rows, and the bytes that its buffers say that they unpack to.

    Each buffer of a compressed message begins with its length unpacked, which Arrow takes at its word: 1 kB may ask for
    a terabyte (Columnar.rst of the format, "Encapsulated message format", and its Message.fbs, File.fbs). What is
    broken ends it: Arrow says so in its own words. A place that no file can have is broken too, of which memory says
    nothing, a disk an OSError, and past 63 bits each another error.
    """
    with suppress(struct.error, OSError, OverflowError, ValueError):
        for at in _blocks(source) if is_file else _messages(source):
            source.seek(at)
            data = _metadata(source)
            body = source.tell()
            message = _table(data, 0)
            [kind] = struct.unpack_from("<B", data, _field(data, message, 1) or 0)
            header = _field(data, message, 2)
            if header is None or kind not in (DICTIONARY_BATCH, RECORD_BATCH):
                continue
            batch = _table(data, header)
            if kind == DICTIONARY_BATCH:
                batch = _table(data, _field(data, batch, 1) or 0)
            rows = _field(data, batch, 0)
            unpacked = 0
            if _field(data, batch, 3) is not None:
                for offset, length in _vector(data, _field(data, batch, 2), "<qq"):
                    source.seek(max(body + offset, 0))
                    if length >= 8:
                        unpacked += max(*struct.unpack("<q", source.read(8)), 0)
            yield (struct.unpack_from("<q", data, rows)[0] if rows and kind == RECORD_BATCH else 0), unpacked


DICTIONARY_BATCH, RECORD_BATCH = 2, 3
"""Kinds of messages, as Message.fbs numbers them."""


def _messages(source: IO[bytes]) -> Iterator[int]:
    """Where each message of a stream begins."""
    at = 0
    while True:
        source.seek(at)
        data = _metadata(source)
        if not data:
            return
        body = source.tell()
        yield at
        length = _field(data, _table(data, 0), 3)
        at = body + (max(*struct.unpack_from("<q", data, length), 0) if length else 0)


def _blocks(source: IO[bytes]) -> Iterator[int]:
    """Where each message of a file begins, as its footer has it."""
    end = source.seek(-10, 2)
    [length] = struct.unpack("<i", source.read(4))
    source.seek(max(end - length, 0))
    data = source.read(max(length, 0))
    footer = _table(data, 0)
    for number in (2, 3):
        for offset, _, _ in _vector(data, _field(data, footer, number), "<qi4xq"):
            yield max(offset, 0)


def _metadata(source: IO[bytes]) -> bytes:
    """What a message says of itself, a table of FlatBuffers."""
    [length] = struct.unpack("<i", source.read(4))
    if length == -1:  # since 0.15 the length comes behind this mark
        [length] = struct.unpack("<i", source.read(4))
    return source.read(max(length, 0))


def _table(data: bytes, at: int) -> int:
    """The place that is pointed to from another."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """The place of a table's field, none where it is left out."""
    [back] = struct.unpack_from("<i", data, table)
    [size] = struct.unpack_from("<H", data, table - back)
    place = 4 + 2 * number
    offset = struct.unpack_from("<H", data, table - back + place)[0] if place < size else 0
    return table + int(offset) if offset else None


def _vector(data: bytes, field: int | None, form: str) -> Iterator[tuple[int, ...]]:
    """The structs of a vector."""
    if field is not None:
        at = _table(data, field)
        [count] = struct.unpack_from("<I", data, at)
        size = struct.calcsize(form)
        yield from struct.iter_unpack(form, data[at + 4 : at + 4 + count * size])
