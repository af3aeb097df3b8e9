"""Loops: brute force, and what asks for repetition."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.loops import COPIES, LOOP_SHARE, LOOP_WORDS, loops
from curate.text.words import split_words

ANSWER = "He took the old boat. "


def found(prompt: str, answer: str) -> bool:
    answers = pa.array(["", answer, ""]).slice(1, 1)
    return bool(loops(pa.array([prompt]), answers, split_words(answers))[0])


def by_brute_force(words: list[str]) -> bool:
    """Every end of every period."""
    best, piece = 0, words[:0]
    for period in range(1, len(words) // COPIES + 1):
        length = period
        while length < len(words) and words[-1 - length] == words[-1 - length + period]:
            length += 1
        if length >= COPIES * period and length > best:
            best, piece = length, words[-period:]
    enough = len(words) >= LOOP_WORDS and best >= max(LOOP_WORDS, LOOP_SHARE * len(words))
    return enough and any(not word.isdigit() for word in piece)


WORDS = st.lists(st.sampled_from(["a", "b", "7", "8"]), max_size=12)


@settings(max_examples=300)
@given(WORDS, WORDS, st.integers(0, 30), st.integers(0, 12))
def test_loops_are_those_of_brute_force(first: list[str], piece: list[str], copies: int, cut: int) -> None:
    words = first + piece * copies + piece[:cut]
    assert found("Say it.", " ".join(words)) == by_brute_force(words)


@pytest.mark.parametrize("mark", ["{}.", "{})", "({})", "{}、", "  {}.", "\t({})"])
def test_the_numbers_of_items_are_no_part_of_a_text(mark: str) -> None:
    answer = "\n".join(f"{mark.format(n)} he took the old boat" for n in range(30))
    assert found("Say it.", answer)


@pytest.mark.parametrize("mark", ["{}", "{}:", "{}.5", "Day {}.", "{} x", "- {}.", "x){}"])
def test_other_numbers_are(mark: str) -> None:
    answer = "\n".join(f"{mark.format(n)} he took the old boat" for n in range(30))
    assert not found("Say it.", answer)


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("What did he do?", False),
        ("Write 'He took the old boat' on the wall.", True),
        ("Write “he took the old boat!” on the wall.", True),
        ("The wall says «he took the old boat, and rowed».", True),
        ("The wall says `took the old`, go on.", True),
        ("The wall says `the old`, go on.", False),
        ("What's the captain's word for: he took the old boat", True),
        ("Wall: he took the old boat", False),  # nothing asks for it
        ("For 12 walls", True),
        ("For 6 walls, two lines each", True),
        ("For 13 walls, the first is another", True),
        ("For 5 walls", False),
        ("For 30 walls", False),
        ("60 words, please", True),
        ("For 3 walls", False),
        ("In 12. 2004", False),
        ("他在12月5日", False),
        ("判处12年", False),
        ("给12个人", True),
        ("12, please", False),
    ],
)
def test_what_asks_for_twelve_copies(prompt: str, asked: bool) -> None:
    assert found(prompt, ANSWER * 12) is not asked


def test_a_prompt_that_is_repeated_does_not_ask_for_it() -> None:
    prompt = "Name what is sold in the sentence: he took the old boat"
    assert found(prompt, "The sentence: he took the old boat. " * 12)
    assert not found(prompt, ANSWER * 12)


def test_rows_are_told_apart() -> None:
    answers = pa.array([ANSWER * 12, "", ANSWER * 3, ANSWER * 20])
    prompts = pa.array(["Say it.", "", "Say it.", "Repeat it."])
    assert np.array_equal(loops(prompts, answers, split_words(answers)), [True, False, False, False])
