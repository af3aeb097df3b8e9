"""Fences of code: as CommonMark closes them, held to markdown-it; and what is no fence."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from curate.text.fences import blocks, open_fences, without_blocks

PIECES = ["```", "````", "~~~", "~~~~~", "```py", "~~~ py", "    ```", "text", "a `b` c", "```a``` b", "``"]


@given(st.lists(st.sampled_from(PIECES), max_size=9))
def test_blocks_are_those_of_markdown_it(lines: list[str]) -> None:
    text = "\n\n".join(lines)
    expected = [token.map for token in MarkdownIt().parse(text) if token.type == "fence"]
    found = [(text.count("\n", 0, begin), text.count("\n", 0, end) + 1) for begin, end in blocks(text)[0]]
    assert found == [tuple(each or ()) for each in expected]


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("", False),
        ("```python\nprint(1)", True),
        ("```python\nprint(1)\n```", False),
        ("````\n```\n````", False),
        ("```cpp\nint a;\n    ```", False),
        ("````markdown\n```python\nprint(1)\n```", True),
        ("~~~sh\necho '```'\n~~~", False),
        ("~~~sh\necho 1\n```", True),
        ("Use ```this``` or\n```that```.", False),
        ("    ```\nopens one", False),
        ("- ```py\n  x\n  ```\nend", False),
        ("1. ```py\n   x", True),
        ("1. Go:\n\n   ```sh\n   ls\n    ```\n\n2. Done.", False),
        ("> ```\n> x\n\nThe quotation ends it.", False),
        ("> ```\n> x", True),
        ("``` opens a block of code.", False),
        ('```py title="a.py"\nx', True),
        ("```\n```python\nx\n```\n```", False),
        ("Heading\n~~~~~~~\n\nText", False),
    ],
)
def test_what_is_left_open(text: str, is_open: bool) -> None:
    assert open_fences(pa.array([text, "no code", text])).tolist() == [is_open, False, is_open]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("```\n```\n" * 50_000, 50_000),
        ("a\n~~~\n" * 50_000, 0),
        ("> ```\n" * 50_000, 25_000),
        ("> ```py\n\n" * 50_000, 50_000),
        ("```a" + " " * 500_000 + "b\n", 0),
    ],
)
def test_hostile_texts_are_read_once(text: str, count: int) -> None:
    """Each would take minutes if a text were searched again for each of its fences."""
    assert len(blocks(text)[0]) == count
    assert without_blocks(text).count("```") == (1 if text.startswith("```a") else 0)


@given(st.lists(st.sampled_from(PIECES), max_size=9))
def test_a_text_without_its_blocks(lines: list[str]) -> None:
    text = "\n\n".join(lines)
    expected = text
    for begin, end in reversed(blocks(text)[0]):
        expected = f"{expected[:begin]}\n{expected[end:]}"
    assert without_blocks(text) == expected
