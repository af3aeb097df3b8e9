"""Encodings: told, stated, or a line that is set aside."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.encoding import Encoding, decoded, told
from curate.read.raw import Unread
from tests.curate.read.made import messages, parsed


def test_encodings_are_told_or_stated() -> None:
    russian = "Все люди рождаются свободными и равными в своем достоинстве и правах"
    content = json.dumps({"a": russian}, ensure_ascii=False) + "\n"
    for encoding, stated, said in [
        ("utf-8", None, None),
        ("utf-8-sig", None, None),
        ("utf-16", None, "utf-16"),
        ("utf-16-le", "utf-16-le", "utf-16-le"),
        ("cp1251", None, "cp1251"),
        ("koi8_r", "koi8_r", "koi8_r"),
    ]:
        guessed = {"_guessed": "sure"} if encoding == "cp1251" else {}
        expected = {"a": russian} | ({"_encoding": said} if said else {}) | guessed
        assert parsed(content.encode(encoding), "jsonl", encoding=stated) == [expected], encoding
        assert parsed(content.encode(encoding), "json", encoding=stated) == [expected], encoding
    [text] = parsed(russian.encode("utf-16"), "text")
    assert text == {"text": russian, "name": "f", "_encoding": "utf-16"}


def test_one_broken_byte_is_a_broken_line() -> None:
    lines = [json.dumps({"a": "naïve"}, ensure_ascii=False).encode()] * 9 + [b'{"a": "\xe9"}']
    rows = parsed(b"\n".join(lines), "jsonl")
    assert rows[:-1] == [{"a": "naïve"}] * 9
    assert messages(rows) == ["'utf-8' codec can't decode byte 0xe9 in position 7: invalid continuation byte"]
    [row] = parsed('{"a": "\ud800"}'.encode("utf-16-le", "surrogatepass"), "jsonl", encoding="utf-16-le")
    assert isinstance(row, Unread)
    assert row.message == "not utf-16-le"


FRENCH = "Le café est fermé à midi – c’est dommage…"
GERMAN = "Die Größe stimmt nicht, außerdem fehlt die Überweisung für März."


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp932", "これは日本語の文章です。東京に住んでいます。"),
        ("gb18030", "人人生而自由，在尊严和权利上一律平等。"),
        ("big5", "人人生而自由，在尊嚴和權利上一律平等。"),
        ("cp949", "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다."),
        ("koi8_r", "Все люди рождаются свободными и равными в своем достоинстве."),
        ("cp1251", "Завтра мы отправим ящики на склад номер семь."),
        ("cp866", "Все люди рождаются свободными и равными."),
        ("cp1253", "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι"),
        ("cp1256", "يولد جميع الناس أحرارا متساوين في الكرامة"),
        ("cp1252", f"{FRENCH} " * 3),
        ("cp1252", GERMAN * 3),
        ("iso8859-15", "Le prix est de 12 € par boîte, livraison à Mâcon comprise. " * 4),
    ],
)
def test_real_words_are_found(encoding: str, text: str) -> None:
    assert told(text.encode(encoding), None, False) == Encoding(encoding, guessed=True)


@pytest.mark.parametrize("text", [FRENCH, GERMAN, "El niño comió jamón.", "Blåbær på øya", "“Yes”, it’s £5"])
def test_a_little_western_text_is_windows_1252_but_not_surely(text: str) -> None:
    data = text.encode("cp1252")
    assert told(data, None, False) == Encoding("cp1252", guessed=True, sure=False)
    assert parsed(data, "text") == [{"text": text, "name": "f", "_encoding": "cp1252", "_guessed": "unsure"}]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("mac_roman", FRENCH),
        ("cp850", GERMAN),
        ("cp1250", "Zażółć gęślą jaźń, łódź"),
        ("iso8859_2", "kůň úpěl ďábelské ódy"),
        ("cp1254", "Ağaç kırmızı, değil"),
        ("koi8_r", "Привет"),
        ("gb18030", "see 你好 there"),
    ],
)
def test_what_makes_no_sense_in_windows_1252_is_not_taken_for_it(encoding: str, text: str) -> None:
    assert told(text.encode(encoding), None, False) is None


@pytest.mark.parametrize(
    "declaration",
    [
        "From: a@example.org\nContent-Type: text/plain; charset={}\n\n",
        'Subject: x\nContent-Type: text/plain;\n\tformat=flowed; charset="{}"\n\n',
        "<?xml version='1.0' encoding='{}'?>\n",
        "<!doctype html><html><head><meta charset={}>\n",
        '<html><meta http-equiv="Content-Type" content="text/html; charset={}">\n',
        "# -*- coding: {} -*-\n",
        "#!/usr/bin/env python\n# coding={}\n",
        '@charset "{}";\n',
    ],
)
def test_what_a_text_declares_is_tried_first(declaration: str) -> None:
    for label, encoding, words in [
        ("koi8-r", "koi8_r", "Привет"),
        ("ISO-8859-2", "iso8859_2", "kůň"),
        ("iso-8859-1", "latin-1", "Größe"),
        ("Shift_JIS", "cp932", "日本"),
        ("iso-2022-jp", "iso2022_jp", "日本"),
        ("mac-cyrillic", "mac_cyrillic", "Привет"),
    ]:
        text = declaration.format(label) + words
        data = text.encode(encoding)
        found = told(data, None, True)
        assert found is not None
        assert not found.guessed
        assert decoded(data, found.name) == text
        assert told(text.encode(), None, True) == Encoding("utf-8")  # a declaration that the bytes belie
    assert told(declaration.format("utf-8").encode() + "é".encode("cp1252"), "cp1251", True) == Encoding("cp1251")
    assert told(declaration.format("nonsense").encode() + b"a", None, True) == Encoding("utf-8")


def test_a_cell_declares_nothing() -> None:
    rows = parsed("a\n<meta charset=koi8-r> Größe für\n".encode("cp1252"), "csv")
    assert rows == [{"a": "<meta charset=koi8-r> Größe für", "_encoding": "cp1252", "_guessed": "unsure"}]


def test_the_five_bytes_that_windows_1252_does_not_know() -> None:
    data = b"Content-Type: text/plain; charset=windows-1252\n\ncaf\xe9 \x81\x8d\x8f\x90\x9d"
    [row] = parsed(data, "text")
    assert isinstance(row, dict)
    assert row["text"].endswith("café \x81\x8d\x8f\x90\x9d")
    assert parsed(b"a\ncaf\xe9 \x81\n", "csv", encoding="cp1252") == [{"a": "café \x81", "_encoding": "cp1252"}]


def test_a_fallback_takes_the_place_of_a_guess() -> None:
    for format, content in [("text", "{}"), ("csv", "a\n{}\n"), ("jsonl", '{{"a": "{}"}}')]:
        [row] = parsed(content.format("kůň").encode("cp1250"), format, fallback_encoding="cp1250")
        assert isinstance(row, dict)
        assert row.get("text", row.get("a")) == "kůň"
        assert row["_encoding"] == "cp1250"
        [row] = parsed(content.format("kůň").encode(), format, fallback_encoding="cp1250")
        assert "_encoding" not in row


@given(st.text(max_size=30), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_utf_is_always_read_as_what_it_is(text: str, encoding: str) -> None:
    text = text.lstrip("\ufeff")
    [row] = parsed(("# coding: koi8-r\n" + text).encode(encoding), "text")
    assert isinstance(row, dict)
    assert row["text"] == "# coding: koi8-r\n" + text


@given(st.binary(max_size=40))
def test_whatever_bytes_are_they_are_read_or_shown(data: bytes) -> None:
    [row] = parsed(data, "text")
    if isinstance(row, dict) and "_encoding" in row:
        assert decoded(data, row["_encoding"]) == row["text"]


WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize(
    "text", ["id,text\n1,x\n", "Grüße aus Zürich", "Привет, как дела?", '{"a": "שלום"}\n', "สวัสดี ครับ"]
)
def test_wide_encodings_of_alphabets_need_no_mark(text: str, encoding: str) -> None:
    assert told(text.encode(encoding), None, True) == Encoding(encoding, guessed=True)
    assert told(text.encode(), None, True) == Encoding("utf-8")


@pytest.mark.parametrize("encoding", WIDE)
def test_tables_and_lines_in_wide_encodings_are_read(encoding: str) -> None:
    said = {"_encoding": encoding, "_guessed": "sure"}
    assert parsed("a,b\n1,ü\n".encode(encoding), "csv") == [{"a": "1", "b": "ü"} | said]
    assert parsed('{"a": 1}\n{"a": 2}\n'.encode(encoding), "jsonl") == [{"a": 1} | said, {"a": 2} | said]
    assert parsed("Ein Wort.".encode(encoding), "text") == [{"text": "Ein Wort.", "name": "f"} | said]


def test_bytes_that_are_none_make_no_wide_encoding() -> None:
    for data in (b"a\tb\n\0\0\0\0" * 9, bytes(range(256)) * 9, b"\0" * 64, "日本語の文章".encode("utf-16-le")):
        found = told(data, None, True)
        assert found is None or found.name == "utf-8"
