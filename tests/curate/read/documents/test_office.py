"""DOCX and ODT: paragraphs, tables and notes in order; what is broken, locked or a bomb is set aside."""

import pytest

from curate.read.budget import RefusedError, UnpackedSizeError
from curate.read.documents import office
from curate.read.documents.stated import Stated
from curate.read.raw_row import Document, Unread
from tests.curate.read.documents.made import WORD, docx_of, odt_of, packed, said


def docx(data: bytes) -> str:
    [row] = office.docx(data, "a.docx", Stated())
    assert isinstance(row, dict)
    assert isinstance(row["text"], Document)
    assert not row["text"].pages
    return row["text"]


def odt(data: bytes) -> str:
    [row] = office.odt(data, "a.odt", Stated())
    assert isinstance(row, dict)
    return str(row["text"])


def test_paragraphs_and_what_is_tracked_in_them() -> None:
    tracked = (
        "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>The fee is </w:t></w:r>"
        "<w:del><w:r><w:delText>one</w:delText></w:r></w:del><w:ins><w:r><w:t>two</w:t></w:r></w:ins>"
        "<w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom><w:r><w:t> euros</w:t><w:tab/><w:t>net</w:t><w:br/>"
        "<w:t>a year</w:t><w:noBreakHyphen/><w:t>long</w:t></w:r></w:p>"
    )
    assert docx(docx_of(said("Fees") + "<w:p/>" + tracked)) == "Fees\n\nThe fee is two euros\tnet\na year-long"


def test_cells_of_a_table_stand_side_by_side() -> None:
    cell = "<w:tc>{}</w:tc>".format
    inner = f"<w:tbl><w:tr>{cell(said('x'))}{cell(said('y'))}</w:tr></w:tbl><w:p/>"
    rows = f"<w:tr>{cell(said('a'))}{cell('<w:p/>')}{cell(said('b'))}</w:tr><w:tr>{cell(inner)}{cell(said('c'))}</w:tr>"
    assert docx(docx_of(f"{said('1')}<w:tbl>{rows}</w:tbl>{said('2')}")) == "1\n\na\t\tb\nx\ty\tc\n\n2"


def test_a_note_stands_behind_the_paragraph_that_refers_to_it() -> None:
    net = f'<w:footnote w:id="0"><w:p/></w:footnote><w:footnote w:id="7">{said("Net.")}</w:footnote>'
    notes = f"<w:footnotes {WORD}>{net}</w:footnotes>"
    ends = f'<w:endnotes {WORD}><w:endnote w:id="7">{said("At last.")}</w:endnote></w:endnotes>'
    body = (
        '<w:p><w:r><w:t>Fees</w:t></w:r><w:r><w:footnoteReference w:id="7"/></w:r><w:r><w:t>, </w:t></w:r>'
        '<w:r><w:endnoteReference w:id="7"/></w:r></w:p>'
    )
    text = docx(docx_of(body + said("More."), footnotes=notes, endnotes=ends))
    assert text == "Fees[^1], [^2]\n\n[^1]: Net.\n\n[^2]: At last.\n\nMore."


def test_what_is_there_twice_for_older_programs_is_read_once() -> None:
    space = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    box = f"<w:txbxContent>{said('Box')}</w:txbxContent>"
    both = f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
    both = f"<mc:AlternateContent {space}>{both}</mc:AlternateContent>"
    assert docx(docx_of(f"<w:p><w:r><w:t>Around</w:t>{both}</w:r></w:p>")) == "Box\n\nAround"


def test_an_open_document() -> None:
    body = (
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h>Fees</text:h>\n  "
        '<text:p>The  fee\n is<text:s text:c="2"/><text:span>two</text:span><text:note><text:note-citation>*'
        "</text:note-citation><text:note-body><text:p>Net.</text:p></text:note-body></text:note> euros<text:tab/>net"
        "<text:line-break/>a year<office:annotation><text:p>why?</text:p></office:annotation></text:p><table:table>"
        "<table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p>"
        "</table:table-cell></table:table-row></table:table>"
    )
    assert odt(odt_of(body)) == "Fees\n\nThe fee is  two[^1] euros\tnet\na year\n\n[^1]: Net.\n\na\tb"


def test_what_is_locked_or_empty_is_set_aside() -> None:
    [locked] = office.odt(odt_of("<text:p>x</text:p>", "<manifest:encryption-data/>"), "a.odt", Stated())
    [empty] = office.docx(docx_of("<w:p/>"), "a.docx", Stated())
    assert [each.message for each in (locked, empty) if isinstance(each, Unread)] == [
        "encrypted: a password opens it",
        "no text in it",
    ]


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(document: str) -> str:
        with pytest.raises(RefusedError) as caught:
            list(office.docx(packed({"word/document.xml": document}), "a.docx", Stated()))
        return str(caught.value)

    lol = '<!DOCTYPE d [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>'
    assert refused(f"{lol}<w:document {WORD}>&b;</w:document>").startswith("word/document.xml declares entities")
    assert refused("<a>" * 2000) == "elements nested more than 1000 levels deep"
    monkeypatch.setattr(office, "UNPACKED_BYTES", 1 << 16)
    with pytest.raises(UnpackedSizeError):
        docx(docx_of(" " * (1 << 20)))
    monkeypatch.setattr(office, "LONGEST_ROW", 10)
    assert refused(f"<w:document {WORD}>{said('eleven char')}</w:document>") == "longer than 16 MiB"
