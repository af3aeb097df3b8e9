"""Duplicates and conflicts, exact and near, judged together over the whole drop and all that was seen before it.

Row by row first (`key_table`, shard by shard): what a row is compared by. Then all rows at once (`judge`): which are
removed and why, and which cluster each belongs to. Locality-sensitive hashing only proposes pairs; a row is removed
only if a kept row of higher priority has a true Jaccard similarity of at least the threshold and (where prompts are
compared, by default) the same answer. Clusters hold over all such pairs, whatever their answers, for the split.

Reasons: `conflict` (equal prompts, different answers), `exact_duplicate`, `near_duplicate`. The evidence names the kept
row (`kept`, `file`, `row`, and `version` where an earlier version holds it), the similarity, and the cluster.
"""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.rows.decided import PAIRS_TOLD, Deciding
from curate.sets.beside_earlier import Pairs
from curate.sets.conflicts import conflict_table
from curate.sets.decided_pairs import DecidedPairs, pairs_told
from curate.sets.earlier import tied_splits
from curate.sets.judgement import NO_PAIRS, Judgement, judge, tags_of
from curate.sets.keys import Compared, Flags, Numbers, compared_text, key_table
from curate.sets.rows import Rows
from curate.sets.rules import Rules
from curate.sets.signed import SIGNED, Part, signed
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

    reads: ClassVar[tuple[str, ...] | None] = ("id", "turns", "target", "source", "quality", DECIDED)
    apart: ClassVar[tuple[str, ...]] = SIGNED

    def keys_of(self, table: pa.Table) -> pa.Table:
        texts = compared_text(table, self)
        keys = key_table(table, texts)
        for name, column in zip(self.apart, signed(texts, self.shingle_words).columns, strict=True):
            keys = keys.append_column(name, column)
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
        earlier = seen.past.rows
        named = self.splits_named(seen.rows)
        rank = None if named is None else TURN[named]

        def bridging(order: Numbers, clusters: Numbers, ties: Pairs, gone: Flags) -> dict[int, dict[str, Any]]:
            if named is None and not earlier:
                return {}  # no split stands yet
            tables, placed = seen.rows.select(["group"]).tables, pa.array(order)
            groups = pa.chunked_array([chunk for table in tables for chunk in table["group"].chunks], pa.string())
            groups = groups.take(placed)
            tied = tied_splits(earlier, groups, ties.mine, tags_of(ties, earlier))
            splits = None if named is None else np.where(gone, np.int8(-1), named[order])
            return bridging_rows(keys["id"].take(placed), groups, clusters, tied, earlier, splits)

        parts = [Part.of(rows, read) for rows, read in seen.apart]
        found = judge(keys, self, parts, earlier, rank, bridging, self.decided(keys), seen.folder)
        going = found.reason
        if DECIDED in keys.column_names:
            fact = pc.is_in(going, value_set=pa.array([*FACTS]))
            spared = pc.and_(kept_by_decision(keys[DECIDED].combine_chunks()), pc.invert(fact))
            going = pc.if_else(spared, pa.scalar(None, pa.string()), going)
        conflicts = conflict_table(
            found.conflicts, going, seen.rows, found.earlier_conflicts, earlier, seen.past.published
        )
        counts = {"conflicts": pc.count_distinct(conflicts["conflict"]).as_py(), "rows_in_conflict": conflicts.num_rows}
        return Verdict(
            pa.table({name: getattr(found, name) for name in ("reason", "evidence", "cluster")}),
            beside={
                "ids": keys.select(["id"]),
                # By the earlier cluster, not the row: segments may have been merged when this is read from the cache.
                "ties": pa.table({"row": found.ties.mine, "cluster": tags_of(found.ties, earlier)}),
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
