"""The bands of more rows than memory is to hold: a file without a name, of which a piece is sorted at a time."""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from curate.sets.bands import band_entries
from curate.sets.keys import Numbers
from curate.text.minhash import Signatures
from curate.text.words import Hashes

PIECE = 1 << 24
"""Entries of 8 bytes that are sorted at a time."""


class BandFile:
    """The entries of rows, see `bands.band_tables`, band after band.

    Args:
        folder: on the disk that is to hold it.
        bands: how many there are.
        rows: how many there will be.
    """

    def __init__(self, folder: Path | None, bands: int, rows: int) -> None:
        self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115
        self._bands, self._rows = bands, rows

    def __enter__(self) -> "BandFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def enter(self, signatures: Signatures, rows: Numbers, numbers: Numbers, begin: int) -> None:
        """Write the entries of some rows; several threads may.

        Args:
            signatures, rows, numbers: see `bands.band_entries`.
            begin: how many rows' entries stand before these.
        """
        for band, entries in enumerate(band_entries(signatures, rows, numbers, self._bands)):
            _write(self._file, entries, 8 * (band * self._rows + begin))

    def pieces(self) -> list[tuple[int, int, int]]:
        """What `sorted_piece` may be asked for."""
        ranges = -(-self._rows // PIECE)
        return [(band, number, ranges) for band in range(self._bands) for number in range(ranges)]

    def sorted_piece(self, band: int, number: int, ranges: int) -> Hashes:
        """Of a band's entries those of one of so many ranges of their keys, sorted."""
        return sorted_piece(self._file, 8 * band * self._rows, self._rows, number, ranges)


def _write(file: IO[bytes], entries: Hashes, at: int) -> None:
    """Write all of the entries: of those for which the disk has no room, the system writes what it can, and refuses the
    rest only when it is asked once more."""
    left = entries.data.cast("B")
    while left:
        written = os.pwrite(file.fileno(), left, at)
        left, at = left[written:], at + written


def sorted_piece(file: IO[bytes], begin: int, size: int, number: int, ranges: int) -> Hashes:
    """Of the entries in a file those of one of so many ranges of their keys, sorted.

    Args:
        begin: where in the file the first entry is.
        size: how many there are.
    """
    width = np.uint64((1 << 32) // ranges + 1)  # of keys: entries of one stay together
    found = [np.empty(0, np.uint64)] if not size else []
    for at in range(0, size, PIECE):
        entries = np.empty(min(PIECE, size - at), np.uint64)
        if os.preadv(file.fileno(), [entries.data], begin + 8 * at) < entries.nbytes:
            raise EOFError(f"a file of bands ends before entry {at + len(entries):,}")
        found.append(entries if ranges == 1 else entries[(entries >> np.uint64(32)) // width == number])
    piece = np.concatenate(found) if len(found) > 1 else found[0]
    piece.sort()
    return piece
