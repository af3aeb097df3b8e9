"""Split: every row to train, validation or test, once and for all.

What shares a group or a near-duplicate cluster shares a split. A row whose split an earlier version recorded keeps it.

Reason: `bridges_splits` (a new row ties together rows that earlier versions put into different splits).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import xxhash
from pydantic import Field, model_validator

from curate.components import Components
from curate.stage import Settings

VERSION = 1
SPLITS = ("train", "validation", "test")


class Split(Settings):
    train: float = Field(0.8, gt=0, le=1)
    validation: float = Field(0.1, ge=0, lt=1)
    test: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _sums_to_one(self) -> "Split":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train + validation + test is {self.train + self.validation + self.test:g}, expected 1")
        return self


@dataclass
class Assignment:
    """The split of every row, in the order given."""

    split: list[str | None]
    """None where the row is rejected."""
    cluster: list[str]
    """Name of the rows' component: no two splits share one."""
    bridges: dict[int, dict[str, Any]]
    """Rejected rows and the evidence."""


def assign(
    ids: list[str],
    groups: list[str | None],
    clusters: list[str],
    labels: list[str | None],
    settings: Split,
    recorded: dict[str, str],
) -> Assignment:
    """Assign rows to splits; the result does not depend on their order.

    Components are dealt the largest first, ties by the hash of their name, each to the split that lacks its labels
    most. A component larger than half of the smallest split's share goes to train.

    Args:
        ids, groups, clusters, labels: one for each row; a group of None stands alone.
        settings: the ratios.
        recorded: id -> split of rows of earlier versions.
    """
    components = Components(len(ids))
    for names in (clusters, groups):
        first: dict[str, int] = {}
        for row, name in enumerate(names):
            if name is not None:
                components.union(row, first.setdefault(name, row))
    members: dict[int, list[int]] = {}
    for row, root in enumerate(components.roots().tolist()):
        members.setdefault(root, []).append(row)
    result = Assignment([None] * len(ids), [""] * len(ids), {})
    ratios = {name: getattr(settings, name) for name in SPLITS if getattr(settings, name) > 0}
    wanted = Counter(labels)
    quota = {(label, name): wanted[label] * ratio for label in wanted for name, ratio in ratios.items()}
    lacking = dict(quota)
    fresh: list[tuple[str, list[int]]] = []

    def place(rows: list[int], name: str, cluster: str) -> None:
        for row in rows:
            result.split[row], result.cluster[row] = name, cluster
            lacking[labels[row], name] = lacking.get((labels[row], name), 0.0) - 1

    for rows in members.values():
        cluster = min(ids[row] for row in rows)
        fixed = {recorded[ids[row]] for row in rows if ids[row] in recorded}
        if not fixed:
            fresh.append((cluster, rows))
        elif len(fixed) == 1:
            place(rows, fixed.pop(), cluster)
        else:
            for name in sorted(fixed):
                place([row for row in rows if recorded.get(ids[row]) == name], name, f"{cluster}/{name}")
            for row in rows:
                if ids[row] not in recorded:
                    result.bridges[row] = {"cluster": cluster, "splits": sorted(fixed)}

    largest = min(ratios.values()) * len(ids) / 2
    for cluster, rows in sorted(fresh, key=lambda item: (-len(item[1]), xxhash.xxh3_128_hexdigest(item[0].encode()))):
        own = Counter(labels[row] for row in rows)
        need = {
            name: sum(count * lacking[label, name] / quota[label, name] for label, count in own.items())
            for name in ratios
        }
        place(rows, "train" if len(rows) > largest else max(ratios, key=lambda name: need[name]), cluster)
    return result
