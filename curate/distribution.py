"""Distributions: how many rows have which label, language, source and length, after each stage."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NONE = "(none)"
"""Stands for rows without a value."""
NAMED = 50
"""Values of a distribution that the manifest names, the most frequent ones; the others it counts."""

Counts = dict[str, dict[str, int]]
"""By column: how many rows have each value."""


COUNTED = ("label", "language", "turns", "target")
"""Columns that are counted, beside the source."""


def distributions(table: pa.Table) -> Counts:
    """Count a table's rows by label, language, source and length.

    The source is the file's folder, or the file itself where it lies in none. The length is in characters of all
    that is said and of the target, in bins that double: `64` holds 64 to 127.
    """
    files = pc.struct_field(table["source"].combine_chunks(), "file").dictionary_encode()
    folders = pc.replace_substring_regex(files.dictionary, "(?s)^(.+)/[^/]*$", r"\1")
    turns = table["turns"].combine_chunks()
    said = pc.utf8_length(pc.struct_field(turns.flatten(), "content"))
    ends = np.concatenate([[0], np.cumsum(pc.fill_null(said, 0).to_numpy(zero_copy_only=False))])
    lists = np.concatenate(
        [[0], np.cumsum(pc.fill_null(pc.list_value_length(turns), 0).to_numpy(zero_copy_only=False))]
    )
    chars = np.diff(ends[lists]) + pc.fill_null(pc.utf8_length(table["target"]), 0).to_numpy()
    powers, rows = np.unique(np.frexp(chars)[1], return_counts=True)  # chars < 2 ** power
    return {
        "label": _counted(table["label"]),
        "language": _counted(table["language"]),
        "source": _counted(folders.take(files.indices)),
        "length": {str(1 << power >> 1): n for power, n in zip(powers.tolist(), rows.tolist(), strict=True)},
    }


def _counted(values: Any) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for each in pc.value_counts(values).to_pylist():  # a value may itself be the word for none
        counts[NONE if each["values"] is None else each["values"]] += each["counts"]
    return dict(counts)


def less(whole: Counts, part: Counts) -> Counts:
    """The distributions of the rows of a table that are not in a part of it."""
    left = {
        column: {value: rows - part[column].get(value, 0) for value, rows in whole[column].items()} for column in whole
    }
    return {column: {value: rows for value, rows in counts.items() if rows} for column, counts in left.items()}


def summed(parts: Iterable[Counts]) -> dict[str, Any]:
    """The distributions of several tables as one, for the manifest.

    Each is {"values": {value: rows}, "others": [how many more values there are, their rows]}: the most frequent values
    first, ties by name; lengths ascend.
    """
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for column, counts in part.items():
            total.setdefault(column, Counter()).update(counts)
    told = {}
    for column, found in total.items():
        if column == "length":
            ranked = sorted(found.items(), key=lambda item: int(item[0]))
        else:
            ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        named, others = ranked[:NAMED], ranked[NAMED:]
        told[column] = {"values": dict(named), "others": [len(others), sum(rows for _, rows in others)]}
    return told


def quantiles(lengths: Any) -> list[int]:
    """Least, 10%, median, 90% and greatest of some lengths; none of no lengths."""
    found = pc.quantile(lengths, q=[0, 0.1, 0.5, 0.9, 1], interpolation="lower").to_pylist()
    return [int(value) for value in found if value is not None]
