"""Documents for tests, made on the spot."""

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from reportlab.pdfgen.canvas import Canvas

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
OPEN = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table")
)
Page = str | Callable[[Canvas], Any]


def drawn(canvas: Canvas) -> None:
    """A page that shows something and has no text."""
    canvas.rect(100, 100, 200, 200, fill=1)


def pdf_of(pages: Sequence[Page], **options: Any) -> bytes:
    """A PDF of these pages: each its lines, or what draws it."""
    file = io.BytesIO()
    canvas = Canvas(file, invariant=True, **options)
    for page in pages:
        if isinstance(page, str):
            text = canvas.beginText(50, 780)
            for line in page.split("\n"):
                text.textLine(line)
            canvas.drawText(text)
        else:
            page(canvas)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def packed(parts: dict[str, str | bytes]) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def docx_of(body: str, **parts: str) -> bytes:
    """A DOCX of a body's XML, and of other parts by their names, e.g. `footnotes`."""
    others = {f"word/{name}.xml": content for name, content in parts.items()}
    document = f"<w:document {WORD}><w:body>{body}</w:body></w:document>"
    return packed({"[Content_Types].xml": "<Types/>", "word/document.xml": document, **others})


def odt_of(body: str, manifest: str = "<manifest/>") -> bytes:
    """An ODT of a body's XML."""
    body = f"<office:body><office:text>{body}</office:text></office:body>"
    content = f"<office:document-content {OPEN}>{body}</office:document-content>"
    kind = "application/vnd.oasis.opendocument.text"
    return packed({"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest})


def said(text: str) -> str:
    """A paragraph of a DOCX."""
    return f'<w:p><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'
