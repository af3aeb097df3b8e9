"""What is inspected: the recipe and the contract that are written for any file can be read again."""

import tempfile
from pathlib import Path

from assay.inspection import inspect
from assay.starter import write_starter
from curate.contract import Contract
from curate.errors import AssayError
from evaluation.settings import FullRecipe
from tests.fuzz.readers import CSV_WORDS, JSON_WORDS, TEXT, archives, lines, packed, table_text, tables
from tests.fuzz.target import Target, told


def inspected(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drop" / "a"
        path.parent.mkdir()
        path.write_bytes(data)
        try:
            found = inspect(path, 100)
            recipe, *_ = write_starter(found, Path(folder) / "starter")
        except AssayError as error:
            told(error)
            return
        for table in found.tables():
            str(table).encode()
        Contract.load(FullRecipe.load(recipe).contract)


TARGETS = (
    Target(
        "inspected",
        inspected,
        lambda: [
            lines(),
            *map(lines_of_one, range(12)),
            table_text(","),
            TEXT,
            *packed()[:1],
            *tables()[:1],
            *archives()[:1],
        ],
        (*JSON_WORDS, *CSV_WORDS),
    ),
)


def lines_of_one(number: int) -> bytes:
    """Rows of one shape."""
    return lines().splitlines(keepends=True)[number] * 3
