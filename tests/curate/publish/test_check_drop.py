"""The check of the drop: its own count is right for every form, and a reader that loses a row is found out."""

import bz2
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.publish.check_drop import RawFile, check_drop, count_rows
from curate.publish.check_result import Check
from curate.read import formats
from curate.read.raw_row import Row, Unread
from tests.curate.read.made import parquet_of, rows_of, tar_of, zip_of
from tests.project import Project, make_rows

ROWS = [{"prompt": f"q, {n}\n", "completion": '"a"'} for n in range(7)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "prompt,completion\n" + '"q,\n""x""",a\n\n' * 7
FILES: dict[str, tuple[bytes, int | None]] = {
    "a.jsonl": (LINES.encode(), 7),
    "b.json": (LINES.encode(), 7),
    "c.json": (json.dumps(ROWS, indent=1).encode(), 7),
    "d.jsonl": ("\n\n".join(json.dumps(row, indent=1) for row in ROWS).encode(), 7),
    "e.json": (LINES.replace("\n", "").encode("utf-16"), 7),
    "f.jsonl": (LINES.replace('"q, 3', '"q, "3').encode(), 7),  # one line is broken
    "g.csv": (CSV.encode(), 7),
    "h.tsv": (CSV.replace(",", "\t").encode("utf-16"), 7),
    "i.csv.gz": (gzip.compress(CSV.replace(",", ";").encode()), 7),
    "j.csv": (bz2.compress(LINES.encode()), 7),
    "k.parquet": (parquet_of(pa.Table.from_pylist(ROWS)), 7),
    "l.txt": (b"Words, and\nmore words; and then\nsome.", 1),
    "m.md": (b"", 1),
    "n.zip": (zip_of({"x.json": LINES.encode(), "y.txt": b"Words."}), 8),
    "o.tar.gz": (gzip.compress(tar_of({"x": LINES.encode(), "y.csv": CSV.encode()})), 14),
    "p.json": (json.dumps({"data": ROWS}).encode(), None),  # where an object has its rows its reader tells
    "q.json": (json.dumps(ROWS).encode()[:-9], None),
    "r.jsonl.gz": (gzip.compress(LINES.encode())[:-9], None),
    "s.jsonl": (b"<html>", None),
}


@pytest.mark.parametrize("name", FILES)
def test_rows_are_counted_as_they_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content, count = FILES[name]
    path.write_bytes(content)
    rows = rows_of(path)
    broken = any(isinstance(row, Unread) for row in rows)
    assert count_rows(RawFile(path), broken=broken) == count
    if count is not None:
        assert len(rows) == count


def test_messages_that_are_put_together_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"message_id": "1", "parent_id": null}\n' * 3)
    assert count_rows(RawFile(tmp_path / "a.jsonl"), gathered=True) is None
    assert count_rows(RawFile(tmp_path / "a.jsonl"), gathered=False) == 3


def project_of(folder: Path, **recipe: Any) -> Project:
    project = Project(folder, sources=[{"files": ["*.jsonl"]}, {"files": ["more/*.json"], "rows": "."}], **recipe)
    project.add("a.jsonl", make_rows(40, 1))
    project.add("b.jsonl", make_rows(20, 2))
    (project.drop / "more").mkdir()
    (project.drop / "more/c.json").write_text(json.dumps(make_rows(9, 3)))
    return project


def checked(project: Project) -> Check:
    done = project.curate()
    return check_drop(done.folder, done.manifest)


def test_all_that_is_read_is_counted(tmp_path: Path) -> None:
    check = checked(project_of(tmp_path))
    assert (check.compared, check.how, check.failures) == (3, "all", 0)


def test_a_reader_that_loses_a_row_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = formats.json_lines

    def losing(*args: Any) -> Iterator[Row | Unread]:
        rows = list(true(*args))
        yield from rows[:20] + rows[21:]

    monkeypatch.setattr(formats, "json_lines", losing)
    check = checked(project_of(tmp_path))
    assert check.offences == ["a.jsonl: 40 rows in the file, 39 in the version"]


def test_a_reader_that_takes_a_file_for_one_row_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = formats.json_rows
    monkeypatch.setattr(formats, "json_rows", lambda *args: iter([Unread("Extra data", 1, "")]))
    assert checked(project_of(tmp_path)).offences == []  # of an array that breaks, how far it is read is not told
    monkeypatch.setattr(formats, "json_lines", lambda *args: iter([Unread("Extra data", 1, "")]))
    monkeypatch.setattr(formats, "json_rows", true)
    again = project_of(tmp_path / "again")
    assert checked(again).offences == [
        "a.jsonl: 40 rows in the file, 1 in the version",
        "b.jsonl: 20 rows in the file, 1 in the version",
    ]


def test_what_has_changed_or_is_gone_is_not_a_failure(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    done = project.curate()
    with (project.drop / "a.jsonl").open("a") as file:
        file.write("{}\n")
    (project.drop / "b.jsonl").unlink()
    check = check_drop(done.folder, done.manifest)
    assert (check.failures, check.compared, check.how) == (0, 1, "1; not counted: 1 changed since, 1 not at hand")
    (tmp_path / "store/ledger/events.jsonl").unlink()
    check = check_drop(done.folder, done.manifest)
    assert (check.failures, check.compared, check.how) == (0, 0, "0; not counted: 3 not at hand")


def test_files_of_a_package_are_found_without_a_drop(tmp_path: Path) -> None:
    record = {"turns": [{"role": "user", "content": "text"}], "target": '"{\\"colour\\": \\"red\\", \\"count\\": 1}"'}
    sources = [{"files": ["orjson/__init__.py*"], "package": "orjson", "format": "text"}]
    split = {"train": 1, "validation": 0, "test": 0}
    fit = {"model": "tokenizer", "max_tokens": 5000}
    project = Project(tmp_path, sources=sources, record=record, quality={}, fit=fit, split=split)
    check = checked(project)
    assert (check.failures, check.compared) == (0, 2)
