"""Names found by a model: a tiny spaCy pipeline made here, where Presidio is installed."""

from pathlib import Path

import pytest

from curate.errors import AssayError
from curate.names import Name, Names
from curate.pii import Pii
from tests.records import record, table_of


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"pii\.names\.model: .* is no folder of a spaCy pipeline"):
        Names(model=str(tmp_path)).find("Jane")


def test_another_model_in_the_folder_is_another_stage(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = Names(model=str(tmp_path)).model_dump()
    (tmp_path / "config.json").write_text("[]")
    assert Names(model=str(tmp_path)).model_dump() != before


def test_where_the_model_lies_is_not_told(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model/config.json").write_text("{}")
    here, there = (Names(model=str(tmp_path / place / "model")).model_dump() for place in ("here", "there"))
    assert here == there
    assert str(tmp_path) not in str(here)


def test_names_become_placeholders(tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer", reason="the extra `pii` is not installed")
    import spacy

    pipeline = spacy.blank("en")
    rules = pipeline.add_pipe("entity_ruler")
    rules.add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}, {"label": "GPE", "pattern": "Oslo"}])
    pipeline.to_disk(tmp_path / "model")
    names = Names(model=str(tmp_path / "model"))
    assert names.find("Jane Doe of Oslo") == [Name("person", 0, 8), Name("place", 12, 16)]
    row = record("Jane Doe (jane@x.org) of Oslo", ("assistant", '{"who": "Jane Doe"}'))
    outcome = Pii(replace=["email", "person", "place"], names=names).run(table_of([row]))
    assert [turn["content"] for turn in outcome.kept.to_pylist()[0]["turns"]] == [
        "[PERSON_1] ([EMAIL_1]) of [PLACE_1]",
        '{"who": "[PERSON_1]"}',
    ]
