"""Rows as they are shown: whole, and harmless."""

import re

import pytest

from assay.console import UNSAFE
from assay.previews import Preview
from assay.show import print_preview
from curate.rows.tokens import Token

HOSTILE = (
    "[red]not markup[/red] [link=http://example.org]x[/link] \x1b[2J\x1b]0;title\x07 \x9b31m \u202eevil \ud800 \r over"
)


def test_a_preview_of_a_hostile_row_shows_it_whole_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    message = {"role": "user", "content": HOSTILE}
    tokens = [Token("\n", 1, False, False), Token(HOSTILE, 2, True, False)]
    print_preview(Preview("file.jsonl, row 0", record={"turns": [message]}, messages=[message], tokens=tokens))
    shown = capsys.readouterr().out
    assert not UNSAFE.search(shown)
    assert shown.count("[red]not markup[/red]") == 2
    assert "⟦[red]not·markup[/red]" in shown, "without colours, what is trained stands in brackets"
    assert "⟨U+001B⟩" in shown


def test_marks_stand_with_colours_and_without(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [
        Token("<|im_start|>", 1, False, True), Token("say\n", 2, False, False), Token("<|im_start|>", 3, False, False),
        Token("", 4, True, False), Token("é", 5, True, False), Token("\t x", 6, True, False),
        Token("<|im_end|>", 7, True, True),
    ]  # fmt: skip
    preview = Preview("f.jsonl, row 0", id="r1", tokens=tokens, problems=["bos_twice: it is"])
    print_preview(preview)
    plain = capsys.readouterr().out
    assert "│ «<|im_start|>»│say⏎  " in plain
    assert "│ <|im_start|>⟦⋯│é│⇥·x│«<|im_end|>»⟧  " in plain, "words that look like a special token are none"
    assert "id r1: 7 tokens, 4 trained (57.1%), 2 special (28.6%)" in plain
    assert "Not trained: bos_twice: it is" in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_preview(preview)
    coloured = capsys.readouterr().out
    assert re.search("\x1b\\[30;42m⇥·x\x1b\\[0m", coloured), "black on green"
    assert re.sub("\x1b\\[[\\d;]*m", "", coloured).count("⟦") == 1


def test_a_quarantined_row_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_preview(Preview("f[b].jsonl, row 3", "quality: empty {'found': '\x1b'}"))
    shown = capsys.readouterr().out
    assert "f[b].jsonl, row 3" in shown
    assert "Quarantined by quality: empty {'found': '\\x1b'}" in shown
