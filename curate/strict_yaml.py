"""YAML as people write it by hand: nothing in it is code, and a key given twice is an error."""

from collections.abc import Hashable, Iterator
from typing import Any

import yaml

FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's is eight times faster, where PyYAML was built with it."""


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
                line = event.start_mark.line + 1  # type: ignore[union-attr] # which what begins has
                raise ValueError(f"nested deeper than {deepest} levels, on line {line}")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        yield event


def load_yaml(text: str) -> Any:
    """The document that a text holds.

    Raises:
        yaml.YAMLError: it holds none, or a key is given twice.
        ValueError: a date that there is not.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: by itself PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)
