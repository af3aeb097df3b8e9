"""Typed values: what Arrow and YAML hold and JSON does not -> JSON, by one rule for every reader (docs/reading.md).

A field of a struct that is null is left out: Arrow gives every struct the fields of all, so most nulls are padding.
Decimals are integers where their scale is 0, else the float of the same digits, or text where no float has them all.
A single-precision float is the number of the fewest digits that is it: 12.34, not 12.34000015258789.
Dates, times and durations are ISO 8601, also in the years 0 and 10000, which Python does not have. Maps are objects,
and `arrow.json` is the value that is written in it. Binary is text where it is UTF-8, or in the encoding that the
source states; other bytes stay what they are, and no record can hold them. A float that is no number (NaN) is null,
which is how pandas writes null.
"""

import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import singledispatch
from itertools import accumulate, pairwise
from typing import Any
from uuid import UUID

from curate.read.json_value import text_value

WRITTEN = re.compile(r"(-?\d{4,5}-\d\d-\d\d)(?: (\d\d:\d\d:\d\d)(?:\.0+|(\.\d+))?(?:([+-]\d\d)(\d\d))?)?")
"""How Arrow writes a point in time: the day, the time, its fraction, the hours and minutes of its zone."""


class Struct(dict[str, Any]):
    """A struct's fields that are not null. The others are not in it, but where one is asked for it is none."""

    __slots__ = ("_fields",)

    def __init__(self, items: Iterable[tuple[str, Any]], fields: frozenset[str]) -> None:
        super().__init__(items)
        self._fields = fields

    def __missing__(self, name: str) -> None:
        if name not in self._fields:
            raise KeyError(name)


