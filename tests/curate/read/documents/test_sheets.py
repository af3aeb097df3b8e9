"""Spreadsheets: rows by the names in each sheet's first."""

import io
from datetime import datetime
from pathlib import Path

import xlsxwriter

from curate.read.raw_row import Row, Unread
from tests.curate.read.made import rows_of


def book(path: Path, **sheets: list[list[object]]) -> Path:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"default_date_format": "yyyy-mm-dd", "remove_timezone": True}) as made:
        for name, rows in sheets.items():
            sheet = made.add_worksheet(name)
            for at, row in enumerate(rows):
                sheet.write_row(at, 0, row)
    path.write_bytes(file.getvalue())
    return path


def test_rows_of_all_sheets(tmp_path: Path) -> None:
    first: list[list[object]] = [
        ["a", "b", None, "a"],
        [1, 2.5, True, datetime(2026, 3, 1)],
        [],
        ["x", None, None, None, "y"],
    ]
    rows = rows_of(book(tmp_path / "f.xlsx", One=first, Two=[["c"], ["z"]], Empty=[]))
    assert rows == [
        {"a": 1, "b": 2.5, "column_3": True, "a.1": "2026-03-01", "_sheet": "One"},
        {"a": "x", "b": None, "column_3": None, "a.1": None, "column_5": "y", "_sheet": "One"},
        {"c": "z", "_sheet": "Two"},
    ]


def test_columns_are_stated_where_there_is_no_header(tmp_path: Path) -> None:
    path = book(tmp_path / "f.xlsx", One=[["x", 1]])
    assert rows_of(path, header=False) == [{"column_1": "x", "column_2": 1, "_sheet": "One"}]
    assert rows_of(path, header=False, columns=("k", "v")) == [{"k": "x", "v": 1, "_sheet": "One"}]


def test_a_cell_far_out_costs_the_sheet_and_no_more(tmp_path: Path) -> None:
    """calamine takes memory for every cell up to the last one, of a sheet that says it has 17 thousand million."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as made:
        sheet = made.add_worksheet("A")
        sheet.write(0, 0, "a")
        sheet.write(1048575, 16383, "b")
    (tmp_path / "f.xlsx").write_bytes(file.getvalue())
    [found] = rows_of(tmp_path / "f.xlsx")
    assert isinstance(found, Unread)
    assert "as libraries end that get no more memory" in found.message
    row: Row = {"c": "z", "_sheet": "Two"}
    assert rows_of(book(tmp_path / "g.xlsx", Two=[["c"], ["z"]])) == [row]
