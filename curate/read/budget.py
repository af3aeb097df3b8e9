"""Budget: how much a file may unpack to, whatever packs it: a compressor, an archive, or a format's own encodings."""

from dataclasses import dataclass

UNPACKED_BYTES = 1 << 30
UNPACKED_RATIO = 100
"""A file may unpack to UNPACKED_BYTES and UNPACKED_RATIO times its size: text packs ten- to thirtyfold, bombs
a thousandfold and more."""
ROW_BYTES = 100
"""Bytes that a row costs whatever it holds, about what Python needs for an empty one: the smallest file may have ten
million rows."""


class UnpackedSizeError(Exception):
    """A small file unpacks to more than any honest text."""


class RefusedError(Exception):
    """A document has what none is read with; the argument says what."""


@dataclass
class Budget:
    """Bytes that a file may still unpack to, all its members together."""

    left: int

    def spend(self, count: int) -> None:
        self.allow(count)
        self.left -= count

    def allow(self, count: int, what: str = "") -> None:
        """Say no before it is unpacked to what a file says of itself that it will unpack to.

        Raises:
            UnpackedSizeError: there is not as much left.
        """
        if count > self.left:
            bound = f"unpacks to more than {UNPACKED_BYTES >> 30} GiB and {UNPACKED_RATIO} times its size"
            raise UnpackedSizeError(f"{bound}{what and f': {what}'}")
