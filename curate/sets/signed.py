"""What rows are compared by, part by part: more than memory is to hold, so each part is read when it is its turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrow import whole
from curate.sets.keys import Numbers, fixed

if TYPE_CHECKING:
    from curate.text.minhash import Signatures
    from curate.text.words import Hashes, Offsets


SIGNED = ("signature", "shingles")
"""The columns of `signed`."""


@dataclass(frozen=True)
class Part:
    """Some of the rows, as many as memory holds more than once."""

    rows: int
    signatures: Callable[[], "Signatures"]
    """Gives those of all rows, shape (rows, 128)."""
    lengths: Callable[[Numbers], Numbers]
    """Gives about how many shingles rows have, by their numbers here."""
    shingles: Callable[[Numbers], tuple["Offsets", "Hashes"]]
    """Gives the shingles of rows, by their numbers here, which ascend, see `curate.text.words.shingle_sets`; once only
    these are there."""

    @staticmethod
    def of(rows: int, read: Callable[[], pa.Table]) -> "Part":
        """A part whose rows have been signed.

        Args:
            read: gives the columns of `signed`, for as long as they are used.
        """

        def lengths(numbers: Numbers) -> Numbers:
            counts: Numbers = pc.list_value_length(whole(read()["shingles"])).to_numpy()[numbers]
            return counts

        def shingles(numbers: Numbers) -> tuple["Offsets", "Hashes"]:
            taken = whole(read()["shingles"]).take(pa.array(numbers))
            return taken.offsets.to_numpy().astype(np.int64), taken.values.to_numpy()

        return Part(rows, lambda: fixed(read()["signature"], np.uint32), lengths, shingles)


def signed(texts: pa.Array, shingle_words: int) -> pa.Table:
    """The signature (128 uint32, datasketch's affine32) and the shingles of each text.

    Args:
        texts: string or large_string array without nulls.
    """
    from curate.text.minhash import BATCH, PERMUTATIONS, signatures
    from curate.text.words import shingle_sets

    signature = np.empty((len(texts), PERMUTATIONS), np.uint32)
    offsets, values = [np.zeros(1, np.int64)], [np.zeros(0, np.uint64)]
    for begin in range(0, len(texts), BATCH):
        bounds, hashes = shingle_sets(texts.slice(begin, BATCH), shingle_words)
        signature[begin : begin + BATCH] = signatures(bounds, hashes)
        offsets.append(offsets[-1][-1] + bounds[1:])
        values.append(hashes)
    return signed_table(signature, np.concatenate(offsets), np.concatenate(values))


def signed_table(signatures: "Signatures", offsets: "Offsets", values: "Hashes") -> pa.Table:
    """Signatures and shingles as columns: row r has the shingles values[offsets[r] : offsets[r + 1]]."""
    rows, width = signatures.shape
    buffers = [None, pa.py_buffer(np.ascontiguousarray(signatures))]
    return pa.table(
        {
            "signature": pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * width), rows, buffers),
            "shingles": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)),
        }
    )


def gathered(values: "Hashes", begins: Numbers, lengths: Numbers) -> "Hashes":
    """The shingles of rows, one row's behind the other's: those from values[begins[r]] on, lengths[r] of them."""
    lists = pa.LargeListViewArray.from_arrays(pa.array(begins), pa.array(lengths), pa.array(values))
    found: Hashes = lists.flatten().to_numpy()
    return found


def numbered(parts: Sequence[Part], numbers: Numbers) -> Iterator[tuple[Part, Numbers, Numbers]]:
    """Of each part its rows that have a number, and these.

    Args:
        numbers: of each of all rows, -1 where it has none.
    """
    begin = 0
    for part in parts:
        own = numbers[begin : begin + part.rows]
        rows = np.flatnonzero(own >= 0)
        if len(rows):
            yield part, rows, own[rows]
        begin += part.rows
