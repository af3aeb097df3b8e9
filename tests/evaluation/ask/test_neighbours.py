"""Training rows beside a row that was asked: the most alike, how alike, and which are near-duplicates."""

import json
from typing import Any

import pytest

from evaluation.ask.neighbours import SHOWN, neighbours, similarities
from evaluation.ask.shots import Shots
from evaluation.card.taught import lessons
from evaluation.judge.answer import Answer, Generated
from evaluation.judge.fields import fields_of
from evaluation.judge.structured import Judge

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"type": "string"}, "year": {"type": "integer"}, "tags": {"type": "array"}},
}


def row(number: int, text: str, target: str | None = '{"kind": "a"}', cluster: str | None = None) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What is it?\n\n{text}\n\nAnswer in JSON."}, {"content": target or text}]
    return {"id": f"{number:02}", "label": None, "cluster": cluster, "tokens": 9, "messages": messages} | {
        "target": target
    }


def test_the_most_alike_come_first_and_never_the_row_itself() -> None:
    words = ["lease", "of", "a", "house", "by", "the", "sea", "for", "two", "years", "from", "may"]
    train = [row(number, " ".join(words[: 11 - number])) for number in range(8)]
    train += [row(20, "nothing of this"), row(21, "something else", cluster="c")]
    found = neighbours(train[0], Shots.of_any_length(train, 0))
    assert len(found) == SHOWN
    assert "00" not in [each.id for each in found]
    assert all(each.question.startswith("lease") for each in found), "without the template's words"
    assert [each.near for each in found] == [each.similarity >= 0.8 for each in found]
    assert any(each.near for each in found)
    of_cluster = neighbours(row(30, "something", cluster="c"), Shots.of_any_length(train, 0))
    assert [each.near for each in of_cluster if each.id == "21"] == [True]
    assert neighbours(train[0], Shots.of_any_length([train[0]], 0)) == []
    assert neighbours(train[0], Shots.of_any_length([], 0)) == []
    plain = neighbours(row(31, "x"), Shots.of_any_length([row(1, "x", None)], 0))
    assert [each.answer for each in plain] == ["x"]


@pytest.mark.parametrize("shared", range(7))
def test_similarity_is_that_of_sets_of_shingles(shared: int) -> None:
    one = [f"a{number}" for number in range(12)]
    other = [*one[: 5 + shared], *(f"b{number}" for number in range(4))]
    sets = [{tuple(each[at : at + 5]) for at in range(len(each) - 4)} for each in (one, other)]
    assert similarities(" ".join(one), [" ".join(other), "z"]) == pytest.approx(
        [len(sets[0] & sets[1]) / len(sets[0] | sets[1]), 0.0]
    )


def test_what_training_rows_say_of_the_fields_that_are_wrong() -> None:
    judge = Judge(SCHEMA)
    wanted = {"kind": "a", "year": 1999, "tags": ["x"]}
    expected = '{"kind": "a", "year": 1999, "tags": ["x"]}'
    said = {
        "good": expected,
        "bad": '{"kind": "B", "year": 1999, "tags": ["x"]}',
        "other": '{"kind": "a", "tags": ["x"]}',
        "none": "no JSON",
    }
    answers = {}
    for name, text in said.items():
        judgement = judge(text, wanted)
        answers[name] = Answer(Generated(text), judgement, judgement.whole_match)
    train = [row(1, "x", '{"kind": "A", "year": 1999}'), row(2, "x", '{"kind": "b", "tags": ["x"]}')]
    near = neighbours(row(3, "x"), Shots.of_any_length(train, 0))
    told = lessons(near, expected, answers, fields_of(SCHEMA, {}), json.loads)
    unread = {"none": answers["none"]}
    assert [len(of) for of in lessons(near, expected, unread, judge.fields, json.loads)] == [3, 3], "all are wrong"
    by_id = {
        each.id: {one.field: (one.text, one.right, list(one.said)) for one in of}
        for each, of in zip(near, told, strict=True)
    }
    assert by_id == {
        "01": {"kind": ('"A"', True, []), "year": ("1999", True, [])},
        "02": {"kind": ('"b"', False, ["bad"]), "year": (None, False, ["other"])},
    }
    only = {name: answers[name] for name in ("good", "bad")}
    assert [[one.field for one in of] for of in lessons(near, expected, only, judge.fields, json.loads)] == [
        ["kind"]
    ] * 2


@pytest.mark.parametrize("answer", ["right", "wrong", "new"])
@pytest.mark.parametrize("said", ["right", "wrong"])
def test_plain_text_is_compared_as_a_whole(answer: str, said: str) -> None:
    near = neighbours(row(1, "x"), Shots.of_any_length([row(2, "x", answer)], 0))
    [[found]] = lessons(near, "right", {"one": Answer(Generated(said), None, said == "right")}, None, str)
    assert (found.text, found.right) == (answer, answer == "right")
    assert list(found.said) == (["one"] if answer == said == "wrong" else [])
