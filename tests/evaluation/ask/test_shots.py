"""Shots: which, in what order, and as earlier turns that are rendered like everything else."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from curate.errors import AssayError
from evaluation.ask.baselines import words
from evaluation.ask.shots import Shots, asked, conversation, fitting
from tests.tiny import ANSWERS, NOTICES, QUESTION, renderer_of
from train.examples import Row


def row(number: int, text: str, label: str = "a", answer: str = "{}", tokens: int = 10) -> Row:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return {"id": f"{number:04}", "label": label, "cluster": f"c{number}", "tokens": tokens, "messages": messages}


WORDS = "the box on a shelf holds some small round balls that people painted for games in spring".split()  # noqa: SIM905


def made(count: int) -> list[Row]:
    draw = random.Random(count)
    return [
        row(number, " ".join(draw.choices(WORDS, k=draw.randint(2, 12))), draw.choice("aaab"))
        for number in range(count)
    ]


def bm25(documents: list[list[str]], query: list[str]) -> list[float]:
    """BM25 as Lucene has it, by its definition."""
    mean = sum(map(len, documents)) / len(documents)
    contained = Counter(term for document in documents for term in set(document))
    scores = []
    for document in documents:
        counts = Counter(document)
        score = 0.0
        for term in query:
            idf = math.log(1 + (len(documents) - contained[term] + 0.5) / (contained[term] + 0.5))
            score += idf * counts[term] / (counts[term] + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean))
        scores.append(score)
    return scores


def test_nearest_is_bm25_the_most_alike_last() -> None:
    rows = made(60)
    shots = Shots(rows, 100, 0)
    for question in ("small round balls", "the spring games people painted", "nothing known"):
        scores = bm25([words(asked(each)) for each in rows], words(question))
        best = sorted(range(60), key=lambda place: (-round(scores[place], 5), rows[place]["id"]))[:5]
        chosen = [int(each["id"]) for each in shots.nearest(question, 5)]
        assert [round(scores[place], 4) for place in chosen[::-1]] == [round(scores[place], 4) for place in best]
    assert [each["id"] for each in shots.nearest("…", 3)] == ["0002", "0001", "0000"], "no word: ties by id"
    alike = Shots([row(number, "one and the same") for number in (3, 1, 2)], 100, 0)
    assert [each["id"] for each in alike.nearest("the same", 2)] == ["0002", "0001"]


def test_words_that_no_row_has_tell_nothing() -> None:
    """Nor do rows without any word."""
    for questions in (["one", "two", "three"], ["!", "?", "..."]):
        shots = Shots([row(place, question) for place, question in enumerate(questions)], 100, 0)
        assert [each["id"] for each in shots.nearest("other words", 2)] == ["0001", "0000"]


def test_fixed_is_by_seed_and_by_label_whatever_the_order() -> None:
    rows = made(80)
    chosen = Shots(rows, 100, 0).fixed(8)
    assert chosen == Shots(rows[::-1], 100, 0).fixed(8)
    assert chosen != Shots(rows, 100, 1).fixed(8)
    share = sum(each["label"] == "b" for each in rows) / 80
    assert abs(sum(each["label"] == "b" for each in chosen) - 8 * share) < 1
    assert Shots(rows, 100, 0).fixed(0) == Shots(rows, 100, 0).nearest("small", 0) == []


def test_long_rows_are_not_shown_and_there_must_be_enough() -> None:
    rows = [row(number, "some text", tokens=number) for number in range(1, 11)]
    shots = Shots(rows, 6, 0)
    shots.check("few", 6)
    assert {each["tokens"] for each in shots.fixed(6)} == {1, 2, 3, 4, 5, 6}
    with pytest.raises(
        AssayError, match=r"evaluation.systems.few: 7 shots, but the train split has 6 rows of at most 6"
    ):
        shots.check("few", 7)


def test_a_conversation_keeps_its_own_system_turn() -> None:
    asking = row(1, "question")
    asking["messages"].insert(0, {"role": "system", "content": "mine"})
    shown = row(2, "shot", answer="A")
    shown["messages"].insert(0, {"role": "system", "content": "its"})
    said = [(turn["role"], turn["content"]) for turn in conversation(asking, [shown, row(3, "next", answer="B")])]
    assert said == [
        ("system", "mine"),
        *[("user", "shot"), ("assistant", "A"), ("user", "next"), ("assistant", "B"), ("user", "question")],
    ]


def test_what_is_shown_is_what_is_trained_token_for_token(model_folder: Path) -> None:
    """A prompt with shots begins with the very tokens a row is trained on, its stop token too."""
    renderer = renderer_of(model_folder)
    shown = [row(number, QUESTION + NOTICES[number], answer=str(ANSWERS[number])) for number in range(2)]
    asking = row(9, QUESTION + NOTICES[2])
    prompt, fitted = fitting(asking, shown, renderer, None)
    assert fitted == shown
    trained = renderer.encode(shown[0]["messages"]).input_ids
    assert prompt[: len(trained)] == trained
    assert renderer.decode(prompt) == renderer.template.render(
        conversation(asking, shown), renderer.tokens, add_generation_prompt=True
    )
    assert fitting(asking, [], renderer, None)[0] == renderer.prompt_ids(asking["messages"])


def test_the_first_shots_go_if_they_do_not_fit(model_folder: Path) -> None:
    renderer = renderer_of(model_folder)
    shown = [row(number, QUESTION + NOTICES[number], answer=str(ANSWERS[number])) for number in range(3)]
    asking = row(9, QUESTION + NOTICES[2])
    lengths = [len(fitting(asking, shown[first:], renderer, None)[0]) for first in range(4)]
    for first, length in enumerate(lengths):
        assert fitting(asking, shown, renderer, length) == fitting(asking, shown[first:], renderer, None)
    with pytest.raises(AssayError, match=rf"Row 0009: its prompt has {lengths[3]} tokens; .* leaves {lengths[3] - 1}"):
        fitting(asking, shown, renderer, lengths[3] - 1)


def test_what_all_rows_begin_and_end_with_is_not_compared() -> None:
    """A template's words would count for a short row as much as its own."""
    notices = {"a": "red", "b": "blue and the question is long " * 3, "c": "green"}
    rows = [
        {
            "id": key,
            "tokens": 1,
            "messages": [{"role": "user", "content": f"Say the question:\n\n{text}\nIn JSON."}, {}],
        }
        for key, text in notices.items()
    ]
    shots = Shots(rows, 10, 0)
    assert shots._template == ("Say the question:\n\n", "\nIn JSON.")
    assert [row["id"] for row in shots.nearest("Say the question:\n\nred\nIn JSON.", 1)] == ["a"]
    assert Shots([], 10, 0)._template == ("", "")
