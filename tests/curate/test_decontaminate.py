"""Contamination that was planted is found, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.decontaminate import References, decontaminate
from curate.read import Files, find_files
from curate.record import SCHEMA
from curate.stage import Outcome

BENCHMARK = (
    "The licensee may copy, modify and distribute the work in any medium provided that the notices "
    "of authorship are kept intact in every copy that is conveyed to others."
)
OTHER = (
    "A court of appeal held that the seller bore the risk of loss until the goods were handed to the "
    "carrier named in the contract of sale between both parties."
)


def run(tmp_path: Path, prompts: list[str], answers: list[str] | None = None, words: int = 13) -> Outcome:
    (tmp_path / "bench.jsonl").write_text(
        json.dumps({"question": BENCHMARK, "answer": "forty two"})
        + "\n"
        + json.dumps({"question": OTHER, "n": 1})
        + "\n"
    )
    rows: list[dict[str, Any]] = [
        dict.fromkeys(SCHEMA.names)
        | {"turns": [{"role": "user", "content": prompt}], "target": answer, "meta": [], "source": None}
        for prompt, answer in zip(prompts, answers or ["{}"] * len(prompts), strict=True)
    ]
    files = find_files(Files(files=["bench.jsonl"]), tmp_path, tmp_path)
    return decontaminate(pa.Table.from_pylist(rows, schema=SCHEMA), References.load(files, words))


@pytest.mark.parametrize(
    "planted",
    [
        BENCHMARK,
        BENCHMARK.upper(),
        BENCHMARK.replace(",", " --").replace(".", "!"),
        BENCHMARK.replace(" ", "\n\t "),
        f"Some words before. {BENCHMARK} And a few after.",
        " ".join(BENCHMARK.split()[4:17]),
    ],
)
def test_planted_contamination_is_found(tmp_path: Path, planted: str) -> None:
    outcome = run(tmp_path, ["nothing to see here", planted])
    assert outcome.kept.num_rows == 1
    assert outcome.rejected["reason"].to_pylist() == ["contaminated"]
    seen = json.loads(outcome.rejected["evidence"][0].as_py())
    assert (seen["file"], seen["row"]) == ("bench.jsonl", 0)
    assert "copy modify and distribute" in seen["words"] or "distribute the work" in seen["words"]


def test_answers_count_too_and_the_second_reference_is_named(tmp_path: Path) -> None:
    outcome = run(tmp_path, ["q"], [json.dumps({"text": OTHER})])
    assert json.loads(outcome.rejected["evidence"][0].as_py())["row"] == 1


def test_fewer_words_than_the_ngram_are_no_contamination(tmp_path: Path) -> None:
    assert run(tmp_path, [" ".join(BENCHMARK.split()[:12])]).rejected.num_rows == 0


def test_short_references_match_only_as_a_whole(tmp_path: Path) -> None:
    outcome = run(tmp_path, ["Forty-two!", "forty two is the answer", "q", "q"], ["{}", "{}", "forty two", "forty"])
    assert outcome.kept["turns"].to_pylist()[0][0]["content"] == "forty two is the answer"
    assert outcome.rejected.num_rows == 2


def test_without_references_nothing_is_rejected(tmp_path: Path) -> None:
    table = run(tmp_path, ["x"]).kept
    assert decontaminate(table, References.load([], 13)).kept.equals(table)
