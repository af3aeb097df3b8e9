"""Duplicates and conflicts against brute force."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.record import SCHEMA, SPLITS, content_id
from curate.sets.duplicates import Duplicates
from curate.sets.similarity import jaccard
from curate.sets.split import HELD_BACK_FIRST, Split, bridging_rows
from curate.text.words import shingle_sets
from tests.judged import Judged, judged, keys_of
from tests.splits import assign, codes, masks


def record(prompt: str, answer: str, row: int = 0) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}]
    source = {"drop": None, "file": "f", "row": row}
    known = {"id": content_id(turns, answer), "turns": turns, "target": answer, "source": source, "meta": []}
    return dict.fromkeys(SCHEMA.names) | known


def table(rows: list[tuple[str, str]]) -> pa.Table:
    records = [record(prompt, answer, number) for number, (prompt, answer) in enumerate(rows)]
    return pa.Table.from_pylist(records, schema=SCHEMA)


def verdict_of(rows: list[tuple[str, str]], **settings: Any) -> tuple[pa.Table, Judged]:
    data, chosen = table(rows), Duplicates(**settings)
    return data, judged(data, chosen)


def sets_of(data: pa.Table) -> list[Any]:
    offsets, values = shingle_sets(
        pa.array([turns[0]["content"] for turns in data["turns"].to_pylist()], pa.string()), 5
    )
    return [values[begin:end] for begin, end in itertools.pairwise(offsets)]


def check_against_brute_force(data: pa.Table, verdict: Judged, threshold: float) -> tuple[int, int]:
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


def test_an_answer_that_is_no_json_is_not_read_as_null() -> None:
    rows = [
        record("same words", "")
        | {"turns": [{"role": "user", "content": "same words"}, {"role": "assistant", "content": text}]}
        for text in ('{"a": NaN}', '{"a": null}')
    ]
    data = pa.Table.from_pylist([row | {"target": None} for row in rows], schema=SCHEMA)
    assert judged(data, Duplicates()).reason == ["conflict", "conflict"]


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


CJK = (
    "本许可证授予您免费使用复制修改合并出版发行再许可和销售本软件副本的权利但须在所有副本中保留上述版权声明和本许可声明"
)
THAI = "สิทธิ์ในการใช้ทำสำเนาแก้ไขและเผยแพร่ซอฟต์แวร์นี้ได้รับอนุญาตโดยไม่เสียค่าใช้จ่ายตามเงื่อนไขที่กำหนดไว้ในเอกสารนี้"
ARABIC = "يمنح هذا الترخيص كل من يحصل على نسخة من هذا البرنامج الحق في استخدامه ونسخه وتعديله ونشره وتوزيعه دون مقابل"
MEGABYTE = " ".join(f"word{number}" for number in range(105_000))


@pytest.mark.parametrize("text", [CJK, THAI, ARABIC, MEGABYTE], ids=["Han", "Thai", "Arabic", "a megabyte"])
def test_near_duplicates_in_any_script_and_of_any_size(text: str) -> None:
    longer, other = text + " 2024", text[len(text) // 2 :]
    data, verdict = verdict_of([(text, "{}"), (longer, "{}"), (other, "{}")])
    assert verdict.reason == ["near_duplicate", None, None]
    check_against_brute_force(data, verdict, 0.8)


def test_rows_of_few_words_are_compared_whole() -> None:
    texts = ["", " ", "!", "?!", "MIT", "mit", "MIT.", "GPL", "GPL v2 or later", "gpl V2, or later", "GPL v3 or later"]
    data, verdict = verdict_of([(text, "{}") for text in texts])
    kept = {text for text, reason in zip(texts, verdict.reason, strict=True) if reason is None}
    assert {text.lower().strip("., ").replace(",", "") for text in kept} == {
        "", "!", "?!", "mit", "gpl", "gpl v2 or later", "gpl v3 or later"
    }  # fmt: skip
    assert len(kept) == 7
    check_against_brute_force(data, verdict, 0.8)


INSTRUCTION = "You are a careful paralegal. Answer in JSON. " + " ".join(f"rule{number}" for number in range(80)) + ". "


def with_turns(turns: list[tuple[str, str]], target: str | None, row: int) -> dict[str, Any]:
    listed = [{"role": role, "content": content} for role, content in turns]
    return record("", "", row) | {"id": content_id(listed, target), "turns": listed, "target": target}


def test_rows_that_share_only_an_instruction_are_not_merged() -> None:
    clauses = ["Governing law is that of Ohio.", "Each party bears its own costs.", "Notice is given in writing."]
    by_turn = [with_turns([("system", INSTRUCTION), ("user", clause)], "{}", row) for row, clause in enumerate(clauses)]
    data = pa.Table.from_pylist(by_turn, schema=SCHEMA)
    assert judged(data, Duplicates()).reason == [None] * 3
    assert len(set(judged(data, Duplicates()).cluster)) == 3
    inline = [(INSTRUCTION + clause, "{}") for clause in clauses]
    assert verdict_of(inline)[1].reason.count("near_duplicate") == 2  # by the words alone they are alike
    assert verdict_of(inline, boilerplate=[INSTRUCTION])[1].reason == [None] * 3


def test_a_system_turn_counts_where_nothing_else_is_said() -> None:
    rows = [with_turns([("system", text)], "{}", row) for row, text in enumerate(["one thing", "another thing"])]
    assert judged(pa.Table.from_pylist(rows, schema=SCHEMA), Duplicates()).reason == [None, None]


def test_the_answer_of_a_conversation_is_its_last_turn() -> None:
    talk = [("user", "what is the capital of the country"), ("assistant", "which one"), ("user", "of France")]
    rows = [with_turns([*talk, ("assistant", answer)], None, row) for row, answer in enumerate(["Paris", "Lyon"])]
    data = pa.Table.from_pylist(rows, schema=SCHEMA)
    assert judged(data, Duplicates()).reason == ["conflict", "conflict"]
    assert judged(data, Duplicates(scope="answer")).conflicts == [[0, 1]]


def test_near_equal_prompts_conflict_if_the_recipe_says_so() -> None:
    long = "does this clause of the agreement between the two parties limit the liability of the supplier in any way"
    rows = [(long, '{"a": 1}'), (long + " here", '{"a": 2}'), (long.upper(), '{"a": 1}'), ("apart", "{}")]
    assert verdict_of(rows)[1].conflicts == []
    _, verdict = verdict_of(rows, conflict_similarity=0.9)
    assert [sorted(group) for group in verdict.conflicts] == [[0, 1, 2]]
    assert verdict.reason == ["conflict", "conflict", "conflict", None]
    assert verdict_of(rows, conflict_similarity=0.9, conflicts="majority")[1].reason.count("conflict") == 1
    assert verdict_of(rows, conflict_similarity=1.0)[1].conflicts == []


@pytest.mark.parametrize(("scope", "similarity"), [("both", 0.9), ("prompt", 0.5)])
def test_a_conflict_similarity_that_cannot_be_held_is_an_error(scope: Any, similarity: float) -> None:
    with pytest.raises(ValueError, match="conflict_similarity"):
        Duplicates(scope=scope, conflict_similarity=similarity)


def test_rows_with_one_prompt_share_a_cluster_whatever_the_scope() -> None:
    rows = [("same question", "one answer of some length"), ("same question", "quite another thing to say")]
    verdict = verdict_of(rows, scope="both", conflicts="keep_and_flag")[1]
    assert verdict.reason == [None, None]
    assert len(set(verdict.cluster)) == 1


MANY = 40_000
"""Compared each with each, rows of one bucket would take minutes and run into the test's time limit."""


