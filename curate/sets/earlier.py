"""Earlier rows: what of the index counts for a drop, and which splits it is bound to by it.

A drop is compared with the versions before the first one that was made from the same drop, so that running it again
gives the same version. An earlier row counts unless the drop holds its file itself: then it is judged anew, as part of
the drop. Of versions that hold the same file only the latest counts. Splits were given for good: of these all count,
and they are all that counts of versions in whose place a later one stands (`drop_is: all`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.arrow import whole
from curate.record import group_keys
from curate.sets.keys import Flags, Halves, Numbers, fixed, hexadecimal

if TYPE_CHECKING:
    from curate.sets.segments import Segment
    from curate.sets.similarity import Side


@dataclass(frozen=True)
class Earlier:
    """A segment of the index, as far as it counts for a drop."""

    rows: pa.Table
    """See `segments.ROWS`."""
    side: "Side"
    """What the rows are compared by."""
    tables: npt.NDArray[np.uint64]
    """Their `bands.band_tables`."""
    prompts: Halves
    answers: Halves
    forms: npt.NDArray[np.uint64]
    """Hash of who says what of the prompt."""
    by_prompt: npt.NDArray[np.uint64]
    """First 4 bytes of the prompt's hash << 32 | row, sorted."""
    votes: Numbers
    """How many rows of its file and version had this prompt and answer."""
    clusters: npt.NDArray[np.uint64]
    """A hash of the cluster's name; a cluster that is in several splits has a name for each, "CLUSTER/SPLIT"."""
    torn: dict[int, list[int]]
    """Hash of CLUSTER -> the rows that are of "CLUSTER/SPLIT", whatever the split."""
    live: Flags
    """Whether the row ties to its split what is like it."""
    counts: Flags
    """Whether it also counts as a duplicate or conflict of rows of the drop."""
    kept: Flags
    """Whether it counts and is published, so that it removes what is like it."""
    assigned: Flags
    """Whether its split stands: it is published, in an earlier version or in a standing one of the same drop."""


def before(versions: Sequence[str], drops: Sequence[str], drop: str) -> list[str]:
    """The versions that a drop is compared with, in order.

    Args:
        versions: all that are indexed, in order.
        drops: the hash of each one's drop.
        drop: the hash of the drop at hand.
    """
    return list(versions[: drops.index(drop)]) if drop in drops else list(versions)


def earlier_rows(
    segments: Sequence["Segment"],
    drop: str,
    files: Iterable[str],
    standing: Iterable[str] | None = None,
    replaced: int = 0,
) -> list[Earlier]:
    """The segments of the index as they count for a drop.

    Args:
        segments: in order.
        drop: hash of the drop.
        files: SHA-256 of each of its files.
        standing: versions of the same drop whose splits stand, by default all.
        replaced: how many versions, the oldest, another stands in place of.
    """
    from curate.sets.similarity import Side

    versions = [version for segment in segments for version in segment.versions]
    drops = [each for segment in segments for each in segment.drops]
    place = {version: number for number, version in enumerate(versions)}
    compared = len(before(versions, drops, drop))
    own = set(standing if standing is not None else (v for v, d in zip(versions, drops, strict=True) if d == drop))
    mine = set(files)
    places = [_by_value(segment.rows["version"], lambda version: place[version]) for segment in segments]
    latest: dict[str, int] = {}
    for segment, at in zip(segments, places, strict=True):
        if compared:
            held = segment.rows.select(["file_sha256"]).append_column("at", pa.array(at))
            held = held.filter(pc.less(held["at"], compared)).group_by("file_sha256").aggregate([("at", "max")])
            for sha256, newest in zip(held["file_sha256"].to_pylist(), held["at_max"].to_pylist(), strict=True):
                latest[sha256] = max(newest, latest.get(sha256, 0))
    found = []
    for segment, at in zip(segments, places, strict=True):
        rows = segment.rows
        if rows["cluster"].null_count:  # a row of which no cluster is told is one of its own
            cluster = pc.coalesce(rows["cluster"], rows["id"])
            rows = rows.set_column(rows.schema.get_field_index("cluster"), "cluster", cluster)
        newest = _by_value(rows["file_sha256"], lambda sha256: -1 if sha256 in mine else latest.get(sha256, -1))
        unknown = whole(rows["file_sha256"]).is_null().to_numpy(zero_copy_only=False)
        live = (at < compared) & ((newest == at) | unknown)
        published = rows["kept"].to_numpy()
        ours = _by_value(rows["version"], lambda version: int(version in own)) == 1
        side = Side(segment.signatures, segment.offsets[:-1], segment.offsets[1:], segment.shingles)
        found.append(
            Earlier(
                rows,
                side,
                segment.bands,
                fixed(rows["prompt"], np.uint64),
                fixed(rows["answer"], np.uint64),
                rows["form"].to_numpy(),
                segment.prompts,
                rows["votes"].to_numpy().astype(np.int64),
                *_cluster_hashes(rows["cluster"]),
                live,
                live & (at >= replaced),
                live & (at >= replaced) & published,
                published & ((at < compared) | ours),
            )
        )
    return found


