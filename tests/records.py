"""Tables of records for tests."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from curate.record import SCHEMA


def turn(role: str, content: str, reasoning: str | None = None, trained: bool | None = None) -> dict[str, Any]:
    """A turn with all its fields, as a table gives it back."""
    return {"role": role, "content": content, "reasoning": reasoning, "trained": trained}


def record(*said: dict[str, Any] | tuple[str, str] | str, **known: Any) -> dict[str, Any]:
    """A record of turns, each as `turn` makes it, a pair (role, content), or the content of a user's turn; other
    columns by name."""
    pairs = [("user", each) if isinstance(each, str) else each for each in said]
    empty = dict.fromkeys(SCHEMA.names) | {"meta": {}}
    return empty | {"turns": [each if isinstance(each, dict) else turn(*each) for each in pairs]} | known


def table_of(records: Sequence[dict[str, Any]]) -> pa.Table:
    """The table of records, in one chunk."""
    return pa.Table.from_pylist(list(records), schema=SCHEMA)


def layouts(records: Sequence[dict[str, Any]]) -> list[pa.Table]:
    """The same rows as Arrow may lay them out: whole, a slice of a larger table, a chunk for each row and an empty one.

    A stage that reads offsets wrongly goes wrong on one of them.
    """
    whole = table_of(records)
    before, after = table_of([record("before", ("assistant", "b"), meta={"b": "b"})] * 3), table_of([record("after")])
    padded = pa.concat_tables([before, whole, after]).combine_chunks()
    pieces = [whole.slice(row, 1) for row in range(whole.num_rows)]
    return [whole, padded.slice(3, whole.num_rows), pa.concat_tables([whole.slice(0, 0), *pieces])]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Any text that UTF-8 can hold."""

TURNS = st.builds(
    turn,
    st.sampled_from(["system", "user", "assistant"]),
    TEXTS,
    st.none() | TEXTS,
    st.sampled_from([None, None, False]),
)

RECORDS = st.lists(
    st.builds(
        lambda turns, target, reasoning: record(*turns, target=target, reasoning=reasoning),
        st.lists(TURNS, max_size=4),
        st.none() | TEXTS,
        st.none() | TEXTS,
    ),
    max_size=6,
)
"""Records of any turns and targets, none of them too."""
