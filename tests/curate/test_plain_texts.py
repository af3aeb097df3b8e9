"""Texts that nobody has asked for are curated as they are."""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from curate.record import SPLITS
from tests.project import CONTRACT, RECIPE, WORDS, Project

KEYS: dict[str, Any] = {
    "record": {"turns": [{"role": "assistant", "content": "text"}]},
    "quality": {"min_chars": 0},
    "render": {"task": "conversation", "chat": "text"},
    "duplicates": {"scope": "both", "threshold": 0.6},
}


def test_texts_are_kept_compared_and_trained_whole(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (record, of_set) = CONTRACT["schema"]
    turns = record | {"properties": record["properties"][:1]}
    (project.folder / "contract" / "contract.yaml").write_text(yaml.safe_dump(CONTRACT | {"schema": [turns, of_set]}))
    (project.folder / "contract" / "target.schema.json").unlink()
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | KEYS))
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=12)) + "." for _ in range(12)]
    other = "Quite another text, of which no other row says a word; it is here twice over, with one word more."
    project.add("texts.jsonl", [{"text": text} for text in [*texts, texts[0], other, other + " Indeed.", ""]])
    curated = project.curate()
    rows = [row for split in SPLITS for row in pq.read_table(curated.folder / f"{split}.parquet").to_pylist()]
    assert sorted(row["text"] for row in rows) == sorted(text + "<|im_end|>" for text in [*texts, other + " Indeed."])
    assert all(row["tokens"] == len(row["text"].encode()) - len("<|im_end|>") + 1 for row in rows)  # of a byte each
    gone = {reason: stage.reasons[reason] for stage in curated.manifest.stages for reason in stage.reasons}
    assert gone == {"no_answer": 1, "exact_duplicate": 1, "near_duplicate": 1}
    assert curated.manifest.counts.clusters == len(texts) + 1


def test_a_prompt_may_not_be_empty_unless_the_recipe_says_so(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add(
        "rows.jsonl",
        [{"text": text, "colour": "red", "count": 1} for text in ("", "one of them", "two others", "three more")],
    )
    curated = project.curate()
    assert [stage.reasons for stage in curated.manifest.stages if stage.name == "quality"] == [{"empty": 1}]
