"""Parquet and Arrow -> raw rows, batch by batch."""

import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from curate.read.raw_row import Row, Unread, distinct
from curate.read.typed_values import class_named, column_values

INDEX = re.compile(r"__index_level_\d+__")
"""The name under which pandas writes the numbers of rows, which are no data."""


def parquet_rows(stream: IO[bytes]) -> Iterator[Row | Unread]:
    """The rows of a Parquet file, and one Unread for all that follows where it is broken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with at_hand(stream) as source, pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from _batch_rows(batch)
    except (pa.ArrowException, ValueError) as error:  # ValueError: a schema that is not UTF-8
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def arrow_rows(stream: IO[bytes]) -> Iterator[Row | Unread]:
    """An IPC file or stream, told by its magic bytes."""
    import pyarrow as pa

    try:
        with at_hand(stream) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            batches = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                batch.validate(full=True)  # offsets of a spoilt file may point anywhere
                for begin in range(0, batch.num_rows, 1024):
                    yield from _batch_rows(batch.slice(begin, 1024))
    except (pa.ArrowException, ValueError) as error:
        yield Unread(f"{type(error).__name__}: {error}", None, "")


def at_hand(stream: IO[bytes]) -> Any:
    """A stream that can be read in any order: a file itself, or what is unpacked in a file without a name."""
    if isinstance(stream, (io.BytesIO, io.BufferedReader)) and stream.seekable():
        return stream
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    while data := stream.read(1 << 20):
        file.write(data)
    file.seek(0)
    return file


def _batch_rows(batch: Any) -> Iterator[Row | Unread]:
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
                yield from _batch_rows(batch.slice(row, 1))
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
