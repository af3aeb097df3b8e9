"""Quality: each reason at its bound, rules as a recipe sets them, what a row is worth, and replies people ranked."""

import json
import math
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from benchmarks.quality_rules import found
from curate.rows.quality import RULES, Quality, measure
from tests.records import RECORDS, layouts, record, table_of, turn


def reasons(row: dict[str, Any], **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    outcome = Quality(**settings).run(table_of([row]))
    assert outcome.kept.num_rows + outcome.rejected.num_rows == 1
    return [(seen["reason"], json.loads(seen["evidence"])) for seen in outcome.rejected.to_pylist()]


def worth(row: dict[str, Any], **settings: Any) -> float:
    [value] = Quality(**settings).run(table_of([row])).kept["quality"].to_pylist()
    return round(value, 2)


def said(prompt: str, answer: str, **known: Any) -> dict[str, Any]:
    return record(prompt, ("assistant", answer), **known)


THREE = {"rules": {"words": {"low": 3, "then": "reject"}}}
TWO = [("words", {"measured": 2.0, "low": 3.0})]


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        (said("q", "a"), {}, []),
        (said("", "a"), {}, [("empty", {"chars": 0, "bound": 1})]),
        (said(" \n\u3000", "a"), {}, [("empty", {"chars": 0, "bound": 1})]),
        (said("", ""), {"min_chars": 5}, [("empty", {"chars": 0, "bound": 1})]),
        (said("1234", "a"), {"min_chars": 5}, [("too_short", {"chars": 4, "bound": 5})]),
        (said(" 1234\n", "a"), {"min_chars": 5}, [("too_short", {"chars": 4, "bound": 5})]),
        (said("日本語です", "a"), {"min_chars": 5}, []),
        (said("123", "45"), {"max_chars": 5}, []),
        (said("123", "456"), {"max_chars": 5}, [("too_long", {"chars": 6, "bound": 5})]),
        (said("q", ""), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (said("q", " "), {"min_answer_chars": 3}, [("no_answer", {"chars": 0, "bound": 1})]),
        (record("q"), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (record("q", ("assistant", "a"), "more?"), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (said("q", "ab"), {"min_answer_chars": 3}, [("answer_too_short", {"chars": 2, "bound": 3})]),
        (said("q", "abc"), {"min_answer_chars": 3}, []),
        (record("q", target='{"a": [1, "é", null]}'), {}, []),
        (record("q", target="null"), {}, []),
        (record("q", target=""), {}, [("no_answer", {"chars": 0, "bound": 1})]),
        (said("Go on.", "Go on."), {}, [("echo", {"begins": "Go on.", "ends": "Go on."})]),
        (said("Go on.", "Go on."), {"rules": {"echo": {"then": "score"}}}, []),
        (said("Go on.", "go on"), {}, []),
        (said("Go on.", "TODO"), {}, [("only_placeholder", {"begins": "TODO", "ends": "TODO"})]),
        (said("q", "a few words"), THREE, []),
        (
            said("q", "two words"),
            THREE,
            TWO,
        ),
        (
            record("two words", target="{}"),
            THREE,
            TWO,
        ),
        (
            said("q", "one " * 40),
            {"rules": {"duplicate_10gram": {"then": "reject"}}},
            [("duplicate_10gram", {"measured": 0.975, "high": 0.1})],
        ),
        (said("q", "one " * 40), {}, [("loop", {"begins": "one " * 25, "ends": " one" * 25})]),
        (said("q", " ".join(map(str, range(20))) * 4), {}, []),
        (record("one " * 40, target="{}"), {}, []),
    ],
)
def test_reasons_at_their_bounds(
    row: dict[str, Any], settings: dict[str, Any], expected: list[tuple[str, dict[str, Any]]]
) -> None:
    assert reasons(row, **settings) == expected


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{", "Expecting property name"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": 1e999}', "too large"),
        ('{"a": 1, "a": 2}', "duplicate key 'a'"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": 1} x', "Extra data"),
        ("[" * 100_000, "nested too deeply"),
        ("yes", "Expecting value"),
    ],
)
def test_a_target_that_is_not_strict_json(target: str, words: str) -> None:
    [(reason, evidence)] = reasons(record("q", target=target))
    assert reason == "target_not_json"
    assert words in evidence["message"]
    assert evidence["target"] == target


def test_answers_that_are_not_trained_are_not_judged_and_one_must_be_trained() -> None:
    wrong = turn("assistant", "no", trained=False)
    assert reasons(record("q", wrong)) == [("nothing_trained", {"chars": 0, "bound": 1})]
    assert reasons(record("q", wrong, "really?")) == [("nothing_trained", {"chars": 0, "bound": 1})]
    assert reasons(record("q", "and?")) == [("no_answer", {"chars": 0, "bound": 1})]
    good = record("q", ("assistant", "yes it is"), "sure?", wrong)
    assert reasons(good, **THREE) == []
    assert reasons(record("q", ("assistant", "it is"), "sure?", wrong), **THREE) == TWO


def test_rules_of_a_recipe_go_over_the_default() -> None:
    quality = Quality(rules={"words": {"then": "reject"}, "refusal": {"then": "ignore"}})
    assert quality.rules == RULES | {
        "words": RULES["words"].model_copy(update={"then": "reject"}),
        "refusal": RULES["refusal"].model_copy(update={"then": "ignore"}),
    }
    assert Quality.model_validate(quality.model_dump()) == quality
    with pytest.raises(ValidationError, match="no such rule: wordz; there are words"):
        Quality(rules={"wordz": {}})
    with pytest.raises(ValidationError, match="worst and best are the same"):
        Quality(rating={"meta": "votes", "worst": 1, "best": 1})


def test_what_a_row_is_worth() -> None:
    assert worth(said("q", "word " * 3)) == round((1 + math.sqrt(3 / 300)) / 2, 2) == 0.55
    assert worth(said("q", "a b c d e f g h i j"), enough_words=40) == 0.75
    assert worth(said("q", "a b c d e f g h i j"), enough_words=10) == worth(said("q", "a"), enough_words=0) == 1
    assert worth(said("q", "I'm sorry, I cannot help."), enough_words=0) == 0.5
    assert worth(said("q", "I'm sorry, I cannot help, as an AI, I"), enough_words=0) == 0.25
    assert worth(record("q", target="{}")) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 1), ("5", 0), ("2", 0.6), (" 2.5 ", 0.5), ("+5e0", 0), ("9", 0), ("-1", 1), ("nan", 0.55), ("first", 0.55)],
)
def test_a_rating_takes_the_place_of_what_is_measured(value: str, expected: float) -> None:
    rating = {"meta": "rank", "worst": 5, "best": 0}
    assert worth(said("q", "three words here", meta={"rank": value}), rating=rating) == expected
    assert worth(said("q", "three words here", meta={"other": value}), rating=rating) == 0.55


