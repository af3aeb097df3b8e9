"""What was thought before an answer stands apart from it, whatever key or tag says it; what is not read is counted."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.account import MOST_KEYS, _few
from curate.read.conversation import Turn
from curate.read.mapping import Mapper, RecordMapping
from curate.read.raw import Row
from curate.read.reasoning import set_apart
from curate.stage import UNREAD_KEY

Q: Row = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a", "reasoning": "why"}


def a(content: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": content} | more


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [Q, a("a", reasoning_content="why")]},
        {"messages": [Q, a("a", thinking=" why\n")]},
        {"messages": [Q, a("a", reasoning_details=[{"type": "reasoning.text", "text": "why"}])]},
        {"messages": [Q, a([{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "a"}])]},
        {"messages": [Q, a("why", channel="analysis"), a("a", channel="final")]},
        {"messages": [Q, a("<think>\nwhy\n</think>\n\na")]},
        {"messages": [Q, a("<think>why</think>a", reasoning="why")]},
        {"messages": [Q, a("why\n</think>\n\na")]},
        {"messages": [Q, a("<|begin_of_thought|>why<|end_of_thought|><|begin_of_solution|>a<|end_of_solution|>")]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "thought": "why"}]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "<thinking>why</thinking> a"}]},
        {"instruction": "q", "output": "a", "chain_of_thought": "why"},
        {"question": "q", "rationale": ["why"], "answer": "a"},
        {"prompt": "q", "response": "<reasoning>why</reasoning>\na"},
        {"prompt": "q", "chosen": [a("a", reasoning="why")], "rejected": [a("b")]},
        {"text": "### Human: q ### Assistant: <think>why</think> a"},
        {"messages": [Q, a("a", reasoningContent="why")]},
        {"messages": [Q, a("a", Thoughts="why")]},
        {"messages": [Q, a("<Think>why</Think>a")]},
        {"messages": [Q, a("[THINK]why[/THINK]a")]},
        {"messages": [Q, a("◁think▷why◁/think▷a")]},
        {"messages": [Q, a("<|START_THINKING|>why<|END_THINKING|>a")]},
        {
            "messages": [
                Q,
                a("<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>a"),
            ]
        },
        {"question": "q", "answer": "a", "reasoning_steps": ["why"]},
        {"question": "q", "answer": "a", "deepseek_thinking_trajectory": "why"},
        {"question": "q", "answer": "a", "model_chain_of_thought": "why"},
        {"instruction": "q", "output": "a", "CoT": "why", "rating_rationale": "x", "reasoning_effort": "y"},
    ],
    ids=str,
)
def test_every_way_to_say_what_was_thought(row: Row) -> None:
    record = Mapper(RecordMapping(), {}).records(row, "f")[0]
    assert record["turns"] == [Q, ANSWER]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<think>never ended", {"reasoning_not_ended": 1}),
        ("The tag </think> ends what was thought.", {}),
        ("Use <think>x</think> so.", {}),
        ("<b>bold</b>", {}),
    ],
)
def test_what_is_no_thought_stays(content: str, told: dict[str, int]) -> None:
    [record] = Mapper(RecordMapping(), {}).records({"messages": [Q, a(content)]}, "f")
    assert record["turns"][-1] == a(content)
    assert record["told"] == {"messages": 1} | told


def test_the_thought_before_a_target_is_the_records() -> None:
    mapping = RecordMapping.model_validate({"target": "turns[-1].content"})
    [record] = Mapper(mapping, {}).records({"messages": [Q, a('{"x": 1}', reasoning="why")]}, "f")
    assert (record["turns"], record["target"], record["reasoning"]) == ([Q], '{"x": 1}', "why")
    [plain] = Mapper(mapping, {}).records({"messages": [Q, a('{"x": 1}')]}, "f")
    assert plain["reasoning"] is None
    assert plain["id"] != record["id"]


def test_expressions_may_give_thoughts_and_untrained_turns() -> None:
    turns = "[{'role': 'user', 'content': q}, {'role': 'assistant', 'content': 'a', 'reasoning': w, 'trained': false}]"
    [record] = Mapper(RecordMapping.model_validate({"turns": turns}), {}).records({"q": "q", "w": "why"}, "f")
    assert record["turns"] == [Q, ANSWER | {"trained": False}]


@given(st.text(alphabet="ab <>/\n").filter(lambda text: "<" not in text), st.text(alphabet="ab /\n"))
def test_thought_and_answer_are_what_was_written(thought: str, answer: str) -> None:
    [record] = Mapper(RecordMapping(), {}).records({"messages": [Q, a(f"<think>{thought}</think>{answer}")]}, "f")
    last = record["turns"][-1]
    assert last["content"] == answer.lstrip()
    assert last.get("reasoning", "") == thought.strip()


def test_keys_that_are_not_read_are_counted_by_name() -> None:
    said = [Q | {"id": 1}, a("a", citations=[{"url": "x"}], refusal=None, name="bot", audio=None, annotations=[])]
    [record] = Mapper(RecordMapping(), {}).records({"messages": said}, "f")
    assert record["told"] == {"messages": 1, UNREAD_KEY + "id": 1, UNREAD_KEY + "citations": 1}
    said = [Q, a([{"type": "text", "text": "a", "annotations": ["x"]}])]
    [record] = Mapper(RecordMapping(), {}).records({"messages": said}, "f")
    assert record["told"] == {"messages": 1, UNREAD_KEY + "annotations": 1}


def test_many_unread_keys_are_few_counters() -> None:
    counters = {f"{UNREAD_KEY}{n}": n for n in range(1, MOST_KEYS + 6)} | {"messages": 3, "none": 0}
    few = _few(Counter(counters))
    assert few["messages"] == 3
    assert few["none"] == 0
    assert few[UNREAD_KEY + "other"] == 1 + 2 + 3 + 4 + 5
    assert len(few) == MOST_KEYS + 3


def test_blank_lines_around_an_end_without_beginning_are_looked_at_once() -> None:
    turn: Turn = {"role": "assistant", "content": "why" + "\n" * 10**6 + "</think>\n" + "\n" * 10**6 + "so"}
    set_apart(turn)
    assert (turn["reasoning"], turn["content"]) == ("why", "so")
