"""Shapes: what rows of the usual formats say, whoever wrote them down."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.mapping import UNMAPPABLE, UNRECOGNISED, Mapper, RecordMapping, RowError
from curate.read.raw import Files, Row, Unread, find_files, read_rows
from curate.read.shapes import (
    LOOKED_FOR,
    READERS,
    SHAPES,
    ShapeError,
    Turn,
    chatml_turns,
    gathered,
    guanaco_turns,
    llama2_turns,
    recognise,
)
from curate.rows.render import ChatTemplate, SpecialTokens

ASKED = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def said(*turns: tuple[str, str]) -> list[Turn]:
    return [{"role": role, "content": content} for role, content in turns]


def attempt(mapper: Mapper, row: Row) -> tuple[list[dict[str, Any]], RowError | None]:
    """A row's records, or why there are none."""
    try:
        return mapper.records(row, "f"), None
    except RowError as problem:
        return [], problem


def turns_of(row: Row, shape: str) -> list[Turn]:
    """The turns of a row that is one conversation of this shape."""
    found, [conversation] = recognise(row)
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
    _, [conversation] = recognise(row)
    assert [turn["content"] for turn in conversation.turns[1:]] == [
        'Let me see.\n[{"id": "c1", "name": "f", "arguments": { "n": 1.0 }}, '
        '{"id": "c2", "name": "g", "arguments": "not JSON"}]',
        '{"tool_call_id": "c1", "content": "1"}',
        '{"name": "g", "content": "2"}',
        '{"name": "h", "arguments": {}}',
    ]
    assert conversation.meta == {"names": '["ann", null, null, null, null]'}


