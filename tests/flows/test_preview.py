"""Preview: a few rows through the stages, without the store."""

import json
from pathlib import Path
from typing import Any

from curate.store import Store
from flows.preview import Preview, previews
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
    assert unseen.rejected.startswith("read: unrecognised {'message': 'columns txet; looked for")


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
    assert first.rejected.startswith("decontaminate: ")
    assert "test.json" in first.rejected
    assert second.rejected is None
