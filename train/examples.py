"""Rows of a published version: read and chosen."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import AssayError
from curate.hashing import digest
from curate.manifest import DatasetManifest
from curate.progress import Progress, silent
from curate.rows.renderer import IGNORED
from curate.store import verified

if TYPE_CHECKING:
    from train.settings import TrainingSettings

MILLI = 1000
"""Weights count in thousandths, so that shares are found by whole numbers."""

Row = dict[str, Any]
"""A row of a published split as Python values: {"id": ..., "messages": [...], "label": ..., "tokens": ...}."""


@dataclass(frozen=True)
class Example:
    """A tokenised row."""

    id: str
    input_ids: list[int]
    labels: list[int]
    """As long as `input_ids`: the id where the token is trained, IGNORED elsewhere."""

    @property
    def trained(self) -> int:
        """How many tokens are trained."""
        return sum(label != IGNORED for label in self.labels)

    @property
    def answer(self) -> int:
        """How many tokens there are from the first that is trained; one at least comes before it."""
        return len(self.labels) - max(1, next(at for at, label in enumerate(self.labels) if label != IGNORED))


def read_split(version: Path, split: str, columns: Sequence[str]) -> list[Row]:
    """Rows of one split.

    Args:
        version: folder of a published data set version.
        split: train, validation or test.
        columns: the columns wanted.

    Raises:
        AssayError: the split is not as it was published.
    """
    import pyarrow.parquet as pq

    rows: list[Row] = pq.read_table(verified(version, f"{split}.parquet"), columns=list(columns)).to_pylist()
    return rows


def select(
    rows: Iterable[Row], count: int | None, max_tokens: int, seed: int, weights: Mapping[str, float] | None = None
) -> list[Row]:
    """Choose rows: the same on every machine, whatever the order they come in.

    Rows of more than `max_tokens` tokens are left out. Each label gets its share of the rest. Within a label, the
    second row of a near-duplicate cluster comes only after the first of every other one; beyond that, the order is
    that of a hash of seed and id.

    With weights, a label's share is as though each of its rows stood so many times in the split. A label whose share is
    more than its rows gives all of them, and then again from the first, none more often than its weight, rounded up.

    Args:
        rows: with `id`, `label`, `cluster` and `tokens`.
        count: how many rows to choose; all that are short enough if there are fewer, or if it is None.
        max_tokens: the most tokens a chosen row may have.
        seed: another one gives another choice.
        weights: by label, how many times each of its rows counts; once where it is not named.

    Returns:
        The chosen rows in the order of their hashes.
    """
    short = [row for row in rows if row["tokens"] <= max_tokens]
    order = {row["id"]: digest([seed, row["id"]]) for row in short}
    short.sort(key=lambda row: order[row["id"]])
    labels: Counter[str] = Counter()
    clusters: Counter[tuple[str, str]] = Counter()
    ranked = []
    for row in short:
        label = row["label"] or ""
        ranked.append((label, clusters[label, row["cluster"]], order[row["id"]], row))
        labels[label] += 1
        clusters[label, row["cluster"]] += 1
    ranked.sort(key=lambda each: each[:3])
    sizes = Counter({name: round(MILLI * size * (weights or {}).get(name, 1)) for name, size in labels.items()})
    most = sizes.total() // MILLI
    shares = _shares(sizes, most if count is None else min(count, most))
    chosen = [
        each
        for label, group in groupby(ranked, lambda each: each[0])
        for each in islice(cycle(list(group)), shares[label])
    ]
    return [row for *_, row in sorted(chosen, key=lambda each: each[2])]


def rows_of(version: Path, split: str, left_out: Collection[str] = ()) -> list[Row]:
    """The rows of a split that may be trained or validated on, as `select` takes them, with their messages."""
    published = read_split(version, split, ["id", "label", "cluster", "tokens", "messages"])
    return [row for row in published if row["id"] not in left_out]


def chosen_rows(
    version: Path,
    split: str,
    count: int | None,
    settings: "TrainingSettings",
    left_out: Collection[str] = (),
    progress: Progress = silent,
) -> list[Row]:
    """Up to so many rows of a split, those of train by the weights of their labels; none where the validation split has
    none. How many that is of how many is told.

    Raises:
        AssayError: there is no row to train on, or no row is short enough.
    """
    rows = rows_of(version, split, left_out)
    if not rows and split == "train":
        raise AssayError(f"{version}: the train split has no rows.", remedy="Give it some: split.train in the recipe.")
    weights = DatasetManifest.read(version).recipe.get("balance", {}).get("weights", {}) if split == "train" else None
    chosen = select(rows, count, settings.max_tokens, settings.seed, weights)
    if rows and not chosen:
        raise AssayError(
            f"{version}: no row of the {split} split has {settings.max_tokens} tokens or fewer.",
            remedy="Raise training.max_tokens in the recipe.",
        )
    told = f"{len(chosen):,} of {len(rows):,} rows of the {split} split"
    if long := sum(row["tokens"] > settings.max_tokens for row in rows):
        told += f"; {long:,} have more than {settings.max_tokens:,} tokens"
    progress(told, 1, 1, "choices")
    return chosen


def _shares(sizes: Counter[str], count: int) -> dict[str, int]:
    """`count` seats shared out in proportion to `sizes` by largest remainder; ties go by name."""
    total = sizes.total() or 1
    shares = {name: count * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(count * sizes[name] % total), name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares
