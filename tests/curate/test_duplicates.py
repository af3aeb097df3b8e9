"""Duplicates and conflicts against brute force."""

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.duplicates import Duplicates, Verdict, compared_text, judge, key_table
from curate.near_dedup import jaccard
from curate.record import SCHEMA, content_id
from curate.words import shingle_sets


def record(prompt: str, answer: str, row: int = 0) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}]
    source = {"drop": None, "file": "f", "row": row}
    known = {"id": content_id(turns, answer), "turns": turns, "target": answer, "source": source, "meta": []}
    return dict.fromkeys(SCHEMA.names) | known


def table(rows: list[tuple[str, str]]) -> pa.Table:
    records = [record(prompt, answer, number) for number, (prompt, answer) in enumerate(rows)]
    return pa.Table.from_pylist(records, schema=SCHEMA)


def verdict_of(rows: list[tuple[str, str]], **settings: Any) -> tuple[pa.Table, Verdict]:
    data, chosen = table(rows), Duplicates(**settings)
    return data, judged(data, chosen)


def judged(data: pa.Table, settings: Duplicates) -> Verdict:
    texts = compared_text(data, settings)
    return judge(key_table(data, settings), settings, lambda rows: texts.take(pa.array(rows)))


def sets_of(data: pa.Table) -> list[Any]:
    offsets, values = shingle_sets(
        pa.array([turns[0]["content"] for turns in data["turns"].to_pylist()], pa.string()), 5
    )
    return [values[begin:end] for begin, end in itertools.pairwise(offsets)]


def check_against_brute_force(data: pa.Table, verdict: Verdict, threshold: float) -> tuple[int, int]:
    """Soundness of every removal, and how many pairs with equal answers at the threshold are both kept, of how many."""
    ids, answers = data["id"].to_pylist(), data["target"].to_pylist()
    sets = sets_of(data)
    kept = [row for row, reason in enumerate(verdict.reason) if reason is None]
    kept_by_id = {ids[row]: row for row in kept}
    for row, reason in enumerate(verdict.reason):
        if reason in ("exact_duplicate", "near_duplicate"):
            evidence = json.loads(verdict.evidence[row] or "")
            rival = kept_by_id[evidence["kept"]]
            assert answers[rival] == answers[row]
            assert evidence["similarity"] == pytest.approx(jaccard(sets[row], sets[rival]), abs=1e-6)
            assert evidence["similarity"] >= threshold
            assert verdict.cluster[row] == verdict.cluster[rival]
    both_kept = pairs = 0
    judged = [row for row, reason in enumerate(verdict.reason) if reason != "conflict"]
    for first, second in itertools.combinations(judged, 2):
        small, large = sorted((len(sets[first]), len(sets[second])))
        if small < threshold * large or jaccard(sets[first], sets[second]) < threshold:
            continue
        if answers[first] == answers[second]:
            pairs += 1
            both_kept += verdict.reason[first] is None and verdict.reason[second] is None
    return both_kept, pairs


words = st.sampled_from([*"abcdefghijklmn"])
prompts = st.lists(words, max_size=14).map(" ".join)


@settings(max_examples=60)
@given(st.lists(st.tuples(prompts, st.sampled_from(["{}", '{"a": 1}'])), max_size=25), st.sampled_from([0.5, 0.8, 1.0]))
def test_removals_are_sound_and_complete(rows: list[tuple[str, str]], threshold: float) -> None:
    data, verdict = verdict_of(rows, threshold=threshold, conflicts="keep_and_flag")
    assert check_against_brute_force(data, verdict, threshold)[0] == 0


@settings(max_examples=30)
@given(st.lists(st.tuples(prompts, st.sampled_from(["{}", '{"a": 1}'])), min_size=1, max_size=20), st.randoms())
def test_order_of_the_rows_changes_nothing(rows: list[tuple[str, str]], random: Any) -> None:
    data, chosen = table(rows), Duplicates(threshold=0.6)
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    first, second = judged(data, chosen), judged(data.take(pa.array(shuffled)), chosen)
    for name in ("reason", "evidence", "cluster"):
        assert [getattr(first, name)[row] for row in shuffled] == getattr(second, name)


def test_another_answer_is_an_example_not_a_duplicate() -> None:
    long = "this program is free software you can redistribute it under the terms of the general public license version"
    rows = [(f"{long} two", '{"k": 2}'), (f"{long} two or later", '{"k": 3}'), (f"{long} two or any later", '{"k": 3}')]
    _data, verdict = verdict_of(rows, threshold=0.7)
    assert [reason for reason in verdict.reason if reason] == ["near_duplicate"]
    assert verdict.reason[0] is None
    assert len(set(verdict.cluster)) == 1  # one cluster for the split, whatever the answers
    _, relaxed = verdict_of(rows, threshold=0.7, same_target=False)
    assert relaxed.reason.count("near_duplicate") == 2


