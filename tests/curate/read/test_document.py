"""Text and front matter: what it says, what is refused, and the fast path of YAML held to YAML."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read import document
from curate.read.document import plain_yaml
from curate.read.raw import Unread
from tests.curate.read.made import Written


def test_front_matter(written: Written) -> None:
    text = "---\nname: MIT\nsince: 1988-01-01\n2: [x]\n---\n\nPermission is\n---\nhereby\n"
    expected = {"name": "MIT", "since": "1988-01-01", "2": ["x"], "text": "\nPermission is\n---\nhereby\n"}
    assert written("mit.RULE", text, "front_matter") == [expected]
    assert written("mit.RULE", "\ufeff---\r\n--- \r\ntext", "front_matter") == [{"text": "text"}]


def test_front_matter_within_bounds(written: Written) -> None:
    deep = "[" * 199 + "]" * 199
    assert json.dumps(written("f.RULE", f"---\na: {deep}\n---\nx", "front_matter")[0]).count("[") == 199
    [row] = written("f.RULE", "---\na: !!set {c, b, a}\nb: !!omap [c: 1, d: 2]\n---\nx", "front_matter")
    assert row == {"a": ["a", "b", "c"], "b": [["c", 1], ["d", 2]], "text": "x"}


def test_text(written: Written) -> None:
    assert written("a.b.txt", "\ufeffone\r\ntwo") == [{"text": "one\r\ntwo", "name": "a.b.txt"}]
    assert written("empty.md", "") == [{"text": "", "name": "empty.md"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no dashes", "no YAML front matter"),
        (b"---\na: [\n---\nx", "ParserError"),
        (b"---\na: 2001-99-99\n---\nx", "month must be in 1..12"),
        (b"---\n- a\n---\nx", "is a list"),
        (b"---\ntext: a\n---\nx", "the key `text`"),
        (b"---\na: !!python/object/apply:os.getcwd []\n---\nx", "could not determine a constructor"),
        (b"---\na: &x [*x]\n---\nx", "aliases are not read"),
        (b"---\na: &a [1]\nb: [*a, *a]\n---\nx", "aliases are not read"),
        (b"---\na: " + b"[" * 300 + b"]" * 300 + b"\n---\nx", "nested deeper than 200 levels"),
        (b"---\na: " + b"[" * 50_000 + b"\n---\nx", "nested deeper than 200 levels, on line 1"),
        (b"---\na: " + b"{a: " * 50_000 + b"\n---\nx", "nested deeper than 200 levels"),
        (b"---\n" + b"- " * 50_000 + b"\n---\nx", "nested deeper than 200 levels"),
        (b"---\n" + b"? " * 50_000 + b"\n---\nx", "nested deeper than 200 levels"),
        (b"---\n" + b"".join(b" " * at + b"a:\n" for at in range(300)) + b"---\nx", "on line 201"),
        (b"---\na: 1" + b":1" * 300_000 + b"\n---\nx", "a number of more than 4300 digits"),
        (b"---\na: 0x" + b"f" * 300_000 + b"\n---\nx", "a number of more than 4300 digits"),
        (b"---\na: [" + b"a," * 600_000 + b"]\n---\nx", "front matter longer than 1 MiB"),
        (b"---\na: \xff\n---\nx", "can't decode byte 0xff"),
    ],
)
def test_broken_front_matter(written: Written, content: bytes, words: str) -> None:
    [row] = written("f.RULE", content, "front_matter")
    assert isinstance(row, Unread)
    assert words in row.message
    assert row.raw == content.decode("utf-8", "backslashreplace")


def test_text_that_is_not_utf8(written: Written) -> None:
    [row] = written("f.txt", "naïv\N{EURO SIGN}e".encode("cp1252"))
    assert isinstance(row, Unread)
    assert row.raw == "na\\xefv\\x80e"


YAML_WORDS = st.sampled_from(
    [
        "a",
        "text",
        "key",
        "yes",
        "No",
        "NULL",
        "on",
        "~",
        "0",
        "10",
        "010",
        "1.5",
        "1:30",
        "2001-01-01",
        "a:b",
        "a#b",
        "#c",
        "-",
        ":",
        "'q'",
        "x:",
        "/p",
        "(c)",
        ",",
        "=",
    ]
)


YAML_LINES = st.builds(
    lambda lead, words: lead + " ".join(words),
    st.sampled_from(["a: ", "b: ", "yes: ", "c:", "- ", "  - ", "    - ", "", "  "]),
    st.lists(YAML_WORDS, max_size=3),
)


@given(st.lists(YAML_LINES, max_size=5))
def test_plain_yaml_is_what_yaml_says(lines: list[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    found = plain_yaml(text)
    if found is not None:
        expected = document._yaml_value(text)
        assert repr(found) == repr(expected)


def test_plain_yaml_on_every_real_notice(licence_data: Path) -> None:
    fast = 0
    for path in sorted((licence_data / "rules").glob("*.RULE"))[::8]:
        match = document.FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        assert match is not None
        found = plain_yaml(match[1])
        fast += found is not None
        assert found is None or repr(found) == repr(document._yaml_value(match[1])), path.name
    assert fast > 2000
