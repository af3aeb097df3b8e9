"""Contamination that was planted is found, with the words that are shared; and nothing else is."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.cache import cache_folder
from curate.errors import AssayError
from curate.record import SCHEMA, SPLITS
from curate.rows.clean import Clean
from curate.rows.decontaminate import Decontaminate, decontaminate
from curate.rows.pii import Pii
from curate.rows.references import Reference, References, reference_files, write_references
from curate.stage import Outcome, RowStage
from curate.store import Store
from tests import records
from tests.project import RECIPE, Project, make_rows

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
        files = reference_files(settings.references, folder, Store(folder / "store"))
        words = settings.ngram_words, settings.short_ngram_words
        tables = Path(mkdtemp(dir=folder)) / "tables"
        cache_folder(tables, lambda draft: write_references(files, *words, preparing, draft))
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
    seen = benchmark.seen(
        "Well: THE Licensee may -- copy, modify AND distribute the\nwork in any medium, provided. Thanks!", "{}"
    )
    assert seen == {
        "file": "bench.jsonl",
        "row": 0,
        "field": "question",
        "words": 13,
        "of": 29,
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
        (
            "two  plus  TWO",
            '{"sum": 4, "unit": "None at all", "note": null, "more": ["", "..."]}',
            4,
            "prompt and answer",
        ),
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


def runs(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


class Oracle:
    """The rules of `curate.rows.decontaminate`, by brute force over lists of words."""

    def __init__(self, reference: list[dict[str, str]], long: int, short: int) -> None:
        self.long, self.short = long, short
        self.texts = [(row, field, text.split()) for row, each in enumerate(reference) for field, text in each.items()]
        self.met = Counter(run for _, _, words in self.texts for run in runs(words, self.size(words)))

    def size(self, words: list[str]) -> int:
        """Words of a run; of a shorter text, all."""
        return self.long if len(words) >= self.long else min(self.short, len(words))

    def longest(self, text: list[str]) -> int:
        """Words of the longest run that a text shares with a reference, 0 where it shares none."""
        best = 0
        for _, _, words in self.texts:
            size = self.size(words)
            if len(words) < self.short:
                continue
            telling = [self.met[run] <= 10 for run in runs(words, size)]
            for here in range(len(text) - size + 1):
                for there in range(len(telling)):
                    count = 0
                    while (
                        there + count < len(telling)
                        and telling[there + count]
                        and text[here + count : here + count + size] == words[there + count : there + count + size]
                    ):
                        count += 1
                    best = max(best, count + size - 1 if count else 0)
        return best

    def whole(self, prompt: list[str], answer: list[str]) -> bool:
        """Whether a short text of a reference is all that is asked."""
        rows = [row for row, _, words in self.texts if 0 < len(words) < self.short and words == prompt]
        if rows and len(prompt) >= 4 and len(rows) <= 10:
            return True
        return any(row in rows and len(words) < self.short and words == answer for row, _, words in self.texts)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(("long", "short"), [(13, 8), (6, 5), (5, 5)])
def test_the_same_as_brute_force(tmp_path: Path, seed: int, long: int, short: int) -> None:
    draw = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(draw.choice([2, 3, 12, 200]))]

    def text(source: list[str], most: int) -> str:
        """Random words, or part of an earlier text with other words around it."""
        words = [draw.choice(vocabulary) for _ in range(draw.randint(1, most))]
        if source and draw.random() < 0.6:
            old = draw.choice(source).split()
            begin = draw.randrange(len(old))
            words = [*words[: draw.choice([0, 0, 3])], *old[begin : begin + draw.randint(1, most)]]
        source.append(" ".join(words))
        return source[-1]

    source: list[str] = []
    reference = [{"q": text(source, 30), "a": text(source, draw.choice([2, 20]))} for _ in range(draw.choice([5, 40]))]
    pairs = [(text(source, 30), text(source, draw.choice([2, 20]))) for _ in range(60)]
    oracle = Oracle(reference, long, short)
    made = Benchmark(tmp_path, reference, ngram_words=long, short_ngram_words=short)
    outcome = made.run(*[(talk(prompt, answer), None) for prompt, answer in pairs])

    longest = [max(oracle.longest(prompt.split()), oracle.longest(answer.split())) for prompt, answer in pairs]
    expected = [n > 0 or oracle.whole(p.split(), a.split()) for n, (p, a) in zip(longest, pairs, strict=True)]
    said = [tuple(turn["content"] for turn in turns) for turns in outcome.rejected["turns"].to_pylist()]
    assert said == [pair for pair, bad in zip(pairs, expected, strict=True) if bad]
    evidence = [json.loads(each) for each in outcome.rejected["evidence"].to_pylist()]
    for seen, most in zip(evidence, (n for n, bad in zip(longest, expected, strict=True) if bad), strict=True):
        theirs = reference[seen["row"]][seen["field"]].split()
        assert seen["words"] == (most or len(theirs)) <= seen["of"] == len(theirs)
        assert tuple(seen["span"].split()) in runs(theirs, seen["words"])


LETTERS = [
    char
    for first, last in ((0x30, 0x250), (0x391, 0x3CA), (0x410, 0x450), (0x531, 0x588), (0x620, 0x64B), (0xAC00, 0xAC20))
    for char in map(chr, range(first, last))
    if char.isalnum() and char.upper().casefold() == char.casefold() == char.lower().casefold()
]
WORDS = st.text(st.sampled_from(LETTERS), min_size=1, max_size=6)
SPACES = st.sampled_from([" ", "\n", "\t", ", ", ". ", " -- ", "…", "\u00a0", "/", "'", "\u3000", "*", "🙂", '"', "\\"])
CASES = st.sampled_from([str.upper, str.lower, str.title, str.swapcase, str.casefold, str])


@given(st.data())
def test_a_window_of_a_reference_is_found_wherever_and_however_it_is_planted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    reference = data.draw(st.lists(WORDS, min_size=8, max_size=20))
    size = 13 if len(reference) >= 13 else 8
    begin = data.draw(st.integers(0, len(reference) - size))
    window = reference[begin : begin + data.draw(st.integers(size, len(reference)))]
    words = [*data.draw(st.lists(WORDS, max_size=5)), *window, *data.draw(st.lists(WORDS, max_size=5))]
    planted = "".join(data.draw(CASES)(word) + data.draw(SPACES) for word in words)
    folder = tmp_path_factory.mktemp("planted")
    made = Benchmark(folder, [{"choices": [{"text": data.draw(SPACES).join(reference)}]}])
    row = data.draw(
        st.sampled_from(
            [(planted, "{}"), (talk("q", planted), None), (talk("q", planted, "r"), "{}"), ("q", json.dumps([planted]))]
        )
    )
    seen = made.seen(*row)
    assert seen is not None
    assert seen["field"] == "choices.0.text"
    assert seen["words"] >= len(window)


def test_what_many_references_hold_identifies_none(tmp_path: Path) -> None:
    system = "You are a careful assistant who answers every question of the user in one short and friendly sentence."
    label = "Any other clause about the governing law of it"

    def references(count: int) -> Benchmark:
        each = [
            {"system": system, "question": f"What is number {n}?", "hint": "Think step by step please", "answer": label}
            for n in range(count)
        ]
        return Benchmark(tmp_path / str(count), [*each, {"question": QUESTION, "answer": f"{system} {SOLUTION}"}])

    eleven, few = references(11), references(5)
    said = [
        ([{"role": "system", "content": system}, {"role": "user", "content": "Hello"}], "{}"),
        ("Hello", json.dumps({"label": label})),
        ("Think step by step, please!", "{}"),
    ]
    assert [eleven.seen(*row) for row in said] == [None, None, None]
    assert [few.seen(*row) is None for row in said] == [False, False, False]
    seen = eleven.seen(f"{system} {SOLUTION}", "{}")
    assert seen is not None
    assert (seen["row"], seen["field"]) == (11, "answer")
    assert SOLUTION.rstrip(".") in seen["span"]


def test_references_are_prepared_as_the_rows_were(tmp_path: Path) -> None:
    raw = (
        QUESTION.replace("licensee", "liccense\u0301e")
        .replace("copy", "c\u200bopy")
        .replace("notices", "a@example.org")
    )
    text = QUESTION.replace("licensee", "liccens\u00e9e").replace("notices", "[EMAIL_1]")
    assert Benchmark(tmp_path / "raw", [{"q": raw}]).seen(text, "{}") is None
    seen = Benchmark(tmp_path / "prepared", [{"n": 1}, {"q": raw}], preparing=[Clean(), Pii()]).seen(text, "{}")
    assert seen is not None
    assert (seen["row"], seen["field"], seen["words"]) == (1, "q", 29)


def test_references_that_would_be_quarantined_count_like_all_others(tmp_path: Path) -> None:
    raw = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>"
    references = [{"n": 1}, {"q": raw}, {"q": "which licence is it"}]
    benchmark = Benchmark(tmp_path, references, preparing=[Clean(), Pii(replace=[], quarantine=["email"])])
    seen = benchmark.seen(QUESTION, "{}")
    assert seen is not None
    assert (seen["row"], seen["field"], seen["words"]) == (1, "q", 29)
    seen = benchmark.seen("which licence is it", "{}")
    assert seen is not None
    assert seen["row"] == 2


def test_only_what_a_record_says_counts(tmp_path: Path) -> None:
    record = rows((talk(SHORT, "Venus"), None), ("What is this?", json.dumps({"text": SOLUTION}))).to_pylist()
    for each in record:
        each |= {"group": QUESTION, "label": QUESTION, "meta": [["title", QUESTION]]}
    made = Benchmark(tmp_path, record)
    assert made.seen(QUESTION, QUESTION) is None
    assert (made.seen(SHORT, "{}") or {})["field"] == "turns.0"
    assert (made.seen(SOLUTION, "{}") or {})["field"] == "target.text"


def test_what_is_thought_is_compared_too(tmp_path: Path) -> None:
    made = Benchmark(tmp_path, [{"q": SOLUTION}])
    talk_ = records.record("hello", records.turn("assistant", "hi", SOLUTION), id="1")
    asked = records.record("hello", target="{}", reasoning=SOLUTION, id="2")
    clean = records.record("hello", records.turn("assistant", "hi", "nothing much"), id="3")
    outcome = decontaminate(records.table_of([talk_, asked, clean]), made.references)
    assert outcome.kept["id"].to_pylist() == ["3"]
    assert [json.loads(each)["where"] for each in outcome.rejected["evidence"].to_pylist()] == ["answer"] * 2


def test_json_within_a_text_is_looked_into(tmp_path: Path) -> None:
    made = Benchmark(tmp_path, [{"a": json.dumps([{"b": SOLUTION}, None, True])}, {"a": "{" + QUESTION}])
    assert (made.seen(SOLUTION, "{}") or {})["field"] == "a.0.b"
    assert (made.seen(QUESTION, "{}") or {})["field"] == "a"


def test_a_row_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bench.jsonl").write_text('{"a": 1}\n{"a": \n')
    settings = Decontaminate(references=[Reference(files=["*.jsonl"])])
    files = reference_files(settings.references, tmp_path, Store(tmp_path / "store"))
    with pytest.raises(AssayError, match=r"Reference bench\.jsonl, row 1"):
        write_references(files, settings.ngram_words, settings.short_ngram_words, [], tmp_path)


def test_without_references_nothing_is_rejected(tmp_path: Path) -> None:
    table = rows(("x", "{}"))
    cache_folder(tmp_path / "tables", lambda draft: write_references([], 13, 8, [], draft))
    assert decontaminate(table, References.open(tmp_path / "tables")).kept.equals(table)


@pytest.mark.parametrize(
    "changes",
    [
        {"references": [{}]},
        {"references": [{"files": ["a.jsonl"], "published": "demo/0123456789abcdef"}]},
        {"references": [{"published": "demo"}]},
        {"references": [{"published": "../demo/0123456789abcdef"}]},
        {"ngram_words": 3},
        {"ngram_words": 7},
    ],
)
def test_bad_settings_are_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"name `files`|pattern|greater than|must not be more"):
        Decontaminate.model_validate(changes)


@pytest.mark.slow
def test_a_published_test_split_is_kept_out_of_another_data_set(tmp_path: Path) -> None:
    project = Project(tmp_path)
    drawn = make_rows(60)
    project.add("rows.jsonl", drawn)
    held_out = [row for row in drawn if len(str(row["text"]).split()) >= 4][:8]
    said = rows(*[(row["text"], json.dumps({"colour": row["colour"], "count": row["count"]})) for row in held_out])
    with Store(tmp_path / "store").publishing("datasets", "first") as draft:
        pq.write_table(said, draft.folder / "test.parquet")
        version = draft.publish({}).name
    recipe = RECIPE | {"decontaminate": {"references": [{"published": f"first/{version}"}]}}
    project.recipe_path.write_text(json.dumps(recipe))
    curated = project.curate()

    kept = [
        turn["content"]
        for split in SPLITS
        for turns in pq.read_table(curated.folder / f"{split}.parquet")["turns"].to_pylist()
        for turn in turns
    ]
    assert kept
    assert not {row["text"] for row in held_out} & set(kept)
    quarantine = pq.read_table(curated.folder / "quarantine.parquet").to_pylist()
    evidence = [json.loads(row["evidence"]) for row in quarantine if row["reason"] == "contaminated"]
    assert len(evidence) >= len({row["text"] for row in held_out})
    assert {each["file"] for each in evidence} == {f"first/{version}/test.parquet"}


def test_a_published_version_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    settings = Decontaminate(references=[Reference(published="demo/0123456789abcdef")])
    with pytest.raises(AssayError, match="no such version"):
        reference_files(settings.references, tmp_path, Store(tmp_path / "store"))


def test_real_instructions_planted_and_clean(tmp_path: Path, shared_data: Path) -> None:
    seeds = [json.loads(line) for line in (shared_data / "ins_self_instruct/data/seed_tasks.jsonl").open()]
    made = Benchmark(tmp_path, seeds)
    replies = json.loads(
        (shared_data / "ins_gpteacher/Roleplay/roleplay-simple-deduped-roleplay-instruct.json").read_text()
    )
    clean = [(f"{each['instruction']}\n\n{each['input']}", each["response"]) for each in replies]
    assert len(clean) == 1923
    assert made.run(*[(talk(*each), None) for each in clean]).rejected.num_rows == 0

    draw = random.Random(0)
    planted = []
    for seed, (prompt, reply) in zip(seeds, clean, strict=False):
        text = seed["instruction"]
        words = len(re.findall(r"\w+", text))
        if words >= 8:
            changed = draw.choice([str, str.upper, lambda each: each.replace(" ", "\n")])(text)
            planted.append(draw.choice([(f"{prompt} {changed} {prompt}", reply), (prompt, f"{reply} {changed}")]))
        elif words >= 4:
            planted.append((text.upper(), reply))
    assert len(planted) > 150
    outcome = made.run(*[(talk(*each), None) for each in planted])
    assert outcome.kept.num_rows == 0


def test_shards_of_any_size_give_the_same(benchmark: Benchmark) -> None:
    said = [("clean", "{}"), (QUESTION, "{}"), (talk("a", "b", SHORT), None), ("q", json.dumps({"a": SOLUTION}))] * 3
    whole = rows(*said)
    expected = decontaminate(whole, benchmark.references)
    assert expected.rejected.num_rows == 9
    for size in (1, 2, 5):
        outcomes = [
            decontaminate(whole.slice(begin, size), benchmark.references) for begin in range(0, len(said) + size, size)
        ]
        assert pa.concat_tables([each.rejected for each in outcomes]).equals(expected.rejected)
        assert pa.concat_tables([each.kept for each in outcomes]).equals(expected.kept)
    assert decontaminate(pa.concat_tables([whole, whole]), benchmark.references).rejected.num_rows == 18
