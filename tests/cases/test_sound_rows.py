"""What a recipe's default rules make of sound but odd rows: nothing; and of rows that are surely broken: they go."""

import json
import unicodedata
from collections import Counter
from typing import Any

import pytest

from curate.rows.clean import Clean
from curate.rows.language import Language
from curate.rows.pii import Pii
from curate.rows.quality import Quality
from tests.cases.sound_rows import BROKEN, SOUND
from tests.records import record, table_of

SURELY_PERSONAL = [
    ("Who wrote?", "Write to ada@example.org or call +44 20 7183 8750.", 2),
    ("Her card?", "4012 8888 8888 1881", 1),
]


def row(said: tuple[str, ...], **known: Any) -> dict[str, Any]:
    *system, prompt, answer = said
    return record(*(("system", text) for text in system), prompt, ("assistant", answer), **known)


def judged(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that the stages keep, one after the other, and those that they reject."""
    table, rejected = table_of(rows), []
    for stage in (Clean(), Language(), Quality(), Pii()):
        outcome = stage.run(table)
        table, rejected = outcome.kept, rejected + outcome.rejected.to_pylist()
    return table.to_pylist(), rejected


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_row_stays_as_it_is(kind: str) -> None:
    rows = [row(said, id=f"{number:03}") for number, said in enumerate(SOUND[kind])]
    kept, rejected = judged(rows)
    assert [(each["turns"], each["reason"]) for each in rejected] == []
    for before, after in zip(rows, kept, strict=True):
        said = [unicodedata.normalize("NFC", turn["content"]) for turn in before["turns"]]
        assert [turn["content"] for turn in after["turns"]] == said


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, SOUND.values())) >= 180


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_row_goes(reason: str) -> None:
    kept, rejected = judged([row(said) for said in BROKEN[reason]])
    assert [each["turns"] for each in kept] == []
    assert Counter(each["reason"] for each in rejected) == {reason: len(BROKEN[reason])}


def test_what_is_surely_personal_still_goes() -> None:
    kept, _ = judged([row(said[:2]) for said in SURELY_PERSONAL])
    for after, (_, _, count) in zip(kept, SURELY_PERSONAL, strict=True):
        assert after["turns"][1]["content"].count("_1]") == count


def test_a_target_says_of_a_number_what_its_prompt_says() -> None:
    rows = [
        record("Docket No. 05-1234567, filed in Reno.", target='{"phone": "05-1234567"}'),
        record("Tel. 555 1234, or (212) 555-0100.", target='{"first": "5551234", "second": "212-555-0100"}'),
        record("Who is it?", target='{"phone": "212-555-0100"}'),
    ]
    targets = [json.loads(each["target"]) for each in Pii().run(table_of(rows)).kept.to_pylist()]
    assert targets == [
        {"phone": "05-1234567"},
        {"first": "[PHONE_1]", "second": "[PHONE_2]"},
        {"phone": "[PHONE_1]"},
    ]
