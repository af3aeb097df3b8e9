"""Mail (RFC 5322) -> a row of what it says, by the standard library's `email`."""

from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime
from typing import Any

from curate.read.documents.stated import Stated
from curate.read.raw_row import LONGEST_ROW, Document, Row, Unread, too_long

HEADERS = ("subject", "from", "to", "cc", "date", "message_id", "in_reply_to")


def eml(data: bytes, name: str, _: Stated) -> Iterator[Row | Unread]:
    """One row {text, name, subject, from, to, cc, date, message_id, in_reply_to, attachments}."""
    message = message_from_bytes(data, policy=policy.default)
    if not message.keys():
        yield Unread("no mail: it has no headers", 1, data[:1000].decode(errors="replace"), name=name)
        return
    text = _text(message)
    if len(text.encode("utf-8", "replace")) > LONGEST_ROW:
        yield Unread(too_long(), None, text[:1000], name=name)
        return
    yield {
        "text": Document(text),
        "name": name,
        **{key: _header(message, key.replace("_", "-")) for key in HEADERS},
        "attachments": [_attachment(part) for part in message.iter_attachments()],
    }


def _text(message: EmailMessage) -> str:
    """The plain part, or what the page in its place says."""
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    text = _decoded(body)
    if body.get_content_subtype() == "html":
        from curate.read.documents.html import text_of_page

        text = text_of_page(text)
    return text.replace("\r\n", "\n").strip()


def _decoded(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except LookupError:  # of an encoding that Python does not know
        return bytes(part.get_payload(decode=True)).decode(errors="replace")


def _header(message: EmailMessage, name: str) -> str | None:
    """A header's words; a date as ISO 8601."""
    try:
        value = message[name]
    except Exception:  # what parses headers raises whatever a broken one does to it
        value = next((raw for key, raw in message.raw_items() if key.lower() == name), None)
    if value is None:
        return None
    if name == "date":
        with suppress(ValueError, TypeError):
            return parsedate_to_datetime(str(value)).isoformat()
    return " ".join(str(value).split())


def _attachment(part: MIMEPart) -> dict[str, Any]:
    content = part.get_payload(decode=True)
    size = len(content) if isinstance(content, bytes) else len(bytes(part))
    return {"name": part.get_filename(), "type": part.get_content_type(), "bytes": size}
