"""YAML as people write it by hand: nothing in it is code, and a key given twice is an error."""

from collections.abc import Hashable
from typing import Any

import yaml


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
