"""Checks of the kept index: that its files agree with each other, with datasketch, and with what is published."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from curate.sets.published import compared_rows, published
from curate.sets.segments import Entry, Segment, SegmentFiles, prompt_table
from curate.store import Store

SAMPLED = 64
"""Signatures of a segment that datasketch computes again, besides all of them by our own kernel."""
BATCH = 8192
"""Rows whose shingles are looked at a time."""


def contradictions(files: SegmentFiles, entry: Entry, segment: Segment) -> Iterator[str]:
    """What of a segment's files does not follow from its shingles and rows."""
    from curate.sets.bands import band_tables
    from curate.text.minhash import signatures

    rows, offsets, shingles = segment.rows.num_rows, segment.offsets, segment.shingles
    lengths = {
        "signatures.npy": len(segment.signatures),
        "offsets.npy": len(offsets) - 1,
        "bands.npy": segment.bands.shape[1],
        "prompts.npy": len(segment.prompts),
    }
    wrong = [part for part, length in ({"rows.arrow": rows} | lengths).items() if length != entry["rows"]]
    if wrong or offsets[0] != 0 or offsets[-1] != len(shingles) or not np.all(offsets[1:] > offsets[:-1]):
        for name in wrong or ["offsets.npy"]:
            yield f"{files.path(entry, name)}: not of the segment's {entry['rows']} rows."
        return
    for begin in range(0, rows, BATCH):
        bounds = offsets[begin : begin + BATCH + 1]
        values = shingles[bounds[0] : bounds[-1]]
        ascending = np.append(values[1:] > values[:-1], True)
        ascending[bounds[1:] - bounds[0] - 1] = True
        if not np.all(ascending):
            yield f"{files.path(entry, 'shingles.npy')}: not sorted and distinct in rows {begin} and following."
        if not np.array_equal(signatures(bounds, shingles), segment.signatures[begin : begin + BATCH]):
            yield f"{files.path(entry, 'signatures.npy')}: not those of the shingles in rows {begin} and following."
    yield from _unlike_datasketch(files, entry, segment)
    if not np.array_equal(band_tables(segment.signatures, files.bands), segment.bands):
        yield f"{files.path(entry, 'bands.npy')}: not those of the signatures."
    if not np.array_equal(prompt_table(segment.rows), segment.prompts):
        yield f"{files.path(entry, 'prompts.npy')}: not those of the rows."


def _unlike_datasketch(files: SegmentFiles, entry: Entry, segment: Segment) -> Iterator[str]:
    """The first of a segment's sampled signatures that is not what datasketch itself makes of the shingles."""
    from datasketch import MinHash

    for row in np.unique(np.linspace(0, entry["rows"] - 1, min(SAMPLED, entry["rows"]), dtype=np.int64)).tolist():
        sketch = MinHash(segment.signatures.shape[1], scheme="affine32", hashfunc=lambda value: value & 0xFFFFFFFF)
        sketch.update_batch(segment.shingles[segment.offsets[row] : segment.offsets[row + 1]].tolist())
        if not np.array_equal(sketch.hashvalues, segment.signatures[row]):
            yield f"{files.path(entry, 'signatures.npy')}: not datasketch's in row {row}."
            return


def unlike_published(store: Store, name: str, entries: list[Entry], counted: Counter[str]) -> Iterator[str]:
    """How the indexed versions differ from the published ones.

    Args:
        counted: rows by version, of those that could be read.
    """
    folders = {folder.name: folder for folder in published(store, name)}
    indexed = [version for entry in entries for version in entry["versions"]]
    for version in indexed:
        if version not in folders:
            yield f"{name}/{version}: indexed, but no longer published."
        elif version in counted and counted[version] != (rows := compared_rows(folders[version])):
            yield f"{name}/{version}: {counted[version]} rows indexed of {rows} that are published or removed."
    yield from (f"{name}/{version}: published, but not indexed." for version in folders if version not in indexed)


def rows_by_version(segment: Segment) -> dict[str, int]:
    """How many rows of each version the segment stands for."""
    table = segment.rows.group_by("version").aggregate([("votes", "sum")])
    return dict(zip(table["version"].to_pylist(), table["votes_sum"].to_pylist(), strict=True))
