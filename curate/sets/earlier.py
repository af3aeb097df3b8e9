"""Earlier rows: what of the index counts for a drop, and which splits it is bound to by it.

A drop is compared with the versions before the first one that was made from the same drop, so that running it again
gives the same version. Where a drop grows (`drop_is: appended`), an earlier row that it holds itself, by its content or
that of its file, does not count: it is judged anew, as part of the drop; and of versions that hold the same row only
the latest counts. A delivery (`drop_is: delivery`) is compared with all rows, and takes the place of none. Splits were
given for good: of these all count, and they are all that counts of versions in whose place another stands (`all`).
"""

from collections.abc import Collection, Container, Iterable, Sequence
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
from curate.sets.split_masks import Codes, Masks, codes_of, joined, masks_of

if TYPE_CHECKING:
    from curate.sets.segments import Segment
    from curate.sets.similarity import Side
    from curate.text.words import Hashes


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
    same_drop: Flags
    """Whether it is published in a standing version of the same drop."""
    splits: Codes
    """That it is in."""

    def tying(self, ids: pa.ChunkedArray) -> Flags:
        """Which rows tie to their split those of the same prompt: besides the live ones those that the same drop gave
        under other settings, as far as they are not there again by themselves.

        Args:
            ids: of the drop's rows.
        """
        if not self.same_drop.any():
            return self.live
        again = pc.is_in(self.rows["id"], ids.combine_chunks()).to_numpy()
        tying: Flags = self.live | (self.same_drop & ~again)
        return tying


@dataclass(frozen=True)
class Own:
    """What a drop holds itself."""

    files: Collection[str] = ()
    """SHA-256 of each of its files."""
    ids: pa.ChunkedArray | None = None
    """Those of its rows; None stands for no row."""

    def holds(self, rows: pa.Table) -> Flags:
        """Which of some rows of the index."""
        held: Flags = _by_value(rows["file_sha256"], lambda sha256: int(sha256 in self.files)) == 1
        if self.ids is None:
            return held
        by_content: Flags = pc.is_in(rows["id"], self.ids.combine_chunks()).to_numpy()
        return held | by_content


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
    own: Own,
    standing: Iterable[str] | None = None,
    replaced: int = 0,
    deliveries: Container[str] = (),
) -> list[Earlier]:
    """The segments of the index as they count for a drop.

    Args:
        segments: in order.
        drop: hash of the drop.
        own: what of them is judged anew, as part of the drop.
        standing: versions of the same drop whose splits stand, by default all.
        replaced: how many versions, the oldest, another stands in place of.
        deliveries: the versions that were made of one: they take the place of no row, and none takes that of theirs.
    """
    from curate.sets.similarity import Side

    versions = [version for segment in segments for version in segment.versions]
    drops = [each for segment in segments for each in segment.drops]
    place = {version: number for number, version in enumerate(versions)}
    compared = len(before(versions, drops, drop))
    ours = set(standing if standing is not None else (v for v, d in zip(versions, drops, strict=True) if d == drop))
    places = [_by_value(segment.rows["version"], lambda version: place[version]) for segment in segments]
    # Where a row stands as one that a later row of the same content, or file, may take the place of.
    standings = [
        np.where((at < compared) & (_by_value(segment.rows["version"], lambda v: int(v in deliveries)) == 0), at, -1)
        for segment, at in zip(segments, places, strict=True)
    ]
    newest = [
        np.maximum(file, row)
        for file, row in zip(
            _latest([segment.rows["file_sha256"] for segment in segments], standings),
            _latest([segment.rows["id"] for segment in segments], standings),
            strict=True,
        )
    ]
    found = []
    for segment, at, stands, latest in zip(segments, places, standings, newest, strict=True):
        rows = segment.rows
        if rows["cluster"].null_count:  # a row of which no cluster is told is one of its own
            cluster = pc.coalesce(rows["cluster"], rows["id"])
            rows = rows.set_column(rows.schema.get_field_index("cluster"), "cluster", cluster)
        live = (at < compared) & ~own.holds(rows) & ((stands < 0) | (latest == at))
        published = rows["kept"].to_numpy()
        standing_rows = _by_value(rows["version"], lambda version: int(version in ours)) == 1
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
                published & ((at < compared) | standing_rows),
                published & standing_rows & (at >= compared),
                codes_of(rows["split"]),
            )
        )
    return found


def recorded_splits(earlier: Sequence[Earlier], ids: pa.ChunkedArray) -> Codes:
    """The split of each row of a drop that an earlier version holds, by its id; where several do, the first one's."""
    found = np.full(len(ids), -1, np.int8)
    for each in earlier:
        at = _assigned(each, "id", ids)
        if len(at):
            first = pc.index_in(ids, value_set=whole(each.rows["id"].take(pa.array(at)))).fill_null(-1)
            first = np.asarray(first)
            found = np.where((found < 0) & (first >= 0), each.splits[at[first]], found)
    return found


