"""HTML -> a row of what a page says, without what stands around it."""

from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from curate.read.documents.stated import Stated
from curate.read.raw_row import Document, Row, Unread


def html(data: bytes, name: str, _: Stated) -> Iterator[Row | Unread]:
    """One row {text, name, title} of a page in UTF-8."""
    page = data.decode()
    text = text_of_page(page)
    if text:
        yield {"text": Document(text), "name": name, "title": (HTMLTree.parse(page).title or "").strip() or None}
    else:
        yield Unread("no text in it", None, page[:1000], name=name)


def text_of_page(page: str) -> str:
    """The main text, or all of it where none is taken for the main one."""
    return str(extract_plain_text(page, main_content=True) or extract_plain_text(page)).strip()
