"""Parquet and Arrow -> raw rows, batch by batch."""

import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import numpy as np

from curate.read.arrow_sizes import Sizes, message_sizes, value_sizes
from curate.read.budget import ROW_BYTES, Budget
from curate.read.raw_row import LONGEST_ROW, MOST_COLUMNS, Row, Unread, distinct, too_long, too_wide
from curate.read.typed_values import class_named, column_values

INDEX = re.compile(r"__index_level_\d+__")
"""The name under which pandas writes the numbers of rows, which are no data."""


BATCH_ROWS = 1024
BATCH_BYTES = 128 << 20
"""Rows that are decoded at a time, and bytes that they may take, about, however often they repeat one value."""
NUMBERS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of Parquet's types of one size."""


def parquet_rows(stream: IO[bytes], budget: Budget) -> Iterator[Row | Unread]:
    """The rows of a Parquet file, and one Unread for all that follows where it is broken.

    Raises:
        UnpackedSizeError: it holds more than the budget has.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with at_hand(stream) as source, pq.ParquetFile(source, **BUFFERED) as file:
            columns = max(file.metadata.num_columns, len(file.schema_arrow))
            if columns > MOST_COLUMNS:
                yield Unread(too_wide(columns), None, "")
                return
            budget.allow(ROW_BYTES * file.metadata.num_rows, f"{file.metadata.num_rows:,} rows")
            looked_up = pq.ParquetFile(source, metadata=file.metadata, read_dictionary=_looked_up(file), **BUFFERED)
            for number in range(file.num_row_groups):
                for batch in _batches(file, looked_up, number, budget):
                    yield from _batch_rows(batch, budget)
    except (pa.ArrowException, ValueError) as error:  # ValueError: a schema that is not UTF-8
        yield Unread(f"{type(error).__name__}: {error}", None, "")


BUFFERED: dict[str, Any] = {"buffer_size": 1 << 20, "pre_buffer": False}


def _looked_up(file: Any) -> list[str]:
    """The columns of text whose values stand in a dictionary."""
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    encodings = [
        {each for group in groups for each in group.column(at).encodings} for at in range(file.metadata.num_columns)
    ]
    return [
        file.schema.column(at).path
        for at, found in enumerate(encodings)
        if file.schema.column(at).physical_type == "BYTE_ARRAY"
        and any("DICTIONARY" in each for each in found)
        and not any("DELTA" in each for each in found)  # which Arrow cannot read as dictionaries
    ]


def _batches(file: Any, looked_up: Any, number: int, budget: Budget) -> Iterator[Any]:
    """A row group, of which no more is decoded at a time than BATCH_BYTES and what the file has of it.

    A value stands once in a dictionary, and DELTA_BYTE_ARRAY shares a prefix with the value before: a file of 1 kB may
    have 4 MB in each of a hundred thousand rows. Where a row's longest values leave no room, fewer rows are read at a
    time; where the items of lists do, as long as the group itself has room, they stay in their dictionaries.

    Args:
        file: as its values are.
        looked_up: the same file, with text in its dictionaries.
    """
    group = file.metadata.row_group(number)
    leaves = [(file.schema.column(at), group.column(at)) for at in range(group.num_columns)]
    widths = [NUMBERS.get(column.physical_type, column.length) for column, _ in leaves]
    least = sum(chunk.num_values * width for (_, chunk), width in zip(leaves, widths, strict=True))
    least = max(least, group.total_byte_size)
    budget.allow(least, f"{least:,} bytes in a row group")
    each = sum(
        width if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else chunk.total_uncompressed_size
        for (column, chunk), width in zip(leaves, widths, strict=True)
        if column.physical_type == "FIXED_LEN_BYTE_ARRAY" or "DELTA_BYTE_ARRAY" in chunk.encodings
    )
    values = max((chunk.num_values for column, chunk in leaves if column.max_repetition_level), default=0)
    listed = 0
    first = next(looked_up.iter_batches(batch_size=1, row_groups=[number]), None)
    for longest, is_listed in _longest(first) if first is not None else ():
        longest = group.total_byte_size if longest is None else longest
        each += 0 if is_listed else longest
        listed += longest if is_listed else 0
    if listed * values > BATCH_BYTES >= group.total_byte_size:
        file = looked_up
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(each, 1)))
    yield from file.iter_batches(batch_size=rows, row_groups=[number])


def _longest(batch: Any) -> Iterator[tuple[int | None, bool]]:
    """Of each dictionary of a batch the bytes of its longest value, None where it has not been read yet, and whether
    lists have its values."""
    import pyarrow as pa

    arrays = [(column, False) for column in batch.columns]
    while arrays:
        array, is_listed = arrays.pop()
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            arrays.append((array.storage, is_listed))
        elif pa.types.is_dictionary(kind):
            yield (int(value_sizes(array.dictionary).max()) if len(array.dictionary) else None), is_listed
        elif pa.types.is_struct(kind):
            arrays += [(field, is_listed) for field in array.flatten()]
        elif pa.types.is_map(kind):
            arrays += [(array.keys, True), (array.items, True)]
        elif pa.types.is_nested(kind):
            arrays.append((array.values, True))


def arrow_rows(stream: IO[bytes], budget: Budget) -> Iterator[Row | Unread]:
    """An IPC file or stream, told by its magic bytes.

    Raises:
        UnpackedSizeError: it holds more than the budget has.
    """
    import pyarrow as pa

    try:
        with at_hand(stream) as source:
            is_file = source.read(6) == b"ARROW1"
            rows = unpacked = 0
            for count, size in message_sizes(source, is_file):
                rows, unpacked = rows + count, unpacked + size
                budget.allow(ROW_BYTES * rows, f"{rows:,} rows")
                budget.allow(unpacked, f"{unpacked:,} bytes in compressed buffers")
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            if len(reader.schema) > MOST_COLUMNS:
                yield Unread(too_wide(len(reader.schema)), None, "")
                return
            batches = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                batch.validate()
                with suppress(IndexError):  # offsets of a spoilt file may point anywhere, as is found below
                    budget.allow(int(_sizes(batch).sum()))
                batch.validate(full=True)  # which reads what many views share once for each of them
                yield from _batch_rows(batch, budget)
    except (pa.ArrowException, ValueError) as error:
        yield Unread(f"{type(error).__name__}: {error}", None, "")


class _AtHand(io.BufferedReader):
    """A file whose bytes are all there: a read that asks for more than it has, as a spoilt one may, takes no memory."""

    def __init__(self, stream: Any) -> None:
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        super().__init__(stream)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None else min(size, self._size))


def at_hand(stream: IO[bytes]) -> IO[bytes]:
    """A stream that can be read in any order: a file itself, or what is unpacked in a file without a name."""
    if isinstance(stream, (io.BytesIO, io.BufferedReader)) and stream.seekable():
        return _AtHand(stream)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    while data := stream.read(1 << 20):
        file.write(data)
    return _AtHand(file)


def _batch_rows(batch: Any, budget: Budget) -> Iterator[Row | Unread]:
    """A batch's rows, of which no more are made at a time than one may be long; one that is longer is set aside."""
    sizes = _sizes(batch)
    budget.spend(int(sizes.sum()))
    ends = np.cumsum(sizes)
    begin = 0
    while begin < batch.num_rows:
        room = LONGEST_ROW + (ends[begin - 1] if begin else 0)
        end = min(begin + BATCH_ROWS, int(np.searchsorted(ends, room, side="right")))
        if end == begin:
            yield Unread(f"{too_long()}: {sizes[begin]:,} bytes", None, "")
            end += 1
        else:
            yield from _rows(batch.slice(begin, end - begin))
        begin = end


