"""Spreadsheets (XLSX, XLS, ODS) -> rows, one a row of cells, by the names in each sheet's first."""

import io
from collections.abc import Iterator
from typing import Any

import python_calamine

from curate.read.documents.stated import Stated
from curate.read.raw_row import MOST_COLUMNS, Row, Unread, distinct, too_wide
from curate.read.typed_values import scalar


def xlsx(data: bytes, name: str, stated: Stated) -> Iterator[Row | Unread]:
    """Rows of all sheets, each with `_sheet`, its name; rows of empty cells are none.

    Args:
        data: the file.
        name: the file's.
        stated: `header` and `columns` count, as in a CSV.
    """
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except python_calamine.PasswordError:
        yield Unread("encrypted: a password opens it", None, "", name=name)
        return
    for sheet in book.sheet_names:
        columns = distinct(stated.columns) if stated.columns else None
        for number, found in enumerate(book.get_sheet_by_name(sheet).iter_rows(), 1):
            cells = [_value(cell) for cell in found]
            while cells and cells[-1] is None:
                cells.pop()
            if not cells:
                continue
            if len(cells) > MOST_COLUMNS:
                yield Unread(f"sheet {sheet}: {too_wide(len(cells))}", number, "", name=name)
                continue
            if columns is None:
                titles = cells if stated.header else []
                columns = distinct([str(each or f"column_{at}") for at, each in enumerate(titles, 1)])
                if titles:
                    continue
            names = [*columns, *(f"column_{at}" for at in range(len(columns) + 1, len(cells) + 1))]
            cells += [None] * (len(names) - len(cells))
            yield dict(zip(names, cells, strict=True)) | {"_sheet": sheet}


def _value(cell: Any) -> Any:
    """A cell's value: an empty one is null, and a whole number is one, which a sheet has not otherwise than 1.0."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    return None if cell == "" else scalar(cell)
