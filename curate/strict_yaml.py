"""YAML as people write it by hand: nothing in it is code, and a key given twice is an error."""

from collections.abc import Hashable, Iterator
from typing import Any

import yaml

FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's is eight times faster, where PyYAML was built with it."""

DEEPEST = 50
"""Levels of what people write by hand."""
MOST_NODES = 100_000
"""Values of it: a few lines of aliases can stand for billions."""


def bounded_events(text: str, deepest: int) -> Iterator[yaml.Event]:
    """The events of a YAML text, before anything is made of them.

    PyYAML composes a node within a node by recursion, with libyaml in C: fifty thousand brackets end the process. What
    only tells events holds no stack, so a text is run through here before it is loaded.

    Raises:
        yaml.YAMLError: it is no YAML.
        ValueError: lists and mappings are nested deeper than `deepest`.
    """
    depth = 0
    for event in yaml.parse(text, Loader=FAST_LOADER):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
            if depth > deepest:
                line = event.start_mark.line + 1
                raise ValueError(f"nested deeper than {deepest} levels, on line {line}")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        yield event


def load_yaml(text: str) -> Any:
    """The document that a text holds.

    Raises:
        yaml.YAMLError: it holds none, or a key is given twice.
        ValueError: a date that there is not, nesting deeper than DEEPEST, or more than MOST_NODES values.
    """
    _require_finite(text)
    return yaml.load(text, Loader=_Loader)  # noqa: S506


def _require_finite(text: str) -> None:
    """See to it that a text's lists, mappings and scalars, each alias counted as all that it stands for, have an end.

    Raises:
        ValueError: there are more than MOST_NODES, or an alias stands within what it stands for.
    """
    nodes = 0
    known: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    for event in bounded_events(text, DEEPEST):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in opened):
                raise ValueError(f"the alias *{event.anchor} stands within what it stands for")
            nodes += known.get(event.anchor, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, begin = opened.pop()
            known[anchor or ""] = nodes - begin
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            known[event.anchor or ""] = 1
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, nodes - 1))
        if nodes > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} values, aliases counted as what they stand for")


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: by itself PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        known: set[Any] = set()
        for index, key in enumerate(keys):
            if not isinstance(key, Hashable):
                break  # which is an error below
            if key in known:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[index][0].start_mark
                )
            known.add(key)
        return super().construct_mapping(node, deep)
