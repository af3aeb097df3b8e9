"""Jinja as transformers sets it up for the chat templates that models are published with, in our sandbox.

What differs from transformers: what may be named stands in a list and is counted (`curate.sandbox`), and there is no
clock. Source of the conventions: transformers 5, `utils/chat_template_utils.py`.
"""

import json
import re
from datetime import date
from typing import Any

from jinja2 import Undefined, nodes, pass_context
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser

from curate.sandbox import Bounded, Sandbox, counted, namespace, of_text, spend_json
from curate.template_check import NODE

TODAY = date(2024, 7, 26)
"""What a template that asks for the day is told. It is the day that Llama 3's writes where it is given no clock; a real
one would make other bytes, and another prompt, of the same rows each day."""
FORMAT = re.compile(r"(?:[^%]|%[aAbBdjmyY%])*")
BEGIN, END = "\ud800", "\udbff"
"""Around what a template marks as generated, until it is rendered: single surrogates, which stand in no text."""


def tell_time(format: str) -> str:
    """`strftime_now`, on TODAY.

    Raises:
        ValueError: more than the day is asked for.
    """
    if not FORMAT.fullmatch(format):
        raise ValueError(f"strftime_now: expected a format of a day, found {format[:100]!r}")
    return TODAY.strftime(format)


@pass_context
def to_json(
    context: Bounded,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """`tojson`, which escapes no HTML here; indented by 8 at most."""
    if separators is not None and max(map(len, separators)) > 8:
        raise ValueError("tojson: separators of at most 8 characters are expected")
    spend_json(context, value, indent)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_context
def count_up(context: Bounded, *bounds: int) -> list[int]:
    """`range`, as a list."""
    numbers = range(*bounds)
    context.spend(NODE * len(numbers))
    return list(numbers)


class Generation(Extension):
    """`{% generation %}`: what is within is generated, and stands between BEGIN and END."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        begin, end = (nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in (BEGIN, END))
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.With([], [], [begin, *body, end], lineno=line)


def environment(functions: dict[str, Any]) -> Sandbox:
    """The environment of published templates.

    Args:
        functions: that templates may call beside those of transformers.
    """
    known: dict[str, Any] = {"strftime_now": tell_time, "namespace": namespace, "range": count_up, "dict": dict}
    return Sandbox(
        filters={"tojson": counted(to_json), "safe": of_text(str)},
        functions=known | functions,
        undefined=Undefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[LoopControlExtension, Generation],
    )


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A rendered text without the marks in it, and where what is marked begins and ends; neighbours are one."""
    begin, *rest = text.split(BEGIN)
    if not rest:
        return text, []
    plain = begin
    marks: list[tuple[int, int]] = []
    for each in rest:
        generated, _, after = each.partition(END)
        first = marks.pop()[0] if marks and marks[-1][1] == len(plain) else len(plain)
        plain += generated
        marks.append((first, len(plain)))
        plain += after
    return plain, marks


def names_in(tree: nodes.Template) -> set[str]:
    """Attributes and texts that a template names: the keys of messages that it may read are among them."""
    texts = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return texts | {node.attr for node in tree.find_all(nodes.Getattr)}
