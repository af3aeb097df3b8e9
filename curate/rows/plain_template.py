"""Plain templates: those that write each message's content as it is, and else only what its role decides.

Most of ours are. Where a template's syntax shows it, one rendering with marks for contents gives the pieces that stand
between the contents of every conversation of the same roles: to put these in is a hundredth of the work of rendering.
"""

import re
from collections import Counter
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
OF_ROW = {"language", "meta", "self"}
"""Names by which a block may tell one row from another, but for what is said; and what may write a block within one."""
Path = list[nodes.Node]
"""A node, and those that it is in: the nearest last but one."""


def is_plain(tree: nodes.Template) -> bool:
    """Whether contents decide nothing in a template, and are written as they are."""
    loops = {each.target.name for each in tree.find_all(nodes.For) if isinstance(each.target, nodes.Name)}
    return not _writes_mark(tree) and all(_allowed(path, loops) for path in _paths([tree]))


def _writes_mark(tree: nodes.Node) -> bool:
    """Whether a template writes what is to mark contents, as it stands or by an escape."""
    constants = (str(each.value) for each in tree.find_all(nodes.Const))
    return any(MARK in each for each in (*constants, *(each.data for each in tree.find_all(nodes.TemplateData))))


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
        self._texts, self._order = parts[::2], list(map(int, parts[1::2]))
        self._all = self._order == list(range(len(roles)))
        self.copies = max(Counter(self._order).values(), default=0)
        """How often a content is written, at most."""

    def text(self, contents: Sequence[str]) -> str:
        """The text of a conversation."""
        said = [self._texts[0]]
        for at, text in zip(self._order, self._texts[1:], strict=True):
            said += (contents[at], text)
        return "".join(said)

    @property
    def around(self) -> list[str] | None:
        """The texts before, between and behind the contents, if all of these are written in their order."""
        return self._texts if self._all else None


def words_around(tree: nodes.Template, block: str, write: Callable[[str], str]) -> tuple[str, str] | None:
    """What a block of a task template writes before a content and behind it, whatever the row; None where that depends
    on the row.

    Args:
        tree: the template's.
        block: its name.
        write: gives the block's text, of a content.
    """
    [found] = [each for each in tree.find_all(nodes.Block) if each.name == block]
    if MARK in write(""):
        return None
    for path in _paths([found]):
        if isinstance(path[-1], nodes.Name) and path[-1].name in OF_ROW:
            return None
        if isinstance(path[-1], nodes.Name) and path[-1].name == "content" and not _is_put(path):
            return None
    before, *behind = write(MARK).split(MARK)
    return (before, behind[0]) if len(behind) == 1 else None


def _is_put(path: Path) -> bool:
    """Whether a name becomes a part of a block's text, as it is, where nothing is made of what is written there."""
    above = (nodes.Block, nodes.If, nodes.Output, nodes.Add, nodes.Concat, nodes.CondExpr)
    return _is_written(path) and all(isinstance(node, above) for node in path[:-1])
