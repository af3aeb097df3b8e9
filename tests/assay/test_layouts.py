"""How rows are written where a reader must be told: what a look at a file shows, and that they are then read."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.inspection import inspect
from assay.layouts import rows_below, text_layout

MAIL = "From: a@example.org\nSubject: Tea\n\nHello\n"


def rows(count: int, text: str) -> str:
    return "".join(text.format(number) for number in range(count))


@pytest.mark.parametrize(
    ("name", "text", "options", "words", "found"),
    [
        ("a.mbox", rows(7, "From a@example.org Mon Jan  1 10:00:00 2024\nSubject: S {}\n\nHi\n\n"),
         {}, "", 7),
        ("a.txt", rows(7, "From a@example.org Mon Jan  1 10:00:00 2024\nSubject: S {}\n\nHi\n\n"),
         {"format": "mbox"}, "mail folder", 7),
        ("170.M1.host:2,S", MAIL, {"format": "eml"}, "a mail", 1),
        ("a.sgm", rows(7, '<DOC id="{}">\n<TEXT>\nWords.\n</TEXT>\n</DOC>\n'),
         {"format": "text", "record_start": r"\s*<DOC[\s>]"}, "<DOC>", 7),
        ("train.conll", rows(7, "The DT O\ndog NN B\nbarks{} VB O\n. . O\n\n"),
         {}, "CoNLL", 7),
        ("train.conll", rows(7, "The DT\ndog NN\nbarks{} VB\n. .\n\n"),
         {"format": "text", "record_separator": ""}, "CoNLL", 7),
        ("train.txt", rows(7, "The DT O\ndog NN B\nbarks{} VB O\n. . O\n\n"), {"format": "conll"}, "CoNLL", 7),
        ("a.txt", "\n%\n".join(["A saying\nof two lines"] * 7), {"record_separator": "%"}, "lines of %", 7),
        ("a.txt", "\n~~~\n".join(["A saying\nof two lines"] * 7), {"record_separator": r"\~\~\~"}, "lines of ~~~", 7),
        ("a.txt", rows(7, "ID: {}\nTEXT: one that is wrapped\n  over two lines\n"), {"record_start": "ID:"}, "ID:", 7),
        ("a.txt", rows(7, "{}. A line that is wrapped\nover two\n"), {"record_start": r"\d+[.)]\s"}, "a number", 7),
        ("a.txt", "A text.\n\nOf two paragraphs that say this and that.\n", {}, "", 1),
        ("a.md", "# One\n\n---\n\n# Two\n\n---\n\n# Three\n\n---\n", {}, "", 1),
        ("a.tsv", rows(7, "{0}\tIs number {0} even?\tyes\n"), {"header": False}, "the first line is a row", 7),
        ("a.csv", "question||answer\n" + rows(7, "What is {0}?||{0}\n"), {}, "", 7),
        ("a.json", json.dumps({"status": "ok", "data": {"n": 7, "items": [{"q": "x", "n": n} for n in range(7)]}}),
         {"rows": "data.items"}, "data.items", 7),
        ("a.json", json.dumps({"messages": [{"role": role, "content": "x"} for role in ("user", "assistant") * 4]}),
         {}, "", 1),
    ],
)  # fmt: skip
def test_rows_are_found(tmp_path: Path, name: str, text: str, options: dict[str, Any], words: str, found: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    [group] = inspect(tmp_path / name, 100).groups
    assert group.options == options
    assert words in group.layout
    assert bool(words) == bool(group.layout)
    assert group.profile.rows + group.unreadable == found


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({"rows_here": [{"a": 1}] * 5}, "rows_here"),
        ({"few": [{"a": 1}] * 5, "many": [{"a": 1}] * 6}, "many"),
        ({"a": {"b": {"c": [{"x": 1}] * 5}}}, "a.b.c"),
        ({"a": {"b": {"c": {"d": [{"x": 1}] * 5}}}}, None),
        ({"tags": ["a"] * 9, "pair": [{"x": 1}] * 2}, None),
        ({"mixed": [{str(n): n} for n in range(9)]}, None),
    ],
)
def test_rows_below_keys(value: dict[str, Any], keys: str | None) -> None:
    assert rows_below(value) == keys


@pytest.mark.parametrize(
    "text", ["", "\n\n", "a", "a: b", "<p>\nno rows</p>", "1. one\n2. two\n", "\t\n\t\n", "%\n%\n"]
)
def test_what_shows_nothing(text: str) -> None:
    assert text_layout(text) == ({}, "")


def test_the_name_of_a_file_is_no_answer(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"a file of {number}.txt").write_text(f"The text of file {number}, which says this and that.")
    [group] = inspect(tmp_path, 100).groups
    assert group.guess.answers == ()
    assert "name" in group.notes()[0]