def _sizes(batch: Any) -> Sizes:
    return sum((value_sizes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))


def _rows(batch: Any) -> Iterator[Row | Unread]:
    """A batch's rows; if Python has no value for one (a date beyond the year 9999, say), that one is set aside."""
    columns: dict[str, list[Any]] = {}
    features = _features(batch.schema)
    name = ""
    try:
        for name, column in zip(distinct(batch.schema.names), batch.columns, strict=True):
            if not INDEX.fullmatch(name):
                columns[name] = column_values(column)
                if name in features:
                    columns[name] = [class_named(value, features[name]) for value in columns[name]]
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield Unread(f"column {name!r}: {type(error).__name__}: {error}", None, str(batch))
        else:
            for row in range(batch.num_rows):
                yield from _rows(batch.slice(row, 1))
        return
    rows = zip(*columns.values(), strict=True) if columns else ((),) * batch.num_rows
    for values in rows:
        yield dict(zip(columns, values, strict=True))


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` writes of those of its columns that hold numbers of classes."""
    text = (schema.metadata or {}).get(b"huggingface", b"")
    if b'"ClassLabel"' not in text:
        return {}
    with suppress(ValueError, KeyError, TypeError):
        features = json.loads(text)["info"]["features"]
        return {name: each for name, each in features.items() if "ClassLabel" in json.dumps(each)}
    return {}
