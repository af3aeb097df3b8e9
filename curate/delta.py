"""Tables as deltas: of a table made of another one, its base, only what differs is written.

A delta is up to two Arrow files in an entry of the cache. `kept.arrow` has a row for each of the table's: the columns
of which most values differ and, unless the rows are just those of the base, each row's place there. `changed.arrow` has
the rows of which few values differ, with their places in the table. Both are compressed, and read column by column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.cache import bases_of, intact, sealed, write_arrow

COMPRESSION = "zstd"
"""It leaves a third to a tenth of texts, in the time that writing them whole takes."""
KEPT, CHANGED = "kept.arrow", "changed.arrow"
PLACE = pa.field("\x1fplace", pa.int32())
"""Column of both files; no stage's."""
BITS: dict[int, Any] = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Delta:
    """What of a table is written."""

    kept: pa.Table | None
    """The columns of which most values differ, with PLACE unless each row is that of the base in its place; None where
    there is nothing of this."""
    changed: pa.Table | None
    """The rows of which few values differ, with PLACE; None where there are none."""
    has_base: bool
    """Whether the base is needed."""

    @staticmethod
    def of(table: pa.Table, base: pa.Table | None) -> "Delta":
        """What differs between two tables of records and other columns, exactly.

        Args:
            table: to be written.
            base: a row of the table is that of the base that has its id and source; without one, all is written.
        """
        if base is None:
            return Delta(table, None, False)
        places = _places(table, base)
        moved = not np.array_equal(places, np.arange(base.num_rows))
        taken = pa.array(places, PLACE.type, mask=places < 0)
        most: dict[pa.Field, pa.ChunkedArray] = {PLACE: taken} if moved else {}
        few: dict[pa.Field, pa.Array] = {}
        rows = np.zeros(table.num_rows, np.bool_)
        for field in table.schema:
            number = base.schema.get_field_index(field.name)
            if number < 0 or not base.schema.field(number).equals(field, check_metadata=True):
                most[field] = table[field.name]
                continue
            column, before = whole(table[field.name]), whole(base.column(number))
            differs = differing(column, before.take(taken) if moved else before) | (places < 0)
            if 2 * np.count_nonzero(differs) > len(differs):
                most[field] = table[field.name]
            elif differs.any():
                few[field] = column
                rows |= differs
        if len(most) - moved == table.num_columns:
            return Delta(table, None, False)
        kept = changed = None
        if most or table.schema.metadata != base.schema.metadata:
            kept = pa.Table.from_arrays([*most.values()], schema=pa.schema([*most], table.schema.metadata))
        if few:
            at = pa.array(np.flatnonzero(rows), PLACE.type)
            values = [at, *(column.take(at) for column in few.values())]
            changed = pa.Table.from_arrays(values, schema=pa.schema([PLACE, *few]))
        return Delta(kept, changed, True)

    def write(self, folder: Path) -> None:
        for name, table in ((KEPT, self.kept), (CHANGED, self.changed)):
            if table is not None:
                write_arrow(table, folder / name, COMPRESSION)


def read_table(folder: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of the table of an entry, put together with what its bases hold.

    Raises:
        RotError: it or one of those is damaged.
    """
    layers = [_Layer(folder)]
    while layers[-1].bases:
        layers.append(_Layer(layers[-1].bases[0]))
    found = [_column(layers, name) for name in columns]
    metadata = next(layer.kept.schema.metadata for layer in layers if layer.kept is not None)
    schema = pa.schema([field for field, _, _ in found], metadata)
    return pa.Table.from_arrays([_values(*each) for each in found], schema=schema)


class _Layer:
    """An entry that holds a table or a delta."""

    def __init__(self, folder: Path) -> None:
        files = sealed(folder)
        self.bases = bases_of(folder)
        self.kept, self.changed = (
            _Columns(intact(folder, name)) if name in files else None for name in (KEPT, CHANGED)
        )


class _Columns:
    """An Arrow file of which a column is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._source = pa.memory_map(str(path))
        self.schema: pa.Schema = pa.ipc.open_file(self._source).schema

    def __contains__(self, name: str) -> bool:
        return name in self.schema.names

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        options = pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name)])
        return pa.ipc.open_file(self._source, options=options).read_all()[name]

    @cached_property
    def places(self) -> Numbers:
        # What has none has values of its own.
        return np.asarray(self[PLACE.name].fill_null(0)).astype(np.int64)