@pytest.mark.parametrize("answers", ["{}", None], ids=["one answer", "each another"])
def test_a_bucket_of_very_many_rows_that_are_alike(answers: str | None) -> None:
    base = [f"w{number}" for number in range(200)]
    rows = []
    for number in range(MANY):
        changed = [*base]
        changed[number % 200] = f"x{number}"
        rows.append((" ".join(changed), answers or str(number)))
    verdict = verdict_of(rows)[1]
    assert len(set(verdict.cluster)) == 1
    assert verdict.reason.count(None) == (1 if answers else MANY)


def test_very_many_rows_that_share_only_their_beginning() -> None:
    same = " ".join(f"w{number}" for number in range(60))
    rows = [(f"{same} {' '.join(f'x{number}y{at}' for at in range(40))}", "{}") for number in range(MANY // 2)]
    verdict = verdict_of(rows)[1]
    assert verdict.reason == [None] * len(rows)
    assert len(set(verdict.cluster)) == len(rows)


def test_who_says_what_counts() -> None:
    """One text, said by others: a duplicate only as far as what is compared is alike, but of one cluster."""
    system, user, answer = ("system", "Be brief and kind."), ("user", "Is it so?"), ("assistant", "yes")
    together = ("user", "Be brief and kind.\n\nIs it so?")
    rows = [with_turns([system, user, answer], None, 0), *(with_turns([together, answer], None, row) for row in (1, 2))]
    verdict = judged(pa.Table.from_pylist(rows, schema=SCHEMA), Duplicates())
    assert verdict.reason == [None, None, "exact_duplicate"]
    assert len(set(verdict.cluster)) == 1


@pytest.mark.parametrize(("quality", "kept"), [([0.5, 0.5], 1), ([0.9, 0.5], 0), ([0.5, 0.9], 1)])
def test_the_better_row_stays(quality: list[float], kept: int) -> None:
    text = " ".join(f"word{number}" for number in range(30))
    data = table([(text, "yes"), (text + " so", "yes")]).append_column("quality", pa.array(quality, pa.float32()))
    reasons = [None, None]
    reasons[1 - kept] = "near_duplicate"
    assert judged(data, Duplicates()).reason == reasons


ASKED = st.tuples(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=5),
    st.sampled_from(["yes", "no"]),
    st.sampled_from(SPLITS),
    st.none() | st.sampled_from(["g", "h"]),
)


@settings(max_examples=200)
@given(st.lists(ASKED, min_size=1, max_size=14), st.sampled_from([0.3, 0.5, 0.8]))
def test_what_goes_as_a_duplicate_names_a_row_that_stays(
    rows: list[tuple[list[str], str, str, str | None]], threshold: float
) -> None:
    """Rows of splits that the data names, some of them in groups: the split turns no row away that another went for."""
    data = table([(" ".join(words), json.dumps({"is": answer})) for words, answer, _, _ in rows])
    chosen = Duplicates(threshold=threshold, shingle_words=1, conflicts="keep_and_flag")
    keys = keys_of(data, chosen)
    named = [split for _, _, split, _ in rows]
    groups = pa.chunked_array([pa.array([group for *_, group in rows], pa.string())])

    def bridging(order: Any, clusters: Any, _ties: Any, _gone: Any) -> Any:
        placed, splits = pa.array(order), codes([named[row] for row in order.tolist()])
        tied = masks([()] * len(rows))
        return bridging_rows(keys["id"].take(placed), groups.take(placed), clusters, tied, [], splits)

    rank = np.array([HELD_BACK_FIRST.index(split) for split in named])
    found = judged(data, chosen, rank=rank, bridging=bridging)
    left = [row for row in range(len(rows)) if found.reason[row] is None and row not in found.bridges]
    given = assign(
        keys["id"].take(pa.array(left, pa.int64())).to_pylist(),
        [rows[row][3] for row in left],
        [found.cluster[row] for row in left],
        [None] * len(left),
        Split(named="part"),
        {},
        named=[named[row] for row in left],
    )
    assert not given.bridges
    assert len({data["id"][row].as_py() for row in left}) == len(left), "no row is there twice"
    stayed = {(keys["file"][row].as_py(), keys["row"][row].as_py()): row for row in left}
    for row, (reason, evidence) in enumerate(zip(found.reason, found.evidence, strict=True)):
        if reason is not None:
            seen = json.loads(str(evidence))
            kept = stayed[seen["file"], seen["row"]]
            assert named[row] != "test" or named[kept] == "test"