def column_values(array: Any) -> list[Any]:
    """An Arrow array's values by the rule above.

    Raises:
        ValueError, OverflowError, pyarrow.ArrowException: Python has no such value, JSON text is none, or a map has a
            key twice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        if isinstance(kind, pa.JsonType):
            return [None if text is None else text_value(text) for text in array.storage.to_pylist()]
        if not isinstance(kind, pa.UuidType):
            return column_values(array.storage)
    elif types.is_dictionary(kind):
        return column_values(array.dictionary_decode())
    elif types.is_run_end_encoded(kind):
        return column_values(pc.run_end_decode(array))
    elif types.is_struct(kind):
        return _structs(array)
    elif types.is_map(kind):
        first, *_, last = places = array.offsets.to_pylist() or [0, 0]
        keys, items = (column_values(part.slice(first, last - first)) for part in (array.keys, array.items))
        pairs = [(key if isinstance(key, str) else str(key), item) for key, item in zip(keys, items, strict=True)]
        cuts = pairwise(place - first for place in places)
        return _with_nulls(array, [_object(pairs[begin:end]) for begin, end in cuts])
    elif types.is_nested(kind) and not types.is_union(kind):
        items = column_values(array.flatten())
        ends = accumulate((length or 0 for length in pc.list_value_length(array).to_pylist()), initial=0)
        return _with_nulls(array, [items[begin:end] for begin, end in pairwise(ends)])
    if types.is_float32(kind):
        array = array.cast(pa.string()).cast(pa.float64())
    if (types.is_timestamp(kind) or types.is_duration(kind) or types.is_time64(kind)) and kind.unit == "ns":
        return _nanoseconds(array)
    try:
        values: list[Any] = array.to_pylist()
    except OverflowError:
        if not (types.is_date(kind) or types.is_timestamp(kind)):
            raise
        return _far(array)
    if types.is_interval(kind):
        return [v and f"P{v.months}M{v.days}DT{v.nanoseconds / 1e9:.9g}S" for v in values]
    if types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind) or types.is_boolean(kind):
        return values
    return [scalar(value) for value in values]


def in_encoding(value: Any, encoding: str) -> Any:
    """A value in which bytes are text of an encoding, where they are any."""
    if isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode(encoding)
    elif isinstance(value, list):
        return [in_encoding(each, encoding) for each in value]
    elif isinstance(value, dict):
        for key, inner in value.items():
            value[key] = in_encoding(inner, encoding)
    return value


def class_named(value: Any, feature: Any) -> Any:
    """A value in which the number of a class is its name, and -1, which is none, is null.

    Args:
        value: of a column, or within one.
        feature: what `datasets` says of it: an object with `_type`; of a list with that of its items as `feature`; of
            a struct an object of its fields.
    """
    if isinstance(feature, list):  # as older releases write a list
        feature = feature[0]
    items = feature["feature"] if isinstance(feature.get("_type"), str) and "feature" in feature else feature
    if isinstance(value, list):
        return [class_named(each, items) for each in value]
    if isinstance(value, dict):
        for key in value.keys() & items.keys():
            value[key] = class_named(value[key], items[key])
    elif feature.get("_type") == "ClassLabel" and isinstance(value, int):
        names = feature["names"]
        return names[value] if 0 <= value < len(names) else None if value == -1 else value
    return value


def _structs(array: Any) -> list[Any]:
    fields = [field.name for field in array.type]
    known = frozenset(fields)
    columns = [column_values(column) for column in array.flatten()]
    rows = zip(*columns, strict=True) if columns else ((),) * len(array)
    found = [
        Struct([(name, value) for name, value in zip(fields, row, strict=True) if value is not None], known)
        for row in rows
    ]
    return _with_nulls(array, found)


def _with_nulls(array: Any, values: list[Any]) -> list[Any]:
    if not array.null_count:
        return values
    return [value if valid else None for value, valid in zip(values, array.is_valid().to_pylist(), strict=True)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a map has a key twice")
    return found


def _nanoseconds(array: Any) -> list[Any]:
    """Points in time to the nanosecond; of durations and times of day the microseconds. Arrow itself asks pandas."""
    import pyarrow as pa

    kind = array.type
    counts = array.cast(pa.int64()).to_pylist()
    if not pa.types.is_timestamp(kind):
        to = pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")
        less = [None if count is None else abs(count) // 1000 * (-1 if count < 0 else 1) for count in counts]
        return [scalar(value) for value in pa.array(less, pa.int64()).cast(to).to_pylist()]
    whole = pa.array([None if count is None else count // 1000 for count in counts], pa.int64())
    values = whole.cast(pa.timestamp("us", kind.tz)).to_pylist()
    return [
        _with_rest(value, count % 1000) if count and count % 1000 else scalar(value)
        for value, count in zip(values, counts, strict=True)
    ]


def _far(array: Any) -> list[Any]:
    """Points in time, for some of which Python has no value: what Arrow writes, or where it does not, their count."""
    import pyarrow as pa

    found: list[Any] = []
    for at in range(len(array)):
        each = array.slice(at, 1)
        try:
            found.append(scalar(each[0].as_py()))
        except OverflowError:
            written = WRITTEN.fullmatch(each.cast(pa.string())[0].as_py().replace("Z", "+0000"))
            if written is None:
                found.append(str(each.cast(pa.int32() if pa.types.is_date32(array.type) else pa.int64())[0]))
                continue
            day, clock, fraction, hours, minutes = written.groups(default="")
            zone = hours and f"{hours}:{minutes}"
            found.append(f"{day}T{clock}{fraction}{zone}" if clock else day)
    return found


def _with_rest(value: datetime, rest: int) -> str:
    """A point in time with so many nanoseconds more."""
    text = value.isoformat(timespec="microseconds")
    end = len("2024-01-02T03:04:05.000000")
    return f"{text[:end]}{rest:03}{text[end:]}"


@singledispatch
def scalar(value: Any) -> Any:
    """A value that is no list and no object, by the rule above."""
    return value


@scalar.register
def _(value: Decimal) -> int | float | str:
    if value.as_tuple().exponent == 0:
        return int(value)
    near = float(value)
    return near if math.isfinite(near) and Decimal(repr(near)) == value else str(value)


@scalar.register
def _(value: float) -> float | None:
    return None if math.isnan(value) else value


@scalar.register(date)  # and so datetime
@scalar.register(time)
def _(value: date | time) -> str:
    return value.isoformat()


@scalar.register
def _(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta() else ("", value)
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{value.microseconds:06}".rstrip("0").rstrip(".")
    clock = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    clock += f"{seconds}{fraction}S" if seconds or fraction or not (clock or value.days) else ""
    return f"{sign}P" + (f"{value.days}D" if value.days else "") + (f"T{clock}" if clock else "")


@scalar.register
def _(value: bytes) -> str | bytes:
    with suppress(UnicodeDecodeError):
        return value.decode()
    return value


@scalar.register
def _(value: UUID) -> str:
    return str(value)


def _decimal(text: str) -> Any:
    value = Decimal(text)
    return scalar(value) if value.is_finite() else None


def _date(when: Any) -> str:
    """Text, or milliseconds since 1970, as a number or typed."""
    if isinstance(when, str):
        return when
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=from_mongodb(when))).isoformat()


EXTENDED: dict[str, Callable[[Any], Any]] = {
    "$oid": str,
    "$uuid": str,
    "$symbol": str,
    "$numberInt": int,
    "$numberLong": int,
    "$numberDouble": _decimal,
    "$numberDecimal": _decimal,
    "$date": _date,
}
"""MongoDB's types in its Extended JSON (version 2, canonical and relaxed), and what is made of each."""


def from_mongodb(value: Any) -> Any:
    """A value of MongoDB's Extended JSON, by the rule above; one that is none of its types stays as it is."""
    if isinstance(value, list):
        return [from_mongodb(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (made := EXTENDED.get(next(iter(value)))) is not None:
        with suppress(ValueError, TypeError, ArithmeticError):
            return made(next(iter(value.values())))
    return {key: from_mongodb(each) for key, each in value.items()}


def nested(value: Any) -> Any:
    """A value of Python's own types, by the rule above."""
    if isinstance(value, dict):
        return {key: nested(inner) for key, inner in value.items()}
    if isinstance(value, set):  # which Python has in another order each time
        value = sorted(value, key=repr)
    return [nested(inner) for inner in value] if isinstance(value, (list, tuple)) else scalar(value)
