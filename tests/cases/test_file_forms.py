"""Files whose names say something else than their content, as people have met them."""

import gzip
import json
from pathlib import Path

import pytest
import yaml

import assay
from curate.engine import map_in_process
from curate.publish.check import check_version
from curate.read.files import Files
from curate.read.ingest import ingest
from curate.read.mapping import RecordMapping
from curate.read.raw import Unread
from tests.curate.read.made import rows_of


@pytest.fixture(scope="session")
def cases(shared_data: Path) -> Path:
    return shared_data.parent / "cases"


def lines_of(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "name", ["08-jsonl-named-json/07-jsonl-named-json/input/buses.json", "drops/08-json-lines-named-json/raw/a.json"]
)
def test_json_lines_named_json(cases: Path, name: str) -> None:
    path = cases / name
    assert rows_of(path) == lines_of(path)
    group = assay.inspect(path.parent).groups[0]
    assert (group.format, group.profile.rows, group.unreadable) == ("jsonl", len(lines_of(path)), 0)


def test_json_lines_beside_an_array(cases: Path, tmp_path: Path) -> None:
    """Every row of both is in the version or its quarantine, and the check counts them in the drop."""
    folder = cases / "08-jsonl-named-json/07b-mixed-folder"
    recipe = folder / "hand/recipe.yaml"
    assert yaml.safe_load(recipe.read_text())["sources"] == [{"files": ["*.json"]}]
    version = assay.curate(recipe, store=tmp_path, workers=1)
    assert version.manifest.counts.rows_in == 64
    assert "unreadable" not in {row["reason"] for row in version.quarantine}
    [drop] = [each for each in check_version(version.folder) if each.name == "drop"]
    assert (drop.failures, drop.compared, drop.how) == (0, 2, "all")


def test_a_key_that_is_given_twice_is_counted(tmp_path: Path) -> None:
    lines = [
        '{"instruction": "Which?", "output": "red", "output": "blue"}',
        '{"instruction": "a \\"b\\": c", "output": "d"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    read = ingest([Files(files=["a.jsonl"])], {}, RecordMapping(), tmp_path, tmp_path / "cache", map_in_process)
    [shard] = read.shards
    assert shard.counters == {"alpaca": 2, "duplicate_key": 1}
    assert [dict(meta) for meta in shard.kept()["meta"].to_pylist()] == [{"duplicate_key": "output"}, {}]


def test_others_of_the_kind(tmp_path: Path) -> None:
    """What a folder most often has beside: a packed file under a plain name, and an error page in place of data."""
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b'{"prompt": "q", "completion": "a"}\n' * 2))
    (tmp_path / "b.jsonl").write_text("<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n")
    assert len(rows_of(tmp_path / "a.jsonl")) == 2
    [page] = rows_of(tmp_path / "b.jsonl")
    assert isinstance(page, Unread)
    assert page.message.startswith("an HTML page")
    assert page.raw == (tmp_path / "b.jsonl").read_text()
