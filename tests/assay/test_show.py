"""Rows as they are shown: whole, and harmless."""

import pytest

from assay.console import UNSAFE
from assay.previews import Preview
from assay.show import print_preview

HOSTILE = (
    "[red]not markup[/red] [link=http://example.org]x[/link] \x1b[2J\x1b]0;title\x07 \x9b31m \u202eevil \ud800 \r over"
)


def test_a_preview_of_a_hostile_row_shows_it_whole_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    message = {"role": "user", "content": HOSTILE}
    print_preview(Preview("file.jsonl, row 0", None, "messages", {"turns": [message]}, [message], [(HOSTILE, True)]))
    shown = capsys.readouterr().out
    assert not UNSAFE.search(shown)
    assert shown.count("[red]not markup[/red]") == 3
    assert "⟦[red]not markup[/red]" in shown, "without colours, what is trained stands in brackets"


def test_a_quarantined_row_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_preview(Preview("f[b].jsonl, row 3", "quality: empty {'found': '\x1b'}"))
    shown = capsys.readouterr().out
    assert "f[b].jsonl, row 3" in shown
    assert "Quarantined by quality: empty {'found': '\\x1b'}" in shown
