"""What a row can do to the terminal: nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.console import UNSAFE, harmless, print_places, print_tables
from curate.table import Table


@given(st.text(alphabet=st.characters()))
def test_harmless_text_steers_nothing_and_keeps_the_rest(text: str) -> None:
    shown = harmless(text)
    assert not UNSAFE.search(shown)
    shown.encode("utf-8")
    assert not any(ord(char) < 32 and char not in "\n\t" for char in shown)
    safe = UNSAFE.sub("", text)
    if safe == text:
        assert shown == text


def test_what_cannot_be_shown_is_written_as_its_escape() -> None:
    assert harmless("a\x1b[31mb\u202ec\ud800\ttab\nline") == "a\\x1b[31mb\\u202ec\\ud800\ttab\nline"


def test_tables_take_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([Table("t", "Title", ["name", "rows"], [["[red]x[/red]", "1"]])])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_places_below_the_working_directory_are_told_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    far = Path("/somewhere") / ("else" * 40)
    print_places({"data set": tmp_path / "store/datasets/x", "report": far})
    assert capsys.readouterr().out.splitlines() == ["data set  store/datasets/x", f"report    {far}"]
