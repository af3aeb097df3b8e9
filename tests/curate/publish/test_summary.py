"""What is told of a data set version."""

from pathlib import Path

from curate.manifest import DatasetManifest
from curate.publish.summary import curation_tables
from curate.publish.version import Curated
from tests.manifests import dataset_manifest


def test_of_a_data_set_only_what_there_is_is_shown() -> None:
    read = {"name": "read", "counters": {}, "reasons": {}, "rows_in": 1, "kept": 1, "rejected": 0}
    counts = {"in": 1, "made": 0, "kept": 1, "quarantined": 0, "clusters": 1, "conflicts": 0}
    counts |= {"splits": {"train": 1, "validation": 0, "test": 0}}
    content = dataset_manifest(name="n", version="v", files={}, stages=[read], counts=counts)
    manifest = DatasetManifest.model_validate(content)
    plain = Curated(Path("n/v"), manifest, {"read": 1.0}, {"read": (0, 1)})
    assert [table.title for table in curation_tables(plain)] == ["Data set n/v", "Stages"]
    assert curation_tables(plain)[-1].rows == [["read", "1", "1", "0", "1.0", "0 of 1"]]
    assert curation_tables(Curated(Path("n/v"), manifest))[-1].rows == [["read", "1", "1", "0", "", ""]], "made before"

    divided = read | {"name": "fit", "reasons": {"too_many_tokens": 1}, "kept": 3, "rejected": 1}
    counts |= {"made": 3, "kept": 3, "quarantined": 1}
    manifest = DatasetManifest.model_validate(content | {"stages": [read, divided], "counts": counts})
    seconds, cached = {"read": 1.0, "fit": 1.0}, {"read": (0, 1), "fit": (0, 1)}
    data_set, quarantine, _ = curation_tables(Curated(Path("n/v"), manifest, seconds, cached))
    assert ["made by dividing others", "3"] in data_set.rows
    assert quarantine.rows == [["too_many_tokens", "fit", "1"]]


def test_what_is_not_read_and_what_is_not_trained_is_said() -> None:
    read = {"name": "read", "counters": {"messages": 2, "message_key_not_read.mood": 1}, "reasons": {}}
    read |= {"rows_in": 2, "kept": 2, "rejected": 0}
    render = read | {"name": "render", "counters": {"reasoning": 2, "reasoning_not_written": 0, "untrained_turns": 1}}
    counts = {"in": 2, "made": 0, "kept": 2, "quarantined": 0, "clusters": 2, "conflicts": 0}
    counts |= {"splits": {"train": 2, "validation": 0, "test": 0}}
    content = dataset_manifest(name="n", version="v", files={}, stages=[read, render], counts=counts)
    data_set, _ = curation_tables(Curated(Path("n/v"), DatasetManifest.model_validate(content)))
    assert data_set.rows[:6] == [
        ["rows in", "2"],
        ["  read as messages", "2"],
        ["  with `mood` in messages, which is not read", "1"],
        ["kept", "2"],
        ["  with reasoning before an answer", "2"],
        ["  (answers that stay in their conversation, not trained)", "1"],
    ]