def _column(layers: Sequence[_Layer], name: str) -> tuple[pa.Field, list[pa.Array], Numbers | None]:
    """A column: values, and where among them those of the rows are (None where they are just these)."""
    layer, *below = layers
    if layer.kept is not None and name in layer.kept:
        return layer.kept.schema.field(name), layer.kept[name].chunks, None
    field, values, at = _column(below, name)
    if layer.kept is not None and PLACE.name in layer.kept:
        at = layer.kept.places if at is None else at[layer.kept.places]
    if layer.changed is not None and name in layer.changed:
        count = sum(map(len, values))
        at = np.arange(count) if at is None else at.copy()
        at[layer.changed.places] = np.arange(count, count + len(layer.changed.places))
        values = [*values, *layer.changed[name].chunks]
    return field, values, at


def _values(field: pa.Field, values: list[pa.Array], at: Numbers | None) -> pa.ChunkedArray:
    column = pa.chunked_array(values, field.type)
    return column if at is None else pa.chunked_array([whole(column).take(pa.array(at))])


def _places(table: pa.Table, base: pa.Table) -> Numbers:
    """The place in `base` of each row of a table, -1 of one that is not there."""
    if all(table[name].equals(base[name]) for name in ("id", "source")):
        return np.arange(table.num_rows)
    found = pc.index_in(_names(table), value_set=_names(base))
    return np.asarray(found.fill_null(-1)).astype(np.int64)


def _names(table: pa.Table) -> pa.Array:
    """What a row is known by."""
    source = whole(table["source"])
    parts = [whole(table["id"]), pc.struct_field(source, "file"), pc.struct_field(source, "row").cast(pa.string())]
    return pc.binary_join_element_wise(*parts, "\x1f", null_handling="replace")


def differing(one: pa.Array, other: pa.Array) -> Flags:
    """Of which rows the values differ in any bit that is read: shape (rows,).

    Args:
        one, other: of one type and length. Of types that are neither values nor lists, maps or structures of them
            (dictionaries, unions, views) all rows differ, or none.
    """
    kind = one.type
    if pa.types.is_floating(kind):  # by their bits: -0.0 is not 0.0, and a number that is none is itself
        one, other = one.view(BITS[kind.bit_width]), other.view(BITS[kind.bit_width])
    elif not _has_floats(kind) and one.equals(other):
        return np.zeros(len(one), np.bool_)
    differ = _flags(pc.xor(one.is_valid(), other.is_valid()))
    if pa.types.is_struct(kind):
        for pair in zip(one.flatten(), other.flatten(), strict=True):
            differ |= differing(*pair)
    elif pa.types.is_map(kind):
        differ = differing(*(each.cast(pa.list_(kind.field(0))) for each in (one, other)))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths, others = (_lengths(each) for each in (one, other))
        differ |= lengths != others
        same = np.flatnonzero(~differ)
        items = differing(*(each.take(pa.array(same)).flatten() for each in (one, other)))
        differ[np.repeat(same, lengths[same])[items]] = True
    elif _is_plain(kind):
        differ |= _flags(pc.not_equal(one, other).fill_null(False))
    else:
        differ[:] = True
    return differ


def _has_floats(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or any(_has_floats(kind.field(at).type) for at in range(kind.num_fields))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values are compared by `not_equal`."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _flags(values: pa.Array) -> Flags:
    flags: Flags = values.to_numpy(zero_copy_only=False).copy()
    return flags


def _lengths(lists: pa.Array) -> Numbers:
    return np.asarray(pc.list_value_length(lists).fill_null(0)).astype(np.int64)