def test_what_nobody_answered_is_left_out_and_counted() -> None:
    _, [cut] = recognise({"messages": [*ASKED, {"role": "user", "content": "and?"}]})
    assert (cut.turns, cut.left_out) == (ASKED, 1)
    _, [whole] = recognise({"messages": ASKED[:1]})
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
        ({"prompt": "q", "chosen": "a", "rejected": "b", "output": "a"}, "a preference pair is no answer"),
        ({"prompt": "q", "input": "p", "output": "a"}, "input or prompt may be what is asked"),
        ({"question": "q", "choices": ["a", "b"], "answer": 1}, "columns question, choices, answer; looked for"),
        ({"text": "Of the markers ### Human: and [INST]"}, "columns text; looked for"),
        ({"messages": []}, "columns messages; looked for"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "nobody knows who speaks as 'narrator'"),
        ({"messages": [*ASKED, "x"]}, "messages.2: expected {role, content}"),
        ({"messages": [{"role": "system", "content": ""}]}, "no turns"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part of type 'image_url'"),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "expected a call"),
        ({"instruction": "q", "instances": [{"output": "o"}, {"input": "i"}]}, "instances.1 has no output"),
        ({"instruction": "q", "output": b"x"}, "output: expected text, found bytes"),
        ({"instruction": "q", "output": "a", "history": ["q"]}, "history: expected pairs"),
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
    st.sampled_from(["all", "best"]),
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


# Text of chat templates


def test_guanaco_turns() -> None:
    text = "### Human: a ### b\n### Assistant: c #### Human: \n\n### Human: d### Assistant:e ### Human: "
    assert guanaco_turns(text) == said(
        ("user", "a ### b"), ("assistant", "c #### Human:"), ("user", "d"), ("assistant", "e")
    )
    assert guanaco_turns("Be kind.\n### Human: hi") == said(("system", "Be kind."), ("user", "hi"))
    assert guanaco_turns(" ") == []


def test_llama2_turns() -> None:
    text = "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST]"
    assert llama2_turns(text) == said(("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    assert llama2_turns("[INST]a[/INST]b[INST]c[/INST]d</s>") == said(
        ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")
    )


MARKS = ("<s>", "</s>", "INST]", "SYS>>", "<|")


def test_the_models_own_tokens_are_no_words_and_html_is_not_the_models() -> None:
    assert guanaco_turns("<s>### Human: a</s><s>### Assistant: b <s>c</s>") == said(
        ("user", "a"), ("assistant", "b <s>c</s>")
    )
    assert llama2_turns("A preamble. [INST]a[/INST]b<|endoftext|>")[::2] == said(
        ("system", "A preamble."), ("assistant", "b")
    )


@pytest.mark.parametrize(
    "mark", ["### Human: ", "### Assistant:", "[INST]", "[/INST]", "<<SYS>>", "<|im_start|>user\n", " "]
)
def test_markup_without_an_end_takes_time_in_proportion(mark: str) -> None:
    text = f"### Human: [INST] <|im_start|>user\n{mark * 200_000}x"  # what is quadratic would take hours
    for turns_of_text in (guanaco_turns, llama2_turns, chatml_turns):
        turns_of_text(text)
    attempt(Mapper(RecordMapping(), {}), {"text": text})


# What people say, without what stands for the template itself.
CONTENTS = (
    (
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
        | st.sampled_from(["###", "# Human:", "a ### b", "[/ INST]", "<s", "x\n\ny", "<SYS>", "{{ 7 }}", "Human: hi"])
    )
    .map(str.strip)
    .filter(lambda text: text and not any(mark in text for mark in MARKS))
)


@given(st.none() | CONTENTS, st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3), st.booleans())
@pytest.mark.parametrize(
    ("template", "turns_of_text"), [("guanaco", guanaco_turns), ("llama2", llama2_turns), ("chatml", chatml_turns)]
)
def test_what_our_templates_write_is_read_back(
    template: str, turns_of_text: Any, system: str | None, pairs: list[tuple[str, str]], prompted: bool
) -> None:
    turns = said(*([("system", system)] if system else []))
    for question, answer in pairs:
        turns += said(("user", question), ("assistant", answer))
    if prompted:  # a question to be answered
        turns = turns[:-1]
    text = ChatTemplate(template).render(turns, SpecialTokens("<s>", "</s>"))
    assert turns_of_text(text) == turns
    if len(turns) - bool(system) > 1:
        shape, [conversation] = recognise({"text": text})
        answered = turns[:-1] if prompted else turns
        assert (shape, conversation.turns) == (template, answered)


# Trees


def leaves(message: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path from the root to a leaf, by a plain walk."""
    path = (*above, message["text"])
    alive = [reply for reply in message.get("replies", ()) if not reply.get("deleted")]
    if not alive:
        yield path
    for reply in alive:
        yield from leaves(reply, path)


def expected_paths(root: dict[str, Any]) -> set[tuple[str, ...]]:
    """The paths to every answer that no further answer follows: depth tells the role, the root is the prompter's."""
    answered = {path[: len(path) // 2 * 2] or path for path in leaves(root)}
    answered = {path for path in answered if not any(path == other[: len(path)] != other for other in answered)}
    return {path for path in answered if len(path) > 1} or answered


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    counter = iter(range(10_000))

    def message(depth: int) -> dict[str, Any]:
        number = next(counter)
        replies = [message(depth + 1) for _ in range(draw(st.integers(0, 3 if depth < 3 else 0)))]
        role = "assistant" if depth % 2 else "prompter"
        rank = draw(st.none() | st.integers(0, 3))
        deleted = draw(st.integers(0, 9)) == 0 and depth > 0
        return {"message_id": f"m{number}", "text": f"t{number}", "role": role, "rank": rank, "deleted": deleted,
                "replies": replies}  # fmt: skip

    return message(0)


def flat(message: dict[str, Any], tree: str | None, parent: str | None = None) -> Iterator[Row]:
    own = {name: value for name, value in message.items() if name != "replies"} | {"parent_id": parent}
    yield own | ({"message_tree_id": tree} if tree else {})
    for reply in message["replies"]:
        yield from flat(reply, tree, message["message_id"])


@given(trees())
def test_every_path_of_a_tree(root: dict[str, Any]) -> None:
    for row in ({"message_tree_id": "t", "prompt": root}, {"message_tree_id": "t"} | root):
        shape, conversations = recognise(row)
        texts = [tuple(turn["content"] for turn in each.turns) for each in conversations]
        assert shape == "oasst"
        assert len(texts) == len(set(texts))
        assert set(texts) == expected_paths(root)
        assert {each.group for each in conversations} == {"t"}
        total = sum(1 for _ in flat(root, None))
        assert sum(each.left_out for each in conversations) == total - len({text for path in texts for text in path})
        _, [best] = recognise(row, paths="best")
        assert tuple(turn["content"] for turn in best.turns) in set(texts)


def test_the_best_path_follows_the_ranks() -> None:
    def reply(text: str, rank: int | None, *replies: dict[str, Any]) -> dict[str, Any]:
        return {"text": text, "role": "prompter" if text.startswith("q") else "assistant", "rank": rank,
                "replies": list(replies)}  # fmt: skip

    root = reply(
        "q", None,
        reply("a none", None),
        reply("a second", 1),
        reply("a first", 0, reply("q unanswered", 0), reply("q answered", 1, reply("a last", None), reply("a end", 3))),
    )  # fmt: skip
    _, [best] = recognise({"prompt": root, "message_tree_id": "t"}, paths="best")
    assert [turn["content"] for turn in best.turns] == ["q", "a first", "q answered", "a end"]
    assert best.left_out == 4


@given(st.lists(trees(), min_size=1, max_size=3), st.booleans(), st.randoms(use_true_random=False))
def test_flat_messages_give_what_the_nested_tree_gives(
    roots: list[dict[str, Any]], named: bool, draw: random.Random
) -> None:
    rows: list[Row | Unread] = []
    for number, root in enumerate(roots):
        messages = [
            message | {"message_id": f"{number}.{message['message_id']}"}
            | ({"parent_id": f"{number}.{message['parent_id']}"} if message["parent_id"] else {})
            for message in flat(root, f"tree {number}" if named else None)
        ]  # fmt: skip
        if named:  # within a named tree, the order does not matter
            draw.shuffle(messages)
        rows += messages
    rows.append({"instruction": "q", "output": "a"})
    found = list(gathered(iter(rows)))
    assert found[-1] == rows[-1]
    for row, root in zip(found[:-1], roots, strict=True):
        assert isinstance(row, dict)
        paths = {tuple(turn["content"] for turn in each.turns) for each in recognise(row)[1]}
        if named:
            assert paths == expected_paths(root)
        assert len(paths) == len(expected_paths(root))


def test_messages_without_their_tree_come_by_themselves() -> None:
    def message(name: str, parent: str | None) -> Row:
        return {"message_id": name, "parent_id": parent, "text": name, "role": "assistant" if parent else "prompter"}

    torn = Unread("torn", 1, "")
    rows: list[Row | Unread] = [
        message("a", None),
        message("b", "a"),
        message("lost", "x"),
        torn,
        message("c", "a"),
        message("loop", "loop"),
    ]
    found = list(gathered(iter(rows)))
    assert found[0] == message("a", None) | {"replies": [message("b", "a") | {"replies": []}]}
    assert found[1:] == rows[2:]
    assert list(Mapper(RecordMapping(), {}).rows(iter(rows))) == list(enumerate(found))
    chain = [message(str(n), str(n - 1) if n else None) for n in range(150)]
    deep = list(gathered(iter(chain)))
    assert len(deep) == 51
    with pytest.raises(ShapeError, match="more than 100 messages"):
        recognise(deep[1])  # type: ignore[arg-type]


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


def read(folder: Path, pattern: str, **mapping: Any) -> tuple[list[dict[str, Any]], list[RowError]]:
    mapper = Mapper(RecordMapping.model_validate(mapping), {})
    records: list[dict[str, Any]] = []
    problems: list[RowError] = []
    for file in find_files(Files(files=[pattern]), folder, folder):
        for _, row in mapper.rows(read_rows(file)):
            assert isinstance(row, dict)
            made, problem = attempt(mapper, row)
            records += made
            problems += [problem] if problem else []
    return records, problems


def test_oasst_trees(shared_data: Path) -> None:
    folder = shared_data / "ins_oasst_trees"
    rows = [json.loads(line) for line in (folder / "en_100_tree.jsonl").read_text().splitlines()]
    records, problems = read(folder, "en_100_tree.jsonl")
    assert problems == []
    expected = {path for row in rows for path in expected_paths(row["prompt"])}
    assert {tuple(turn["content"] for turn in record["turns"]) for record in records} == expected
    assert len({record["group"] for record in records}) == 100
    # The other file holds the same trees, each as its first message with replies.
    others, _ = read(folder, "en_100_message.jsonl")
    assert {record["id"] for record in others} == {record["id"] for record in records}
    best, _ = read(folder, "en_100_tree.jsonl", paths="best")
    assert len(best) == 100
    assert {record["id"] for record in best} <= {record["id"] for record in records}


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
