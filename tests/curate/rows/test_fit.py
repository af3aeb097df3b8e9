"""Rows that are too long: shortened as little as need be, or split, or in quarantine; no answer is ever cut."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curate.record import content_id
from curate.rows.chat_template import ChatTemplate, SpecialTokens
from curate.rows.fit import MARK, Fit, fit
from curate.rows.render import render
from curate.rows.renderer import Renderer
from curate.rows.task_template import TaskTemplate
from curate.stage import Outcome
from tests.records import record, table_of, turn

SPECIAL = ["<|im_start|>", "<|im_end|>"]
TOKENS = SpecialTokens("<|im_start|>", "<|im_end|>")
WORDS = (
    "Which licence does this notice name? Permission is hereby granted, free of charge, to any person — 許諾 à tous."
)


def trained_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    return tokenizer


RENDERER = Renderer(ChatTemplate("chatml"), trained_tokenizer(), TOKENS)
BARE = TaskTemplate("conversation", None)


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> TaskTemplate:
    """A template with an instruction of its own."""
    path = tmp_path_factory.mktemp("templates") / "asking.jinja"
    path.write_text("{% block user %}Name the licence.\n\n{{ content }}\n\nAnswer in JSON.{% endblock %}")
    return TaskTemplate(str(path), None)


def fitted(rows: Sequence[dict[str, Any]], task: TaskTemplate, bound: int, policy: str, cut: str = "middle") -> Outcome:
    rows = [row | {"id": row["id"] or content_id(row["turns"], row["target"])} for row in rows]
    rendered = render(table_of(rows), task, RENDERER)
    assert rendered.rejected.num_rows == 0
    model = Fit.model_validate({"model": "m", "max_tokens": bound, "policy": policy, "cut": cut})
    outcome = fit(rendered.kept, task, RENDERER, model)
    assert outcome.kept.num_rows + outcome.rejected.num_rows == len(rows) + outcome.made
    for row in outcome.kept.to_pylist():
        assert row["text"] == RENDERER.text(row["messages"])
        assert row["tokens"] == len(RENDERER.encode(row["messages"]).input_ids) <= bound
        assert row["messages"] == task.messages(row | {"meta": dict(row["meta"])})
    for row in outcome.rejected.to_pylist():
        assert json.loads(row["evidence"])["tokens"] > bound == json.loads(row["evidence"])["bound"]
    return outcome


def test_longer_rows_go_to_quarantine_by_default(asking: TaskTemplate) -> None:
    rows = [record(WORDS * times, target="{}") for times in (1, 2, 3)]
    lengths = fitted(rows, asking, 10_000, "quarantine").kept["tokens"].to_pylist()
    outcome = fitted(rows, asking, lengths[1], "quarantine")
    assert outcome.kept["tokens"].to_pylist() == lengths[:2]
    assert outcome.rejected["reason"].to_pylist() == ["too_many_tokens"]
    assert (outcome.counters, outcome.made) == ({}, 0)


def cuts(content: str, where: str) -> list[str]:
    """Every way to cut a text between two of its tokens, from what leaves most to what leaves least."""
    spans = sorted(set(RENDERER.tokenizer.encode(content, add_special_tokens=False).offsets))
    made = []
    for keep in range(len(spans) - 1, 0, -1):
        tail = keep // 2 if where == "middle" else 0
        left = content[: spans[keep - tail - 1][1]].rstrip()
        right = content[spans[-tail][0] :].lstrip() if tail else ""
        made.append((left + MARK + right).rstrip())
    return made


PIECES = st.lists(
    st.sampled_from([*WORDS.split(), "…", "notice", "\n\n", "許", "é", "  ", "aaaaaaa", "!?"]), max_size=40
)
PROSE = PIECES.map(" ".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=60)
@given(content=PROSE, answer=PROSE, room=st.integers(0, 60), where=st.sampled_from(["middle", "end"]))
@example(content="0\x80𐀀𐀀𐀀𐀀", answer="", room=6, where="middle").via("characters of several tokens each")
def test_a_cut_text_fits_and_no_longer_one_does(
    asking: TaskTemplate, content: str, answer: str, room: int, where: str
) -> None:
    def length(text: str) -> int:
        (tokens,) = RENDERER.lengths([asking.messages(record(text, target=answer))])
        return tokens

    bound = max(length("") + room, 8)
    outcome = fitted([record(content, target=answer)], asking, bound, "truncate_input", where)
    fitting = (
        [content] if length(content) <= bound else [text for text in cuts(content, where) if length(text) <= bound]
    )
    assert [row["turns"][0]["content"] for row in outcome.kept.to_pylist()] == fitting[:1]
    assert outcome.counters == ({"truncated_input": 1} if fitting and fitting[0] != content else {})
    for row in outcome.kept.to_pylist():
        said = row["messages"][0]["content"]
        assert said.startswith("Name the licence.\n\n")
        assert said.endswith("\n\nAnswer in JSON.")
        assert row["messages"][1]["content"] == answer == row["target"]


def test_without_an_instruction_in_the_template_the_first_paragraph_is_the_instruction() -> None:
    text = "Name the licence of this notice.\n\n" + WORDS * 4
    (row,) = fitted([record(text, ("assistant", "MIT"))], BARE, 90, "truncate_input").kept.to_pylist()
    assert row["turns"][0]["content"].startswith("Name the licence of this notice.\n\n")
    assert MARK in row["turns"][0]["content"]
    assert row["tokens"] in (89, 90)
    one_paragraph = fitted([record(WORDS * 4, ("assistant", "MIT"))], BARE, 90, "truncate_input")
    assert one_paragraph.kept.num_rows == 0


def test_what_was_cut_is_shown(asking: TaskTemplate) -> None:
    outcome = fitted(
        [record(WORDS * 4, target="{}", id="a"), record("x", target="{}", id="b")], asking, 120, "truncate_input"
    )
    (shown,) = outcome.examples["truncated_input"]
    assert shown["id"] == "a"
    assert MARK.strip() in shown["after"]
    assert MARK.strip() not in shown["before"]
    assert sorted(outcome.kept["id"].to_pylist()) == ["a", "b"], "a row keeps its id"


TURN_TEXTS = st.sampled_from(["yes", "Permission is granted", WORDS, "a b c d e", "許諾"])
CHATS = st.lists(st.tuples(TURN_TEXTS, TURN_TEXTS), min_size=1, max_size=6)


@settings(max_examples=60)
@given(CHATS, st.booleans(), st.integers(10, 200), st.sampled_from(["quarantine", "truncate_input", "split_turns"]))
def test_every_answer_stays_whole_whatever_the_policy(
    chat: list[tuple[str, str]], system: bool, bound: int, policy: str
) -> None:
    said = [("system", "Be brief.")] * system + [turn for q, a in chat for turn in (("user", q), ("assistant", a))]
    outcome = fitted([record(*said, label="l", meta={"k": "v"})], BARE, bound, policy)
    kept = outcome.kept.to_pylist()
    answers = [turn["content"] for row in kept for turn in row["messages"] if turn["role"] == "assistant"]
    assert answers == ([a for _, a in chat] if kept else [])
    for row in outcome.rejected.to_pylist():
        assert [(turn["role"], turn["content"]) for turn in row["turns"]] == said
    if policy == "split_turns":
        whole = len(RENDERER.encode([{"role": role, "content": text} for role, text in said]).input_ids)
        assert outcome.made == max(len(kept) - 1, 0)
        assert (len(kept) > 1) == (whole > bound and bool(kept))
        assert [t["content"] for row in kept for t in row["turns"] if t["role"] != "system"] == (
            [t for pair in chat for t in pair] if kept else []
        )
    if len(kept) > 1:
        assert {row["group"] for row in kept} == {content_id([{"role": r, "content": c} for r, c in said], None)}
        for number, row in enumerate(kept, start=1):
            assert row["id"] == content_id(row["turns"], None)
            assert dict(row["meta"]) == {"k": "v", "part_of": row["group"], "part": f"{number} of {len(kept)}"}
            assert (row["turns"][0]["role"] == "system") == system
            assert row["turns"][-1]["role"] == "assistant"
        # As few as there can be: no part has room for the next one's first exchange.
        for row, following in pairwise(kept):
            first = following["turns"][system : system + 2]
            assert RENDERER.lengths([row["turns"] + first])[0] > bound


def test_a_row_with_a_target_is_not_split() -> None:
    said = ["q " * 30, ("assistant", "a"), "q " * 30]
    assert fitted([record(*said, target="{}")], BARE, 50, "split_turns").kept.num_rows == 0


def test_a_tools_result_stays_with_its_call_and_what_is_unanswered_with_what_comes_before() -> None:
    said = [
        "one",
        ("assistant", "two"),
        "three",
        ("assistant", "call"),
        ("tool", "found"),
        ("assistant", "four"),
        "five",
    ]
    whole, first, second = (
        fitted([record(*said[begin:end])], BARE, 10_000, "quarantine").kept["tokens"][0].as_py()
        for begin, end in ((0, 7), (0, 2), (2, 6))
    )
    parts = fitted([record(*said)], BARE, whole - 1, "split_turns").kept.to_pylist()
    assert [[turn["content"] for turn in part["turns"]] for part in parts] == [
        ["one", "two"],
        ["three", "call", "found", "four", "five"],
    ]
    assert [part["tokens"] for part in parts] == [first, second]


def test_a_part_that_the_chat_template_refuses_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "two.jinja"
    refusal = "{%- if messages[0].content == 'why' -%}{{ raise_exception('why?') }}{%- endif -%}"
    path.write_text(refusal + ChatTemplate("chatml").source)
    renderer = Renderer(ChatTemplate(str(path)), RENDERER.tokenizer, TOKENS)
    table = render(table_of([record("q " * 9, ("assistant", "a"), "why", ("assistant", "a"))]), BARE, renderer).kept
    outcome = fit(table, BARE, renderer, Fit(model="m", max_tokens=30, policy="split_turns"))
    assert outcome.rejected["reason"].to_pylist() == ["too_many_tokens"]


@pytest.mark.parametrize("policy", ["quarantine", "truncate_input", "split_turns"])
def test_a_row_of_which_the_template_refuses_the_beginning_is_quarantined(tmp_path: Path, policy: str) -> None:
    path = tmp_path / "whole.jinja"
    refusal = (
        "{%- if messages|length == 3 and messages[0].content == 'odd' -%}{{ raise_exception('odd') }}{%- endif -%}"
    )
    path.write_text(refusal + ChatTemplate("chatml").source)
    renderer = Renderer(ChatTemplate(str(path)), RENDERER.tokenizer, TOKENS)
    rows = [record(first, ("assistant", "a"), "q " * 9, ("assistant", "a"), id=first) for first in ("even", "odd")]
    table = render(table_of(rows), BARE, renderer).kept
    assert table.num_rows == 2
    outcome = fit(table, BARE, renderer, Fit.model_validate({"model": "m", "max_tokens": 90, "policy": policy}))
    assert outcome.kept["id"].to_pylist() == ["even"]
    assert outcome.kept["tokens"].to_pylist() == renderer.lengths([rows[0]["turns"]])
    (rejected,) = outcome.rejected.to_pylist()
    assert (rejected["id"], rejected["reason"]) == ("odd", "refused")
    assert "odd" in json.loads(rejected["evidence"])["message"]


def test_a_cut_text_that_the_template_refuses_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "uncut.jinja"
    refusal = "{%- if '[…]' in messages[0].content -%}{{ raise_exception('cut') }}{%- endif -%}"
    path.write_text(refusal + ChatTemplate("chatml").source)
    renderer = Renderer(ChatTemplate(str(path)), RENDERER.tokenizer, TOKENS)
    table = render(table_of([record("task\n\n" + "q " * 99, ("assistant", "a"))]), BARE, renderer).kept
    outcome = fit(table, BARE, renderer, Fit(model="m", max_tokens=60, policy="truncate_input"))
    assert outcome.rejected["reason"].to_pylist() == ["too_many_tokens"]


@settings(max_examples=40)
@given(st.lists(CHATS, max_size=5), st.sampled_from(["last", "all"]))
def test_in_batches_is_one_by_one(chats: list[list[tuple[str, str]]], answers: Any) -> None:
    renderer = Renderer(RENDERER.template, RENDERER.tokenizer, TOKENS, answers)
    conversations = [
        [{"role": r, "content": c} for q, a in chat for r, c in (("user", q), ("assistant", a))] for chat in chats
    ]
    encoded = list(renderer.encode_all(conversations))
    for messages, each in zip(conversations, encoded, strict=True):
        ids: list[int] = []
        for span in renderer.spans(messages):
            ids += renderer.tokenizer.encode(span.text, add_special_tokens=False).ids
        assert each.input_ids == ids[: len(each.input_ids)]
        assert each == renderer.encode(messages)
        assert renderer.decode(ids) == renderer.text(messages)
    assert renderer.lengths(conversations) == [len(each.input_ids) for each in encoded]
    with_texts = map(renderer.spans, conversations, map(renderer.text, conversations))
    assert renderer.lengths_of(with_texts) == renderer.lengths(conversations)


def test_no_rows() -> None:
    assert fitted([], BARE, 10, "split_turns").kept.schema.field("tokens").type == pa.int32()


def test_a_part_of_a_conversation_has_an_answer_that_is_trained() -> None:
    wrong = turn("assistant", "wrong " * 8, trained=False)
    row = record("one", wrong, "no", ("assistant", "right " * 8), "two", ("assistant", "also " * 8), "three", wrong)
    outcome = fitted([row], BARE, 130, "split_turns")
    assert outcome.rejected.num_rows == 0
    kept = outcome.kept.to_pylist()
    assert len(kept) == 2
    assert [said for part in kept for said in part["turns"]] == row["turns"]
    for part in kept:
        assert any(each["role"] == "assistant" and each["trained"] is None for each in part["turns"])
        assert part["id"] == content_id(part["turns"], None)


def test_the_length_counts_what_is_thought() -> None:
    row = record("one", turn("assistant", "1", "on the whole " * 10))
    assert fitted([row], BARE, 40, "quarantine").rejected["reason"].to_pylist() == ["too_many_tokens"]
    assert fitted([record("one", ("assistant", "1"))], BARE, 40, "quarantine").kept.num_rows == 1
