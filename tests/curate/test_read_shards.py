"""Reading into shards: the same records, rows and lines wherever a file is cut."""

from pathlib import Path

import pyarrow as pa

from curate.ingest import ingest
from curate.stage import map_in_process
from tests.project import Project, make_rows


def test_records_do_not_depend_on_where_files_are_cut(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.add("a.jsonl", make_rows(40, 1))
    lines = (project.drop / "a.jsonl").read_text()
    (project.drop / "b.jsonl").write_text("\n \n" + lines[:3000] + "\n\r\n{bad")
    found = []
    for size in (1 << 23, 1, 97, 2000):
        read = ingest(project.recipe, tmp_path / str(size), map_in_process, size)
        kept = pa.concat_tables([shard.kept() for shard in read.shards]).to_pylist()
        quarantined = pa.concat_tables([shard.quarantine() for shard in read.shards]).to_pylist()
        found.append((kept, quarantined, [(file.name, file.sha256, file.size) for file in read.files]))
        assert len(kept) + len(quarantined) == sum(
            bool(line.strip()) for file in project.drop.iterdir() for line in file.read_bytes().split(b"\n")
        )
        assert size > 1 or len(read.shards) > len(kept)
    assert all(each == found[0] for each in found)
