"""A version that an older release published, whose rows do not say where in a document they stand, is used like any."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import assay
from curate.hashing import file_digest
from curate.record import SPLITS
from curate.store import Store, version_of
from tests.assay.conftest import Finished


def without_places(folder: Path) -> Path:
    """The version as it was before `source` had `places`, in the place of the one that is there."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in (*SPLITS, "quarantine"):
        path = folder / f"{name}.parquet"
        table = pq.read_table(path)
        source = table["source"].combine_chunks()
        names = ["drop", "file", "row"]
        old = pa.StructArray.from_arrays([pc.struct_field(source, each) for each in names], names)
        pq.write_table(table.set_column(table.schema.get_field_index("source"), "source", old), path)
        manifest["files"][path.name] = file_digest(path)
        if (lines := path.with_suffix(".jsonl")).is_file():
            rows = map(json.loads, lines.read_text(encoding="utf-8").splitlines())
            told = (row | {"source": {each: row["source"][each] for each in names}} for row in rows)
            lines.write_text("".join(json.dumps(row) + "\n" for row in told))
            manifest["files"][lines.name] = file_digest(lines)
    manifest["code"]["read"] -= 1
    manifest["version"] = version_of(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "SHA256SUMS").unlink()
    shutil.rmtree(folder / "contract")
    return folder.rename(folder.with_name(manifest["version"]))


def test_it_is_trained_on_evaluated_compared_with_and_forgotten_from(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    for kind in ("adapters", "scorecards", "index", "cache/stages", "cache/published", "pointers/datasets"):
        shutil.rmtree(place / kind)
    old = without_places(place / "datasets/demo" / finished.version.id)
    Store(place).promote("datasets", "demo", old.name)
    version, recipe = assay.load("demo", store=place), finished.project.recipe_path
    adapter = assay.train(version, recipe, store=place)
    scorecard = assay.evaluate(adapter, recipe, store=place)
    assert scorecard.manifest.inputs.dataset.version == old.name
    assert assay.check(version).passed
    new = assay.curate(recipe, store=place, workers=1)  # the same rows, as they are read now
    assert new.manifest.splits_of == [old.name]
    assert assay.check(new).passed
    diff = assay.diff(f"demo/{old.name}", f"demo/{new.id}", store=place)
    assert diff.data()["rows"]["same"] == version.manifest.counts.rows_in
    (id_, *_) = pq.read_table(old / "train.parquet", columns=["id"])["id"].to_pylist()
    done = assay.forget([id_], store=place, remove=True)
    assert done.now.keys() == {f"demo/{old.name}", f"demo/{new.id}"}
    assert done.left == []
