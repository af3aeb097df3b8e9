"""Documents of every format by the way that a drop's files are read; a bad one costs its own row, and no more."""

import signal
import socket
import tarfile
import time
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas

from curate.errors import AssayError
from curate.read.documents import reader
from curate.read.raw import read_rows
from curate.read.raw_row import Document, Row, Unread
from tests.curate.read.documents.made import WORD, docx_of, drawn, odt_of, packed, pdf_of, said
from tests.curate.read.made import Written, file_of, rows_of

RTF = rb"{\rtf1\ansi\ansicpg1252 The fee is {\b two} euros.\par Caf\'e9.}"
PAGE = (
    "<html><head><title>Terms</title></head><body><nav><a href='/'>Home</a></nav><main><p>The fee is two euros.</p>"
    "<p>Café.</p></main></body></html>"
)
MAIL = b"Subject: x\nFrom: a@x.test\n\nThe fee is two euros.\n"
DOCUMENTS = {
    "a.pdf": pdf_of(["The fee is two euros."]),
    "a.docx": docx_of(said("The fee is two euros.")),
    "a.odt": odt_of("<text:p>The fee is two euros.</text:p>"),
    "a.rtf": RTF,
    "a.html": PAGE.encode(),
    "a.eml": MAIL,
}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No process waits for documents before, nor after."""
    reader.close_idle()
    yield monkeypatch
    monkeypatch.undo()
    reader.close_idle()


def row_of(rows: list[Row | Unread]) -> Row:
    [row] = rows
    assert isinstance(row, dict), row
    assert isinstance(row["text"], Document)
    return row


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_told_by_its_name_or_its_content(written: Written, name: str) -> None:
    row = row_of(written(name, DOCUMENTS[name]))
    assert (row["text"].startswith("The fee is two euros."), row["name"]) == (True, name)
    told_by_content = {"a.pdf", "a.docx", "a.odt", "a.rtf"}
    if name in told_by_content:
        assert row_of(written("b.txt", DOCUMENTS[name]))["text"] == row["text"]
    assert row_of(written("c", DOCUMENTS[name], name[2:]))["text"] == row["text"]  # as a source states it


def test_what_a_page_says_stands_in_the_encoding_that_it_declares(written: Written) -> None:
    page = PAGE.replace("<head>", "<head><meta charset='iso-8859-1'>").encode("latin-1")
    row = row_of(written("a.html", page))
    assert (row["text"], row["title"]) == ("The fee is two euros.\n\nCafé.", "Terms")
    assert row["_encoding"] == "cp1252"
    [sent] = written("rows.jsonl", PAGE)  # such as servers send in place of a file
    assert isinstance(sent, Unread)
    assert "an HTML page" in sent.message


def test_documents_in_archives(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(packed(dict(DOCUMENTS)))
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        for name, data in DOCUMENTS.items():
            (tmp_path / name).write_bytes(data)
            archive.add(tmp_path / name, name)
    rows = rows_of(tmp_path / "all.zip")
    assert [row["_member"] for row in rows if isinstance(row, dict)] == list(DOCUMENTS)
    assert rows_of(tmp_path / "all.tar.gz") == rows


def test_what_a_document_names_is_not_fetched(written: Written) -> None:
    """By a page, a mail, a PDF and a DOCX, each with what would ask for it in a program that shows them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
        page = (
            f"<html><head><link rel=stylesheet href={url}><script src={url}></script><meta http-equiv=refresh "
            f"content='0;url={url}'></head><body><img src={url}><iframe src={url}></iframe><p>Pay.</p></body></html>"
        )
        assert row_of(written("a.html", page))["text"] == "Pay."
        mail = EmailMessage()
        mail["Subject"] = "x"
        mail.set_content(page, subtype="html")
        assert row_of(written("a.eml", mail.as_bytes()))["text"] == "Pay."

        def linked(canvas: Canvas) -> None:
            canvas.drawString(50, 700, "Pay.")
            canvas.linkURL(url, (0, 0, 500, 800))

        action = f"/OpenAction << /S /JavaScript /JS (app.launchURL\\('{url}'\\)) >>".encode()
        data = pdf_of([linked]).replace(b"/Type /Catalog", b"/Type /Catalog " + action)
        assert (url.encode() in data, b"/OpenAction" in data, row_of(written("a.pdf", data))["text"]) == (
            True,
            True,
            "Pay.",
        )
        relation = f'<Relationship Id="r1" TargetMode="External" Target="{url}"/>'
        external = {"word/_rels/document.xml.rels": f"<Relationships>{relation}</Relationships>"}
        body = f'<!DOCTYPE d SYSTEM "{url}"><w:document {WORD}>{said("Pay.")}</w:document>'
        data = packed({"[Content_Types].xml": "<Types/>", "word/document.xml": body, **external})
        assert row_of(written("a.docx", data))["text"] == "Pay."
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_text_knows_that_it_is_a_document(written: Written) -> None:
    assert not row_of(written("a.txt", "x"))["text"].pages
    assert not row_of(written("a.txt", "---\na: 1\n---\nx", "front_matter"))["text"].pages


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Office file (.doc), or an encrypted one"),
        ("a.docx", docx_of(said("x"))[:-30], "BadZipFile"),
        (
            "a.docx",
            packed({"[Content_Types].xml": "", "word/document.xml": "<a><b></a>"}),
            "ExpatError: mismatched tag",
        ),
        (
            "a.pptx",
            packed({"[Content_Types].xml": "", "ppt/presentation.xml": ""}),
            "an Office file that is no document",
        ),
        ("a.rtf", rb"{\rtf1 }", "no text in it"),
        ("a.html", b"<html></html>", "no text in it"),
        (
            "a.pdf",
            b"<!doctype html><p>Log in</p>",
            "an HTML page (such as servers send in place of a file); expected PDF",
        ),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "CalamineError"),
    ],
)
def test_what_cannot_be_read_costs_a_row(written: Written, name: str, data: bytes, said: str) -> None:
    [found] = written(name, data)
    assert isinstance(found, Unread)
    assert found.message.startswith(said)


