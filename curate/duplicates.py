"""Duplicates and conflicts, exact and near, judged together over the whole drop.

Row by row first (`key_table`, shard by shard): what a row is compared by. Then all rows at once (`judge`): which are
removed and why, and which cluster each belongs to. Locality-sensitive hashing only proposes pairs; a row is removed
only if a kept row of higher priority has a true Jaccard similarity of at least the threshold and (by default) the
same answer. Clusters hold over all such pairs, whatever their answers, for the split.

Reasons: `conflict` (equal prompts, different answers), `exact_duplicate`, `near_duplicate`.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from curate.components import Components
from curate.hashing import canonical_json
from curate.near_dedup import PERMUTATIONS, NearDuplicates
from curate.record import answer_text, prompt_text
from curate.shingles import WordHasher, shingles
from curate.stage import Settings


class Duplicates(Settings):
    scope: Literal["prompt", "answer", "both"] = Field("prompt", description="Which text is compared.")
    threshold: float = Field(
        0.8, gt=0, le=1, description="True Jaccard similarity from which rows are near-duplicates."
    )
    shingle_words: int = Field(5, ge=1, description="Words per shingle (characters, in scripts without spaces).")
    same_target: bool = Field(True, description="Remove a near-duplicate only if its answer is the same.")
    conflicts: Literal["quarantine", "majority", "keep_and_flag"] = Field(
        "quarantine", description="What becomes of rows with equal prompts and different answers."
    )


VERSION = 2
"""Raised whenever `key_table` or `judge` would give another result for the same rows."""


def key_table(table: pa.Table, settings: Duplicates) -> pa.Table:
    """What rows are compared by: one row each, in the order of `table`.

    Columns: id, file, row (source); prompt, answer (128-bit hashes, hex; an answer that is JSON is hashed in canonical
    form); chars (of the compared text); signature (128 uint32, datasketch's affine32);
    shingles (sorted distinct uint64).
    """
    from datasketch import MinHash

    prompts, answers = prompt_text(table).to_pylist(), answer_text(table).to_pylist()
    compared = {
        "prompt": prompts,
        "answer": answers,
        "both": [f"{prompt}\n\n{answer}" for prompt, answer in zip(prompts, answers, strict=True)],
    }[settings.scope]
    hasher = WordHasher()
    base = MinHash(num_perm=PERMUTATIONS, scheme="affine32", hashfunc=_low_half)
    sets, signatures = [], []
    for text in compared:
        found = shingles(text, settings.shingle_words, hasher)
        sketch = MinHash(num_perm=PERMUTATIONS, scheme="affine32", hashfunc=_low_half, permutations=base.permutations)
        sketch.update_batch(found.tolist())
        sets.append(found)
        signatures.append(sketch.hashvalues.tobytes())
    source = table["source"].combine_chunks()
    return pa.table(
        {
            "id": table["id"].combine_chunks(),
            "file": pc.struct_field(source, "file"),
            "row": pc.struct_field(source, "row"),
            "prompt": pa.array([_hash(text) for text in prompts], pa.string()),
            "answer": pa.array([_hash(_canonical(text)) for text in answers], pa.string()),
            "chars": pc.utf8_length(pa.array(compared, pa.string())),
            "signature": pa.array(signatures, pa.binary(4 * PERMUTATIONS)),
            "shingles": pa.array(sets, pa.list_(pa.uint64())),
        }
    )


def _low_half(value: int) -> int:
    """The 32 bits of a 64-bit shingle hash that the affine32 scheme permutes."""
    return value & 0xFFFFFFFF


def _hash(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode())


def _canonical(answer: str) -> str:
    """A JSON object with sorted keys; any other text as it is."""
    if not answer.startswith("{"):
        return answer
    try:
        return canonical_json(json.loads(answer)).decode()
    except (ValueError, TypeError, RecursionError):
        return answer


@dataclass
class Verdict:
    """The judgement over all rows; lists are in the order of the key table."""

    reason: list[str | None]
    """Why a row is removed, None where it is kept."""
    evidence: list[dict[str, Any] | None]
    """What was seen: the kept row and the similarity, or the other answers."""
    cluster: list[str]
    """Name of a row's cluster: the least id in it."""
    conflicts: list[list[int]]
    """Rows of each group of equal prompts with different answers."""


def judge(keys: pa.Table, settings: Duplicates) -> Verdict:
    """Judge all rows at once; the result does not depend on their order.

    Priority: longer first, then the lesser id; rows of one id differ only in their source, and the first one counts.

    Args:
        keys: key tables of all shards, one after the other.
    """
    columns = keys.select(["id", "file", "row", "prompt", "answer", "chars"]).to_pydict()
    ids, prompts, answers = columns["id"], columns["prompt"], columns["answer"]
    total = len(ids)
    order = sorted(range(total), key=lambda i: (-columns["chars"][i], ids[i], columns["file"][i], columns["row"][i]))
    verdict = Verdict([None] * total, [None] * total, [], _conflicts(order, prompts, answers))

    def reject(row: int, reason: str, evidence: dict[str, Any]) -> None:
        verdict.reason[row], verdict.evidence[row] = reason, evidence

    def duplicate(row: int, reason: str, kept: int, similarity: float) -> None:
        where = {"kept": ids[kept], "file": columns["file"][kept], "row": columns["row"][kept]}
        reject(row, reason, where | {"similarity": round(similarity, 6)})

    for group in verdict.conflicts:
        for row in _losers(group, answers, settings.conflicts):
            reject(row, "conflict", {"rows": len(group), "answers": len({answers[other] for other in group})})

    components = Components(total)
    first_of: dict[tuple[str, str], int] = {}
    twins: list[tuple[int, int]] = []
    for row in order:
        if verdict.reason[row] is None and (first := first_of.setdefault((prompts[row], answers[row]), row)) != row:
            components.union(first, row)
            twins.append((row, first))

    rows = list(first_of.values())
    near = NearDuplicates(keys.take(pa.array(rows, pa.int64())), settings.threshold)
    same = [answers[row] if settings.same_target else "" for row in rows]
    for position, kept_position, similarity in near.removals(same):
        duplicate(rows[position], "near_duplicate", rows[kept_position], similarity)
    for first, second in near.links():
        components.union(rows[first], rows[second])
    for row, first in twins:
        if verdict.reason[first] is None:
            duplicate(row, "exact_duplicate", first, 1.0)
        else:  # its twin went in favour of a third row, and so does it
            verdict.reason[row], verdict.evidence[row] = verdict.reason[first], verdict.evidence[first]

    roots = components.roots().tolist()
    least: dict[int, str] = {}
    for row, root in enumerate(roots):
        least[root] = min(least.get(root, ids[row]), ids[row])
    verdict.cluster = [least[root] for root in roots]
    return verdict


def _conflicts(order: list[int], prompts: list[str], answers: list[str]) -> list[list[int]]:
    """Groups of rows with equal prompts and different answers, each in order of priority."""
    groups: dict[str, list[int]] = {}
    for row in order:
        groups.setdefault(prompts[row], []).append(row)
    return [group for group in groups.values() if len({answers[row] for row in group}) > 1]


def _losers(group: list[int], answers: list[str], policy: str) -> list[int]:
    """Rows of a conflict that are removed; where no answer has a majority, all of them are."""
    if policy == "keep_and_flag":
        return []
    if policy == "majority":
        (first, votes), *others = Counter(answers[row] for row in group).most_common(2)
        if votes > others[0][1]:
            return [row for row in group if answers[row] != first]
    return group
