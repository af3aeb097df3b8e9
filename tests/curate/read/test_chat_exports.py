"""Exports of chats: what their programs show is read, all of it, and nothing else."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.chat_exports import exported
from curate.read.conversation import NotTextError, ShapeError
from curate.read.shapes import recognise


def node(parent: str | None, role: str | None = None, said: Any = "", **more: Any) -> dict[str, Any]:
    """One of ChatGPT's nodes; of no message, if nobody speaks."""
    content = said if isinstance(said, dict) else {"content_type": "text", "parts": [said]}
    author = {"role": role, "name": more.pop("name", None)}
    message = {"author": author, "content": content, "weight": 1.0, "recipient": "all", "metadata": {}} | more
    return {"message": message if role else None, "parent": parent}


def chat(nodes: dict[str, dict[str, Any]], **columns: Any) -> dict[str, Any]:
    tree = {name: each | {"children": [c for c in nodes if nodes[c]["parent"] == name]} for name, each in nodes.items()}
    return {"title": "Numbers", "mapping": tree, "conversation_id": "c1"} | columns


QUESTION = {
    "root": node(None),
    "rules": node("root", "system", "", metadata={"is_visually_hidden_from_conversation": True}),
    "me": node("rules", "user", {"content_type": "user_editable_context", "user_profile": "I am short."}),
    "q": node("me", "user", "Is 7 odd?"),
}
NODES = QUESTION | {
    "first": node("q", "assistant", "No."),
    "thought": node(
        "q", "assistant", {"content_type": "thoughts", "thoughts": [{"summary": "x", "content": "7 = 2 * 3 + 1"}]}
    ),
    "code": node("thought", "assistant", {"content_type": "code", "text": "7 % 2"}, recipient="python"),
    "ran": node("code", "tool", {"content_type": "execution_output", "text": "1"}, name="python"),
    "a": node("ran", "assistant", "Yes."),
    "q2": node("a", "user", "And 8?"),
    "a2": node("q2", "assistant", "No, 8 is even."),
}
SHOWN = [
    {"role": "user", "content": "Is 7 odd?"},
    {"role": "assistant", "content": '{"name": "python", "arguments": "7 % 2"}', "reasoning": "7 = 2 * 3 + 1"},
    {"role": "tool", "content": '{"name": "python", "content": "1"}'},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And 8?"},
    {"role": "assistant", "content": "No, 8 is even."},
]


@pytest.mark.parametrize("current", [{"current_node": "a2"}, {}, {"current_node": "gone"}])
def test_the_branch_that_chatgpt_shows_is_read(current: dict[str, str]) -> None:
    shape, [made], taken = recognise(chat(NODES, **current))
    assert shape == "messages"
    assert made.turns == SHOWN
    assert made.group == "c1"
    assert made.left_out == 1
    assert taken["mapping"] == "conversation"


def test_the_branch_that_is_named_is_not_the_last() -> None:
    _, [made], _ = recognise(chat(NODES, current_node="first"))
    assert [turn["content"] for turn in made.turns] == ["Is 7 odd?", "No."]
    assert made.left_out == 6


def test_an_answer_without_weight_is_not_trained() -> None:
    _, [made], _ = recognise(chat(QUESTION | {"a": node("q", "assistant", "No.", weight=0.0)}))
    assert made.turns[-1] == {"role": "assistant", "content": "No.", "trained": False}


def test_pictures_are_no_text() -> None:
    seen = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer"}, "What is it?"]}
    with pytest.raises(NotTextError):
        recognise(chat(QUESTION | {"p": node("q", "user", seen), "a": node("p", "assistant", "A cat.")}))


def test_claudes_list() -> None:
    said = [
        {"uuid": "1", "sender": "human", "text": "Is 7 odd?", "content": [{"type": "text", "text": "Is 7 odd?"}]},
        {"uuid": "2", "sender": "assistant", "text": "Yes.", "attachments": [{"extracted_content": "x"}], "files": []},
    ]
    _, [made], taken = recognise({"uuid": "c", "name": "Numbers", "chat_messages": said})
    assert [(turn["role"], turn["content"]) for turn in made.turns] == [("user", "Is 7 odd?"), ("assistant", "Yes.")]
    assert made.told == {"message_key_not_read.attachments": 1}
    assert taken["chat_messages"] == "conversation"


def test_gemini_and_system_prompts_in_parts() -> None:
    said = [{"role": "user", "parts": [{"text": "Is 7 odd?"}]}, {"role": "model", "parts": [{"text": "Yes."}]}]
    turns = [{"role": "user", "content": "Is 7 odd?"}, {"role": "assistant", "content": "Yes."}]
    system = [{"role": "system", "content": "Be brief.\nBe kind."}]
    parts = [{"text": "Be brief."}, {"text": "Be kind."}]
    assert recognise({"contents": said}).conversations[0].turns == turns
    for columns in (
        {"systemInstruction": {"role": "system", "parts": parts}, "contents": said},
        {"system_instruction": {"parts": parts}, "contents": said},
        {"system": [{"type": "text"} | part for part in parts], "messages": turns},
    ):
        assert recognise(columns).conversations[0].turns == system + turns


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a", "b", "text", "user", "assistant", "thoughts"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "parent", "children", "author", "role", "content", "content_type", "parts", "text", "a"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
NODE = st.fixed_dictionaries(
    {"message": st.fixed_dictionaries({"author": JSON, "content": JSON}), "parent": JSON, "children": JSON}
)


@given(tree=st.dictionaries(st.sampled_from("abc"), JSON | NODE, max_size=3), current=JSON, listed=JSON)
def test_whatever_else_has_these_names_is_no_chat_or_is_told_of(tree: Any, current: Any, listed: Any) -> None:
    row = {"mapping": tree, "current_node": current}
    with suppress(ShapeError):
        recognise(row)
    with suppress(ShapeError):
        recognise({"chat_messages": [{"sender": current, "content": listed}]})
    found = exported(row)
    assert found is None or found.left_out >= 0
