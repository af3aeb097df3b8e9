"""Contamination that was planted is found, with the words that are shared; and nothing else is."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.clean import Clean
from curate.decontaminate import Decontaminate, Reference, References, decontaminate, reference_files, write_references
from curate.errors import AssayError
from curate.pii import Pii
from curate.record import SCHEMA
from curate.stage import Outcome, RowStage
from curate.store import Store

QUESTION = (
    "The licensee may copy, modify and distribute the work in any medium provided that the notices "
    "of authorship are kept intact in every copy that is conveyed to others."
)
SOLUTION = (
    "A court of appeal held that the seller bore the risk of loss until the goods were handed to the "
    "carrier named in the contract of sale between both parties."
)
SHORT = "Which of these four planets has the longest day of all?"
CHINESE = "被告人张某某于二〇一五年三月在某市某区盗窃他人财物共计人民币五千余元后逃离现场"
THAI = "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิต่างมีเหตุผลและมโนธรรมและควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ"
BENCHMARK: list[dict[str, Any]] = [
    {"question": QUESTION, "answer": "forty two"},
    {"question": "Who decided?", "choices": ["nobody", SOLUTION], "answer": 1},
    {"question": SHORT, "answer": "Venus"},
    {"question": "What year was the Eiffel Tower built?", "answer": 1889},
    {"question": "Two plus two?", "answer": {"value": 4, "unit": "none at all"}},
    {"question": CHINESE, "answer": "盗窃罪"},
    {"question": THAI, "answer": "ข้อ"},
]


def rows(*pairs: tuple[Any, Any]) -> pa.Table:
    """A table of rows, each of a prompt (or turns) and a target (None: the last turn answers)."""
    return pa.Table.from_pylist(
        [
            dict.fromkeys(SCHEMA.names)
            | {
                "turns": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt,
                "target": target,
                "meta": [],
            }
            for prompt, target in pairs
        ],
        schema=SCHEMA,
    )


def talk(*contents: str) -> list[dict[str, str]]:
    """Turns of a user and an assistant, who answers last."""
    first = len(contents) % 2
    return [{"role": ("user", "assistant")[(i + first) % 2], "content": each} for i, each in enumerate(contents)]


class Benchmark:
    """References opened from rows written as a file of a drop."""

    def __init__(self, folder: Path, reference: list[dict[str, Any]] = BENCHMARK, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in reference)
        (folder / "bench.jsonl").write_text(lines, encoding="utf-8")
        preparing: list[RowStage] = options.pop("preparing", [])
        settings = Decontaminate(references=[Reference(files=["bench.jsonl"])], **options)
        tables = folder / "tables"
        tables.mkdir(exist_ok=True)
        write_references(reference_files(settings, folder, Store(folder / "store")), settings, preparing, tables)
        self.references = References.open(tables)

    def run(self, *pairs: tuple[Any, Any]) -> Outcome:
        return decontaminate(rows(*pairs), self.references)

    def seen(self, prompt: Any, target: Any = None) -> dict[str, Any] | None:
        """The evidence against a row among clean ones, or None."""
        outcome = self.run(("nothing to see here", "{}"), (prompt, target), ("nor here", "{}"))
        assert outcome.kept.num_rows + outcome.rejected.num_rows == 3
        assert outcome.rejected["reason"].to_pylist() == ["contaminated"] * outcome.rejected.num_rows
        evidence: list[dict[str, Any]] = [json.loads(each) for each in outcome.rejected["evidence"].to_pylist()]
        return evidence[0] if evidence else None


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return Benchmark(tmp_path_factory.mktemp("benchmark"))


KINDS = {
    "exact": lambda text: text,
    "upper": str.upper,
    "lower": str.lower,
    "other punctuation": lambda text: text.replace(",", " --").replace(".", "!").replace("?", "..."),
    "quoted": lambda text: "\n".join(f"> *{line}*" for line in text.split("\n")),
    "spaced": lambda text: text.replace(" ", "\n\t \u00a0"),
    "every character apart": lambda text: " ".join(text) if not text.isascii() else text,
    "embedded": lambda text: f"Some words before, {text} and a few after.",
    "embedded deep": lambda text: "filler words " * 500 + f"... {text} ..." + " more of them" * 500,
}
PLANTED = {"question": QUESTION, "solution": SOLUTION, "short": SHORT, "chinese": CHINESE, "thai": THAI}
PLACES = {"question": (0, "question"), "solution": (1, "choices.1"), "short": (2, "question")} | {
    "chinese": (5, "question"),
    "thai": (6, "question"),
}


@pytest.mark.parametrize("where", ["prompt", "answer", "target", "history"])
@pytest.mark.parametrize("text", PLANTED)
@pytest.mark.parametrize("kind", KINDS)
def test_planted_contamination_is_found(benchmark: Benchmark, kind: str, text: str, where: str) -> None:
    planted = KINDS[kind](PLANTED[text])
    row = {
        "prompt": (planted, '{"a": 1}'),
        "answer": (talk("tell me", planted), None),
        "target": ("tell me", json.dumps({"a": planted}, ensure_ascii=False)),
        "history": (talk("hello", planted, "and then?", "nothing"), None),
    }[where]
    seen = benchmark.seen(*row)
    assert seen is not None
    assert (seen["file"], seen["row"], seen["field"]) == ("bench.jsonl", *PLACES[text])
    assert seen["where"] == ("answer" if where in ("answer", "target") else "prompt")
    if where != "target":
        assert seen["span"] in planted


def test_the_whole_shared_run_is_shown(benchmark: Benchmark) -> None:
    seen = benchmark.seen("Well: THE Licensee may -- copy, modify AND distribute the\nwork in any medium, provided. Thanks!", "{}")
    assert seen == {
        "file": "bench.jsonl",
        "row": 0,
        "field": "question",
        "words": 13,
        "span": "THE Licensee may -- copy, modify AND distribute the\nwork in any medium, provided",
        "where": "prompt",
    }


def test_the_longest_run_of_several_is_shown(benchmark: Benchmark) -> None:
    half = " ".join(QUESTION.split()[:14])
    seen = benchmark.seen(half, json.dumps({"text": SOLUTION + " " + SHORT}))
    assert seen is not None
    assert (seen["row"], seen["field"], seen["where"]) == (1, "choices.1", "answer")
    assert (seen["words"], seen["span"]) == (len(SOLUTION.split()), SOLUTION.rstrip("."))


def test_a_span_is_cut_but_its_words_are_counted(tmp_path: Path) -> None:
    text = " ".join(f"w{number}" for number in range(5000))
    seen = Benchmark(tmp_path, [{"text": text}]).seen(f"x {text} y", "{}")
    assert seen is not None
    assert seen["words"] == 5000
    assert seen["span"] == text[:1000]


def without_last(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        (without_last(QUESTION, 12), "{}"),  # 12 of a text of more than 13 words
        (without_last(SHORT, 7), "{}"),  # 7 of a text of 8 to 12 words
        (CHINESE[:25], "{}"),  # 25 characters of a text of more than 26
        (THAI[:64], "{}"),
        ("What year was the Eiffel Tower built? Please!", '{"year": 1889}'),  # a short text with more around it
        (talk("What year was the Eiffel Tower built?", "1889", "Thanks", "Gladly"), None),  # not all that is asked
        ("Who knows?", "forty two"),  # only a short answer
        ("Tell me", "Venus"),
        ("Two plus two?", '{"sum": 5}'),  # a very short question with another answer
        ("Two plus two?", "{}"),
        ("Two plus two?", "Venus"),  # the answer of another row
        ("", "{}"),
        ("?!", ""),
    ],
)
def test_less_is_no_contamination(benchmark: Benchmark, prompt: Any, target: str | None) -> None:
    assert benchmark.seen(prompt, target) is None


@pytest.mark.parametrize(
    ("prompt", "target", "row", "where"),
    [
        ("What YEAR was the “Eiffel Tower” built", "1900", 3, "prompt"),
        (
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What year was the Eiffel tower built?"},
                {"role": "assistant", "content": "in 1900"},
            ],
            None,
            3,
            "prompt",
        ),
        ("Two plus two?", '{"sum": 4}', 4, "prompt and answer"),
        ("two  plus  TWO", '{"sum": 4, "unit": "None at all", "note": null, "more": ["", "..."]}', 4, "prompt and answer"),
        (talk("Two plus two?", "4"), None, 4, "prompt and answer"),
        ("Who decided?", "Nobody", 1, "prompt and answer"),
    ],
)
def test_a_short_reference_is_found_where_it_is_all_that_is_asked(
    benchmark: Benchmark, prompt: Any, target: str | None, row: int, where: str
) -> None:
    seen = benchmark.seen(prompt, target)
    assert seen is not None
    assert (seen["row"], seen["where"]) == (row, where)
