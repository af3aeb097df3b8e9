"""Drift: how far a column of the set is from what it was in the version before, held to a contract's bounds.

Compared are shares of values. Of texts (`prompt`, `answer`) the values are words: the most frequent of the version
before, and all others as one. Of numbers they are ranges, for the population stability index, between the tenths of the
version before; for the Kolmogorov-Smirnov test numbers are compared as they are. Null is a value, but of no test of
numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.expectations import MEASURES, OF_NUMBERS
from curate.publish.finding import Finding, number
from curate.publish.flat import READ
from curate.record import SPLITS
from curate.set_rules import is_warning
from curate.store import verified
from curate.text.words import split_words

LEAST_SHARE = 1e-4
"""A share is taken to be no less: else one value that is new would make the population stability index infinite."""
WORDS = 1000
"""The most frequent words of the version before, each a value of its own."""
TEXTS = ("prompt", "answer")
"""Columns whose values are words."""
TENTHS = np.linspace(0.1, 0.9, 9)

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Before:
    """The version that a set is compared with."""

    version: str
    flat: pa.Table
    """Its rows, as `curate.publish.flat.flatten` gives them."""


def published_rows(folder: Path) -> Iterator[pa.Table]:
    """The rows of a published version, a row group at a time, with the columns that `curate.publish.flat.flatten` asks
    for.

    Raises:
        AssayError: a file has changed since it was published.
    """
    columns = [name for name in READ if name != "split"]
    for split in SPLITS:
        with pq.ParquetFile(verified(folder, f"{split}.parquet")) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns)
                yield table.append_column("split", pa.repeat(split, table.num_rows))


def check_drift(flat: pa.Table, rule: dict[str, Any], before: Before | None) -> Finding:
    """Hold a column to a rule of the type `expectations.DRIFT`.

    Args:
        flat: the set, as `curate.publish.flat.flatten` gives it.
        rule: of the contract.
        before: the version before; without one the rule is not applicable, and holds.
    """
    kwargs = rule["kwargs"]
    column, measure = kwargs["column"], kwargs["measure"]
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    bounds = [*([f"at least {low}"] if low is not None else []), *([f"at most {high}"] if high is not None else [])]
    success, observed = True, "not applicable: there is no earlier version"
    if before is not None:
        found = drift(measure, _column(flat, column), _column(before.flat, column), column in TEXTS)
        observed = f"{number(found)} against version {before.version}"
        success = (low is None or found >= low) and (high is None or found <= high)
    return Finding(
        name=rule["meta"]["name"],
        column=column,
        success=success,
        warning=is_warning(rule),
        observed=observed,
        expected=f"{MEASURES[measure]} against the version before {' and '.join(bounds)}",
        unexpected_ids=(),
    )


def _column(flat: pa.Table, name: str) -> pa.ChunkedArray:
    return flat[name] if name in flat.column_names else pa.chunked_array([pa.nulls(flat.num_rows)])


def drift(measure: str, new: pa.ChunkedArray, old: pa.ChunkedArray, texts: bool = False) -> float:
    """A measure of how far `new` is from `old`.

    Args:
        measure: one of `expectations.MEASURES`.
        new: a column of the set.
        old: the same of the version before.
        texts: whether words are compared.

    Returns:
        An index or a statistic, 0 where nothing has changed; or a p-value, then 1.
    """
    if measure in OF_NUMBERS:
        return _kolmogorov_smirnov(measure, new.drop_null(), old.drop_null())
    if texts:
        counts = _of_words(new, old)
    elif measure == "psi" and _is_number(new) and _is_number(old):
        counts = _of_ranges(new, old)
    else:
        counts = _of_values(new, old)
    return stability(*counts) if measure == "psi" else _chi_squared(measure, *counts)


def stability(new: Counts, old: Counts) -> float:
    """The population stability index: the sum over values of (p - q) ln(p / q), p and q being their shares.

    Args:
        new: how often each value is there now.
        old: how often it was there before.
    """
    p, q = (np.maximum(each / max(int(each.sum()), 1), LEAST_SHARE) for each in (new, old))
    return float(np.sum((p - q) * np.log(p / q)))


def _kolmogorov_smirnov(measure: str, new: pa.ChunkedArray, old: pa.ChunkedArray) -> float:
    from scipy.stats import ks_2samp

    if not len(new) or not len(old):  # values where there were none, or the other way about, are all that differ
        same = len(new) == len(old)
        return float(same if measure == "ks_p_value" else not same)
    found = ks_2samp(new.to_numpy(), old.to_numpy(), method="asymp")
    return float(found.pvalue if measure == "ks_p_value" else found.statistic)


def _chi_squared(measure: str, new: Counts, old: Counts) -> float:
    """Of the table of two rows, whether a row is new or old, and a column for each value."""
    from scipy.stats import chi2_contingency

    table = np.stack([new, old])[:, (new + old) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        same = table.shape[1] < 2 and bool(new.sum()) == bool(old.sum())
        return float(same if measure == "chi2_p_value" else not same)
    found = chi2_contingency(table, correction=False)
    return float(found.pvalue if measure == "chi2_p_value" else np.sqrt(found.statistic / table.sum()))


def _is_number(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def _of_values(new: pa.ChunkedArray, old: pa.ChunkedArray) -> tuple[Counts, Counts]:
    """How often each value is in both, null among them."""
    kind = pa.float64() if _is_number(new) and _is_number(old) else pa.large_string()
    both = pa.chunked_array([chunk for each in (new, old) for chunk in pc.cast(each, kind).chunks], kind)
    codes = both.combine_chunks().dictionary_encode("encode").indices.to_numpy()
    return _counted(codes[: len(new)], codes[len(new) :])


def _of_ranges(new: pa.ChunkedArray, old: pa.ChunkedArray) -> tuple[Counts, Counts]:
    """How many numbers are up to each tenth of the old ones and above the last; null is a range of its own."""
    known = old.drop_null().to_numpy()
    edges = np.unique(np.quantile(known, TENTHS, method="inverted_cdf")) if len(known) else np.zeros(0)

    def range_of(column: pa.ChunkedArray) -> Values:
        at = np.searchsorted(edges, pc.fill_null(column, 0).to_numpy(), side="left")
        return np.where(pc.is_null(column).to_numpy(), len(edges) + 1, at)

    return _counted(range_of(new), range_of(old))


def _of_words(new: pa.ChunkedArray, old: pa.ChunkedArray) -> tuple[Counts, Counts]:
    """How often each of the most frequent old words is in both, and all other words."""
    words, times = _words(old)
    kept = np.sort(words[np.lexsort((words, -times))[:WORDS]])

    def counted(found: Values, often: Counts) -> Counts:
        at = np.searchsorted(kept, found)
        at[at == len(kept)] = 0
        counts = np.zeros(len(kept) + 1, np.int64)
        np.add.at(counts, np.where(kept[at] == found, at, len(kept)) if len(kept) else at, often)
        return counts

    return counted(*_words(new)), counted(words, times)


def _words(column: pa.ChunkedArray) -> tuple[Values, Counts]:
    """The hash of each word of a column of texts, and how often it is there."""
    chunks = [pc.drop_null(chunk) for chunk in pc.cast(column, pa.large_string()).chunks]
    counted = [np.unique(split_words(chunk).hashes, return_counts=True) for chunk in chunks]
    words, place = np.unique(
        np.concatenate([np.zeros(0, np.uint64), *(each for each, _ in counted)]), return_inverse=True
    )
    times = np.zeros(len(words), np.int64)
    np.add.at(times, place, np.concatenate([np.zeros(0, np.int64), *(often for _, often in counted)]))
    return words, times


def _counted(new: Values, old: Values) -> tuple[Counts, Counts]:
    size = int(max(new.max(initial=0), old.max(initial=0))) + 1
    return np.bincount(new, minlength=size), np.bincount(old, minlength=size)
