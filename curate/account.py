"""The account of a run: what became of the rows in each stage, and how long it took."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.distribution import summed
from curate.errors import AssayError
from curate.examples import Example, excerpt, first_examples
from curate.manifest import StageAccount
from curate.record import SCHEMA
from curate.shards import Shard
from curate.stage import UNREAD_KEY, RowStage

MOST_KEYS = 20
"""Keys of messages that are counted by name."""


@dataclass
class Account:
    """What a run tells of its stages, in the order they ran."""

    protecting: RowStage | None
    """The stage that takes out what must not be shown, if there is one."""
    stages: list[StageAccount] = field(default_factory=list)
    """As the manifest lists them."""
    over_all: set[str] = field(default_factory=set)
    """Names of the stages that judged all rows at once."""
    quarantined: list[Shard] = field(default_factory=list)
    """The outcomes that hold all rejected rows."""
    masked: dict[str, list[Example]] = field(default_factory=dict)
    """What the protecting stage replaced, by kind, as shapes; the manifest does not tell it."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""
    cached: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By stage: shards that came from the cache, of how many."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to a stage's seconds what is not counted as another's meanwhile."""
        begin, others = time.perf_counter(), sum(self.seconds.values())
        yield
        inside = sum(self.seconds.values()) - others
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin - inside

    def share(self, seconds: float, stages: Mapping[str, float]) -> None:
        """Add to the seconds of stages those in which they ran side by side, by what each took of them."""
        total = sum(stages.values()) or 1.0
        for stage, taken in stages.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds * taken / total

    def each_row(self) -> list[StageAccount]:
        """The stages that judged each row by itself, reading first."""
        return [stage for stage in self.stages if stage.name not in self.over_all]

    def record_stage(
        self, name: str, rows_in: int, shards: Sequence[Shard], summary: Mapping[str, Any] | None = None
    ) -> None:
        """Add a stage.

        Args:
            name: the stage's.
            rows_in: how many rows it was given.
            shards: its outcomes.
            summary: what else is told of it.

        Raises:
            AssayError: the stage has not conserved the rows (law 1).
        """
        kept, rejected = sum(shard.rows for shard in shards), sum(shard.rejected for shard in shards)
        made = sum(shard.made for shard in shards)
        if kept + rejected != rows_in + made:
            raise AssayError(
                f"Stage {name}: {rows_in} rows in, {made} made, {kept} kept, {rejected} quarantined.",
                remedy="This is a defect of the stage; nothing was published.",
            )
        reasons: Counter[str] = Counter()
        counters: Counter[str] = Counter()
        examples: dict[str, list[Example]] = {}
        for shard in shards:
            reasons.update(shard.reasons)
            counters.update(shard.counters)
            for rule, found in shard.examples.items():
                examples.setdefault(rule, []).extend(found)
        if self.protecting is not None and name == self.protecting.name:
            self.masked = {kind: list(map(excerpt, first_examples(found))) for kind, found in sorted(examples.items())}
            examples = {}
        told = summed(shard.distributions for shard in shards)
        judged = [*(stage.name for stage in self.stages), name]
        if self.protecting is not None and self.protecting.name not in judged:
            values = told["label"]["values"]
            told["label"]["values"] = dict(zip(self.protected_labels(list(values)), values.values(), strict=True))
        self.stages.append(
            StageAccount(
                name=name,
                rows_in=rows_in,
                made=made,
                kept=kept,
                rejected=rejected,
                reasons=dict(sorted(reasons.items())),
                counters=dict(sorted(_few(counters).items())),
                examples={
                    rule: self._protected(first_examples(found)) for rule, found in sorted(examples.items()) if found
                },
                distributions=told,
                **(summary or {}),
            )
        )
        self.quarantined += shards
        self.cached[name] = (sum(shard.cached for shard in shards), len(shards))

    def _protected(self, examples: Sequence[Example]) -> list[Example]:
        """Examples as people see them, without what must not be shown: some stages come before."""
        turns = [[{"role": "user", "content": each[side]} for side in ("before", "after")] for each in examples]
        rows = [{"id": each["id"], "turns": said, "meta": {}} for each, said in zip(examples, turns, strict=True)]
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        if self.protecting is not None:
            table = self.protecting.run(table).kept
        return [
            excerpt({"id": row["id"], "before": row["turns"][0]["content"], "after": row["turns"][1]["content"]})
            for row in table.select(["id", "turns"]).to_pylist()
        ]

    def protected_labels(self, labels: Sequence[str]) -> list[str]:
        """Labels as the protecting stage leaves them."""
        rewriting = self.protecting.rewriting() if self.protecting is not None else None
        if rewriting is None:
            return list(labels)
        rows = [{"turns": [], "meta": {}, "label": label} for label in labels]
        return list(rewriting.run(pa.Table.from_pylist(rows, schema=SCHEMA)).kept["label"].to_pylist())


def _few(counters: Counter[str]) -> dict[str, int]:
    """Counters, of which those by unread keys are the largest: data may have as many keys as it likes."""
    keys = [name for name in counters if name.startswith(UNREAD_KEY)]
    rare = set(sorted(keys, key=lambda name: (-counters[name], name))[MOST_KEYS:])
    few = {name: count for name, count in counters.items() if name not in rare}
    return few | {f"{UNREAD_KEY}other": sum(counters[name] for name in rare)} if rare else few