def test_the_longer_row_is_kept_and_named() -> None:
    short = "one two three four five six seven eight nine ten eleven twelve"
    data, verdict = verdict_of([(short, "{}"), (short + " thirteen", "{}")], threshold=0.8)
    assert verdict.reason == ["near_duplicate", None]
    assert json.loads(verdict.evidence[0] or "") == {
        "kept": data["id"][1].as_py(),
        "version": None,
        "file": "f",
        "row": 1,
        "similarity": round(8 / 9, 6),
        "cluster": min(data["id"].to_pylist()),
    }


def test_a_removed_rows_twin_names_the_row_that_was_kept() -> None:
    short = "one two three four five six seven eight nine ten eleven twelve"
    data, verdict = verdict_of([(short, "{}"), (short + " thirteen", "{}"), (short, "{}")], threshold=0.8)
    assert verdict.reason == ["near_duplicate", None, "near_duplicate"]
    assert {json.loads(seen)["kept"] for seen in verdict.evidence if seen} == {data["id"][1].as_py()}
    check_against_brute_force(data, verdict, 0.8)


def test_chains_go_by_the_rule_and_form_one_cluster() -> None:
    base = [f"w{number}" for number in range(30)]
    rows = [(" ".join(base[start : start + 20 + start % 2]), "{}") for start in range(0, 9, 3)]
    data, verdict = verdict_of(rows, threshold=0.6)
    sets = sets_of(data)
    assert jaccard(sets[0], sets[1]) >= 0.6 > jaccard(sets[0], sets[2])
    assert len(set(verdict.cluster)) == 1
    assert check_against_brute_force(data, verdict, 0.6)[0] == 0


def test_json_answers_are_compared_by_value_not_by_spelling() -> None:
    rows = [
        record("same words", "")
        | {"turns": [{"role": "user", "content": "same words"}, {"role": "assistant", "content": text}]}
        for text in ('{"a": 1, "b": 2}', '{"b":2,"a":1}')
    ]
    data = pa.Table.from_pylist([row | {"target": None} for row in rows], schema=SCHEMA)
    verdict = judged(data, Duplicates())
    assert sorted(reason or "" for reason in verdict.reason) == ["", "exact_duplicate"]


def test_short_distinct_rows_are_all_kept() -> None:
    rows = [
        (text, "{}") for text in ("MIT", "GPL", "Apache 2", "Apache 1.1", "BSD", "!", "?", "许可", "ใบอนุญาต", "رخصة")
    ]
    assert verdict_of(rows)[1].reason == [None] * len(rows)


CONFLICT = [
    ("same question", '{"a": 1}'),
    ("same question", '{"a": 2}'),
    ("same question", '{"a": 1}'),
    ("other", "{}"),
]


@pytest.mark.parametrize(
    ("policy", "rows", "conflicts", "duplicates"),
    [
        ("quarantine", CONFLICT, 3, 0),
        ("majority", CONFLICT, 1, 1),
        ("majority", CONFLICT[:2], 2, 0),
        ("keep_and_flag", CONFLICT, 0, 1),
    ],
)
def test_conflicts(policy: str, rows: list[tuple[str, str]], conflicts: int, duplicates: int) -> None:
    _, verdict = verdict_of(rows, conflicts=policy)
    assert verdict.reason.count("conflict") == conflicts
    assert verdict.reason.count("exact_duplicate") == duplicates
    assert [sorted(group) for group in verdict.conflicts] == [[0, 1, 2][: len(rows)]]


def test_scope_is_the_rows_own_words() -> None:
    prompt = "what does this clause of the contract between the two parties say about governing law"
    rows = [(prompt, "the laws of the state of New York govern"), (prompt + " here", "nothing at all")]
    assert verdict_of(rows, scope="answer", same_target=False)[1].reason == [None, None]
    assert verdict_of(rows, scope="prompt", same_target=False)[1].reason.count("near_duplicate") == 1


def test_no_rows() -> None:
    verdict = verdict_of([])[1]
    assert (verdict.reason, verdict.cluster, verdict.conflicts) == ([], [], [])


def test_licence_notices_against_brute_force(licence_data: Path) -> None:
    paths = sorted((licence_data / "rules").glob("gpl-2*.RULE"))[:1200]
    rows = []
    for path in paths:
        front, text = path.read_text(encoding="utf-8")[3:].split("\n---\n", 1)
        expression = next(line for line in front.splitlines() if line.startswith("license_expression"))
        rows.append((text.strip(), expression))
    data, verdict = verdict_of(rows, conflicts="keep_and_flag")
    both_kept, pairs = check_against_brute_force(data, verdict, 0.8)
    assert pairs > 1000
    assert both_kept <= pairs / 1000
