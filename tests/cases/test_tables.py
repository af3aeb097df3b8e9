"""Tables, texts and typed values: each case as it should come out."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate.publish.check import check_version
from curate.read.delimited import looks_like_data
from curate.record import KEYS, SPLITS
from tests.curate.read.made import parsed, read, rows_of
from tests.project import RECIPE, Project, make_rows


@pytest.fixture
def cases(shared_data: Path) -> Path:
    return shared_data.parent / "cases"


def contents(records: list[dict[str, Any]]) -> list[list[str]]:
    return [[turn["content"] for turn in record["turns"]] for record in records]


def test_05_calls_and_schemas_have_no_padding(cases: Path) -> None:
    folder = cases / "05-null-padded-calls"
    records, problems = read(folder / "11-padded-tool-arguments/input", "*.parquet")
    assert (len(records), problems) == (16, [])
    assert "null" not in json.dumps(contents(records))
    records, problems = read(folder / "11b-padded-call-is-the-answer/input", "*.parquet")
    assert (len(records), problems) == (16, [])
    calls = [json.loads(said[-1]) for said in contents(records)]
    assert calls[0] == {"name": "route", "arguments": {"origin": "Lisbon", "stops": 0}}
    assert calls[1] == {"name": "weather", "arguments": {"town": "Oslo"}}


def test_12_decimals_and_dates_are_json(cases: Path) -> None:
    folder = cases / "12-decimal-and-date-columns"
    mapping = {
        "turns": [{"role": "user", "content": "question"}],
        "target": {"amount": "amount", "paid_on": "paid_on", "status": "status"},
    }
    records, problems = read(folder / "12-parquet-decimal-date/input", "*.parquet", **mapping)
    assert (len(records), problems) == (40, [])
    assert records[1]["target"] == '{"amount": 4.1, "paid_on": "2024-02-02", "status": "paid"}'
    mapping["target"] = "answer"
    records, problems = read(folder / "12b-parquet-struct-answer/input", "*.parquet", **mapping)
    assert (len(records), problems) == (40, [])
    assert records[1]["target"] == '{"amount": 4.1, "paid_at": "2024-02-02T09:30:00+00:00"}'


def test_23_binary_columns_that_are_utf8_are_text(cases: Path) -> None:
    records, problems = read(cases / "23-binary-text-columns/13b-parquet-binary/input", "*.parquet")
    assert problems == []
    assert contents(records)[0] == ["Explain stop 0 of the line to Lisbon.", "Stop 0 lies 0 minutes before Lisbon."]


def test_11_excels_first_line_states_the_delimiter(cases: Path) -> None:
    [file] = (cases / "11-excel-sep-line/09-csv-excel-sep/input").iterdir()
    rows = rows_of(file)
    assert len(rows) == 16
    assert rows[0] == {
        "Frage": "Was kostet der Versand nach Lisbon; mit Zoll?",
        "Antwort": "Der Versand nach Lisbon kostet 3,50 Euro.",
        "Betrag": "3,50",
    }


def test_24_quotes_escaped_by_backslashes(cases: Path) -> None:
    [file] = (cases / "24-csv-backslash/28-csv-backslash/input").iterdir()
    rows = rows_of(file)
    assert len(rows) == 16
    assert rows[0] == {"instruction": 'He said "go to Lisbon" at 0', "output": 'Line 0 it is, "ok"', "note": None}


def test_drop_09_a_table_without_a_header(cases: Path) -> None:
    [file] = (cases / "drops/09-tsv-without-header/raw").iterdir()
    with_header = rows_of(file)
    assert looks_like_data([row for row in with_header if isinstance(row, dict)]) == "0"
    names = ("id", "first", "second", "alike")
    rows = parsed(file.read_bytes(), "tsv", header=False, columns=names)
    assert len(rows) == len(with_header) + 1
    assert rows[0] == {"id": "0", "first": "Is question 0 alike?", "second": "Are these alike, 0?", "alike": "0"}


def test_07_messages_held_as_json_text(cases: Path) -> None:
    folder = cases / "07-messages-as-json-text/10-messages-as-text/input"
    records, problems = read(folder, "*.csv", turns="messages | from_json")
    assert (len(records), problems) == (16, [])
    assert (records, problems) == read(folder, "*.csv", turns="messages")
    assert contents(records)[0] == ["Is the road to Lisbon open?", "Yes, the road to Lisbon is open, 0 km."]


def test_drop_03_what_mail_declares_is_tried_first_and_windows_1252_before_its_elders(cases: Path) -> None:
    found: dict[str, tuple[str, str | None, str | None]] = {}
    for file in sorted((cases / "drops/03-encoding/raw").iterdir()):
        [row] = rows_of(file)
        assert isinstance(row, dict)
        found[file.stem] = row["text"], row.get("_encoding"), row.get("_guessed")
    endings = {
        "a": ("last year’s stock says “no”.", "cp1252", None),
        "b": ("außerdem fehlt die Überweisung für März.", "cp1252", None),
        "c": ("12 € par boîte, livraison à Mâcon comprise.", "iso8859-15", None),
        "d": ("store it where we can’t see it.", "cp1252", "unsure"),
        "e": ("Smørrebrød, jalapeño and 東京 in one mail.", None, None),
        "f": ("мы отправим ящики на склад номер семь.", "cp1251", None),
    }
    for name, (ending, encoding, guessed) in endings.items():
        assert found[name][0].rstrip().endswith(ending)
        assert found[name][1:] == (encoding, guessed)


def test_rows_that_share_one_of_two_keys_are_in_one_split(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [row | {"customer": draw.randrange(200), "ticket": draw.randrange(200)} for row in make_rows(120)]
    project = Project(tmp_path, record=RECIPE["record"] | {"group": ["customer", "ticket"]})
    project.add("rows.jsonl", rows)
    version = project.curate()
    splits: dict[str, set[str]] = {}
    for split in SPLITS:
        for group in pq.read_table(version.folder / f"{split}.parquet")["group"].to_pylist():
            for key in group.split(KEYS):
                splits.setdefault(key, set()).add(split)
    assert len(splits) > 40
    assert all(len(found) == 1 for found in splits.values())
    assert not [check for check in check_version(version.folder) if check.failures]
