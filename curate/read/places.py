"""Places: where in a document, on which pages, the turns of a record stand."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from curate.read.raw_row import Document, Row, Unread

Place = dict[str, Any]
"""See `curate.record.PLACES`."""


class SideTable(dict[str, Row]):
    """A lookup's rows by key. It notes the documents that are asked for, and refuses those that could not be read.

    Args:
        rows: by key.
        unread: by key, documents that could not be read.
        refuse: raises what is to be said of one.
    """

    def __init__(self, rows: dict[str, Row], unread: dict[str, Unread], refuse: Any) -> None:
        super().__init__(rows)
        self._unread = unread
        self._refuse = refuse
        self.asked: dict[str, Row] = {}

    def __getitem__(self, key: str) -> Row:
        row = super().__getitem__(key)
        self.asked[key] = row
        return row

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        if key in self._unread:
            self._refuse(self._unread[str(key)])
        return super().__contains__(key)

    def __missing__(self, key: str) -> Row:
        if key in self._unread:
            self._refuse(self._unread[key])
        raise KeyError(key)


SideTable.__module__, SideTable.__name__ = "builtins", "lookup"  # as Jinja says what has no such key


def places_of(turns: Iterable[dict[str, Any]], documents: Iterable[tuple[str | None, Row]]) -> list[Place] | None:
    """Where what is said in turns stands, word for word and once, in the texts of documents; None where there is none.

    Args:
        turns: of a record.
        documents: the names of those it may be taken from, None of the row itself, and their rows.
    """
    texts = [(name, text) for name, row in documents if isinstance(text := row.get("text"), Document)]
    if not texts:
        return None
    found: list[Place] = []
    for turn, said in enumerate(turns):
        content = said["content"]
        places = [(name, text, at) for name, text in texts for at in _places(content, text)]
        if len(places) == 1:
            [(name, text, at)] = places
            for page, begin, end in _by_page(at, at + len(content), text.pages):
                found.append({"turn": turn, "page": page, "begin": begin, "end": end, "file": name})
    return found


def _places(content: str, text: str) -> Iterator[int]:
    """The first two places of a text in another."""
    at = text.find(content) if content else -1
    if at >= 0:
        yield at
        if (again := text.find(content, at + 1)) >= 0:
            yield again


def _by_page(begin: int, end: int, pages: Sequence[int]) -> Iterator[tuple[int | None, int, int]]:
    """A place, page by page, with the pages' numbers from 1; of a document without pages as it is."""
    if not pages:
        yield None, begin, end
        return
    while begin < end:
        page = bisect_right(pages, begin)
        until = min(end, pages[page]) if page < len(pages) else end
        yield max(page, 1), begin, until
        begin = until
