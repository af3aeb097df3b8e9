"""Reading into shards: the same records, rows and lines wherever a file is cut."""

import io
import json
from codecs import BOM_UTF8
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.engine import map_in_process
from curate.errors import AssayError
from curate.read.files import Files
from curate.read.ingest import Ingested, ingest
from curate.recipe import Recipe
from tests.project import Project, make_rows


def read_drop(recipe: Recipe, cache: Path, shard_bytes: int) -> Ingested:
    """What is read for a recipe, in shards of so many bytes."""
    return ingest(recipe.sources, recipe.lookups, recipe.record, recipe.drop, cache, map_in_process, shard_bytes)


def test_records_do_not_depend_on_where_files_are_cut(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", sources=[{"files": ["*"]}])
    project.add("a.jsonl", make_rows(40, 1))
    lines = (project.drop / "a.jsonl").read_text()
    (project.drop / "b.jsonl").write_text("\n \n" + lines[:3000] + "\n\r\n{bad")
    (project.drop / "c.jsonl").write_bytes(lines[:500].encode() + b"\n\xe9\n" + lines[:400].encode())
    twice = lines.replace('{"', '{"text": "", "', 3)
    (project.drop / "d.json").write_text("".join(f"\x1e{line}\n" for line in twice.splitlines()))
    (project.drop / "e.jsonl").write_text("\ufeff \n\n" + lines[:2000] + "\n\ufeff\n\x1e\n" + lines[:100])
    found = []
    for size in (1 << 23, 1, 97, 2000):
        read = read_drop(project.recipe, tmp_path / str(size), size)
        kept = pa.concat_tables([shard.kept() for shard in read.shards]).to_pylist()
        quarantined = pa.concat_tables([shard.quarantine() for shard in read.shards]).to_pylist()
        counted = sum((Counter(shard.counters) for shard in read.shards), Counter[str]())
        assert counted["duplicate_key"] == 3
        found.append((kept, quarantined, counted, [(file.name, file.sha256, file.size) for file in read.files]))
        assert len(kept) + len(quarantined) == sum(
            bool(line.strip())
            for file in project.drop.iterdir()
            for line in file.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
        )
        assert size > 1 or len(read.shards) > len(kept)
    assert all(each == found[0] for each in found)


def test_a_file_that_two_sources_name_is_read_once_and_in_one_way(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.add("a.jsonl", make_rows(4, 1))

    def rows(*sources: Files) -> int:
        recipe = project.recipe.model_copy(update={"sources": [*project.recipe.sources, *sources]})
        return sum(shard.rows for shard in read_drop(recipe, tmp_path / "cache", 1 << 20).shards)

    assert rows(Files(files=["a.jsonl"])) == 4
    with pytest.raises(AssayError, match=r"Two of the recipe's sources have a file 'a\.jsonl'"):
        rows(Files(files=["a.jsonl"], encoding="ascii"))


def test_a_guess_of_an_encoding_is_counted_and_marked_where_it_is_unsure(tmp_path: Path) -> None:
    record = {"turns": [{"role": "user", "content": "text"}]}
    project = Project(tmp_path / "mixed", sources=[{"files": ["*.txt"]}], record=record)
    texts = {"a": "Größe", "b": "Größe für März, " * 9, "c": "# coding: latin-1\nGröße", "d": "plain"}
    for name, text in texts.items():
        (project.drop / f"{name}.txt").write_bytes(text.encode("cp1252"))
    [shard] = read_drop(project.recipe, tmp_path / "cache", 1 << 20).shards
    kept = shard.kept().to_pylist(maps_as_pydicts="strict")
    assert {row["source"]["file"][0]: row["turns"][0]["content"] for row in kept} == texts
    assert [row["meta"] for row in kept] == [
        {"encoding": "cp1252", "encoding_guess": "unsure"},
        {"encoding": "cp1252"},
        {"encoding": "cp1252"},
        {},
    ]
    assert shard.counters["encoding_guessed"] == 2


def test_a_shard_is_bounded_where_the_targets_are_long(tmp_path: Path) -> None:
    record = {"turns": [{"role": "user", "content": "text"}], "target": {"colour": "big"}}
    project = Project(tmp_path / "long", sources=[{"files": ["a.json"]}], record=record)
    project.drop.joinpath("a.json").write_text(json.dumps([{"text": "q", "big": "x" * 10_000}] * 50))
    shards = read_drop(project.recipe, tmp_path / "cache", 100_000).shards
    assert [shard.rows for shard in shards] == [20, 20, 10]


def test_files_beyond_the_bounds_cost_a_row_each_and_the_others_are_read(tmp_path: Path) -> None:
    record = {"turns": [{"role": "user", "content": "text"}]}
    formats = ({"files": ["*.md"], "format": "front_matter"}, {"files": ["*.[!m]*"]})
    project = Project(tmp_path / "project", sources=list(formats), record=record)
    (project.drop / "deep.md").write_text("---\na: " + "[" * 50_000 + "\n---\nx")
    (project.drop / "fine.md").write_text("---\na: 1\n---\nx")
    (project.drop / "quote.csv").write_text("text,n\nfirst,1\n" + '"broken,2\n' + "other,3\n" * 20)
    (project.drop / "wide.jsonl").write_text(
        json.dumps(dict.fromkeys(map(str, range(20_000)), 1)) + '\n{"text": "x"}\n'
    )
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": pa.nulls(100_000_000, pa.string())}), buffer)
    (project.drop / "rows.parquet").write_bytes(buffer.getvalue())
    found = []
    for size in (1 << 23, 100):
        read = read_drop(project.recipe, tmp_path / str(size), size)
        kept = pa.concat_tables([shard.kept() for shard in read.shards]).to_pylist()
        quarantined = pa.concat_tables([shard.quarantine() for shard in read.shards]).to_pylist()
        found.append((kept, quarantined))
    assert found[0] == found[1]
    assert Counter(row["source"]["file"] for row in kept) == {"fine.md": 1, "quote.csv": 21, "wide.jsonl": 1}
    assert {row["reason"] for row in quarantined} == {"unreadable"}
    evidence = {row["source"]["file"]: json.loads(row["evidence"]) for row in quarantined}
    said = {
        "deep.md": ("ValueError: nested deeper than 200 levels, on line 1", 1),
        "quote.csv": ('the quote opened on line 3 is not closed; where quotes are text, state `quote: ""`', 3),
        "rows.parquet": (
            "UnpackedSizeError: unpacks to more than 1 GiB and 100 times its size: 100,000,000 rows",
            None,
        ),
        "wide.jsonl": ("20,000 columns, more than 16,384", None),
    }
    assert {name: (each["message"], each["line"]) for name, each in evidence.items()} == said
