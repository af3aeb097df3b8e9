"""The keys that a run has found of its rows, in the order in which a version of them is published."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.sets.keys import Numbers, hashes_of, hexadecimal
from curate.sets.signed import Part, gathered

if TYPE_CHECKING:
    from curate.text.minhash import Signatures
    from curate.text.words import Hashes, Offsets

PIECE = 32 << 20
"""Bytes of signatures and shingles that are put in order at a time: about, ..."""
PIECES = 256
"""... but in so many pieces at most, each of which is an open file."""


class KeptKeys:
    """Keys of rows, which are known by their ids and where they were read.

    Args:
        keys: see `keys.key_table`.
        parts: what the same rows are compared by.
        folder: on the disk that is to hold what memory is not to, in files without a name.
    """

    def __init__(self, keys: pa.Table, parts: Sequence[Part], folder: Path) -> None:
        self._keys, self._parts, self._folder = keys, parts, folder
        self._said = {name: whole(keys[name]) for name in ("prompt", "answer", "form", "chars")}

    def rows_of(self, tables: Iterable[pa.Table]) -> Numbers | None:
        """The rows' numbers, in the order of records with the columns id and source; None if one is not there."""
        ids = hexadecimal(self._keys["id"], 32)
        known = _names(ids, self._keys["file"], self._keys["row"])
        order = np.argsort(known)
        known = known[order]
        found = [np.zeros(0, np.int64)]
        for table in tables:
            theirs = hexadecimal(table["id"], 32)
            places = np.searchsorted(known, _names(theirs, *_source(table)))
            if len(places) and (places.max() >= len(known) or (ids[order[places]] != theirs).any()):
                return None
            found.append(order[places])
        return np.concatenate(found)

    def light(self, rows: Numbers, table: pa.Table) -> pa.Table:
        """The keys of some rows, but for their signatures and shingles.

        Args:
            table: their records, as for `rows_of`.
        """
        file, row = _source(table)
        taken = {name: values.take(pa.array(rows)) for name, values in self._said.items()}
        return pa.table({"id": table["id"], "file": file, "row": row, **taken})

    def signed(self, rows: Numbers) -> Iterator[tuple["Signatures", "Offsets", "Hashes"]]:
        """The signatures and shingles of rows, each once, in the order given, some of them at a time."""
        from curate.sets.ahead import ahead
        from curate.sets.batches import Collected, collected, weights_of

        def in_order(piece: Collected) -> tuple["Signatures", "Offsets", "Hashes"]:
            _, side = piece.read()
            lengths = side.ends - side.begins
            return side.signatures, np.append(0, np.cumsum(lengths)), gathered(side.values, side.begins, lengths)

        place_of = np.full(self._keys.num_rows, -1)
        place_of[rows] = np.arange(len(rows))
        ends = np.cumsum(weights_of(self._parts, place_of, len(rows)))
        size = max(PIECE, int(ends.max(initial=0)) // PIECES + 1)
        _, piece_of = np.unique((ends - 1) // size, return_inverse=True)
        yield from ahead(in_order, collected(self._parts, place_of, piece_of, self._folder))


def _source(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """File and row of records."""
    source = whole(table["source"])
    file, row = (pa.chunked_array([pc.struct_field(source, name)]) for name in ("file", "row"))
    return file, row


def _names(ids: "Hashes", files: pa.ChunkedArray, rows: pa.ChunkedArray) -> "Hashes":
    """A hash of what each row is known by."""
    names: Hashes = (codes_of(files) + rows.to_numpy().astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return (ids[:, 0] ^ names) * np.uint64(0xBF58476D1CE4E5B9) ^ ids[:, 1]


def codes_of(files: pa.ChunkedArray) -> "Hashes":
    """A hash of each row's file."""
    encoded = whole(files.dictionary_encode())
    codes: Hashes = np.append(hashes_of(encoded.dictionary), np.uint64(0))[encoded.indices.to_numpy()]
    return codes