def test_counters_are_of_rows_kept() -> None:
    rows = [said("Go on.", "TODO"), said("q", "Yours, [your name]."), said("q", "a", meta={"votes": "3"})]
    outcome = Quality(rating={"meta": "votes", "worst": 0, "best": 4}).run(table_of(rows))
    assert outcome.counters == {"placeholder": 1, "rated": 1}
    assert outcome.kept["quality"].to_pylist()[1] == 0.75


def test_the_benchmark_counts_what_each_rule_alone_would_take() -> None:
    answers = ["TODO", "I'm sorry, I cannot.", "Yours, [your name].", "#"]
    hits = found(table_of([said("Go on.", answer, id=str(row)) for row, answer in enumerate(answers)]))
    assert list(hits) == list(RULES)
    assert (hits["only_placeholder"], hits["refusal"], hits["placeholder"]) == ([0], [1], [0, 2])
    assert (hits["words"], hits["symbol_to_word"]) == ([0, 1, 2, 3], [3])


@settings(max_examples=30)
@given(RECORDS)
def test_rows_are_conserved_whatever_their_layout(rows: list[dict[str, Any]]) -> None:
    outcomes = [Quality(min_chars=3, max_chars=12, min_answer_chars=2).run(table) for table in layouts(rows)]
    for outcome in outcomes:
        assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows)
        assert outcome.rejected.equals(outcomes[0].rejected)
        assert outcome.kept.equals(outcomes[0].kept)
    kept = outcomes[0].kept
    assert kept["quality"].null_count == 0
    assert kept["quality"].type == pa.float32()
    records = kept.drop_columns(["quality", "signals"]).to_pylist(maps_as_pydicts="strict")
    assert records == [row for row in rows if not reasons(row, min_chars=3, max_chars=12, min_answer_chars=2)]


def test_signals_are_a_column_and_null_where_nothing_is_said() -> None:
    table = Quality().run(table_of([said("q", "an answer"), record("a prompt", target="{}")])).kept
    first, second = table["signals"].to_pylist()
    assert list(first) == list(second) == list(RULES)
    assert first["words"] == second["words"] == 2
    assert (first["echo"], second["echo"]) == (False, None)
    again = Quality().run(table)
    assert again.kept.equals(table)


def replies(message: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(question, better reply, worse reply) of a conversation tree, in all its branches."""
    ranked = [reply for reply in message["replies"] if reply["role"] == "assistant" and reply.get("rank") is not None]
    pairs = [
        (message["text"], better["text"], worse["text"])
        for better in ranked
        for worse in ranked
        if better["rank"] < worse["rank"]
    ]
    return pairs + [pair for reply in message["replies"] for pair in replies(reply)]


def test_quality_ranks_replies_as_people_do_better_than_chance(shared_data: Path) -> None:
    lines = (shared_data / "ins_oasst_trees/en_100_tree.jsonl").read_bytes().splitlines()
    pairs = [pair for line in lines for pair in replies(orjson.loads(line)["prompt"])]
    assert len(pairs) == 754
    better, worse = (
        Quality(rules={name: {"then": "score"} for name, rule in RULES.items() if rule.then == "reject"})
        .run(table_of([said(pair[0] or "?", pair[at]) for pair in pairs]))
        .kept["quality"]
        .to_numpy()
        for at in (1, 2)
    )
    wins, ties = int((better > worse).sum()), int((better == worse).sum())
    assert (wins + ties / 2) / len(pairs) > 0.65


def test_no_licence_notice_is_lost(licence_data: Path) -> None:
    files = sorted((licence_data / "rules").glob("*.RULE"))[::20]
    rows = [record(file.read_text(encoding="utf-8").split("---", 2)[2].strip(), target='{"a": 1}') for file in files]
    outcome = Quality(min_chars=2, max_chars=200_000).run(table_of([row for row in rows if row["turns"][0]["content"]]))
    assert outcome.rejected["reason"].to_pylist() == []
    assert set(outcome.kept["quality"].to_pylist()) == {1.0}
    assert set(measure(outcome.kept)) == set(RULES)
