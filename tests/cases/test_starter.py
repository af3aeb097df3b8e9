"""What `assay inspect --write` writes of files: their own rows pass its contract, and its prompt is readable."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from assay.inspection import inspect
from assay.previews import previews
from assay.recognised import mapped_rows
from assay.starter import write_starter
from curate.contract import Contract
from curate.errors import AssayError
from curate.read.mapping import Mapper, RowError
from curate.read.raw import Unread
from curate.record import SCHEMA
from curate.rows.validate import validate
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.project import Project

ROWS = 100
LARGEST = 1 << 20
"""Bytes of a file that is looked at."""


def rejected(path: Path, folder: Path) -> list[dict[str, Any]] | None:
    """Of a file's first rows, those that the contract written from them rejects; None where no recipe is written."""
    try:
        inspection = inspect(path, ROWS)
        write_starter(inspection, folder)
    except AssayError:
        return None
    recipe = FullRecipe.load(folder / "recipe.yaml")
    mapper = Mapper(recipe.record, {})
    records = []
    for _, _, row in islice(mapped_rows(inspection.groups[0].files), ROWS):
        try:
            made = [] if isinstance(row, Unread) else mapper.records(row, path.name)
        except RowError:
            continue
        told = {"language": "en", "source": {"drop": None, "file": path.name, "row": 0}}
        records += [{name: record.get(name) for name in SCHEMA.names} | told for record in made]
    table = pa.Table.from_pylist(records, schema=SCHEMA)
    rows: list[dict[str, Any]] = validate(table, Contract.load(recipe.contract).row_schema).rejected.to_pylist()
    return rows


@pytest.mark.parametrize("top", ["data", "cases"])
def test_a_starter_s_own_rows_pass_its_contract(shared_data: Path, tmp_path: Path, top: str) -> None:
    files = sorted(path for path in (shared_data.parent / top).rglob("*") if path.is_file())
    files = [path for path in files if path.stat().st_size <= LARGEST]
    many = {"legal_legalbench": 25, "json_nst_testsuite": 10}  # files that are all alike
    chosen = [
        path for at, path in enumerate(files) if at % next((many[name] for name in many if name in path.parts), 1) == 0
    ]
    found = {path: rejected(path, tmp_path / str(at)) for at, path in enumerate(chosen)}
    assert {path: rows for path, rows in found.items() if rows} == {}
    assert sum(rows is not None for rows in found.values()) > 20


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        ("drops/02-starter-prompt-runs-together/raw", ['"urgent": "no"|"yes"', '"kind": "call"|"post"|"web"']),
        ("bycatch/45-starter-keys/input", ['"mood": "angry"|"calm"', '"speed": "fast"|"slow"']),
    ],
)
def test_the_prompt_has_a_line_for_each_key(shared_data: Path, tmp_path: Path, case: str, lines: list[str]) -> None:
    asked = _previewed(shared_data.parent / "cases" / case, tmp_path)[0].messages[0]["content"].splitlines()
    assert asked[-len(lines) - 1 :] == ["Answer with one JSON object and nothing else, of these keys:", *lines]


def test_conversations_in_any_order_start(shared_data: Path, tmp_path: Path) -> None:
    shown = _previewed(shared_data.parent / "cases/20-assistant-first/18-odd-turn-order/input", tmp_path)
    assert [row.rejected for row in shown] == [None] * 3
    assert len({row.record["group"] for row in shown}) == 3, "the greeting alone ties no rows together"
    roles = [message["role"] for message in shown[0].messages]
    assert roles == ["assistant", "user", "user", "assistant", "system", "user", "assistant"]


def _previewed(path: Path, folder: Path) -> list[Any]:
    project = Project(folder)
    [recipe, *_] = write_starter(inspect(path, ROWS), folder / "mine")
    written = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    written["fit"]["model"] = str(project.tokenizer)
    recipe.write_text(yaml.safe_dump(written), encoding="utf-8")
    return list(previews(FullRecipe.load(recipe), Store(folder / "store"), project.tokenizer, 3))


def test_the_task_may_be_put_into_a_system_turn(tmp_path: Path) -> None:
    """As a run says whose rows have one prompt."""
    rows = [
        {"prompt": "Rewrite it.", "source": f"Text {number}.", "completion": f"Other {number}."} for number in range(3)
    ]
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_starter(inspect(tmp_path / "drop", 3), tmp_path / "mine")
    contract = yaml.safe_load((tmp_path / "mine/contract/contract.yaml").read_text())
    role = contract["schema"][0]["properties"][0]["items"]["properties"][0]
    assert role["logicalTypeOptions"]["pattern"] == "^(assistant|system|user)$"
