"""Think parts are set aside whatever marks them, and nothing else is."""

import pytest

from evaluation.judge.thinking import MOST, set_aside

ANSWER = '{"a": 1}'
DRAFT = 'perhaps {"a": 0}'


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>{DRAFT}</think>{ANSWER}",
        f"<THINKING>{DRAFT}</THINKING>{ANSWER}",
        f"{DRAFT[:8]} or not\n</think>{ANSWER}",
        f"<think>one</think><think>{DRAFT}</think>{ANSWER}",
        f"[THINK]{DRAFT}[/THINK]{ANSWER}",
        f"◁think▷{DRAFT}◁/think▷{ANSWER}",
        f"<|START_THINKING|>{DRAFT}<|END_THINKING|>{ANSWER}",
        f"<|channel>thought\n{DRAFT}<channel|>{ANSWER}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|channel|>final <|constrain|>json<|message|>{ANSWER}",
        f"analysisSo {DRAFT}.assistantfinal{ANSWER}",
    ],
)
def test_what_is_thought_before_the_answer_is_set_aside(reply: str) -> None:
    assert set_aside(reply) == (ANSWER, True)


@pytest.mark.parametrize(
    "reply", [f"<think>{DRAFT}", f"[THINK] {DRAFT}", f"Well. <think>{DRAFT}", f"<|channel|>analysis<|message|>{DRAFT}"]
)
def test_what_does_not_end_leaves_no_answer(reply: str) -> None:
    assert set_aside(reply) == (None, True)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        ANSWER,
        '{"a": "<think>b</think>"} so',
        '{"a": "</think>"} so',
        f"analysis of {ANSWER}",
        "[1] <think>",
        "I think",
    ],
)
def test_what_is_no_think_part_stays(reply: str) -> None:
    assert set_aside(reply) == (reply, False)


def test_an_empty_part_is_none_and_text_before_one_stays() -> None:
    assert set_aside(f"<think>\n\n</think>\n\n{ANSWER}") == (f"\n\n{ANSWER}", False)
    assert set_aside(f"Well. <think>hm</think>{ANSWER}") == (f"Well. {ANSWER}", True)
    assert set_aside(f"<|channel|>final<|message|>{ANSWER}<|return|>") == (ANSWER, False)


def test_no_more_than_so_many_parts_are_set_aside() -> None:
    reply, thought = set_aside("<think>a</think>" * (MOST + 1) + "{}")
    assert (reply, thought) == ("<think>a</think>{}", True)
