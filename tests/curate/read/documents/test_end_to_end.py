"""A folder of PDFs beside a table that names them -> a version that says on which pages its rows stand."""

import csv
import json
from pathlib import Path

import mlcroissant
import pyarrow.parquet as pq
import pytest

from tests.curate.read.documents.made import drawn, pdf_of
from tests.sets import curator, require_sound, rows_of

LAWS = ("Delaware", "New York", "Texas")


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """Twelve contracts of two pages each: one with a scanned page, one all scanned, one broken, one that is missing."""
    folder = tmp_path / "drop"
    (folder / "contracts").mkdir(parents=True)
    things = "rivers bridges spiders planets novels kings mountains engines violins lighthouses ships stones".split()  # noqa: SIM905
    table = [["file", "law"]]
    for number, thing in enumerate(things):
        law = LAWS[number % 3]
        opening = f"Agreement {number} about {thing} is made between {thing.title()} Inc. and Owners of {thing} LLC."
        pages = [
            opening,
            f"1. Term. It ends after {number + 1} years of {thing}.\n2. Law. The law of {law} governs it.",
        ]
        data = pdf_of([*pages, drawn] if number == 5 else [drawn, drawn] if number == 6 else pages)
        name = f"c{number}.pdf"
        if number != 8:
            (folder / "contracts" / name).write_bytes(data[:300] if number == 7 else data)
        table.append([name, law])
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    return folder


def test_a_folder_of_pdfs_beside_a_table(tmp_path: Path, drop: Path) -> None:
    record = {
        "turns": [{"role": "user", "content": "contracts[file].text"}, {"role": "assistant", "content": "law"}],
        "meta": {"second": "(contracts[file].text | pages)[1]"},
    }
    sections = {
        "sources": [{"files": ["table.csv"]}],
        "lookups": {"contracts": {"files": ["contracts"], "key": "name"}},
        "record": record,
    }
    curate = curator(tmp_path)
    version = curate(drop, **sections)
    rows = [row for split in ("train", "validation", "test") for row in rows_of(version, split)]
    assert len(rows) == 9
    for row in rows:
        begins = row["turns"][0]["content"].index("1. Term")
        end = len(row["turns"][0]["content"])
        name = f"c{row['source']['row']}.pdf"
        assert row["source"]["file"] == "table.csv"
        law = row["turns"][0]["content"].index(row["turns"][1]["content"])
        assert row["source"]["places"] == [
            {"turn": 0, "page": 1, "begin": 0, "end": begins, "file": name},
            {"turn": 0, "page": 2, "begin": begins, "end": end, "file": name},
            {"turn": 1, "page": 2, "begin": law, "end": law + len(row["turns"][1]["content"]), "file": name},
        ]
    gone = {
        row["source"]["row"]: (row["reason"], json.loads(row["evidence"]))
        for row in pq.read_table(version.folder / "quarantine.parquet").to_pylist()
    }
    assert {number: reason for number, (reason, _) in gone.items()} == {
        6: "no_text_layer",
        7: "unreadable",
        8: "unmappable",
    }
    assert (gone[6][1]["document"], gone[6][1]["page"]) == ("c6.pdf", 1)
    assert gone[7][1]["message"].startswith("no PDF: ")
    assert gone[8][1]["message"] == "UndefinedError: 'lookup object' has no attribute 'c8.pdf'"
    require_sound(version)
    told = list(mlcroissant.Dataset(jsonld=str(version.folder / "croissant.json")).records(record_set="train"))
    assert [row["train/id"].decode() for row in told] == [row["id"] for row in rows_of(version, "train")]
    assert curate(drop, **sections).folder == version.folder


def test_documents_by_themselves(tmp_path: Path, drop: Path) -> None:
    """Here a page is a row that goes; and the report says on which pages what it shows stands."""
    record = {"turns": [{"role": "user", "content": "text"}, {"role": "assistant", "content": "name"}]}
    version = curator(tmp_path)(drop, sources=[{"files": ["contracts"]}], record=record)
    quarantined = pq.read_table(version.folder / "quarantine.parquet").to_pylist()
    pages = sorted(
        (row["source"]["file"], json.loads(row["evidence"])["page"])
        for row in quarantined
        if row["reason"] == "no_text_layer"
    )
    assert pages == [("contracts/c5.pdf", 3), ("contracts/c6.pdf", 1), ("contracts/c6.pdf", 2)]
    assert [row["meta"] for row in rows_of(version, "train") if row["source"]["file"] == "contracts/c5.pdf"] in (
        [],
        [[{"key": "pages_left_out", "value": "3"}]],
    )
    assert ": pages 1 to 2 <" in (version.folder / "report.html").read_text()
