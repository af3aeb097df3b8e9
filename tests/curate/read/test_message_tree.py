"""Trees of messages: every path, the best one, and the same from nested and from flat messages."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.conversation import ShapeError
from curate.read.mapping import Mapper, RecordMapping
from curate.read.message_tree import gathered
from curate.read.raw import Row, Unread
from curate.read.shapes import recognise
from tests.curate.read.made import read


def leaves(message: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path from the root to a leaf, by a plain walk."""
    path = (*above, message["text"])
    alive = [reply for reply in message.get("replies", ()) if not reply.get("deleted")]
    if not alive:
        yield path
    for reply in alive:
        yield from leaves(reply, path)


def expected_paths(root: dict[str, Any]) -> set[tuple[str, ...]]:
    """The paths to every answer that no further answer follows: depth tells the role, the root is the prompter's."""
    answered = {path[: len(path) // 2 * 2] or path for path in leaves(root)}
    answered = {path for path in answered if not any(path == other[: len(path)] != other for other in answered)}
    return {path for path in answered if len(path) > 1} or answered


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    counter = iter(range(10_000))

    def message(depth: int) -> dict[str, Any]:
        number = next(counter)
        replies = [message(depth + 1) for _ in range(draw(st.integers(0, 3 if depth < 3 else 0)))]
        role = "assistant" if depth % 2 else "prompter"
        rank = draw(st.none() | st.integers(0, 3))
        deleted = draw(st.integers(0, 9)) == 0 and depth > 0
        return {"message_id": f"m{number}", "text": f"t{number}", "role": role, "rank": rank, "deleted": deleted,
                "replies": replies}  # fmt: skip

    return message(0)


def flat(message: dict[str, Any], tree: str | None, parent: str | None = None) -> Iterator[Row]:
    own = {name: value for name, value in message.items() if name != "replies"} | {"parent_id": parent}
    yield own | ({"message_tree_id": tree} if tree else {})
    for reply in message["replies"]:
        yield from flat(reply, tree, message["message_id"])


def preferred_paths(message: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path that leads through none of an assistant's replies beside which another is ranked better."""
    path = (*above, message["text"])
    alive = [reply for reply in message["replies"] if not reply["deleted"]]
    ranks = [reply["rank"] for reply in alive if reply["rank"] is not None]
    through = [reply for reply in alive if not ranks or reply["rank"] == min(ranks) or reply["role"] == "prompter"]
    yield path
    for reply in through:
        yield from preferred_paths(reply, path)


@given(trees())
def test_every_path_of_a_tree(root: dict[str, Any]) -> None:
    for row in ({"message_tree_id": "t", "prompt": root}, {"message_tree_id": "t"} | root):
        shape, conversations, _ = recognise(row, paths="all")
        texts = [tuple(turn["content"] for turn in each.turns) for each in conversations]
        kept = {text for text, each in zip(texts, conversations, strict=True) if each.rejected is None}
        assert shape == "oasst"
        assert len(texts) == len(set(texts))
        assert kept == {path for path in expected_paths(root) if len(path) > 1 or len(kept) == len(texts)}
        assert {each.group for each in conversations} == {"t"}
        total = sum(1 for _ in flat(root, None))
        assert sum(each.left_out for each in conversations) == total - len({text for path in texts for text in path})
        best = [each for each in recognise(row, paths="best").conversations if each.rejected is None]
        assert {tuple(turn["content"] for turn in each.turns) for each in best} <= kept
        assert len(best) == min(1, len(kept))


@given(trees())
def test_a_reply_beside_a_better_one_is_rejected_for_it(root: dict[str, Any]) -> None:
    conversations = recognise({"message_tree_id": "t", "prompt": root}).conversations
    through = set(preferred_paths(root))
    total = sum(1 for _ in flat(root, None))
    said = {turn["content"] for each in conversations for turn in each.turns}
    assert sum(each.left_out for each in conversations) == total - len(said)
    for each in conversations:
        texts = tuple(turn["content"] for turn in each.turns)
        assert (texts in through) == (each.rejected is None)
        if each.rejected is not None:
            assert texts[:-1] in through
            if (better := each.rejected.preferred) is not None:
                assert tuple(turn["content"] for turn in better.turns[: len(texts) - 1]) == texts[:-1]
                assert each.rejected.evidence["column"] == "rank"


def test_the_best_path_follows_the_ranks() -> None:
    def reply(text: str, rank: int | None, *replies: dict[str, Any]) -> dict[str, Any]:
        return {"text": text, "role": "prompter" if text.startswith("q") else "assistant", "rank": rank,
                "replies": list(replies)}  # fmt: skip

    root = reply(
        "q", None,
        reply("a none", None),
        reply("a second", 1),
        reply("a first", 0, reply("q unanswered", 0), reply("q answered", 1, reply("a last", None), reply("a end", 3))),
    )  # fmt: skip
    _, [best], _ = recognise({"prompt": root, "message_tree_id": "t"}, paths="best")
    assert [turn["content"] for turn in best.turns] == ["q", "a first", "q answered", "a end"]
    assert best.left_out == 4


@given(st.lists(trees(), min_size=1, max_size=3), st.booleans(), st.randoms(use_true_random=False))
def test_flat_messages_give_what_the_nested_tree_gives(
    roots: list[dict[str, Any]], named: bool, draw: random.Random
) -> None:
    rows: list[Row | Unread] = []
    for number, root in enumerate(roots):
        messages = [
            message | {"message_id": f"{number}.{message['message_id']}"}
            | ({"parent_id": f"{number}.{message['parent_id']}"} if message["parent_id"] else {})
            for message in flat(root, f"tree {number}" if named else None)
        ]  # fmt: skip
        if named:  # within a named tree, the order does not matter
            draw.shuffle(messages)
        rows += messages
    rows.append({"instruction": "q", "output": "a"})
    found = list(gathered(iter(rows)))
    assert found[-1] == rows[-1]
    for row, root in zip(found[:-1], roots, strict=True):
        assert isinstance(row, dict)
        _, found_in_row, _ = recognise(row, paths="all")
        _, expected, _ = recognise({"prompt": root}, paths="all")
        paths = {tuple(turn["content"] for turn in each.turns) for each in found_in_row}
        if named:
            assert paths == {tuple(turn["content"] for turn in each.turns) for each in expected}
        assert len(paths) == len(expected)


def test_messages_without_their_tree_come_by_themselves() -> None:
    def message(name: str, parent: str | None) -> Row:
        return {"message_id": name, "parent_id": parent, "text": name, "role": "assistant" if parent else "prompter"}

    torn = Unread("torn", 1, "")
    rows: list[Row | Unread] = [
        message("a", None),
        message("b", "a"),
        message("lost", "x"),
        torn,
        message("c", "a"),
        message("loop", "loop"),
    ]
    found = list(gathered(iter(rows)))
    assert found[0] == message("a", None) | {"replies": [message("b", "a") | {"replies": []}]}
    assert found[1:] == rows[2:]
    assert list(Mapper(RecordMapping(), {}).rows(iter(rows))) == list(enumerate(found))
    chain = [message(str(n), str(n - 1) if n else None) for n in range(150)]
    deep = list(gathered(iter(chain)))
    assert len(deep) == 51
    with pytest.raises(ShapeError, match="more than 100 messages"):
        recognise(deep[1])  # type: ignore[arg-type]


def test_oasst_trees(shared_data: Path) -> None:
    folder = shared_data / "ins_oasst_trees"
    rows = [json.loads(line) for line in (folder / "en_100_tree.jsonl").read_text().splitlines()]
    records, problems = read(folder, "en_100_tree.jsonl", paths="all")
    assert problems == []
    expected = {path for row in rows for path in expected_paths(row["prompt"])}
    assert {tuple(turn["content"] for turn in record["turns"]) for record in records} == expected
    assert len({record["group"] for record in records}) == 100
    # The other file holds the same trees, each as its first message with replies.
    others, _ = read(folder, "en_100_message.jsonl", paths="all")
    assert {record["id"] for record in others} == {record["id"] for record in records}
    best, _ = read(folder, "en_100_tree.jsonl", paths="best")
    assert len(best) == 100
    assert {record["id"] for record in best} <= {record["id"] for record in records}
    # By default a reply beside which another is ranked better is not learned, and nothing else is lost.
    preferred, _ = read(folder, "en_100_tree.jsonl")
    kept = {record["id"] for record in preferred if record["rejected"] is None}
    worse = [record["rejected"] for record in preferred if record["rejected"] is not None]
    assert kept <= {record["id"] for record in records}
    assert {record["id"] for record in best} <= kept
    assert {reason for reason, _ in worse} == {"rejected_answer"}
    assert {evidence["preferred"] for _, evidence in worse} <= kept
