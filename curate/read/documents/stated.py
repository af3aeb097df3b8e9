"""Stated: what a recipe's source says of documents, as the process that reads them is told it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from curate.read.raw_row import Row, Unread


class Stated(NamedTuple):
    """See `curate.read.files.Options`."""

    ocr: bool = False
    header: bool = True
    columns: list[str] | None = None


Read = Callable[[bytes, str, Stated], Iterator[Row | Unread]]
"""What reads documents of a format: all bytes of one, its name, and what is stated -> its rows."""