def test_a_document_that_takes_too_long_costs_a_row(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies behind it in the archive is read all the same; what follows the page is quadratic in its depth."""
    fresh.setattr(reader, "SECONDS", 1)
    (tmp_path / "f.zip").write_bytes(packed({"a.html": "<div>" * 200_000 + "x", "b.pdf": DOCUMENTS["a.pdf"]}))
    slow, row = rows_of(tmp_path / "f.zip")
    assert isinstance(slow, Unread)
    assert slow.message == "a.html: takes more than 1 seconds to be read"
    assert row_of([row])["name"] == "b.pdf"


def test_a_document_that_takes_too_much_memory_costs_a_row(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh.setattr(reader, "MEMORY", 100 << 20)
    with zipfile.ZipFile(tmp_path / "f.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.eml", MAIL + b"x" * (40 << 20))
        archive.writestr("b.pdf", DOCUMENTS["a.pdf"])
    large, row = rows_of(tmp_path / "f.zip")
    assert isinstance(large, Unread)
    assert large.message == "a.eml: takes more than 100 MiB of memory to be read"
    assert row_of([row])["name"] == "b.pdf"


def test_a_document_that_is_too_large_is_not_sent(fresh: pytest.MonkeyPatch, written: Written) -> None:
    fresh.setattr(reader, "LARGEST", 1 << 10)
    fresh.setattr("curate.read.formats.LARGEST", 1 << 10)
    [found] = written("a.pdf", pdf_of(["x" * 60] * 60))
    assert isinstance(found, Unread)
    assert found.message == "longer than 0 MiB"


def test_a_reader_that_is_killed_is_started_again_and_what_kills_it_twice_is_said(fresh: pytest.MonkeyPatch) -> None:
    """A document is not to blame for what comes from outside."""

    def read() -> list[Row | Unread]:
        return list(reader.read_document(DOCUMENTS["a.pdf"], "pdf", "a.pdf"))

    rows = read()
    reader.processes()[0].kill()
    assert read() == rows
    begin = reader.Process.rows

    def killing(self: Any, *args: Any) -> Any:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return begin(self, *args)

    fresh.setattr(reader.Process, "rows", killing)
    with pytest.raises(AssayError, match="the process that reads it was killed twice"):
        read()


def test_a_process_reads_one_document_after_the_other_and_ends_with_its_reader(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_of(["One.", drawn]))
    assert len(rows_of(tmp_path / "a.pdf")) == 2
    [process] = reader.processes()
    assert len(rows_of(tmp_path / "a.pdf")) == 2
    assert reader.processes() == [process]
    first = next(iter(read_rows(file_of(tmp_path / "a.pdf"))))  # of which no more is asked for
    assert isinstance(first, dict)
    for _ in range(100):
        if process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is not None
    assert len(rows_of(tmp_path / "a.pdf")) == 2


def test_the_process_has_none_of_the_keys_in_the_environment(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("OPENAI_API_KEY", "sk-secret")
    process = reader.Process().process
    try:
        assert "sk-secret" not in Path(f"/proc/{process.pid}/environ").read_text()
    finally:
        process.kill()
        process.wait()


def test_a_library_that_is_not_there_is_named(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/pypdfium2.py").write_text("raise ModuleNotFoundError(name='pypdfium2')")
    fresh.syspath_prepend(tmp_path / "lib")
    (tmp_path / "f.zip").write_bytes(packed({"a.pdf": DOCUMENTS["a.pdf"]}))
    with pytest.raises(AssayError) as caught:
        rows_of(tmp_path / "f.zip")
    assert "pypdfium2, which is not installed" in caught.value.message
    assert caught.value.remedy == "pip install 'assay-curation[documents]'"
