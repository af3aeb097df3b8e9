"""PDF -> a row of its text layer, page by page.

A page that shows something and has no text is set aside, or recognised where the recipe's source says so (`ocr`).
"""

from collections.abc import Iterator
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from curate.read.documents.stated import Stated
from curate.read.raw_row import LONGEST_ROW, NO_TEXT_LAYER, Document, Row, Unread, too_long

MOST_PAGES = 2000
BETWEEN = "\n\n"
"""What is between the texts of two pages."""
COVERED = 0.8
"""The share of a page that a picture covers which is a scan."""
STAMP = 100
"""Characters that a scan may have beside its picture: a stamp, a number."""

HYPHENS = dict.fromkeys((0, 2, 0xFFFE))
"""What PDFium has in place of a hyphen at a line's end, whose word it puts together; and what is no character."""


def pdf(data: bytes, name: str, stated: Stated) -> Iterator[Row | Unread]:
    """One row {text, name}, none where no page has text; then an Unread for each page that is set aside.

    Args:
        data: the file.
        name: the file's.
        stated: `ocr` counts: whether pages without text are recognised.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        locked = error.err_code == pdfium.FPDF_ERR_PASSWORD
        yield Unread("encrypted: a password opens it" if locked else f"no PDF: {error}", None, "", name=name)
        return
    count = len(document)
    if count > MOST_PAGES:
        yield Unread(f"{count:,} pages, more than {MOST_PAGES:,}: split it", None, "", name=name)
        return
    texts, begins, unread, end = list[str](), list[int](), list[Unread](), 0
    for number in range(1, count + 1):
        begins.append(end)
        try:
            text, is_scan = _page(document, number - 1)
            if is_scan and stated.ocr:
                from curate.read.documents.ocr import recognised

                text = recognised(document[number - 1])
                is_scan = not text
        except pypdfium2.PdfiumError as error:
            unread.append(Unread(f"page {number} cannot be read: {error}", None, "", page=number, name=name))
            continue
        if is_scan:
            said = f"page {number} of {count:,} has no text layer: a scan, or drawn letters"
            unread.append(Unread(said, None, text, page=number, reason=NO_TEXT_LAYER, name=name))
        elif text:
            texts.append(text)
            end += len(text) + len(BETWEEN)
    text = BETWEEN.join(texts)
    if len(text.encode("utf-8", "replace")) > LONGEST_ROW:
        yield Unread(too_long(), None, text[:1000], name=name)
        return
    if text:
        left_out = [each.page for each in unread if each.page]
        yield {"text": Document(text, begins, left_out), "name": name}
    elif not unread:
        yield Unread(f"{count:,} pages, on which there is nothing", None, "", name=name)
    yield from unread


def _page(document: pypdfium2.PdfDocument, index: int) -> tuple[str, bool]:
    """A page's text, and whether it shows something that is none."""
    page = document[index]
    if pdfium.FPDFPage_GetAnnotCount(page) and pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == 1:
        page.close()
        page = document[index]  # as it is seen: what was written into a form's fields is a part of it
    layer = page.get_textpage()
    text = layer.get_text_range(errors="replace").replace("\r\n", "\n").translate(HYPHENS)
    text = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    layer.close()
    if len(text) < STAMP:
        is_scan = _covered(page) >= COVERED if text else pdfium.FPDFPage_CountObjects(page) > 0
    else:
        is_scan = False
    page.close()
    return text, is_scan


def _covered(page: Any) -> float:
    """The share of a page that its largest picture covers."""
    width, height = page.get_size()
    largest = 0.0
    for each in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=2):
        left, bottom, right, top = each.get_bounds()
        largest = max(largest, max(0.0, right - left) * max(0.0, top - bottom))
    return float(largest / max(width * height, 1.0))
