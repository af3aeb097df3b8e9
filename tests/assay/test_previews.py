"""Preview: a few rows through the stages, without the store."""

import json
from pathlib import Path
from typing import Any

from assay.previews import Preview, previews
from curate.store import Store
from tests.project import Project


def answered(question: str, **answer: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": json.dumps(answer)}]
    return {"messages": said}


def shown(project: Project, rows: int) -> list[Preview]:
    return list(previews(project.recipe, Store(project.folder / "store"), project.tokenizer, rows))


def test_the_shape_of_a_row_is_told(tmp_path: Path) -> None:
    project = Project(tmp_path, record={"target": "turns[-1].content"})
    project.add("a.jsonl", [answered("what is in the box", colour="red", count=2), {"txet": "what is in it"}])
    seen, unseen = shown(project, 2)
    assert seen.shape == "messages"
    assert seen.record["turns"] == [{"role": "user", "content": "what is in the box"}]
    assert json.loads(seen.messages[-1]["content"]) == {"colour": "red", "count": 2}
    assert unseen.shape is None
    assert unseen.rejected is not None
    assert (unseen.rejected.stage, unseen.rejected.reason) == ("read", "unrecognised")
    assert unseen.rejected.evidence["message"].startswith("columns txet; looked for")
    assert str(unseen.rejected).startswith('read: unrecognised {"message": "columns txet; looked for')


def test_a_row_of_the_test_set_is_shown_to_be_one(tmp_path: Path) -> None:
    secret = "which of the seven painted boxes on the upper shelf of the hall holds the ball that nobody has seen"
    project = Project(
        tmp_path, record={"target": "turns[-1].content"}, decontaminate={"references": [{"files": ["test.json"]}]},
        sources=[{"files": ["a.jsonl"]}],
    )  # fmt: skip
    project.add("a.jsonl", [answered(secret, colour="red", count=2), answered("how many are", colour="red", count=3)])
    (project.drop / "test.json").write_text(json.dumps([{"question": secret}]))
    first, second = shown(project, 2)
    assert first.rejected is not None
    assert first.rejected.stage == "decontaminate"
    assert "test.json" in str(first.rejected)
    assert second.rejected is None


def test_every_part_of_a_divided_row_is_shown(tmp_path: Path) -> None:
    fit = {"model": "tokenizer", "max_tokens": 110, "policy": "split_turns"}
    project = Project(tmp_path, record={}, fit=fit, contract="guanaco")
    said = ["what is in the box", "there are six red balls in it", "and what is on it", "there is a lid on the box"]
    turns = [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(said)]
    project.add("a.jsonl", [{"messages": turns}])
    parts = shown(project, 1)
    assert [part.rejected for part in parts] == [None, None]
    assert [[turn["content"] for turn in part.record["turns"]] for part in parts] == [said[:2], said[2:]]


def test_references_with_data_that_the_recipe_quarantines(tmp_path: Path) -> None:
    project = Project(
        tmp_path, decontaminate={"references": [{"files": ["test.json"]}]}, sources=[{"files": ["a.jsonl"]}],
        pii={"replace": [], "quarantine": ["email"]},
    )  # fmt: skip
    project.add("a.jsonl", [{"text": "what is in the box", "colour": "red", "count": 2}])
    (project.drop / "test.json").write_text(json.dumps([{"question": "who is jane@example.org"}, {"question": "?"}]))
    [seen] = shown(project, 1)
    assert seen.rejected is None