def recorded_splits(earlier: Sequence[Earlier], ids: pa.ChunkedArray) -> dict[str, str]:
    """id -> split of those rows of a drop that an earlier version holds; where several do, the first one's."""
    found: dict[str, str] = {}
    for each in earlier:
        for id_, split in _assigned(each, "id", ids):
            found.setdefault(id_, split)
    return found


def cluster_splits(earlier: Sequence[Earlier], clusters: pa.ChunkedArray) -> dict[str, set[str]]:
    """The splits of the earlier rows that are of one of these clusters, by its name."""
    found: dict[str, set[str]] = {}
    for each in earlier:
        for cluster, split in _assigned(each, "cluster", clusters):
            found.setdefault(cluster, set()).add(split)
    return found


def tied_splits(
    earlier: Sequence[Earlier], groups: pa.ChunkedArray, ties: Sequence[tuple[int, int]]
) -> list[frozenset[str]]:
    """For each row of a drop the splits of the earlier rows that it shares a group with or is a near-duplicate of.

    A near-duplicate of a row that was removed from a cluster in several splits is tied to all of them.

    Args:
        groups: the group of each row, or null.
        ties: (row, cluster of an earlier near-duplicate, as in `Earlier.clusters`).
    """
    rows, keys = group_keys(groups)
    wanted_keys = keys.unique()
    of_key: dict[str, set[str]] = {}
    for each in earlier:
        theirs, given = group_keys(each.rows["group"])
        hits = np.flatnonzero(pc.is_in(given, wanted_keys).to_numpy(zero_copy_only=False) & each.assigned[theirs])
        splits = each.rows["split"].take(pa.array(theirs[hits])).to_pylist()
        for key, split in zip(given.take(pa.array(hits)).to_pylist(), splits, strict=True):
            of_key.setdefault(key, set()).add(split)
    wanted = np.array(sorted({tag for _, tag in ties}), np.uint64)
    of_cluster: dict[int, set[str]] = {}
    for each in earlier:
        at = np.flatnonzero(each.assigned & np.isin(each.clusters, wanted))
        splits = each.rows["split"].take(pa.array(at)).to_pylist()
        for tag, split in zip(each.clusters[at].tolist(), splits, strict=True):
            of_cluster.setdefault(tag, set()).add(split)
        for tag in each.torn.keys() & set(wanted.tolist()):
            whole = np.array([row for row in each.torn[tag] if each.assigned[row]], np.int64)
            of_cluster.setdefault(tag, set()).update(each.rows["split"].take(pa.array(whole)).to_pylist())
    found: list[frozenset[str]] = [frozenset()] * len(groups)
    for row, key in zip(rows.tolist(), keys.to_pylist(), strict=True):
        found[row] |= of_key.get(key, set())
    for row, tag in ties:
        found[row] |= of_cluster.get(tag, set())
    return found


def _cluster_hashes(names: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint64], dict[int, list[int]]]:
    """`Earlier.clusters` and `Earlier.torn`: the first 16 hex digits of each name, and what follows the 32 of an id."""
    whole = hexadecimal(names, 16)[:, 0]
    hashes, torn = whole.copy(), dict[int, list[int]]()
    for row in np.flatnonzero(pc.greater(pc.binary_length(names), 32).to_numpy()).tolist():
        hashes[row] ^= np.uint64(xxhash.xxh3_64_intdigest(names[row].as_py()[32:].encode()))
        torn.setdefault(int(whole[row]), []).append(row)
    return hashes, torn


def _assigned(each: Earlier, column: str, values: pa.ChunkedArray) -> list[tuple[str, str]]:
    """(value, split) of the assigned rows whose `column` is one of `values`."""
    wanted = pc.is_in(each.rows[column], values.drop_null().combine_chunks().unique()).to_numpy() & each.assigned
    at = pa.array(np.flatnonzero(wanted))
    return list(zip(each.rows[column].take(at).to_pylist(), each.rows["split"].take(at).to_pylist(), strict=True))


def _by_value(column: pa.ChunkedArray, number: Any) -> Numbers:
    """A number for each row, found once for each value of a dictionary column; -1 where it is null."""
    array = whole(column)
    numbers = np.array([number(value) for value in array.dictionary.to_pylist()] + [-1], np.int64)
    indices = array.indices.fill_null(len(numbers) - 1) if array.null_count else array.indices
    found: Numbers = numbers[indices.to_numpy()]
    return found
