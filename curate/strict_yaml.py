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
                raise ValueError(f"nested deeper than {deepest} levels, {_where(event)}")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        yield event


LONGEST, DEEPEST, MOST = 1 << 20, 100, 100_000
"""Characters, levels and values of a document that a person writes."""


def load_yaml(text: str) -> Any:
    """The document that a text holds, of LONGEST characters, DEEPEST levels and MOST values, each alias written out.

    Raises:
        yaml.YAMLError: it holds none, a key is given twice, or something is no text, number, date, list or mapping.
        ValueError: it is beyond these bounds, or holds a date that there is not.
    """
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    _expect_bounded(text)
    return yaml.load(text, Loader=_Loader)  # noqa: S506


def _expect_bounded(text: str) -> None:
    """Count what a document comes to with its aliases written out, as loading shares what they name and using does not.

    Raises:
        ValueError: it is beyond the bounds, an alias stands in what it names, or a text holds a NUL.
    """
    anchors: dict[str, tuple[int, int]] = {}
    """Values and levels of what has a name."""
    open_: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    """Name, values and levels of each collection around; first the whole."""
    for event in bounded_events(text, DEEPEST):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in [name for name, _, _ in open_]:
                raise ValueError(f"*{event.anchor} stands in what it names, {_where(event)}")
            found = anchors.get(str(event.anchor), (1, 0))  # loading tells what has no name
        elif isinstance(event, yaml.ScalarEvent):
            if "\0" in event.value:
                raise ValueError(f"a NUL character, {_where(event)}")
            found = (1, 0)
            if event.anchor:
                anchors[event.anchor] = found
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            open_.append((event.anchor, 1, 0))
            continue
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            name, values, levels = open_.pop()
            found = (values, levels + 1)
            if name:
                anchors[name] = found
        else:
            continue
        name, values, levels = open_[-1]
        open_[-1] = (name, values + found[0], max(levels, found[1]))
        if open_[-1][1] > MOST or len(open_) - 1 + found[1] > DEEPEST:
            raise ValueError(
                f"more than {MOST:,} values or {DEEPEST} levels with its aliases written out, {_where(event)}"
            )


def _where(event: yaml.Event) -> str:
    return f"on line {event.start_mark.line + 1}"  # type: ignore[union-attr]


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, as PyYAML silently takes the last; and of its types those of JSON,
    and dates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # of `!!timestamp x`, `!!bool x`
            why = f": {error}" if isinstance(error, ValueError) else ""
            raise yaml.constructor.ConstructorError(
                None, None, f"a value that is no {node.tag.rpartition(':')[2]}{why}", node.start_mark
            ) from error

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > 100:  # of sixtieths (1:30:00) each takes longer than the one before
            raise yaml.constructor.ConstructorError(None, None, "a number of more than 100 digits", node.start_mark)
        return int(super().construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _type in ("binary", "omap", "pairs", "set"):
    del _Loader.yaml_constructors[f"tag:yaml.org,2002:{_type}"]
