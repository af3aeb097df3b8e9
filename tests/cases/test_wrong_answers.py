"""Answers that the data calls wrong are not trained, and what was thought before an answer is not lost: each case."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from assay.inspection import inspect
from assay.starter import write_starter
from curate.engine import map_in_process
from curate.errors import AssayError
from curate.pipeline import curate
from curate.publish.check import check_version
from curate.record import SPLITS
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.curate.read.made import read
from tests.project import Project


@pytest.fixture
def cases(shared_data: Path) -> Path:
    return shared_data.parent / "cases"


def answers(folder: Path, pattern: str) -> tuple[list[str], Counter[str]]:
    """What is learned of a folder's rows, and how many records and rows go to quarantine for what."""
    records, problems = read(folder, pattern)
    learned = [str(record["turns"][-1]["content"]) for record in records if record["rejected"] is None]
    reasons = Counter(record["rejected"][0] for record in records if record["rejected"] is not None)
    return learned, reasons + Counter(problem.reason for problem in problems)


def test_01_answers_that_a_label_calls_bad(cases: Path) -> None:
    learned, reasons = answers(cases / "01-negative-label/01-kto/input", "*.jsonl")
    assert (len(learned), reasons) == (24, {"rejected_answer": 24})
    assert all(answer.startswith("Yes, ") for answer in learned)
    learned, reasons = answers(cases / "01-negative-label/01b-kto-tag/input", "*.jsonl")
    assert (len(learned), reasons) == (8, {"rejected_answer": 8})
    assert not any("WRONGANSWER" in answer for answer in learned)


def test_03_reasoning_is_a_part_of_the_answer(cases: Path) -> None:
    records, problems = read(cases / "03-reasoning-content/03-reasoning-content/input", "*.jsonl")
    assert (len(records), problems) == (16, [])
    assert records[0]["turns"][-1] == {
        "role": "assistant",
        "content": "60 km",
        "reasoning": "2 rounds times 30 km gives 60.",
    }


def test_04_of_a_pair_the_better_is_learned_and_a_pair_without_names_asks(cases: Path) -> None:
    learned, reasons = answers(cases / "04-output-is-a-pair/19b-dpo-sharegpt/input", "*.jsonl")
    assert (len(learned), reasons) == (16, {"rejected_answer": 16})
    assert all(answer.startswith("Line ") for answer in learned)
    folder = cases / "04-output-is-a-pair/19c-dpo-alpaca-list/input"
    assert answers(folder, "*.jsonl") == ([], {"unrecognised": 16})
    with pytest.raises(AssayError, match="output is a list of 2 texts: a pair or several answers"):
        inspect(folder, 100).groups[0].mapping()


def test_07_messages_may_be_json_text(cases: Path) -> None:
    learned, reasons = answers(cases / "07-messages-as-json-text/10-messages-as-text/input", "*.csv")
    assert (len(learned), reasons) == (16, {})
    assert learned[0] == "Yes, the road to Lisbon is open, 0 km."


def test_a_chosen_answer_ends_the_conversation_beside_it(cases: Path, tmp_path: Path) -> None:
    """From the drop to a version that is checked: each row gives the chosen answer and, in quarantine, the other."""
    project = Project(tmp_path)
    write_starter(inspect(cases / "drops/01-preference-in-sharegpt/raw", 100), tmp_path / "mine")
    recipe = yaml.safe_load((tmp_path / "mine/recipe.yaml").read_text())
    recipe["fit"]["model"] = str(project.tokenizer)
    (tmp_path / "mine/recipe.yaml").write_text(yaml.safe_dump(recipe))
    version = curate(
        FullRecipe.load(tmp_path / "mine/recipe.yaml"),
        Store(tmp_path / "store"),
        tokenizer_folder=project.tokenizer,
        map_shards=map_in_process,
    )
    rows = {row["id"]: row for split in SPLITS for row in rows_of(version.folder / f"{split}.parquet")}
    worse = rows_of(version.folder / "quarantine.parquet")
    assert (len(rows), len(worse)) == (20, 20)
    assert all(row["turns"][-1]["content"].startswith("The Wantsum") for row in rows.values())
    for row in worse:
        assert (row["stage"], row["reason"], row["turns"][-1]["content"]) == ("read", "rejected_answer", "No idea.")
        better = yaml.safe_load(row["evidence"])["preferred"]
        assert rows[better]["source"] == row["source"]
    assert [each.told() for each in check_version(version.folder) if each.failures] == []


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
