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
from curate.cache import Seal, write_arrow

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
            base: a row of the table is that of the base that has its PLACE or, without that column, its id and source;
                without a base, all is written.
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
    """Columns of the table of an entry, one at least, put together with what its bases hold.

    Raises:
        RotError: it or one of those is damaged.
    """
    wanted, layers = [*columns], list[_Layer]()
    seal: Seal | None = Seal.of(folder)
    while seal is not None:
        layers.append(_Layer(seal, wanted))
        wanted = [name for name in wanted if name not in layers[-1].kept.column_names]
        seal = seal.below() if wanted else None
    found = {name: _column(layers, name) for name in columns}
    metadata = next(layer.kept.schema.metadata for layer in layers if KEPT in layer.files)
    schema = pa.schema([field for field, _ in found.values()], metadata)
    return pa.Table.from_arrays([column for _, column in found.values()], schema=schema)


class _Layer:
    """What an entry holds of some columns."""

    def __init__(self, seal: Seal, columns: Sequence[str]) -> None:
        self.files = seal.files
        self.kept, self.changed = (_read(seal, name, columns) for name in (KEPT, CHANGED))

    @cached_property
    def places(self) -> Numbers | None:
        return _places_of(self.kept) if PLACE.name in self.kept.column_names else None

    @cached_property
    def changed_places(self) -> Numbers:
        return _places_of(self.changed)


def _read(seal: Seal, name: str, columns: Sequence[str]) -> pa.Table:
    """PLACE, and those of the columns that a file of an entry has; the others are not unpacked."""
    if name not in seal.files:
        return pa.table({})
    with pa.memory_map(str(seal.intact(name))) as source:
        schema = pa.ipc.open_file(source).schema
        here = [at for at, each in enumerate(schema.names) if each == PLACE.name or each in columns]
        if not here:  # to Arrow that would be all
            return pa.schema([], schema.metadata).empty_table()
        return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=here)).read_all()


def _places_of(table: pa.Table) -> Numbers:
    # What has no place has values of its own.
    return np.asarray(table[PLACE.name].fill_null(0)).astype(np.int64)


def _column(layers: Sequence[_Layer], name: str) -> tuple[pa.Field, pa.ChunkedArray]:
    """A column as the topmost layer has it."""
    depth = next(at for at, layer in enumerate(layers) if name in layer.kept.column_names)
    kept = layers[depth].kept
    field, values = kept.schema.field(name), kept[name].chunks
    at: Numbers | None = None  # where among the values those of the rows are; None: they are just these
    for layer in reversed(layers[:depth]):
        if layer.places is not None:
            at = layer.places if at is None else at[layer.places]
        if name in layer.changed.column_names:
            count = sum(map(len, values))
            at = np.arange(count) if at is None else at.copy()
            at[layer.changed_places] = np.arange(count, count + layer.changed.num_rows)
            values = [*values, *layer.changed[name].chunks]
    column = pa.chunked_array(values, field.type)
    return field, column if at is None else pa.chunked_array([whole(column).take(pa.array(at))])


def _places(table: pa.Table, base: pa.Table) -> Numbers:
    """The place in `base` of each row of a table, -1 of one that is not there."""
    if PLACE.name in table.column_names:
        return _places_of(table)
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
