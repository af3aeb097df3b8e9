"""The folder of a data set: a split's files by their names, or as `save_to_disk` says."""

from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.read.dataset_folder import dataset_files

FOLDERS = {
    "published": (
        ["train.parquet", "train.jsonl", "test.parquet", "quarantine.parquet", "manifest.json", "README.md"],
        {"train": ["train.parquet"], "test": ["test.parquet"]},
    ),
    "sharded": (
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/extra-00000-of-00001.parquet"],
        {
            "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "extra": ["data/extra-00000-of-00001.parquet"],
        },
    ),
    "folders": (["train/a.csv", "dev/test.csv"], {"train": ["train/a.csv"], "validation": ["dev/test.csv"]}),
    "words": (["a_train.json", "eval-1.json", "latest.json"], {"train": ["a_train.json"], "test": ["eval-1.json"]}),
    "one": (["rows.json", ".cache/train.json", "__x/test.json", "dataset_infos.json"], {"train": ["rows.json"]}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_split_is_told_by_names(tmp_path: Path, kind: str) -> None:
    names, splits = FOLDERS[kind]
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("{}")
    for split in ("train", "validation", "test", "extra", "../mine"):
        expected = [f"mine/{name}" for name in splits.get(split, [])]
        if expected:
            assert dataset_files(tmp_path, "mine", None, split) == expected
        else:
            with pytest.raises(AssayError, match="mine: no files of a split"):
                dataset_files(tmp_path, "mine", None, split)
