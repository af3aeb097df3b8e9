"""Splits of rows that stand in plain lists, for tests."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.record import SPLITS
from curate.sets import split
from curate.sets.split_masks import Codes, Masks

CODES: dict[str | None, int] = {None: -1} | {name: place for place, name in enumerate(SPLITS)}


@dataclass
class Assigned:
    """See `curate.sets.split.Assignment`; None where a row is rejected."""

    split: list[str | None]
    bridges: dict[int, dict[str, Any]]
    balance: dict[str, Any]


def column(values: Sequence[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def numbers(names: Sequence[str]) -> Any:
    """A number for each distinct name."""
    return np.unique(np.array(names, object), return_inverse=True)[1].astype(np.int64)


def codes(names: Sequence[str | None]) -> Codes:
    return np.array([CODES[name] for name in names], np.int8)


def masks(splits: Sequence[Collection[str]]) -> Masks:
    return np.array([sum(1 << CODES[name] for name in names) for names in splits], np.uint8)


def assign(
    ids: Sequence[str],
    groups: Sequence[str | None],
    clusters: Sequence[str],
    labels: Sequence[str | None],
    settings: split.Split,
    recorded: dict[str, str],
    tied: Sequence[Collection[str]] = (),
    times: Any = None,
    named: Sequence[str] | None = None,
    held_before: Collection[str] = (),
) -> Assigned:
    """`curate.sets.split.assign`."""
    found = split.assign(
        column(ids),
        column(groups),
        numbers(clusters),
        column(labels),
        settings,
        codes([recorded.get(id_) for id_ in ids]),
        masks(tied or [()] * len(ids)),
        times,
        None if named is None else codes(named),
        held_before,
    )
    return Assigned([None if code < 0 else SPLITS[code] for code in found.split.tolist()], found.bridges, found.balance)
