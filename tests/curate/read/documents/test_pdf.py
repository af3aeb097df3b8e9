"""PDF: its text layer page by page; what has none, and what is broken, is set aside."""

import io

import pypdfium2
import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from curate.read.documents import pdf
from curate.read.documents.reader import read_document
from curate.read.documents.stated import Stated
from curate.read.raw_row import Document, Unread
from tests.curate.read.documents.made import Page, drawn, pdf_of


def read(data: bytes) -> list[object]:
    return list(pdf.pdf(data, "a.pdf", Stated()))


def text_of(found: object) -> Document:
    assert isinstance(found, dict)
    text = found["text"]
    assert isinstance(text, Document)
    return text


def test_a_document_is_a_row_whose_text_knows_its_pages() -> None:
    [row] = read(pdf_of(["One,\ntwo.", "", "Three."]))
    assert row == {"text": "One,\ntwo.\n\nThree.", "name": "a.pdf"}
    text = text_of(row)
    assert [text[begin:] for begin in text.pages] == [text, "Three.", "Three."]
    assert not text.left_out


def test_a_page_without_a_text_layer_is_set_aside_by_its_number() -> None:
    row, unread = read(pdf_of(["One.", drawn, "Three."]))
    assert text_of(row) == "One.\n\nThree."
    assert text_of(row).left_out == [2]
    assert isinstance(unread, Unread)
    assert (unread.reason, unread.page, unread.name) == ("no_text_layer", 2, "a.pdf")


def test_a_stamp_on_a_scan_is_no_text_layer() -> None:
    """But a picture beside text is none, nor is a short text without one."""
    scan = pypdfium2.PdfDocument(pdf_of(["What was scanned."]))[0].render().to_pil()

    def stamped(canvas: object, share: float) -> None:
        canvas.drawImage(ImageReader(scan), 0, 0, 595 * share, 842 * share)  # type: ignore[attr-defined]
        canvas.drawString(50, 20, "CONFIDENTIAL 0001")  # type: ignore[attr-defined]

    [whole] = read(pdf_of([lambda canvas: stamped(canvas, 1)]))
    assert isinstance(whole, Unread)
    assert (whole.reason, whole.raw) == ("no_text_layer", "CONFIDENTIAL 0001")
    [beside] = read(pdf_of([lambda canvas: stamped(canvas, 0.5)]))
    assert text_of(beside) == "CONFIDENTIAL 0001"


def test_a_scan_is_recognised_where_the_recipe_says_so() -> None:
    """As another page's text is known, so is this one's; what shows no words stays without a text layer."""
    pytest.importorskip("rapidocr", reason="needs the extra ocr")
    pytest.importorskip("onnxruntime", reason="needs the extra ocr")

    def words(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 28)
        canvas.drawString(60, 700, "The fee is two euros.")
        canvas.drawString(60, 650, "It is due in March.")

    scan = pypdfium2.PdfDocument(pdf_of([words]))[0].render(scale=1.5).to_pil()
    pages: list[Page] = ["Typed.", lambda canvas: canvas.drawImage(ImageReader(scan), 0, 0, 595, 842), drawn]
    found = list(read_document(pdf_of(pages), "pdf", "a.pdf", Stated(ocr=True)))  # by the process with its bounds
    assert len(found) == 2, found
    row, unread = found
    text = text_of(row)
    assert text.split() == "Typed. The fee is two euros. It is due in March.".split()  # noqa: SIM905
    assert text[text.pages[1] :].startswith("The fee")
    assert text.left_out == [3]
    assert isinstance(unread, Unread)
    assert unread.page == 3


def test_what_is_written_into_a_form_is_text() -> None:
    def form(canvas: object) -> None:
        canvas.drawString(50, 700, "Name:")  # type: ignore[attr-defined]
        canvas.acroForm.textfield(value="Ada Lovelace", x=100, y=690, width=200, height=20)  # type: ignore[attr-defined]

    [row] = read(pdf_of([form]))
    assert text_of(row).split() == ["Name:", "Ada", "Lovelace"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pdf_of(["x"], encrypt=StandardEncryption("secret")), "encrypted: a password opens it"),
        (b"%PDF-1.4\nnothing of the kind", "no PDF: "),
        (pdf_of(["x"])[:-400], "no PDF: "),
        (b"", "no PDF: "),
        (pdf_of([""]), "1 pages, on which there is nothing"),
    ],
)
def test_what_cannot_be_read_is_set_aside(data: bytes, said: str) -> None:
    [found] = read(data)
    assert isinstance(found, Unread)
    assert found.message.startswith(said)
    assert (found.reason, found.page) == ("unreadable", None)


def test_a_document_of_too_many_pages_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MOST_PAGES", 2)
    [found] = read(pdf_of(["a", "b", "c"]))
    assert isinstance(found, Unread)
    assert found.message == "3 pages, more than 2: split it"
    monkeypatch.setattr(pdf, "MOST_PAGES", 3)
    assert text_of(read(pdf_of(["a", "b", "c"]))[0]) == "a\n\nb\n\nc"


def test_a_password_of_the_owner_alone_keeps_nobody_from_reading() -> None:
    [row] = read(pdf_of(["x"], encrypt=StandardEncryption("", ownerPassword="owner")))
    assert text_of(row) == "x"


def test_pages_are_those_that_pdfium_reads_one_by_one() -> None:
    """The text of each page, on a document of many, by the library itself."""
    pages = [f"Page {number} of this agreement.\nIt has a term of {number} years." for number in range(1, 40)]
    data = pdf_of(pages)
    [row] = read(data)
    text = text_of(row)
    ends = [*text.pages[1:], len(text) + 2]
    own = [text[begin : end - 2] for begin, end in zip(text.pages, ends, strict=True)]
    plain = pypdfium2.PdfDocument(io.BytesIO(data))
    assert own == [page.get_textpage().get_text_range().replace("\r\n", "\n") for page in plain] == pages