def cluster_splits(earlier: Sequence[Earlier], names: pa.Array) -> Masks:
    """The splits of the earlier rows that are of each of these clusters."""
    found = np.zeros(len(names), np.uint8)
    for each in earlier:
        at = _assigned(each, "cluster", names)
        places = pc.index_in(each.rows["cluster"].take(pa.array(at)), value_set=names)
        found |= joined(len(names), np.asarray(places), masks_of(each.splits[at]))
    return found


def tied_splits(earlier: Sequence[Earlier], groups: pa.ChunkedArray, rows: Numbers, tags: "Hashes") -> Masks:
    """For each row of a drop the splits of the earlier rows that it shares a group with or is a near-duplicate of.

    A near-duplicate of a row that was removed from a cluster in several splits is tied to all of them.

    Args:
        groups: the group of each row, or null.
        rows, tags: of each near-duplicate the row, and the cluster of the earlier one, as in `Earlier.clusters`.
    """
    found = np.zeros(len(groups), np.uint8)
    keyed, keys = group_keys(groups)
    known = keys.unique()
    of_key, wanted = np.zeros(len(known), np.uint8), np.unique(tags)
    of_cluster = np.zeros(len(wanted), np.uint8)
    for each in earlier:
        theirs, given = group_keys(each.rows["group"])
        places = np.asarray(pc.index_in(given, value_set=known).fill_null(-1))
        hits = np.flatnonzero((places >= 0) & each.assigned[theirs])
        of_key |= joined(len(known), places[hits], masks_of(each.splits[theirs[hits]]))
        at = np.flatnonzero(each.assigned & np.isin(each.clusters, wanted))
        places = np.searchsorted(wanted, each.clusters[at])
        of_cluster |= joined(len(wanted), places, masks_of(each.splits[at]))
        for place, tag in enumerate(wanted.tolist() if each.torn else ()):
            whole_cluster = np.array([row for row in each.torn.get(tag, ()) if each.assigned[row]], np.int64)
            of_cluster[place] |= np.bitwise_or.reduce(masks_of(each.splits[whole_cluster]))
    if earlier:
        np.bitwise_or.at(found, keyed, of_key[np.asarray(pc.index_in(keys, value_set=known))])
        np.bitwise_or.at(found, rows, of_cluster[np.searchsorted(wanted, tags)])
    return found


def _cluster_hashes(names: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint64], dict[int, list[int]]]:
    """`Earlier.clusters` and `Earlier.torn`: the first 16 hex digits of each name, and what follows the 32 of an id."""
    whole = hexadecimal(names, 16)[:, 0]
    hashes, torn = whole.copy(), dict[int, list[int]]()
    for row in np.flatnonzero(pc.greater(pc.binary_length(names), 32).to_numpy()).tolist():
        hashes[row] ^= np.uint64(xxhash.xxh3_64_intdigest(names[row].as_py()[32:].encode()))
        torn.setdefault(int(whole[row]), []).append(row)
    return hashes, torn


def _assigned(each: Earlier, column: str, values: pa.Array | pa.ChunkedArray) -> Numbers:
    """The assigned rows whose `column` is one of `values`."""
    wanted: Numbers = np.flatnonzero(pc.is_in(each.rows[column], values.unique()).to_numpy() & each.assigned)
    return wanted


def _latest(columns: Sequence[pa.ChunkedArray], places: Sequence[Numbers]) -> list[Numbers]:
    """For each row of several tables the highest place of the rows with its value; its own where the value is null.

    Args:
        columns: the values, by table.
        places: those of the rows, by table.
    """
    used = {place for each in places for place in np.unique(each).tolist()} - {-1}
    if len(used) < 2:
        return list(places)
    chunks = [chunk for column in columns for chunk in column.cast(pa.string()).chunks]
    codes = whole(pc.dictionary_encode(pa.chunked_array(chunks, pa.string()))).indices
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    code, place = codes.fill_null(0).to_numpy(), np.concatenate(places)
    highest = np.full(len(code), -1, np.int64)
    np.maximum.at(highest, code[known], place[known])
    found = np.where(known, highest[code], place)
    return np.split(found, np.cumsum([len(each) for each in places])[:-1])


def _by_value(column: pa.ChunkedArray, number: Any) -> Numbers:
    """A number for each row, found once for each value of a dictionary column; -1 where it is null."""
    array = whole(column)
    numbers = np.array([number(value) for value in array.dictionary.to_pylist()] + [-1], np.int64)
    indices = array.indices.fill_null(len(numbers) - 1) if array.null_count else array.indices
    found: Numbers = numbers[indices.to_numpy()]
    return found
