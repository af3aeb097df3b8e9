"""Tables in the forms that people and programs want."""

from curate.table import Table


def test_a_table_as_markdown_and_as_records() -> None:
    table = Table("t", "Title", ["name", "rows"], [["a|b", "1"]])
    assert table.markdown() == "### Title\n\n| name | rows |\n| --- | --- |\n| a\\|b | 1 |\n"
    assert table.records() == [{"name": "a|b", "rows": "1"}]


def test_a_table_as_html_is_escaped() -> None:
    table = Table("t", "<b>Title</b>", ["na&me", "rows"], [["<script>alert(1)</script>", "1"]])
    shown = table.html()
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</td>" in shown
    assert "&lt;b&gt;Title&lt;/b&gt;" in shown
    assert '<th style="text-align: left">na&amp;me</th><th style="text-align: right">rows</th>' in shown
