"""Markup: pages become what their reader sees, and what talks about markup stays as it is."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.rows.clean import Clean
from curate.text.markup import pages_to_text
from tests.records import record, table_of

PAGE = """<!DOCTYPE html>
<html><head><title>Not seen</title><style>p {color: red}</style><script>if (a < b) alert("<p>")</script></head>
<body onload="x()"><!-- <p>nor this --><h1>Fish &amp; chips</h1>
<p>A <b>bold</b> <a href="https://example.org">offer</a>:<br>today &lt;only&gt;</p>
<ul><li>cod<li>haddock</ul><ol><li>one</li><li>two</li></ol>
<table><tr><th>size</th><th>price</th></tr><tr><td>small</td><td>3</td></tr></table>
<img src="x.png" alt="a plate"></body></html>
"""
SEEN = """Fish & chips

A bold offer:
today <only>

  • cod
  • haddock
  1. one
  2. two
size\t\tprice
small\t\t3
a plate"""


def text_of(page: str) -> str:
    found: str = pages_to_text(pa.array([page]))[0].as_py()
    return found


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (PAGE, SEEN),
        ("<p>Caf&eacute; &#8364;5</p>\n\n<P CLASS='x'>H<sub>2</sub>O</P>", "Café €5\n\nH2O"),
        ("<p>unclosed<p>paragraphs <em>as HTML allows</em></p>", "unclosed\n\nparagraphs as HTML allows"),
        ("<div title='a > b'>x</div><hr/><div>y</div>", "x\ny"),
        (
            "<p>Write <code>&lt;b&gt;</code>:</p><pre><code>a\n  &lt;p&gt;</code></pre>",
            "Write `<b>`:\n\n```\na\n  <p>\n```",
        ),
        ("<div><svg><path d=''/><g></g></svg>drawn</div>", "drawn"),
        ("<ul><li>a<li>b</ul>", "• a\n• b"),
        ("<p><my-part>custom</my-part> " + "<b>x</b> " * 9 + "</p>", "custom" + " x" * 9),
    ],
)
def test_pages(page: str, expected: str) -> None:
    assert text_of(page) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a<b and c>d",
        "List<String> names; vector<a> v;",
        "Mail <a@b.c> or <noinput>",
        "<noinput>",
        "Write <b>bold</b> text in HTML.",
        "<b>bold</b> is how bold is written, and so is <strong>strong</strong>",
        "What is wrong here?\n<div><p>x</p></div>",
        "<div><p>x</p></div>\nWhat is wrong here?",
        "```html\n<div><p>x</p></div>\n```",
        "<p>Use `<b>` for bold.</p>",
        "<p>Use this:</p>\n```html\n<b>x</b>\n```\n<p>end</p>",
        "<p> begins a paragraph, <div> a division, and both end with a tag such as </div>, <b>, <i> and </p>",
        "<note><to>you</to><body>me</body></note>",
        "<?xml version='1.0'?><p>x</p>",
        "<table name='t'><column>a</column><row>b</row></table>",
        "<form><field name='a'/><rule/><p>x</p></form>",
        "<script>alert(1)</script>",
        "<!-- nothing -->",
        "<p></p>",
        "<s>[INST] a [/INST]</s>",
        "AT&amp;T &lt;b&gt;",
        "<br",
        "<p>not closed, <b>at all",
    ],
)
def test_what_is_no_page_stays(text: str) -> None:
    assert text_of(text) == text


PIECES = (
    "<p>|</p>|<div>|</div>|<pre>|</pre>|<code>|</code>|<br>|<li>|<b>|</b>|<!--|-->|<script>|</script>|<td>|<tr>|<table>|"
    "</table>|<img alt='<p>'>|<input value='&lt;p>'>|&lt;p&gt;|&lt;/p&gt;|&lt;|&#8203;|&amp;lt;|`|```|\n|\x00| |x|é|"
    "<svg>|<textarea>|</textarea>|<template>|<title>|&#128;|<s>|</s>"
)
MARKUP = st.lists(st.sampled_from(PIECES.split("|")), max_size=12).map("".join)


@given(st.lists(MARKUP.map(lambda inner: f"<div>{inner}</div>") | MARKUP, max_size=6))
def test_cleaning_twice_is_cleaning_once(texts: list[str]) -> None:
    def clean(texts: list[str]) -> list[str]:
        kept = Clean(html="text").run(table_of([record(text) for text in texts])).kept
        return [row["turns"][0]["content"] for row in kept.to_pylist()]

    once = clean(texts)
    assert clean(once) == once


def test_pages_are_left_unless_asked_for_and_then_counted() -> None:
    table = table_of([record("Summarise:", ("user", "<p>a&nbsp;<i>b</i> &#8203;</p>"), id="p"), record("<p>", id="q")])
    kept = Clean().run(table)
    assert "html" not in kept.counters
    assert kept.kept.equals(table)
    outcome = Clean(html="text").run(table)
    assert outcome.counters["html"] == 1
    assert [turn["content"] for row in outcome.kept["turns"].to_pylist() for turn in row] == [
        "Summarise:",
        "a\u00a0b ",
        "<p>",
    ]
    assert outcome.examples["html"] == [
        {"id": "p", "before": "<p>a&nbsp;<i>b</i> &#8203;</p>", "after": "a\u00a0b \u200b"}
    ]


def test_depth_and_size_do_no_harm() -> None:
    assert text_of("<div>" * 50_000 + "x" + "</div>" * 50_000) == "x"
    for hostile in ("<", "<!--", "<a '", "<a ", "a" * 50, "`", "<script>", "&", "<b x=", "</"):
        assert text_of(f"<div><x{hostile * 20_001}<b>")
    assert text_of("<div>" + "<pre>x</pre>" * 20_000 + "</div>").count("```") == 40_000
    assert text_of(many := "<p>" + "<b>" * 17 + "<p>" * 20_000 + "</b>" * 17 + "x</p>") == many
