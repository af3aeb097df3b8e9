"""Messages: rows of documents as JSON, as the process that reads them sends them, and as the cache keeps them."""

from dataclasses import asdict
from typing import Any

from curate.read.raw_row import Document, Row, Unread


def message_of(row: Row | Unread) -> dict[str, Any]:
    """{"row"} and, where its text is a document's, {"document"}; or {"unread"}."""
    if isinstance(row, Unread):
        return {"unread": asdict(row)}
    text = row.get("text")
    return {"row": row} | ({"document": [text.pages, text.left_out]} if isinstance(text, Document) else {})


def row_of(message: dict[str, Any]) -> Row | Unread:
    """The row of a message."""
    if "unread" in message:
        return Unread(**message["unread"])
    row: Row = message["row"]
    return row | {"text": Document(row["text"], *message["document"])} if "document" in message else row
