"""The set as its contract sees it: one flat row per record. It is made table by table, so that of all rows only what
rules are about is held, and nothing of them as Python objects."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.record import SPLITS, answer_text, group_keys, prompt_text, roles_text

READ = ("id", "turns", "target", "group", "label", "language", "split", "cluster", "tokens")
"""Columns of a set that `flatten` asks for."""
TEXTS = {"prompt": prompt_text, "answer": answer_text}
LARGE = pa.large_string()
"""A column of all rows' texts may be longer than 2 GiB."""


def flatten(tables: Iterable[pa.Table], texts: Collection[str] = tuple(TEXTS)) -> pa.Table:
    """The set as expectations see it: one flat row per record.

    Args:
        tables: of the set, one at least, with the columns READ; each in one chunk.
        texts: which of `prompt` and `answer` are asked for; the others are empty, or null where they are.

    Returns:
        id, group, label, language, split, cluster, tokens; prompt and answer with prompt_characters and
        answer_characters; roles and turn_count; is_train, is_validation and is_test (0 or 1); group_splits and
        cluster_splits (in how many splits the row's group and cluster lie, 1 where it has no group); and a column
        target.KEY per key of the targets: text, number or boolean as it is, lists and objects as JSON text.
    """
    parts, targets = [], []
    for table in tables:
        targets.append(whole(table["target"]))
        columns = {name: table[name] for name in READ if name not in ("turns", "target")}
        for name, text_of in TEXTS.items():
            text = text_of(table)
            columns[name] = (
                text.cast(LARGE) if name in texts else pc.if_else(text.is_valid(), pa.scalar("", LARGE), None)
            )
            columns[f"{name}_characters"] = pc.utf8_length(text)
        columns |= {"roles": roles_text(table), "turn_count": pc.list_value_length(whole(table["turns"]))}
        parts.append(pa.table(columns))
    flat = pa.concat_tables(parts)
    for split in SPLITS:
        flat = flat.append_column(f"is_{split}", pc.cast(pc.equal(flat["split"], split), pa.int8()))
    for name in ("group", "cluster"):
        flat = flat.append_column(f"{name}_splits", _splits_of(flat[name], flat["split"]))
    for key, column in _keys_of(targets).items():
        flat = flat.append_column(f"target.{key}", column)
    return flat


def _splits_of(names: pa.ChunkedArray, splits: pa.ChunkedArray) -> pa.Array:
    """For each row, in how many splits its name, or a key of its group, occurs at most: int64, 1 where it has none."""
    rows, keys = group_keys(names)
    codes = keys.dictionary_encode().indices.to_numpy()
    seen = np.zeros((int(codes.max(initial=-1)) + 1, len(SPLITS)), dtype=bool)
    for column, split in enumerate(SPLITS):
        seen[codes[pc.equal(splits, split).to_numpy()[rows]], column] = True
    counts = np.ones(len(names), np.int64)
    np.maximum.at(counts, rows, seen.sum(axis=1)[codes])
    return pa.array(counts)


def _keys_of(targets: Sequence[pa.Array]) -> dict[str, pa.ChunkedArray]:
    """A column for each key of the targets, sorted."""
    kinds: dict[str, set[type]] = {}
    for each in targets:
        for target in each.drop_null().to_pylist():
            for key, value in orjson.loads(target).items():
                kinds.setdefault(key, set()).add(_kind(value))
    if not kinds:
        return {}
    chunks: dict[str, list[pa.Array]] = {key: [] for key in sorted(kinds)}
    for each in targets:
        parsed = [{} if target is None else orjson.loads(target) for target in each.to_pylist()]
        for key, found in chunks.items():
            found.append(_column([target.get(key) for target in parsed], kinds[key] - {type(None)}))
    return {key: pa.chunked_array(found) for key, found in chunks.items()}


def _kind(value: Any) -> type:
    """A value's type; a whole number beyond 64 bits, which orjson reads as it is, is a real one."""
    return float if isinstance(value, int) and value >= 2**63 else type(value)


def _column(values: list[Any], kinds: set[type]) -> pa.Array:
    """Values as they are, numbers or values of one type; lists and objects, and all of several types, as JSON."""
    if kinds <= {int, float}:
        numbers = (None if value is None else float(value) for value in values) if float in kinds else values
        return pa.array(numbers, pa.float64() if float in kinds else pa.int64() if kinds else pa.null())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    written = (list, dict) if kinds <= {str, list, dict} else (list, dict, bool, int, float)
    return pa.array((orjson.dumps(v).decode() if isinstance(v, written) else v for v in values), pa.string())
