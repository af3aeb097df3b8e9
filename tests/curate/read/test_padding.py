"""Padding of tools and of their calls' arguments, in JSON as in Arrow."""

from typing import Any

import orjson
import pytest

from curate.read.padding import MEANT, unpadded, unpadded_arguments
from curate.read.shapes import recognise

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}},
    {"name": "stock", "parameters": {"properties": {"sku": {"type": ["string", "null"]}, "size": None}}},
]


def test_of_a_tool_only_a_default_is_null() -> None:
    schema = {
        "properties": {"a": {"type": "string", "enum": None, "default": None}, "b": None},
        "required": ["a", None],
    }
    plain = {"properties": {"a": {"type": "string", "default": None}}, "required": ["a", None]}
    assert unpadded(schema, MEANT) == plain


@pytest.mark.parametrize(
    ("name", "arguments", "plain"),
    [
        ("weather", {"city": "Ulm", "sku": None}, {"city": "Ulm"}),
        ("weather", {"city": None}, {}),
        ("stock", {"city": None, "sku": None, "size": None}, {"sku": None}),
        ("other", {"a": {"b": None, "c": 0}, "d": [None]}, {"a": {"c": 0}, "d": [None]}),
    ],
)
def test_arguments_are_null_where_their_tool_says_that_they_may_be(
    name: str, arguments: dict[str, Any], plain: dict[str, Any]
) -> None:
    assert unpadded_arguments(name, arguments, TOOLS) == plain
    assert unpadded_arguments(name, {"x": None}, "no JSON") == {}


@pytest.mark.parametrize("schema", [{"nullable": True}, {"anyOf": [{"type": "null"}]}, {"enum": ["a", None]}])
def test_a_schema_allows_null_in_several_ways(schema: dict[str, Any]) -> None:
    tools = [{"name": "f", "parameters": {"properties": {"x": schema}}}]
    assert unpadded_arguments("f", {"x": None, "y": None}, tools) == {"x": None}


def test_calls_that_are_the_answers_are_padded_too() -> None:
    tools = [{"name": "f", "parameters": {"properties": {"y": {"type": ["integer", "null"]}}}}]
    row = {"query": "q", "tools": tools, "answers": [{"name": "f", "arguments": {"x": None, "y": None}}]}
    [made] = recognise(row).conversations
    assert made.turns[-1]["content"] == '[{"name": "f", "arguments": {"y": null}}]'


CALL, BARE = {"name": "f", "arguments": {"a": 1, "b": None}}, '{"name": "f", "arguments": {"a": 1}}'


@pytest.mark.parametrize("answer", ["output", "response", "completion", "answer"])
@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "q"},
        {"instruction": "q"},
        {"messages": [{"role": "user", "content": "q"}]},
        {"conversations": [{"from": "human", "value": "q"}]},
    ],
)
def test_an_answer_that_is_a_call_is_not_padded_in_json_lines(asked: dict[str, Any], answer: str) -> None:
    for held, said in [
        (CALL, BARE),
        ([CALL, CALL], f"[{BARE}, {BARE}]"),
        ({"id": 1, "name": "f", "parameters": {"a": None}}, '{"id": 1, "name": "f", "parameters": {}}'),
    ]:
        [conversation] = recognise(asked | {answer: held}).conversations
        assert conversation.turns[-1]["content"] == said
        assert conversation.told == {"null_arguments": 1}
    tools = [{"name": "f", "parameters": {"properties": {"b": {"nullable": True}}}}]
    [conversation] = recognise(asked | {answer: CALL, "tools": tools}).conversations
    assert conversation.turns[-1]["content"] == '{"name": "f", "arguments": {"a": 1, "b": null}}'
    assert conversation.told == {}


@pytest.mark.parametrize(
    "answer",
    [
        {"city": "Ulm", "zip": None},
        {"name": "Ada", "born": None},
        {"name": "f", "arguments": "a, null", "id": None},
        {"name": "f", "arguments": {"a": None}, "reason": "none"},
        {"name": "f", "parameters": {"type": "object", "properties": {"a": None}}},
        [{"name": "f", "arguments": {"a": None}}, {"name": "Ada", "born": None}],
    ],
)
def test_an_answer_that_is_no_call_is_left_as_it_is(answer: Any) -> None:
    [conversation] = recognise({"prompt": "q", "completion": answer}).conversations
    assert orjson.loads(conversation.turns[-1]["content"]) == answer
    assert conversation.told == {}


def test_padded_calls_are_counted_and_equal_those_that_are_not() -> None:
    def row(**arguments: Any) -> dict[str, Any]:
        call = {"function": {"name": "weather", "arguments": arguments}}
        return {
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}],
            "tools": TOOLS,
        }

    _, [padded], _ = recognise(row(city="Ulm", sku=None))
    _, [plain], _ = recognise(row(city="Ulm"))
    assert padded.turns == plain.turns
    assert (padded.told, plain.told) == ({"null_arguments": 1}, {})
