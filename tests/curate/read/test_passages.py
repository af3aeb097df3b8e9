"""Rows cut from one text: by how they begin or what stands between them; nothing that is not blank is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.read import passages
from curate.read.raw import Files, Options, Row, Unread
from tests.curate.read.made import messages, parsed

SGML = """<!DOCTYPE lewis SYSTEM "lewis.dtd">
<REUTERS NEWID="1">
Cocoa rose.
</REUTERS>
<REUTERS NEWID="2">
Coffee fell.

Again.
</REUTERS>
"""


def texts(rows: list[Row | Unread]) -> list[str]:
    return [row["text"] for row in rows if isinstance(row, dict)]


def test_sgml_and_what_stands_before_it() -> None:
    assert parsed(b"\xef\xbb\xbf<D 1>", "text", record_start=r"<D (?P<n>.)>")[0] == {
        "text": "<D 1>",
        "name": "f",
        "number": 1,
        "n": "1",
    }
    rows = parsed(SGML.encode(), "text", "reut.sgm", record_start=r'<REUTERS NEWID="(?P<id>\d+)"')
    assert rows == [
        {"text": '<!DOCTYPE lewis SYSTEM "lewis.dtd">', "name": "reut.sgm", "number": 1, "id": None},
        {"text": '<REUTERS NEWID="1">\nCocoa rose.\n</REUTERS>', "name": "reut.sgm", "number": 2, "id": "1"},
        {"text": '<REUTERS NEWID="2">\nCoffee fell.\n\nAgain.\n</REUTERS>', "name": "reut.sgm", "number": 3, "id": "2"},
    ]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("EU NNP\nrejects VBZ\n\n\nPeter NNP\n", {"record_separator": ""}, ["EU NNP\nrejects VBZ", "Peter NNP"]),
        ("a\r\n%%\r\n b\r\n%%\r\n\r\n", {"record_separator": "%%"}, ["a", " b"]),
        ("a\n%% no\n%%\nb", {"record_separator": "%%"}, ["a\n%% no", "b"]),
        ("From a\nx\n>From b\n\nFrom c\ny\n", {"record_start": "From "}, ["From a\nx\n>From b", "From c\ny"]),
        ("x From \n", {"record_start": "From "}, ["x From"]),
        ("第一章\n一\n第二章\n二", {"record_start": "第.章"}, ["第一章\n一", "第二章\n二"]),
        ("", {"record_start": "x"}, []),
        ("\n \n", {"record_separator": ""}, []),
    ],
)
def test_where_rows_begin_and_end(content: str, options: dict[str, str], expected: list[str]) -> None:
    for encoding in ("utf-8", "utf-16", "utf-8-sig"):
        rows = parsed(content.encode(encoding), "text", **options)
        assert texts(rows) == expected
        assert [row["number"] for row in rows if isinstance(row, dict)] == list(range(1, len(expected) + 1))
    assert texts(parsed(content.encode("gb18030"), "text", encoding="gb18030", **options)) == expected


def test_each_mail_has_its_own_encoding() -> None:
    mails = [("koi8-r", "Привет"), ("iso-8859-1", "Größe"), ("utf-8", "日本"), ("shift_jis", "日本")]
    mail = "From a\nContent-Type: text/plain; charset={}\n\n{}\n\n"
    content = b"".join(mail.format(*each).encode(each[0]) for each in mails)
    rows = parsed(content, "text", record_start="From ")
    assert [text.rpartition("\n")[2] for text in texts(rows)] == [words for _, words in mails]
    assert [row.get("_encoding") for row in rows if isinstance(row, dict)] == ["koi8-r", "cp1252", None, "cp932"]


def test_a_text_without_a_declaration_is_in_the_encoding_of_its_file() -> None:
    words = ["Привет", "Все люди рождаются свободными", "и равными в своем достоинстве"]
    rows = parsed("\n\n".join(words).encode("cp1251"), "text", record_separator="")
    assert texts(rows) == words
    assert {(row["_encoding"], row["_guessed"]) for row in rows if isinstance(row, dict)} == {("cp1251", "sure")}
    rows = parsed(b"a\n\n\xe6\xff\xb3\xe0\n\nb", "text", record_separator="")
    assert texts(rows) == ["a", "b"]
    assert [row.line for row in rows if isinstance(row, Unread)] == [3]


def test_a_text_that_is_too_long_is_one_row_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "LONGEST_ROW", 20)
    rows = parsed(b"-\nshort\n-\nlong lines of text\nand more\n-\nend", "text", record_start="-")
    assert texts(rows) == ["-\nshort", "-\nend"]
    assert [row.line for row in rows if isinstance(row, Unread)] == [3]
    assert messages(rows) == ["longer than 16 MiB"]


@given(st.lists(st.sampled_from(["a", "", " ", "-x", "b c", "\ta"]), max_size=12), st.booleans())
def test_no_line_is_lost(lines: list[str], starts: bool) -> None:
    options = {"record_start": "-"} if starts else {"record_separator": "-.*"}
    rows = parsed("\n".join(lines).encode(), "text", **options)
    kept = [line.strip() for text in texts(rows) for line in text.split("\n") if line.strip()]
    assert kept == [line.strip() for line in lines if line.strip() and (starts or line != "-x")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record_start": "("}, "is no pattern of RE2"),
        ({"record_start": "(?P<text>x)"}, "a group named 'text'"),
        ({"record_start": "x", "record_separator": ""}, "either `record_start` or `record_separator`"),
    ],
)
def test_what_cannot_be_meant(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        Options.model_validate(options)
    with pytest.raises(ValidationError, match="cut text"):
        Files(files=["a"], format="csv", record_start="x")
