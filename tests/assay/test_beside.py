"""What is guessed of documents: those that a table names, and places in a text."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from assay.inspection import inspect
from assay.starter import write_starter
from curate.strict_yaml import load_yaml
from tests.curate.read.documents.made import docx_of, pdf_of, said


@pytest.mark.parametrize(("suffix", "key"), [(".pdf", "name"), ("", 'name | sub("[.][^.]*$", "")')])
def test_a_table_that_names_documents_asks_about_them(tmp_path: Path, suffix: str, key: str) -> None:
    drop = tmp_path / "drop"
    (drop / "contracts").mkdir(parents=True)
    rows = [["file", "law"]]
    for number in range(12):
        (drop / f"contracts/c{number}.pdf").write_bytes(pdf_of([f"Agreement {number}."]))
        rows.append([f"c{number}{suffix}", ("Texas", "Ohio")[number % 2]])
    (drop / "contracts/other.docx").write_bytes(docx_of(said("Named by no row.")))
    with (drop / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    inspection = inspect(drop, 100)
    [table, *_] = inspection.data()["groups"]
    assert table["files"] == ["table.csv"]
    assert table["lookups"] == {"documents": {"files": ["contracts/*.docx", "contracts/*.pdf"], "key": key}}
    asked: dict[str, Any] = {"turns": [{"role": "user", "content": "documents[file].text"}], "target": {"law": "law"}}
    assert table["record"] == asked | {"label": "law"}
    assert table["first"]["turns"] == [{"role": "user", "content": "Agreement 0."}]
    assert inspection.left_out() == []
    recipe = load_yaml(write_starter(inspection, tmp_path / "starter")[0].read_text())
    assert (recipe["lookups"], recipe["record"]) == (table["lookups"], table["record"])
    schema = json.loads((tmp_path / "starter/contract/target.schema.json").read_text())
    assert schema["properties"]["law"]["enum"] == ["Ohio", "Texas"]


def test_documents_that_no_row_names_are_of_one_kind(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"c{number}.pdf").write_bytes(pdf_of([f"Agreement {number}."]) if number else b"%PDF-1.4")
    (tmp_path / "table.csv").write_text("a,b\n" + "x,y\n" * 12)
    groups = inspect(tmp_path, 100).groups
    assert sorted((group.formats[0], len(group.files), group.unreadable) for group in groups) == [
        ("csv", 1, 0),
        ("pdf", 3, 1),
    ]
    assert all(group.beside is None for group in groups)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", json.dumps({"text": "Ada met Acme Inc. #", "label": [[0, 3, "PER"], [8, 17, "ORG"]]}) + "\n"),
        ("a.conll", "Ada B-PER\nmet O\nAcme B-ORG\nInc. I-ORG\n# O\n\n"),
    ],
)
def test_places_in_a_text_are_what_stands_there(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text("".join(content.replace("#", str(number)) for number in range(12)))
    [group] = inspect(tmp_path, 100).data()["groups"]
    [(column, answer)] = group["record"]["target"].items()
    assert answer == f'{column} | entities(text) | map("pick", "label", "text") | list'
    told = [{"label": "PER", "text": "Ada"}, {"label": "ORG", "text": "Acme Inc."}]
    assert json.loads(group["first"]["target"]) == {column: told}
