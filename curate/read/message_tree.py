"""Trees of messages, as OpenAssistant exports them, nested or flat -> conversations, one a path."""

from collections.abc import Iterator
from typing import Any

from curate.read.conversation import (
    REJECTED_ANSWER,
    Conversation,
    Paths,
    Rejection,
    ShapeError,
    Turn,
    answered,
    speaker,
    text_of,
)
from curate.read.raw_row import Row, Unread

DEEPEST_TREE = 100
"""Messages of a path: far more than people write, and few enough for what walks a nested value level by level."""
MESSAGE = ("message_id", "text", "role")
TREE_KEYS = (*MESSAGE, "parent_id", "message_tree_id", "replies", "rank", "deleted", "review_result", "labels")
"""What is read of a message."""
SPAM = 0.5
"""Share of the people who looked at a message and called it spam, from which on it is."""


def gathered(rows: Iterator[Row | Unread]) -> Iterator[Row | Unread]:
    """Rows, in which rows that are the messages of one tree have become one: the tree.

    A tree's messages follow one another in the file. A message whose parent is not among them comes by itself.
    """
    tree: list[Row] = []
    ids: set[str] = set()
    for row in rows:
        if isinstance(row, dict) and _is_flat_message(row):
            named = row.get("message_tree_id")
            if named != tree[0].get("message_tree_id") if tree and named else row.get("parent_id") not in ids:
                yield from _planted(tree)
                tree, ids = [], set()
            tree.append(row)
            ids.add(row["message_id"])
        else:
            if tree:
                yield from _planted(tree)
                tree, ids = [], set()
            yield row
    yield from _planted(tree)


def _is_flat_message(row: Row) -> bool:
    """Whether a row is a message of a tree whose other messages are other rows."""
    return (
        ("parent_id" in row or "message_tree_id" in row)
        and all(isinstance(row.get(name), str) for name in MESSAGE)
        and all(isinstance(row.get(name), (str, type(None))) for name in ("parent_id", "message_tree_id"))
        and row.get("replies") is None
    )


def _planted(tree: list[Row]) -> Iterator[Row]:
    """Flat messages as nested trees, then those that hang on none of the others, or too deep, as they are."""
    replies: dict[Any, list[int]] = {}
    for place, message in enumerate(tree):
        replies.setdefault(message.get("parent_id"), []).append(place)
    nested = [message | {"replies": []} for message in tree]
    roots = replies.pop(None, [])
    depth = dict.fromkeys(roots, 1)
    reached = list(roots)
    for place in reached:
        for child in replies.pop(nested[place]["message_id"], ()) if depth[place] < DEEPEST_TREE else ():
            nested[place]["replies"].append(nested[child])
            depth[child] = depth[place] + 1
            reached.append(child)
    yield from (nested[place] for place in roots)
    yield from (message for place, message in enumerate(tree) if place not in depth)


def oasst(row: Row, paths: Paths) -> list[Conversation]:
    """Rows that are a tree, {prompt}, or its root message."""
    root = row.get("prompt")
    if not (isinstance(root, dict) and "text" in root and "role" in root):
        if "message_id" not in row or not all(isinstance(row.get(name), str) for name in MESSAGE):
            return []
        if row.get("parent_id") is not None:
            raise ShapeError(
                f"oasst: the message {row['parent_id']!r} that this one replies to is not in the rows beside it, or "
                f"more than {DEEPEST_TREE} messages came before: those of a tree must follow one another"
            )
        root = row
    group = str(row.get("message_tree_id") or root.get("message_id") or "") or None
    kept, rejected, count = _paths(root, paths)
    on_them = {id(message) for path in [*kept, *(path for path, _, _ in rejected)] for message in path}
    left_out = count - len(on_them)
    found = [
        Conversation([_message_turn(message) for message in path], group, 0 if number else left_out)
        for number, path in enumerate(kept)
    ]
    good = {id(message): made for path, made in zip(reversed(kept), reversed(found), strict=True) for message in path}
    for path, evidence, better in rejected:
        why = Rejection(REJECTED_ANSWER, evidence, good.get(id(better)))
        left = 0 if found else left_out
        found.append(Conversation([_message_turn(message) for message in path], group, left, rejected=why))
    return found


