"""What a row can do to the terminal: nothing."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from assay.console import UNSAFE, Bars, harmless, print_places, print_preview, print_tables, rate
from assay.preview import Preview
from curate.publish.summary import curation_tables
from curate.publish.version import Curated
from curate.table import Table

HOSTILE = (
    "[red]not markup[/red] [link=http://example.org]x[/link] \x1b[2J\x1b]0;title\x07 \x9b31m \u202eevil \ud800 \r over"
)


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


def test_tables_take_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([Table("t", "Title", ["name", "rows"], [["[red]x[/red]", "1"]])])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_of_a_data_set_only_what_there_is_is_shown() -> None:
    read = {"name": "read", "counters": {}, "reasons": {}, "rows_in": 1, "kept": 1, "rejected": 0}
    counts = {"in": 1, "made": 0, "kept": 1, "quarantined": 0, "clusters": 1, "conflicts": 0}
    splits = {"train": 1, "validation": 0, "test": 0}
    manifest = {"name": "n", "version": "v", "stages": [read], "counts": counts | {"splits": splits}}
    plain = Curated(Path("n/v"), manifest, {"read": 1.0}, {"read": (0, 1)})
    assert [table.title for table in curation_tables(plain)] == ["Data set n/v", "Stages"]

    divided = read | {"name": "fit", "reasons": {"too_many_tokens": 1}, "kept": 3, "rejected": 1}
    counts |= {"made": 3, "kept": 3, "quarantined": 1, "splits": splits}
    manifest |= {"stages": [read, divided], "counts": counts}
    seconds, cached = {"read": 1.0, "fit": 1.0}, {"read": (0, 1), "fit": (0, 1)}
    data_set, quarantine, _ = curation_tables(Curated(Path("n/v"), manifest, seconds, cached))
    assert ["made by dividing others", "3"] in data_set.rows
    assert quarantine.rows == [["too_many_tokens", "fit", "1"]]


def test_a_table_as_markdown_and_as_records() -> None:
    table = Table("t", "Title", ["name", "rows"], [["a|b", "1"]])
    assert table.markdown() == "### Title\n\n| name | rows |\n| --- | --- |\n| a\\|b | 1 |\n"
    assert table.records() == [{"name": "a|b", "rows": "1"}]


@pytest.mark.parametrize(
    ("done", "seconds", "shown"), [(34_873, 2, "17,436 rows/s"), (9, 2, "4.5 rows/s"), (1, 2, ""), (5, 0, "")]
)
def test_rates(done: float, seconds: float, shown: str) -> None:
    assert rate(done, seconds, "rows") == shown


def test_places_below_the_working_directory_are_told_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    far = Path("/somewhere") / ("else" * 40)
    print_places({"data set": tmp_path / "store/datasets/x", "report": far})
    assert capsys.readouterr().out.splitlines() == ["data set  store/datasets/x", f"report    {far}"]


def test_bars_leave_one_line_for_each_finished_stage_and_keep_the_seconds() -> None:
    written = io.StringIO()
    with Bars(Console(file=written, width=120)) as bars:
        bars("read", 0, 4000, "rows")
        bars("read", 1000, 4000, "rows")
        bars("read", 4000, 4000, "rows")
        bars("clean", 4000, 4000, "rows")
        bars("split", 10, 4000, "rows")
    lines = written.getvalue().splitlines()
    assert [line.split()[:3] for line in lines] == [["read", "4,000", "rows"], ["clean", "4,000", "rows"]]
    assert all(re.search(r"[\d,]+ rows/s +\d+\.\d s$", line) for line in lines)
    assert list(bars.seconds) == ["read", "clean"]
    assert all(seconds >= 0 for seconds in bars.seconds.values())


def test_a_terminal_sees_the_bar_of_the_stage_at_work() -> None:
    written = io.StringIO()
    with Bars(Console(file=written, width=120, force_terminal=True, color_system=None)) as bars:
        bars("train", 30, 60, "tokens")
        bars._bars.refresh()
    assert "30/60 tokens" in written.getvalue()
