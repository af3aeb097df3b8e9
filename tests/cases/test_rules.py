"""Cases of sound rows that a default rule rejected or rewrote, and of languages told wrongly: the shared folder's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from curate.read.shapes import recognise
from curate.rows.clean import Clean
from curate.rows.language import Language
from curate.rows.pii import Pii
from curate.rows.quality import Quality
from curate.text.language_detection import detect
from tests.records import record, table_of


@pytest.fixture
def case(shared_data: Path) -> Callable[[str], list[Any]]:
    """Gives the rows of a case's one JSON or JSON Lines file, by its path in the shared folder of cases."""

    def rows(name: str) -> list[Any]:
        path = shared_data.parent / "cases" / name
        if not path.is_file():
            pytest.skip(f"the cases are not here: {path} does not exist")
        return orjson.loads(path.read_bytes()) if path.suffix == ".json" else list(map(orjson.loads, path.open("rb")))

    return rows


def answers(rows: list[Any]) -> tuple[list[str], list[str], dict[str, int]]:
    """The answers of rows as they were read and as the default rules leave them, and the reasons of those that go."""
    said = [conversation.turns for row in rows for conversation in recognise(row)[1]]
    table = table_of([record(*((turn["role"], turn["content"]) for turn in turns)) for turns in said])
    reasons: dict[str, int] = {}
    for stage in (Clean(), Language(), Quality(), Pii()):
        outcome = stage.run(table)
        table = outcome.kept
        for reason in outcome.rejected["reason"].to_pylist():
            reasons[reason] = reasons.get(reason, 0) + 1
    return (
        [turns[-1]["content"] for turns in said],
        [turns[-1]["content"] for turns in table["turns"].to_pylist()],
        reasons,
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("09-echo-punctuation/05-punctuation/input/pairs.jsonl", 80),
        ("18-code-blank-lines/32-code-blank-lines/input/c.jsonl", 16),
        ("22-fence-in-fence/42-nested-fences/input/m.jsonl", 48),
        ("drops/15-sound-answers/raw/a.json", 3),
    ],
)
def test_sound_answers_are_kept_as_they_are(name: str, count: int, case: Callable[[str], list[Any]]) -> None:
    before, after, reasons = answers(case(name))
    assert (len(before), reasons) == (count, {})
    assert after == before


def test_white_space_of_code_stays_but_for_its_line_ends(case: Callable[[str], list[Any]]) -> None:
    before, after, reasons = answers(case("18-code-blank-lines/30-code-whitespace/input/c.jsonl"))
    assert (len(before), reasons) == (48, {})
    assert after == [text.replace("\r\n", "\n") for text in before]


def test_languages_are_those_that_stand_in_the_rows(case: Callable[[str], list[Any]]) -> None:
    rows = case("drops/04-language/raw/a.jsonl")
    assert detect(pa.array([row["text"] for row in rows])).languages == [row["language"] for row in rows]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Name: ________ Address: ________\nUnder penalties of perjury I declare that this is true.\nDate: ____", "en"),
        ("Nom : ____ Prénom : ____\nJe certifie sur l'honneur que les renseignements sont exacts.", "fr"),
        ('<tools>{"name": "get_stock", "description": "Get the price of a stock of a company"}</tools>\nGet it.', "en"),
        ("请用 Python 的 pandas.DataFrame.groupby() 和 numpy.mean() 实现", "zh"),
        ("このSELECT name FROM users WHERE id = 1; というクエリを説明してください", "ja"),
        ("Shr 39 cts vs 50 cts\nNet 1,545,160 vs 2,188,933\nRevs 25.2 mln vs 19.5 mln\nShr 1.53 dlrs vs 1.21", "en"),
        ("From: a@example.org\nSubject: 12/3\n\nMary,\n\nlet me know if you can book it by noon.\n713-853-1234", "en"),
        ("How do you say 你好 in Chinese, and when is it used?", "en"),
        ("EXHIBIT 10.2\n" * 40 + "This agreement is made between the parties as of the date below. " * 20, "en"),
        ("INSERT INTO t VALUES (1, 'the old man and the sea');", "und"),
        ('10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326', "und"),
    ],
)
def test_forms_tools_code_and_wires(text: str, code: str) -> None:
    assert detect(pa.array([text])).languages == [code]


def test_most_of_what_keep_leaves_out_being_und_is_warned_of_with_examples() -> None:
    said = ["MIT", "x = f(y) + g(z)", "BSD-3-Clause", "Dieser Satz ist offensichtlich auf Deutsch geschrieben."]
    table = table_of(
        [
            record(text, id=str(number))
            for number, text in enumerate([*said, "This sentence is plainly written in English."])
        ]
    )
    stage = Language(keep=["en"])
    outcome = stage.run(table)
    [warning] = stage.summary([outcome.kept], [outcome.rejected])["warnings"]
    assert warning.startswith("3 of the 4 rows that `language.keep` leaves out are `und`: told no language")
    assert [example["before"] for example in outcome.examples["und"]] == said[:3]
    for keep in (["en", "und"], None):
        other = Language(keep=keep)
        assert other.summary([outcome.kept], [other.run(table).rejected]) == {}
        assert other.run(table).examples == {}
