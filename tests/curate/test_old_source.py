"""Versions that were published before rows told their places (`source.places`): all that is done with them still is."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.publish.check import check_version
from curate.publish.diff import diff
from curate.record import SPLITS
from curate.store import read_manifest
from tests.manifests import forge
from tests.sets import curator, questions, require_sound, rows_of


def without_places(folder: Path) -> Path:
    """The version as it was written before: renamed as its manifest then names it."""
    for path in [folder / f"{name}.parquet" for name in ("train", "validation", "test", "quarantine", "conflicts")]:
        table = pq.read_table(path)
        at = table.schema.get_field_index("source")
        old = pa.struct([each for each in table.schema.field(at).type if each.name != "places"])
        pq.write_table(table.set_column(at, pa.field("source", old), table["source"].cast(old)), path)
    for path in folder.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["source"].pop("places", None)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    forge(folder)
    return folder.rename(folder.parent / read_manifest(folder)["version"])


def test_a_version_without_places_is_checked_compared_and_followed_by_a_later_drop(tmp_path: Path) -> None:
    curate = curator(tmp_path)
    rows = questions(30)
    first = curate({"a.jsonl": rows})
    old = without_places(first.folder)
    shutil.rmtree(tmp_path / "store/index")  # which knew it by another name
    assert pq.read_schema(old / "train.parquet").field("source").type.names == ["drop", "file", "row"]
    assert [check.name for check in check_version(old) if check.failures] == []
    later = curate({"a.jsonl": rows[1:], "b.jsonl": questions(40)[30:]})
    require_sound(later)
    splits = {each["id"]: name for name in SPLITS for each in rows_of(later, name)}
    kept = {each["id"]: name for name in SPLITS for each in pq.read_table(old / f"{name}.parquet").to_pylist()}
    assert len({**kept, **splits}) >= 39
    assert {each for each, name in kept.items() if splits.get(each, name) != name} == set(), "in the same splits"
    found = diff(old, later.folder)
    assert [found.rows[each] for each in ("same", "changed", "gone", "added", "moved")] == [29, 0, 1, 10, 0]
