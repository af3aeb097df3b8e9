"""Bars: how often which value occurs, in each split and after each stage, as the report draws it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.distribution import NONE
from curate.manifest import StageAccount

RARE = 0.01
"""A label is called rare if a smaller share of the rows kept has it."""
BARS = 12
"""Values of a distribution that get a bar of their own; the rarer ones share the last."""


def ranked(values: pa.ChunkedArray) -> list[tuple[str, int]]:
    """Values and how often they occur, the most frequent first, ties by name."""
    counts: Counter[str] = Counter()
    for each in pc.value_counts(values).to_pylist():  # a value may itself be the word for none
        counts["(none)" if each["values"] is None else str(each["values"])] += each["counts"]
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def by_value(rows: dict[str, pa.Table], column: str) -> list[dict[str, Any]]:
    """Bars of a column's values: how many rows of each split have it."""
    counts = {split: dict(ranked(table[column])) for split, table in rows.items()}
    total: Counter[str] = Counter()
    for each in counts.values():
        total.update(each)
    names = [name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))]
    bars = [(name, [name]) for name in names[:BARS]]
    if len(names) > BARS:
        bars.append((f"{len(names) - BARS} others", names[BARS:]))
    return _bars([(name, {s: sum(counts[s].get(n, 0) for n in members) for s in rows}) for name, members in bars], rows)


def by_length(rows: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """Bars of lengths in tokens, each bin twice as wide as the one before."""
    bins = {split: _powers(table["tokens"].to_numpy()) for split, table in rows.items()}
    found = [size for each in bins.values() for size in each]
    spans = range(min(found, default=0), max(found, default=-1) + 1)
    return _bars([(f"{1 << size >> 1}–{(1 << size) - 1}", {s: bins[s][size] for s in rows}) for size in spans], rows)


def _powers(lengths: Any) -> Counter[int]:
    """How many lengths have so many bits."""
    powers, rows = np.unique(np.frexp(lengths)[1], return_counts=True)
    return Counter(dict(zip(powers.tolist(), rows.tolist(), strict=True)))


def nearest_quantiles(lengths: pa.ChunkedArray) -> list[int]:
    """Least, 10%, median, 90% and greatest of some lengths, as Great Expectations takes them: of two between which a
    quantile lies, the nearer one. None of no lengths."""
    if not len(lengths):
        return []
    found: list[int] = np.quantile(lengths.to_numpy(), [0, 0.1, 0.5, 0.9, 1], method="nearest").tolist()
    return found


def _bars(counts: list[tuple[str, dict[str, int]]], rows: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """Each bar's rows in all and its share of each split; `width` is that share against the largest, 0 to 100."""
    shares = [{split: n / max(rows[split].num_rows, 1) for split, n in each.items()} for _, each in counts]
    largest = max((share for each in shares for share in each.values()), default=0) or 1
    return [
        {
            "name": name,
            "rows": sum(each.values()),
            "shares": share,
            "widths": {split: round(100 * value / largest, 2) for split, value in share.items()},
        }
        for (name, each), share in zip(counts, shares, strict=True)
    ]


def changes(stages: Sequence[StageAccount]) -> dict[str, Any]:
    """How the stages changed what there is of each label, language, source and length.

    Only stages that turned rows away or made some are told of, after what was read. `parts` holds for each column its
    values with their rows and share of all rows after the first and the last of these stages, and `heights`: the share
    after each, against the largest, 0 to 100. `rare` are labels that few of the rows kept have, or none any more.
    """
    told = [stages[0], *(stage for stage in stages[1:] if stage.rejected or stage.made)]
    parts: list[dict[str, Any]] = []
    for column, title in (("label", "Label"), ("language", "Language"), ("source", "Source"), ("length", "Characters")):
        found = [stage.distributions[column].values for stage in told]
        if column == "language":
            found = _with_languages(found, stages)
        by_rows = sorted(found[0], key=lambda value: (-found[0][value], value))
        ranked = sorted(found[0], key=int) if column == "length" else by_rows[:BARS]
        values = []
        for value in ranked:
            shares = [counts.get(value, 0) / max(stage.kept, 1) for counts, stage in zip(found, told, strict=True)]
            name = f"{value}–{max(2 * int(value) - 1, 0)}" if column == "length" else value
            heights = [round(100 * share / (max(shares) or 1), 1) for share in shares]
            rows = [counts.get(value, 0) for counts in (found[0], found[-1])]
            values.append({"name": name, "rows": rows, "shares": [shares[0], shares[-1]], "heights": heights})
        more = len(found[0]) - len(ranked) + told[0].distributions[column].others[0]
        parts.append({"name": title, "values": values, "more": more})
    before, after = (stage.distributions["label"].values for stage in (told[0], told[-1]))
    kept = told[-1].kept
    rare = {label: after.get(label, 0) for label in before if after.get(label, 0) < RARE * kept}
    return {
        "stages": [stage.name for stage in told],
        "parts": [part for part in parts if len(part["values"]) > 1],
        "rare": sorted(rare.items(), key=lambda item: (item[1], item[0])),
    }


def _with_languages(found: list[dict[str, int]], stages: Sequence[StageAccount]) -> list[dict[str, int]]:
    """Rows by language, where before the stage that tells it no row has any: there, what that stage told of all."""
    told = next((stage.counters for stage in stages if stage.name == "language"), {})
    before = {code: rows for code, rows in told.items() if code != "mixed"}
    return [before if before and counts.keys() == {NONE} else counts for counts in found]


def by_size(names: pa.ChunkedArray) -> list[dict[str, Any]]:
    """How many clusters (or groups) have how many rows, in bins of doubling width."""
    rows = pc.value_counts(names.drop_null()).field("counts")
    sizes = {each["values"]: each["counts"] for each in pc.value_counts(rows).to_pylist()}
    bars = []
    for power in range(max(sizes).bit_length()):
        span = range(1 << power, 2 << power)
        found = {size: count for size, count in sizes.items() if size in span}
        if found:
            least, most = min(found), max(found)
            bars.append(
                {
                    "name": str(least) if least == most else f"{least}–{most}",
                    "count": sum(found.values()),
                    "rows": sum(size * count for size, count in found.items()),
                }
            )
    total = sum(bar["rows"] for bar in bars)
    return [bar | {"width": round(100 * bar["rows"] / total, 2)} for bar in bars]
