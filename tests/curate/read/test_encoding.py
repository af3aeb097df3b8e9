"""Encodings: told, stated, or a line that is set aside."""

import json

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
        expected = {"a": russian} | ({"_encoding": said} if said else {})
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
