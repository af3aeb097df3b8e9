"""Plain templates: those that write each message's content as it is, and else only what its role decides.

Most of ours are. Where a template's syntax shows it, one rendering with marks for contents gives the pieces that stand
between the contents of every conversation of the same roles: to put these in is a hundredth of the work of rendering.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from jinja2 import nodes

MARK = "\x00"
"""Around a message's number, where its content is to stand."""
PLAIN = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.Name, nodes.Const),
    *(nodes.Getattr, nodes.Getitem, nodes.Add, nodes.Concat, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Compare, nodes.Operand, nodes.Dict, nodes.Pair, nodes.List, nodes.Tuple, nodes.Call),
)
"""What a plain template is made of; calls are of `raise_exception` alone."""
LOOP = {"index", "index0", "revindex", "revindex0", "first", "last", "length"}
"""What of a loop tells nothing of the messages."""
Path = list[nodes.Node]
"""A node, and those that it is in: the nearest last but one."""


def is_plain(tree: nodes.Template, source: str) -> bool:
    """Whether contents decide nothing in a template, and are written as they are."""
    loops = {each.target.name for each in tree.find_all(nodes.For) if isinstance(each.target, nodes.Name)}
    return MARK not in source and all(_allowed(path, loops) for path in _paths([tree]))


def _paths(path: Path) -> Iterator[Path]:
    yield path
    for child in path[-1].iter_child_nodes():
        yield from _paths([*path, child])


def _allowed(path: Path, loops: set[str]) -> bool:
    """Whether a node may be where it is in a plain template.

    Args:
        path: ends with the node.
        loops: names that loops give to messages.
    """
    node, above = path[-1], path[-2] if len(path) > 1 else None
    if not isinstance(node, PLAIN):
        return False
    if isinstance(node, nodes.Call):
        return getattr(node.node, "name", None) == "raise_exception"
    if isinstance(node, nodes.For):
        return not node.recursive and isinstance(node.iter, nodes.Name) and node.iter.name == "messages"
    if isinstance(node, nodes.Name) and node.ctx != "load":
        return node.name not in {"messages", "loop"} and (node.name not in loops or isinstance(above, nodes.For))
    if isinstance(node, nodes.Name) and node.name == "messages":
        iterated = isinstance(above, nodes.For) and above.iter is node
        return iterated or isinstance(above, (nodes.And, nodes.Or, nodes.Not, nodes.If))
    if isinstance(node, nodes.Name) and node.name == "loop":
        return isinstance(above, nodes.Getattr) and above.attr in LOOP
    if isinstance(node, nodes.Name) and node.name in loops:
        return _key(above) == "role" or (_key(above) == "content" and _is_written(path[:-1]))
    return True


def _key(node: nodes.Node | None) -> str | None:
    """What is read of a message."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return None


def _is_written(path: Path) -> bool:
    """Whether an expression becomes a part of the text, and nothing else."""
    for inner, outer in zip(path[:0:-1], path[-2::-1], strict=True):
        if isinstance(outer, nodes.Output):
            return True
        joined = isinstance(outer, (nodes.Add, nodes.Concat))
        if not joined and not (isinstance(outer, nodes.CondExpr) and inner is not outer.test):
            return False
    return False


class Pieces:
    """What a plain template writes around the contents of a conversation.

    Args:
        render: gives the template's text, of contents that are marks.
        roles: of the messages.
    """

    def __init__(self, render: Callable[[list[dict[str, str]]], str], roles: Sequence[str]) -> None:
        marked = [{"role": role, "content": f"{MARK}{at}{MARK}"} for at, role in enumerate(roles)]
        parts = re.split(f"{MARK}([0-9]+){MARK}", render(marked))
        self._first = parts[0]
        self._rest = [(int(at), text) for at, text in zip(parts[1::2], parts[2::2], strict=True)]

    def text(self, contents: Sequence[str]) -> str:
        """The text of a conversation."""
        said = [self._first]
        for at, text in self._rest:
            said += (contents[at], text)
        return "".join(said)
