"""Tables, texts and typed values: each case as it should come out."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.curate.read.made import read


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
