"""Windows: a row too long for the model as several, each of whole paragraphs, with what of its answer they say.

The longest text of the user is cut between paragraphs (between lines, where one is too long by itself), and each window
holds as many as fit. Its answer is the row's without what the window does not say (`curate.grounding`): lists go
without items, null takes the place of other values. What need not be in the prompt, such as a class, stays in all.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any

from curate.grounding import Grounding, Prompt
from curate.json_schema import Validator
from curate.record import content_id, places_in
from curate.rows.renderer import Renderer
from curate.rows.task_template import TaskTemplate
from curate.text import strict_json

Row = dict[str, Any]

PARAGRAPHS = re.compile(r"(?:[^\S\n]*\n){2,}")
LINES = re.compile(r"\n")
UNANSWERED, HELD, WANTED = "unanswered", "held", "wanted"
"""Keys of a window: the fields that it lacks, where the schema does not allow its part of the answer; where the values
are in the row's answer that it says, and all that it is to say."""


def windows(
    record: Row, task: TaskTemplate, renderer: Renderer, bound: int, grounding: Grounding, validator: Validator
) -> list[Row]:
    """The record as several that each fit; none where one paragraph's line does not, or it has no target.

    They share a group, so they share a split; `meta` says what they are part of, and their ids are those of their
    content.

    Args:
        record: with a target that its contract allows.
        task: makes the messages.
        renderer: counts the tokens.
        bound: the most tokens of a window.
        grounding: of the contract's fields.
        validator: of the answer.
    """
    users = [at for at, turn in enumerate(record["turns"]) if turn["role"] == "user"]
    at = max(users, key=lambda each: len(record["turns"][each]["content"]), default=None)
    if at is None or record["target"] is None:
        return []
    content = record["turns"][at]["content"]
    answer = strict_json.loads(record["target"])

    def window(begin: int, end: int) -> Row:
        turn = record["turns"][at] | {"content": content[begin:end]}
        turns = [*record["turns"][:at], turn, *record["turns"][at + 1 :]]
        looked = grounding.looked_for(answer, Prompt(turns, record["language"]))
        left = grounding.without(answer, looked)
        missing = sorted({said.path for said, place in looked if place is None})
        unanswered = missing if left is None or not validator.is_valid(left) else []
        return record | {
            "turns": turns,
            "source": _part_of(record["source"], at, begin, end, len(content)),
            "target": record["target"] if unanswered else json.dumps(left, ensure_ascii=False),
            HELD: {said.at for said, place in looked if place is not None},
            WANTED: {said.at for said, _ in looked},
            UNANSWERED: unanswered,
        }

    def tokens(row: Row) -> int:
        """Of a window that goes to quarantine for what it does not say, without its answer."""
        (length,) = renderer.lengths([task.messages(row | {"target": "{}"} if row[UNANSWERED] else row)])
        return length

    encoded = [begin for begin, _ in renderer.tokenizer.encode(content, add_special_tokens=False).offsets]
    room = bound - tokens(window(0, 0))
    pieces = list(_pieces(content, encoded, room))
    begins, ends = ([bisect_left(encoded, piece[side]) for piece in pieces] for side in (0, 1))
    made: list[Row] = []
    first = 0
    while first < len(pieces):
        last = max(first, bisect_right(ends, begins[first] + room) - 1)
        while (over := tokens(row := window(pieces[first][0], pieces[last][1])) - bound) > 0:
            if last == first:
                return []
            last = max(first, min(last - 1, bisect_right(ends, ends[last] - over) - 1))
        made.append(row)
        first = last + 1
    return _named(record, made)


def _part_of(source: Row | None, turn: int, begin: int, end: int, length: int) -> Row | None:
    """The source of a window: of the turn that is cut, the places of what is left."""
    if not source or not source.get("places"):
        return source
    others = [place for place in source["places"] if place["turn"] != turn]
    places = [*others, *places_in(source, turn, begin, end, length)]
    return source | {"places": sorted(places, key=lambda place: (place["turn"], place["begin"]))}


def _named(record: Row, made: list[Row]) -> list[Row]:
    """The windows with ids, a group and what they are part of."""
    for number, row in enumerate(made, start=1):
        row["id"] = content_id(row["turns"], row["target"])
        row["group"] = record["group"] if record["group"] is not None else record["id"]
        row["meta"] = record["meta"] | {"part_of": record["id"], "part": f"{number} of {len(made)}"}
    return made


def _pieces(content: str, encoded: list[int], room: int) -> Iterator[tuple[int, int]]:
    """Where the paragraphs of a text begin and end; of one with more tokens than there is room for, its lines."""
    for begin, end in _between(content, 0, len(content), PARAGRAPHS):
        if bisect_left(encoded, end) - bisect_left(encoded, begin) <= room:
            yield begin, end
        else:
            yield from _between(content, begin, end, LINES)


def _between(content: str, begin: int, end: int, separator: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    for match in separator.finditer(content, begin, end):
        if content[begin : match.start()].strip():
            yield begin, match.start()
            begin = match.end()
    if content[begin:end].strip():
        yield begin, end
