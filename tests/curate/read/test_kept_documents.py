"""Documents of a lookup are read once for each content, by whichever process, and say what they said."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from curate.cache import entries
from curate.errors import RotError
from curate.read import formats, ingest
from curate.read.kept_documents import NAME, keep_documents, rows_kept
from curate.read.mapping import Lookup, RecordMapping
from curate.read.raw import Files, InputFile, find_files, read_rows
from curate.read.raw_row import Document, Row, Unread
from tests.curate.read.documents.made import docx_of, drawn, pdf_of, said
from tests.curate.read.made import zip_of

CONTRACTS = {"contracts": Lookup(files=["contracts"], key="name")}
ASKS = {"turns": [{"role": "user", "content": "contracts[file].text"}], "meta": {"law": "law"}}
MAIL = b"From: a@example.org\nTo: b@example.org\nSubject: s\n\nThe term ends.\n"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """Documents of every kind, some of which cannot be read, and tables that name them."""
    folder = tmp_path / "drop"
    (folder / "contracts").mkdir(parents=True)
    for name, data in {
        "a.pdf": pdf_of(["One page.", "And another."]),
        "b.pdf": pdf_of(["A page.", drawn]),
        "c.pdf": pdf_of([drawn]),
        "d.pdf": pdf_of(["Cut off."])[:200],
        "e.docx": docx_of(said("A paragraph.")),
        "f.html": b"<html><body><main><p>A paragraph of a page, of some length.</p></main></body></html>",
        "g.eml": MAIL,
    }.items():
        (folder / "contracts" / name).write_bytes(data)
    names = sorted(path.name for path in (folder / "contracts").iterdir())
    for number in range(4):
        lines = "".join(f"{name},law {number}\n" for name in names)
        (folder / f"{number}.csv").write_text("file,law\n" + lines)
    return folder


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The documents that are read, as they are."""
    names: list[str] = []
    real = formats.read_document

    def read_document(data: bytes, format: str, name: str, *stated: Any) -> Any:
        names.append(name)
        return real(data, format, name, *stated)

    monkeypatch.setattr(formats, "read_document", read_document)
    return names


def in_fresh_processes(stage: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
    """Every task as though a process of its own did it, which knows nothing yet."""
    found = []
    for task in tasks:
        ingest._mapper.cache_clear()
        found.append(function(task))
    return found


def read(drop: Path, cache: Path, **record: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    done = ingest.ingest(
        [Files(files=["*.csv"])],
        CONTRACTS,
        RecordMapping.model_validate(ASKS | record),
        drop,
        cache,
        in_fresh_processes,
        shard_bytes=100,
    )
    assert len(done.shards) >= 4
    kept = [row for shard in done.shards for row in shard.kept().to_pylist()]
    return kept, [row for shard in done.shards for row in shard.quarantine().to_pylist()]


def test_each_document_is_read_once_for_its_content(drop: Path, tmp_path: Path, parsed: list[str]) -> None:
    cache = tmp_path / "cache"
    kept, rejected = read(drop, cache)
    assert sorted(parsed) == sorted(path.name for path in (drop / "contracts").iterdir())
    assert (len(kept), len(rejected)) == (20, 8)
    assert {row["reason"] for row in rejected} == {"no_text_layer", "unreadable"}
    parsed.clear()
    again, _ = read(drop, cache, label="law")  # which maps all rows anew
    assert [row["turns"] for row in again] == [row["turns"] for row in kept]
    assert parsed == []
    (drop / "contracts/a.pdf").write_bytes(pdf_of(["Another page."]))
    changed, _ = read(drop, cache)
    assert parsed == ["a.pdf"]
    assert {row["turns"][0]["content"] for row in changed} - {row["turns"][0]["content"] for row in kept} == {
        "Another page."
    }


def test_records_are_those_of_documents_that_are_read_anew(
    drop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = read(drop, tmp_path / "cache")
    monkeypatch.setattr(ingest, "keep_documents", lambda *_: None)
    assert read(drop, tmp_path / "anew") == ours
    assert not (tmp_path / "anew" / NAME).exists()


def files_of(folder: Path) -> list[InputFile]:
    return find_files(Files(files=["*"]), folder, folder)


def told(row: Row | Unread) -> Any:
    text = row.get("text") if isinstance(row, dict) else None
    return row, type(text), (text.pages, text.left_out) if isinstance(text, Document) else None


def test_what_is_kept_is_what_is_read_and_only_documents_are_kept(tmp_path: Path, drop: Path) -> None:
    folder, cache = drop / "contracts", tmp_path / "cache"
    (folder / "all.zip").write_bytes(zip_of({path.name: path.read_bytes() for path in folder.iterdir()}))
    (folder / "tables.zip").write_bytes(zip_of({"t.jsonl": b'{"text": "x", "big": 123456789012345678901234567890}\n'}))
    (folder / "h.csv").write_text("name,text\nx,y\n")
    (folder / "i.jsonl").write_text('{"name": "y"}\n')
    files = files_of(folder)
    keep_documents([*files, *files], cache, "v", in_fresh_processes)
    assert len(entries(cache)) == 9, "one of nothing for the archive of a table"
    for file in files:
        assert list(map(told, rows_kept(file, cache, "v"))) == list(map(told, read_rows(file)))
    keep_documents(files, cache, "v", lambda *_: pytest.fail("nothing is left to do"))
    damaged = next(cache.rglob("rows.json"))
    damaged.write_bytes(damaged.read_bytes() + b" ")
    with pytest.raises(RotError, match=f"{damaged.parent}: damaged"):
        [row for file in files for row in rows_kept(file, cache, "v")]
    asked: list[str] = []
    keep_documents(files, cache, "w", lambda stage, function, tasks: asked.extend(map(str, tasks)) or [])
    assert asked == ["a.pdf, all.zip, b.pdf, c.pdf, d.pdf, e.docx, f.html, g.eml, tables.zip"], "by other readers"


def test_many_documents_are_shared_by_all_workers(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.html").write_text(f"<p>{number}</p>")
    tasks: list[Any] = []
    keep_documents(
        files_of(tmp_path), tmp_path / "cache", "v", lambda stage, function, found: tasks.extend(found) or []
    )
    assert [len(task.files) for task in tasks] == [31, 31, 31, 7]
    assert sum(task.size for task in tasks) == sum(path.stat().st_size for path in tmp_path.glob("*.html"))
