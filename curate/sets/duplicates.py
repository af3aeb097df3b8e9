"""Duplicates and conflicts, exact and near, judged together over the whole drop and all that was seen before it.

Row by row first (`key_table`, shard by shard): what a row is compared by. Then all rows at once (`judge`): which are
removed and why, and which cluster each belongs to. Locality-sensitive hashing only proposes pairs; a row is removed
only if a kept row of higher priority has a true Jaccard similarity of at least the threshold and (where prompts are
compared, by default) the same answer. Clusters hold over all such pairs, whatever their answers, for the split.

Reasons: `conflict` (equal prompts, different answers), `exact_duplicate`, `near_duplicate`. The evidence names the kept
row (`kept`, `file`, `row`, and `version` where an earlier version holds it), the similarity, and the cluster.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.rows.decided import PAIRS_TOLD, Deciding
from curate.sets.conflicts import conflict_table
from curate.sets.decided_pairs import DecidedPairs, pairs_told
from curate.sets.earlier import tied_splits
from curate.sets.judgement import NO_PAIRS, Judgement, judge
from curate.sets.keys import Compared, Numbers, compared_text, key_table
from curate.sets.rows import Rows
from curate.sets.rules import Rules
from curate.sets.split import TURN, Split, bridging_rows, splits_named
from curate.sets.split_masks import Codes
from curate.sets.stage import LooksBack, Seen, SetStage, Verdict
from curate.stage import DECIDED, FACTS, Context, evidence_json, kept_by_decision


class Duplicates(Rules, SetStage):
    """Sets the column `cluster`."""

    name: ClassVar[str] = "duplicates"
    version: ClassVar[int] = 8
    reasons: ClassVar[dict[str, str]] = {
        "exact_duplicate": "a kept row has the same prompt, turn by turn, and the same answer",
        "near_duplicate": "a kept row is as similar as `threshold` and has the same answer",
        "decided_duplicate": "somebody has decided that a kept row is the same, and it has the same answer",
        "conflict": "equal prompts (or, with `conflict_similarity`, similar ones) have different answers",
    }
    looks_back: ClassVar[LooksBack] = "at splits"

    def keys_of(self, table: pa.Table) -> pa.Table:
        keys = key_table(table, self)
        return keys.append_column(DECIDED, table[DECIDED].combine_chunks()) if DECIDED in table.column_names else keys

    def keys_key(self) -> Any:
        return [*self.text_key(), self.shingle_words]

    def prepare(self, context: Context) -> "Duplicates":
        named = next((stage.named for stage in context.stages if isinstance(stage, Split)), None)
        pairs = next((stage.pairs for stage in context.before if isinstance(stage, Deciding)), [])
        return Prepared(**self.model_dump(), named=named, pairs=pairs) if named or pairs else self

    def decided(self, keys: pa.Table) -> DecidedPairs:
        """The rows that people say are the same, or are not."""
        return NO_PAIRS

    def pairs_told(self, found: Judgement, keys: pa.Table) -> dict[str, pa.Table]:
        """What came of what people say of them."""
        return {}

    def splits_named(self, rows: Rows) -> Codes | None:
        """The split of each row, where the data says it."""
        return None

    def judge(self, keys: pa.Table, seen: Seen) -> Verdict:
        rows = seen.rows.select(["turns", "target"])
        earlier = seen.past.rows
        named = self.splits_named(seen.rows)
        rank = None if named is None else TURN[named]
        keep = np.zeros(keys.num_rows, np.bool_)
        if DECIDED in keys.column_names:
            keep = kept_by_decision(keys[DECIDED].combine_chunks()).to_numpy(False)
        tables = seen.rows.select(["group"]).tables
        groups = pa.chunked_array([chunk for table in tables for chunk in table["group"].chunks], pa.string())

        def bridging(
            order: Numbers, clusters: Sequence[str], ties: Sequence[tuple[int, int, int]], gone: Sequence[bool]
        ) -> dict[int, dict[str, Any]]:
            if named is None and not earlier:
                return {}  # no split stands yet
            rows, placed = np.array([row for row, _, _ in ties], np.int64), pa.array(order)
            tags = np.array([earlier[number].clusters[other] for _, number, other in ties], np.uint64)
            tied = tied_splits(earlier, groups.take(placed), rows, tags)
            splits = None if named is None else np.where(gone, np.int8(-1), named[order])
            codes = pa.array(clusters, pa.string()).dictionary_encode().indices.to_numpy().astype(np.int64)
            return bridging_rows(keys["id"].take(placed), groups.take(placed), codes, tied, earlier, splits)

        found = judge(
            keys,
            self,
            lambda numbers: compared_text(rows.take(numbers), self),
            earlier,
            rank,
            bridging,
            self.decided(keys),
        )
        going = [None if kept and why not in FACTS else why for kept, why in zip(keep, found.reason, strict=True)]
        # By the earlier cluster, not the row: segments may have been merged when this is read from the cache.
        ties = [(row, int(earlier[number].clusters[other])) for row, number, other in found.ties]
        conflicts = conflict_table(
            found.conflicts, going, seen.rows, found.earlier_conflicts, earlier, seen.past.published
        )
        counts = {"conflicts": pc.count_distinct(conflicts["conflict"]).as_py(), "rows_in_conflict": conflicts.num_rows}
        return Verdict(
            pa.table({name: pa.array(getattr(found, name), pa.string()) for name in ("reason", "evidence", "cluster")}),
            beside={
                "ids": keys.select(["id"]),
                "ties": pa.table(
                    {
                        "row": pa.array([row for row, _ in ties], pa.int64()),
                        "cluster": pa.array([tag for _, tag in ties], pa.uint64()),
                    }
                ),
                "bridges": pa.table(
                    {
                        "row": pa.array([*found.bridges], pa.int64()),
                        "evidence": pa.array(map(evidence_json, found.bridges.values()), pa.string()),
                    }
                ),
                **self.pairs_told(found, keys),
            },
            published={"conflicts": conflicts},
            manifest={"counts": counts},
        )


class Prepared(Duplicates):
    """The stage with what the data says of splits (a row of test is kept rather than one of validation or train), and
    what people say of pairs of rows."""

    named: str | None
    """See `Split.named`."""
    pairs: list[tuple[str, str, str]] = Field(exclude=True)
    """See `Deciding.pairs`."""

    def key(self) -> Any:
        return [*super().key(), *([PAIRS_TOLD, self.pairs] if self.pairs else [])]

    def splits_named(self, rows: Rows) -> Codes | None:
        if self.named is None:
            return None
        tables = rows.select(["source", "meta"]).tables
        said = [table.append_column("said", pc.map_lookup(table["meta"], self.named, "first")) for table in tables]
        return splits_named(pa.concat_tables(said), self.named)

    def decided(self, keys: pa.Table) -> DecidedPairs:
        return DecidedPairs.of(keys, self.pairs)

    def pairs_told(self, found: Judgement, keys: pa.Table) -> dict[str, pa.Table]:
        return {PAIRS_TOLD: pairs_told(found.pairs, keys["id"])} if self.pairs else {}


def compared_by(context: Context) -> Compared:
    """Which text of a row the recipe has compared: stages that look at the same text say so once, in `duplicates`."""
    (duplicates,) = (stage for stage in context.before if isinstance(stage, Duplicates))
    return Compared(**duplicates.model_dump(include=set(Compared.model_fields)))
