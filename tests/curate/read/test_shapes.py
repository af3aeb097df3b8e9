"""Shapes: what rows of the usual formats say, whoever wrote them down."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.conversation import ANSWERS, INPUTS, UNRECOGNISED, ShapeError, Turn
from curate.read.mapping import UNMAPPABLE, Mapper, RecordMapping, RowError
from curate.read.raw import Row
from curate.read.shapes import LOOKED_FOR, READERS, SHAPES, recognise
from tests.curate.read.made import attempt, read, said

ASKED = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def turns_of(row: Row, shape: str) -> list[Turn]:
    """The turns of a row that is one conversation of this shape."""
    found, [conversation], _ = recognise(row)
    assert found == shape
    return conversation.turns


def test_every_shape_can_be_read_and_says_what_it_looks_for() -> None:
    assert tuple(READERS) == tuple(LOOKED_FOR) == SHAPES


# One row, one shape


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"instruction": " q ", "input": "", "output": "a"}, "alpaca"),
        ({"instruction": "q", "input": None, "response": "a"}, "alpaca"),
        ({"instruction": "q", "output": "a", "text": "Below is an instruction ... ### Response: a"}, "alpaca"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt"),
        ({"messages": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]}, "sharegpt"),
        ({"messages": ASKED}, "messages"),
        ({"messages": ASKED, "text": "### Human: another ### Assistant: one", "prompt": "q"}, "messages"),
        ({"messages": None, "conversation": ASKED}, "messages"),
        ({"messages": [{"role": "system", "content": " "}, *ASKED]}, "messages"),
        ({"prompt": "q", "completion": "a"}, "prompt"),
        ({"prompt": "q", "response": "a", "text": "qa"}, "prompt"),
        ({"question": "q", "answer": "a"}, "prompt"),
        ({"prompt": ASKED[:1], "completion": ASKED[1:]}, "prompt"),
        ({"prompt": ASKED[:1], "completion": "a"}, "prompt"),
        ({"text": "### Human: q### Assistant: a</s>"}, "guanaco"),
        ({"text": "### Human: q\n### Assistant: a"}, "guanaco"),
        ({"input": "### Human: q ### Assistant:", "output": "a", "prompt": "Preamble ### Human: q"}, "guanaco"),
        ({"text": "<s>[INST] q [/INST] a </s>"}, "llama2"),
        ({"text": "[INST]q[/INST]a"}, "llama2"),
        ({"prompt": "<s>[INST] q [/INST]", "response": "a"}, "llama2"),
        ({"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"}, "chatml"),
        ({"prompt": {"message_id": "1", "text": "q", "role": "prompter",
                     "replies": [{"text": "a", "role": "assistant"}]}}, "oasst"),
    ],
)  # fmt: skip
def test_the_same_question_and_answer_in_every_shape(row: Row, shape: str) -> None:
    assert turns_of(row, shape) == ASKED


def test_an_input_stands_below_its_instruction() -> None:
    for name in ("input", "context", "question"):
        row = {"instruction": "Sum up.\n", name: "\nText ", "output": " a\n"}
        assert turns_of(row, "alpaca") == said(("user", "Sum up.\n\nText"), ("assistant", " a\n"))
    assert turns_of({"question": "q", "context": "c", "answer": "a"}, "prompt")[0]["content"] == "q\n\nc"


@pytest.mark.parametrize("name", ["history", "chat_history", "Conversation history"])
def test_messages_said_before(name: str) -> None:
    before = [{"role": "USER", "message": "q0"}, {"role": "CHATBOT", "message": "a0"}]
    for asked, answered in (("question", "answer"), ("message", "response"))[: 1 + (name != "history")]:
        assert turns_of({asked: "q", name: before, answered: "a"}, "prompt") == said(
            ("user", "q0"), ("assistant", "a0"), ("user", "q"), ("assistant", "a")
        )


@pytest.mark.parametrize(("asked", "answered"), [("input", "output"), ("human", "assistant"), ("question", "answer")])
def test_a_conversation_of_questions_and_their_answers(asked: str, answered: str) -> None:
    pairs = [{"system": "s", asked: "q", answered: "a"}, {asked: "q2", answered: "a2"}]
    assert turns_of({"conversation": pairs}, "messages") == said(
        ("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "a2")
    )
    with pytest.raises(ShapeError):
        recognise({"conversation": [*pairs, {asked: "q3"}]})


def test_system_prompts_tools_and_what_was_said_before() -> None:
    row: Row = {"instruction": "q", "output": "a", "system": "Be kind.", "history": [["q0", "a0"]]}
    assert turns_of(row, "alpaca") == said(
        ("system", "Be kind."), ("user", "q0"), ("assistant", "a0"), ("user", "q"), ("assistant", "a")
    )
    assert turns_of({"system_prompt": "", "question": "q", "response": "a"}, "prompt") == ASKED
    tools = [{"type": "function", "function": {"name": "f"}}]
    row = {"messages": [{"role": "developer", "content": "Be kind."}, *ASKED], "system": "unused", "tools": tools}
    assert turns_of(row, "messages")[0] == {"role": "system", "content": "Be kind.\n\n" + json.dumps(tools)}
    assert turns_of({"messages": ASKED, "tools": "[]"}, "messages") == ASKED


def test_structured_answers_are_json_text() -> None:
    assert turns_of({"instruction": "q", "output": {"b": 1, "a": "é"}}, "alpaca")[1]["content"] == '{"b": 1, "a": "é"}'
    assert turns_of({"instruction": "q", "output": 0}, "alpaca")[1]["content"] == "0"


def test_tool_calls_of_both_formats_give_the_same_turns() -> None:
    call = '{"name": "weather", "arguments": {"city": "Köln"}}'
    openai: Row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Is it"}, {"type": "text", "text": "raining?"}]},
            {"role": "assistant", "content": None,
             "tool_calls": [{"function": {"name": "weather", "arguments": '{"city": "Köln"}'}, "type": "function"}]},
            {"role": "tool", "content": "yes"},
            {"role": "assistant", "content": "It is."},
        ]
    }  # fmt: skip
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "Is it\nraining?"},
            {"from": "function_call", "value": call},
            {"from": "observation", "value": "yes"},
            {"from": "gpt", "value": "It is."},
        ]
    }
    expected = said(("user", "Is it\nraining?"), ("assistant", call), ("tool", "yes"), ("assistant", "It is."))
    assert turns_of(openai, "messages") == expected
    assert turns_of(sharegpt, "sharegpt") == expected


def test_ids_names_and_several_calls_are_kept() -> None:
    calls = [
        {"id": "c1", "function": {"name": "f", "arguments": '{ "n": 1.0 }'}},
        {"id": "c2", "function": {"name": "g", "arguments": "not JSON"}},
    ]
    row = {
        "messages": [
            {"role": "user", "name": "ann", "content": "q"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "function", "name": "g", "content": "2"},
            {"role": "assistant", "content": None, "function_call": {"name": "h", "arguments": "{}"}},
        ]
    }
    _, [conversation], _ = recognise(row)
    assert [turn["content"] for turn in conversation.turns[1:]] == [
        'Let me see.\n[{"id": "c1", "name": "f", "arguments": { "n": 1.0 }}, '
        '{"id": "c2", "name": "g", "arguments": "not JSON"}]',
        '{"tool_call_id": "c1", "content": "1"}',
        '{"name": "g", "content": "2"}',
        '{"name": "h", "arguments": {}}',
    ]
    assert conversation.meta == {"names": '["ann", null, null, null, null]'}


def test_what_nobody_answered_is_left_out_and_counted() -> None:
    _, [cut], _ = recognise({"messages": [*ASKED, {"role": "user", "content": "and?"}]})
    assert (cut.turns, cut.left_out) == (ASKED, 1)
    _, [whole], _ = recognise({"messages": ASKED[:1]})
    assert (whole.turns, whole.left_out) == (ASKED[:1], 0)


def test_conversations_that_begin_alike_share_a_group() -> None:
    def group(row: Row) -> str | None:
        return recognise(row)[1][0].group

    longer = [*ASKED, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]
    other = [{"role": "user", "content": "other"}, *ASKED[1:]]
    assert group({"messages": ASKED}) == group({"messages": longer}) == group({"text": "### Human: q ### Assistant: z"})
    assert group({"messages": [{"role": "system", "content": "s"}, *longer]}) == group({"messages": ASKED})
    assert group({"messages": ASKED}) != group({"messages": other})
    assert group({"messages": ASKED, "conversation_id": 7}) == group({"messages": other, "conversation_id": 7}) == "7"
    assert group({"instruction": "q", "output": "a"}) is None


# Rows that fit no shape, or not the one that their columns tell


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "columns (none); looked for oasst: "),
        ({"a": 1, "b": None}, "columns a; looked for"),
        ({str(n): n for n in range(30)}, "18, 19 and 10 more; looked for"),
        ({"instruction": "q"}, "columns instruction; looked for"),
        ({"instruction": "q", "output": None}, "null in output; columns instruction"),
        ({"question": "q", "answer": b"caf\xe9"}, "answer: bytes that are no UTF-8; if they are text, state"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "chosen and rejected are the same answer"),
        ({"prompt": "q", "input": "p", "output": "a"}, "input or prompt may be what is asked"),
        ({"question": "q", "choices": ["a", "b"], "answer": 1}, "answer is 1, one of what choices offers"),
        ({"text": "Of the markers ### Human: and [INST]"}, "columns text; looked for"),
        ({"messages": []}, "columns messages; looked for"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "nobody knows who speaks as 'narrator'"),
        ({"messages": [*ASKED, "x"]}, "messages.2: expected {role, content}"),
        ({"messages": [{"role": "system", "content": ""}]}, "no turns"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part of type 'image_url'"),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "expected a call"),
        ({"instruction": "q", "instances": [{"output": "o"}, {"input": "i"}]}, "instances.1 has no output"),
        ({"instruction": "q", "output": b"x"}, "output: expected text, found bytes"),
        ({"instruction": "q", "output": "a", "history": ["q"]}, "history: expected messages, or pairs"),
        ({"message_id": "2", "parent_id": "1", "text": "a", "role": "assistant"}, "'1' that this one replies to"),
        ({"prompt": {"text": "q", "role": "prompter", "replies": ["a"]}}, "expected replies to be a list of messages"),
    ],
)  # fmt: skip
def test_what_is_looked_for_and_what_is_wrong_is_said(row: Row, words: str) -> None:
    with pytest.raises(ShapeError) as error:
        recognise(row)
    assert words in str(error.value)


def test_a_shape_that_the_recipe_names_is_the_only_one() -> None:
    row = {"messages": ASKED, "instruction": "i", "output": "o"}
    assert recognise(row, "alpaca")[1][0].turns == said(("user", "i"), ("assistant", "o"))
    with pytest.raises(ShapeError, match=r"looked for sharegpt: conversations or messages: .{15,20}$"):
        recognise(row, "sharegpt")


KEYS = ["role", "content", "from", "value", "text", "tool_calls", "function", "name", "arguments", "replies", "rank"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=2)
    | st.sampled_from(["", "user", "gpt", "assistant", "tool", "### Human: a ### Assistant: b", "[INST] a [/INST]"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
COLUMNS = [
    *("messages", "conversations", "instruction", "input", "output", "instances", "history", "prompt", "completion"),
    *("text", "role", "message_id", "parent_id", "replies", "message_tree_id", "system", "tools", "chosen", "context"),
]


@given(
    st.lists(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6), max_size=4),
    st.sampled_from(["preferred", "best", "all"]),
)
def test_any_row_gives_records_or_a_reason(rows: list[Row], paths: str) -> None:
    mapper = Mapper(RecordMapping.model_validate({"paths": paths}), {})
    for _, row in mapper.rows(iter(rows)):
        assert isinstance(row, dict)
        records, problem = attempt(mapper, row)
        assert bool(records) != bool(problem)
        assert problem is None or (problem.reason == UNRECOGNISED and problem.evidence["message"])
        for record in records:
            assert record["turns"]
            assert all(isinstance(turn["content"], str) for turn in record["turns"])
            assert {turn["role"] for turn in record["turns"]} <= {"system", "user", "assistant", "tool"}


# Through the mapper


def test_expressions_see_the_turns_and_a_target_takes_the_answers_place() -> None:
    mapping = RecordMapping.model_validate(
        {
            "target": "turns[-1].content",
            "label": "kind",
            "group": "none",
            "meta": {"n": "turns | length", "was": "_row.turns"},
        }
    )
    row = {"messages": [ASKED[0], {"role": "assistant", "content": '{"x": 1}'}], "kind": "k", "turns": "own"}
    [record] = Mapper(mapping, {}).records(row, "f")
    assert record["turns"] == ASKED[:1]
    assert (record["target"], record["label"], record["group"]) == ('{"x": 1}', "k", None)
    assert record["meta"] == {"n": "2", "was": "own"}
    assert record["told"] == {"messages": 1}


def test_an_expression_that_fails_is_the_expressions_fault() -> None:
    with pytest.raises(RowError) as error:
        Mapper(RecordMapping.model_validate({"label": "missing"}), {}).records({"messages": ASKED}, "f")
    assert (error.value.reason, error.value.evidence["key"]) == (UNMAPPABLE, "record.label")


def test_instances_of_one_instruction_share_a_group() -> None:
    row = {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "", "output": "?"}]}
    one, two = Mapper(RecordMapping(), {}).records(row, "f")
    assert [turn["content"] for turn in one["turns"] + two["turns"]] == ["Add.\n\n1 1", "2", "Add.", "?"]
    assert one["group"] == two["group"] is not None


# Real data


@pytest.mark.parametrize(
    ("folder", "pattern", "shape", "count", "unrecognised"),
    [
        ("ins_gpteacher", "Roleplay/*.json", "alpaca", 1_923, 0),
        ("ins_guanaco_oa", "prompts/oa_questions.jsonl", "guanaco", 953, 0),
        ("ins_guanaco_oa", "prompts/vicuna_questions.jsonl", "guanaco", 0, 80),
        ("ins_self_instruct", "data/seed_tasks.jsonl", "alpaca", 175, 0),
        ("legal_legalbench", "tasks/ssla_individual_defendants/test_old.tsv", "prompt", 0, 1_012),
    ],
)
def test_real_rows(shared_data: Path, folder: str, pattern: str, shape: str, count: int, unrecognised: int) -> None:
    records, problems = read(shared_data / folder, pattern)
    assert [record["told"] for record in records] == [{shape: 1}] * count
    assert [problem.reason for problem in problems] == [UNRECOGNISED] * unrecognised


TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from([" a ", "", "\n", "<think>\nwhy\n</think>\n\nso", "<think>\nwhy", "why\n</think>\nso", "</think>"]),
    st.sampled_from(['{"messages": [{"role": "user", "content": "a"}]}', "[INST] a [/INST] b", '["a", "b"]', "{}"]),
    st.sampled_from(['[{"role": "assistant", "content": "a"}]', '{"role": "assistant", "content": "a"}']),
)


@given(st.data(), st.sampled_from(INPUTS), st.sampled_from(ANSWERS), st.booleans())
def test_a_row_of_texts_alone_is_what_it_is_beside_a_column_of_nothing(
    data: st.DataObject, given_in: str, answer: str, with_input: bool
) -> None:
    """Rows of nothing but texts are recognised by a short way, which a column that counts as absent keeps them from."""
    names = data.draw(st.permutations(["instruction", answer, *([given_in] if with_input else [])]))
    row = {name: data.draw(TEXTS) for name in names}
    assert recognise(row) == recognise({**row, "id": None})
    assert recognise(row, "alpaca") == recognise({**row, "id": None}, "alpaca")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    "text", ['[{"role": "assistant", "content": "Paris."}]', '{"role": "assistant", "content": "a"}', "[1]"]
)
def test_so_is_one_whose_texts_are_messages(answer: str, text: str) -> None:
    row = {"instruction": "Which is the capital?", answer: text}
    assert recognise(row) == recognise({**row, "id": None})