Worse = tuple[list[Row], dict[str, Any], Row | None]
"""A path to a bad reply, what says that it is bad, and the reply beside it that is better."""


def _paths(root: Row, paths: Paths) -> tuple[list[list[Row]], list[Worse], int]:
    """The paths from the root to its leaves, each up to its last answer; those to bad answers; the tree's messages.

    No path leads through a message that the tree calls bad, nor, unless `all` are wanted, through a reply beside which
    another is ranked better. Questions that nobody has answered are on none, unless the tree has no answer at all. The
    best path is that of the lowest rank at each step; what has no rank comes last.
    """
    if (bad := _bad(root)) is not None:
        return [], [([root], bad, None)], _size(root)
    found: list[list[tuple[Any, Row]]] = []
    rejected: list[Worse] = []
    stack: list[list[tuple[Any, Row]]] = [[((), root)]]
    while stack:
        path = stack.pop()
        replies = path[-1][1].get("replies") or []
        if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
            raise ShapeError("oasst: expected replies to be a list of messages")
        ranked = [((reply.get("rank") is None, reply.get("rank") or 0, n), reply) for n, reply in enumerate(replies)]
        alive = [each for each in ranked if _bad(each[1]) is None]
        better = min(alive, default=None, key=lambda each: each[0])
        if better is not None and paths == "preferred" and better[1].get("rank") is not None:
            alive = [each for each in alive if each[0][:2] == better[0][:2] or speaker(each[1].get("role")) == "user"]
        for _, reply in ranked:
            if speaker(reply.get("role")) == "assistant" and all(reply is not each for _, each in alive):
                evidence = _bad(reply)
                beside = better[1] if better is not None and evidence is None else None
                if beside is not None:
                    evidence = {"column": "rank", "value": reply.get("rank"), "better": beside["rank"]}
                rejected.append(([*(message for _, message in path), reply], evidence or {}, beside))
        stack += [[*path, each] for each in reversed(alive)]
        if not alive:
            found.append(path[: answered([speaker(message.get("role")) for _, message in path])])
    begun = {tuple(id(message) for _, message in path[:end]) for path in found for end in range(1, len(path))}
    whole = {tuple(id(message) for _, message in path): path for path in found}
    kept = [path for key, path in whole.items() if key not in begun]
    if rejected or any(speaker(path[-1][1].get("role")) == "assistant" for path in kept):
        kept = [path for path in kept if speaker(path[-1][1].get("role")) == "assistant"]
    if paths == "best" and kept:
        kept = [min(kept, key=lambda path: [rank for rank, _ in path])]
    return [[message for _, message in path] for path in kept], rejected, _size(root)


def _bad(message: Row) -> dict[str, Any] | None:
    """What a message says against itself: it was deleted, did not pass its review, or is spam."""
    if message.get("deleted"):
        return {"column": "deleted", "value": True}
    if message.get("review_result") is False:
        return {"column": "review_result", "value": False}
    labels = message.get("labels")
    spam = labels.get("spam") if isinstance(labels, dict) else None
    share = spam.get("value") if isinstance(spam, dict) else None
    return {"column": "labels.spam", "value": share} if isinstance(share, (int, float)) and share >= SPAM else None


def _size(message: Row) -> int:
    """How many messages a tree has."""
    found = [message]
    for each in found:
        replies = each.get("replies")
        found += [reply for reply in replies if isinstance(reply, dict)] if isinstance(replies, list) else []
    return len(found)


def _message_turn(message: Row) -> Turn:
    return {"role": speaker(message.get("role")), "content": text_of("oasst: text", message.get("text"))}
