"""RTF -> a row of its text."""

from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from curate.read.documents.stated import Stated
from curate.read.raw_row import LONGEST_ROW, Document, Row, Unread, too_long


def rtf(data: bytes, name: str, _: Stated) -> Iterator[Row | Unread]:
    """One row {text, name}."""
    if len(data) > LONGEST_ROW:
        yield Unread(too_long(), None, "", name=name)
        return
    # RTF is ASCII; what is none is in the encoding that it declares.
    text = str(rtf_to_text(data.decode("latin-1"), errors="replace")).strip()  # type: ignore[no-untyped-call]
    yield {"text": Document(text), "name": name} if text else Unread("no text in it", None, "", name=name)
