"""Windows: a document too long as several, each of whole paragraphs that fit, with what of its answer they say."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.grounding import Grounding
from curate.recipe import Recipe, find_recipe
from curate.record import content_id
from curate.rows.fit import Fitting, Parting, fit
from curate.rows.render import Rendering, render
from curate.rows.task_template import TaskTemplate
from curate.stage import Outcome
from tests.curate.rows.test_fit import RENDERER
from tests.records import record, table_of

TASK = TaskTemplate("conversation", None)
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": ["string", "null"]},
        "parties": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["lease", "loan"]},
    },
}
GROUNDING = Grounding({"title": "normalised", "parties[]": "normalised", "kind": "enum"}, nullable=("title",))


def fitted(text: str, answer: dict[str, Any], bound: int, grounding: Grounding = GROUNDING, **known: Any) -> Outcome:
    target = json.dumps(answer)
    row = record(text, target=target, id=content_id([{"role": "user", "content": text}], target), **known)
    rendered = render(table_of([row]), TASK, RENDERER).kept
    settings = Fitting(
        model="m",
        max_tokens=bound,
        policy="windows",
        rendering=Rendering.model_construct(),
        parting=Parting(grounding=grounding, target_schema=SCHEMA),
    )
    outcome = fit(rendered, TASK, RENDERER, settings)
    assert outcome.kept.num_rows + outcome.rejected.num_rows == 1 + outcome.made
    return outcome


def tokens_of(text: str, answer: dict[str, Any]) -> int:
    (length,) = RENDERER.lengths([TASK.messages(record(text, target=json.dumps(answer)))])
    return length


PARTS = [
    "LEASE AGREEMENT about a house.",
    "Party one: Acme.",
    "Nothing is said here.",
    "Party two: Jane Doe.\nShe rents.",
]
ANSWER = {"title": "Lease agreement", "parties": ["ACME", "Jane Doe"], "kind": "lease"}


def test_each_window_says_what_its_paragraphs_say() -> None:
    text = "\n\n".join(PARTS)
    bound = max(tokens_of(part, {**ANSWER, "parties": ["Jane Doe"]}) for part in PARTS) + 2
    outcome = fitted(text, ANSWER, bound, group="g", meta={"file": "a"})
    rows = outcome.kept.to_pylist()
    assert len(rows) > 1
    assert [part for row in rows for part in row["turns"][0]["content"].split("\n\n")] == PARTS
    for row in rows:
        said, target = row["turns"][0]["content"], json.loads(row["target"])
        assert target["kind"] == "lease"
        assert target["title"] == ("Lease agreement" if "LEASE" in said else None)
        assert target["parties"] == [name for name in ANSWER["parties"] if name.lower() in said.lower()]
        assert row["tokens"] == len(RENDERER.encode(row["messages"]).input_ids) <= bound
        assert row["id"] == content_id(row["turns"], row["target"])
        assert row["group"] == "g"
    assert [dict(row["meta"])["part"] for row in rows] == [f"{at} of {len(rows)}" for at in range(1, len(rows) + 1)]
    assert len({dict(row["meta"])["part_of"] for row in rows}) == 1
    assert outcome.counters["windows"] == 1
    assert "in_no_window" not in outcome.counters


def test_windows_say_on_which_page_they_stand() -> None:
    text = "\n\n".join(PARTS)
    cut = text.index("Nothing")
    pages = [(1, 10, 10 + cut), (2, 10 + cut, 10 + len(text))]
    places = [{"turn": 0, "page": page, "begin": begin, "end": end, "file": None} for page, begin, end in pages]
    source = {"drop": None, "file": "a.pdf", "row": 0, "places": places}
    bound = max(tokens_of(part, {**ANSWER, "parties": ["Jane Doe"]}) for part in PARTS) + 2
    rows = fitted(text, ANSWER, bound, source=source).kept.to_pylist()
    assert len(rows) > 2
    for row in rows:
        said, found = row["turns"][0]["content"], row["source"]["places"]
        assert "".join(text[place["begin"] - 10 : place["end"] - 10] for place in found) == said
        assert [place["page"] for place in found] == [
            page for page, b, e in pages if b - 10 < text.index(said) + len(said) and text.index(said) < e - 10
        ]
    tidied = source | {"places": [place | {"end": place["end"] + 4} for place in places[1:]]}
    for row in fitted(text, ANSWER, bound, source=tidied).kept.to_pylist():
        assert row["source"]["places"] == tidied["places"]


def test_a_row_that_fits_is_left_alone() -> None:
    outcome = fitted("LEASE AGREEMENT with Acme", ANSWER | {"parties": ["Acme", "unsaid"]}, 1000)
    assert (outcome.counters, outcome.made) == ({}, 0)


def test_windows_share_the_group_of_the_row_or_its_id() -> None:
    text = "\n\n".join(PARTS)
    outcome = fitted(text, ANSWER, tokens_of(text, ANSWER) - 5)
    assert {row["group"] for row in outcome.kept.to_pylist()} == {dict(outcome.kept["meta"][0].as_py())["part_of"]}


def test_a_value_in_no_window_and_a_window_of_nothing_are_counted() -> None:
    text = "\n\n".join([*PARTS, "Nothing more at all, and so on, and so forth."])
    bound = max(tokens_of(part, ANSWER) for part in PARTS) + 1
    outcome = fitted(text, ANSWER | {"parties": ["ACME", "Jane Doe", "Unsaid"]}, bound)
    assert outcome.counters["in_no_window"] == 1
    empty = [row for row in outcome.kept.to_pylist() if json.loads(row["target"])["parties"] == []]
    assert outcome.counters["windows_empty"] == len([row for row in empty if "LEASE" not in row["text"]])


def test_a_window_without_what_cannot_be_null_goes_to_quarantine() -> None:
    strict = Grounding(GROUNDING.fields, nullable=())
    text = "\n\n".join(PARTS)
    outcome = fitted(text, ANSWER, tokens_of(text, ANSWER) - 3, strict)
    assert "LEASE" in outcome.kept["text"][0].as_py()
    assert outcome.rejected["reason"].to_pylist() == ["window_unanswered"] * outcome.rejected.num_rows
    assert outcome.rejected.num_rows >= 1
    assert "title" in json.loads(outcome.rejected["evidence"][0].as_py())["fields"]


def test_one_line_too_long_is_too_many_tokens() -> None:
    outcome = fitted("word " * 500, ANSWER, 120)
    assert outcome.rejected["reason"].to_pylist() == ["too_many_tokens"]


@given(
    st.lists(st.sampled_from([*PARTS, "a\nb\nc", "Short.", "許諾 à tous."]), min_size=2, max_size=30),
    st.integers(70, 200),
)
@settings(max_examples=30, deadline=None)
def test_no_paragraph_is_lost_cut_or_twice(parts: list[str], bound: int) -> None:
    text = "\n\n".join(parts)
    outcome = fitted(text, ANSWER, bound)
    rows = outcome.kept.to_pylist()
    if outcome.rejected.num_rows:
        assert outcome.rejected["reason"].to_pylist() == ["too_many_tokens"]
        assert not rows
        return
    assert all(row["tokens"] <= bound for row in rows)
    said = [row["turns"][0]["content"] for row in rows]
    assert "\n".join(said).split() == text.split()
    for one, other in itertools.pairwise(rows):  # as many as go in
        paragraph = other["turns"][0]["content"].split("\n")[0]
        longer = record(f"{one['turns'][0]['content']}\n\n{paragraph}", target=one["target"])
        assert tokens_of(longer["turns"][0]["content"], json.loads(one["target"])) > bound - 40


def test_the_recipe_refuses_to_ground_what_may_be_cut(tmp_path: Path) -> None:
    with pytest.raises(AssayError) as error:
        Recipe.load(
            find_recipe("contracts"),
            drop=tmp_path,
            changes={"ground": {"policy": "flag"}, "fit": {"policy": "truncate_input"}},
        )
    assert "say `windows` there" in error.value.message
