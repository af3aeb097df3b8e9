"""What comes of the lines of decisions, whatever the order of the files and whatever has changed since."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.rows.decisions import Decision, Line, Resolved, append, file_digest, last_words, read, resolve, seen_hash

ONE, OTHER = "a" * 32, "b" * 32
LABELS, MENDS = ["red", "blue", "green"], [None, "1", "2"]


def said(action: str, value: Any = None, *, id: str = ONE, label: str | None = "red", mended: str | None = None) -> Any:
    """A decision, but for who has made it, on a row that was seen so."""
    return {"id": id, "seen": seen_hash(id, label, mended), "action": action, "value": value, "reason": "why"}


def lines(**people: list[Any]) -> list[Line]:
    """A file of each."""
    when = "2026-01-02T03:04:05Z"
    return [
        Line(who, number, Decision.model_validate(each | {"who": who, "when": when}))
        for who, mine in people.items()
        for number, each in enumerate(mine, 1)
    ]


def outcomes(found: Resolved) -> dict[str, list[str | None]]:
    told: dict[str, list[str | None]] = {}
    for line, outcome in zip(found.lines, found.outcomes, strict=True):
        told.setdefault(line.file, []).append(outcome)
    return told


SAID = st.builds(
    said,
    st.sampled_from(["keep", "drop", "note", "undo"]),
    id=st.sampled_from([ONE, OTHER]),
    label=st.sampled_from(LABELS),
    mended=st.sampled_from(MENDS),
)
MENDED = [
    st.builds(
        said,
        st.just(action),
        st.sampled_from(values),
        id=st.sampled_from([ONE, OTHER]),
        label=st.sampled_from(LABELS),
        mended=st.sampled_from(MENDS),
    )
    for action, values in (("label", LABELS), ("target", [1, 2]))
]
PAIRED = st.builds(said, st.sampled_from(["same", "different"]), st.just(OTHER), label=st.sampled_from(LABELS))
MINE = st.lists(st.one_of(SAID, *MENDED, PAIRED), max_size=6)


@given(MINE, MINE, MINE, st.sets(st.sampled_from(LABELS), min_size=1))
def test_the_order_of_the_files_of_different_people_makes_no_difference(
    anna: list[Any], ben: list[Any], carla: list[Any], labels: set[str | None]
) -> None:
    files = {"anna": anna, "ben": ben, "carla": carla}
    there = {ONE: labels, OTHER: {"red"}}
    expected = resolve(lines(**files), there)
    for order in permutations(files):
        found = resolve(lines(**{who: files[who] for who in order}), there)
        assert outcomes(found) == outcomes(expected)
        assert (found.rows, found.pairs, found.agreements) == (expected.rows, expected.pairs, expected.agreements)


@pytest.mark.parametrize("order", [("anna", "ben"), ("ben", "anna")])
def test_what_one_sees_because_of_another_is_not_stale_whoever_is_read_first(order: tuple[str, str]) -> None:
    files = {"anna": [said("keep", label="blue", mended="1")], "ben": [said("label", "blue"), said("target", 1)]}
    found = resolve(lines(**{who: files[who] for who in order}), {ONE: {"red"}})
    assert outcomes(found) == {"anna": [None], "ben": [None, None]}


def test_a_row_may_be_seen_without_what_has_been_taken_back_since() -> None:
    """Anna relabels; Ben, who sees that, mends the answer; she takes it back: the row is red again, with his answer."""
    anna = [said("label", "blue"), said("undo", label="blue")]
    ben = [said("target", 1, label="blue"), said("keep", label="red", mended="1")]
    found = resolve(lines(anna=anna, ben=ben), {ONE: {"red"}})
    assert outcomes(found) == {"anna": ["replaced", "noted"], "ben": [None, None]}


def test_a_stale_line_is_open_until_the_same_person_answers_anew() -> None:
    old, new = said("drop", label="green"), said("drop")
    assert outcomes(resolve(lines(anna=[old]), {ONE: {"red"}})) == {"anna": ["stale"]}
    found = resolve(lines(anna=[old, new], ben=[old, said("label", "blue")]), {ONE: {"red"}})
    assert outcomes(found) == {"anna": ["replaced", None], "ben": ["stale", None]}
    assert [found.lines[number].file for number in sorted(found.stale)] == ["anna", "ben"]
    again = resolve(lines(anna=[old, new, said("undo")]), {ONE: {"red"}})
    assert outcomes(again) == {"anna": ["stale", "replaced", "noted"]}
    taken_back = resolve(lines(anna=[said("keep"), old, said("undo", label="green")]), {ONE: {"red"}})
    assert outcomes(taken_back) == {"anna": [None, "replaced", "noted"]}


def test_what_changes_nothing_is_never_stale() -> None:
    found = resolve(lines(anna=[said("note", label="green"), said("undo", label="green")]), {ONE: {"red"}})
    assert outcomes(found) == {"anna": ["noted", "no_effect"]}


def test_a_pair_is_taken_back_from_either_row() -> None:
    both = [said("same", OTHER), said("different", ONE, id=OTHER)]
    for undone in (ONE, OTHER):
        words = last_words([line.decision for line in lines(anna=[*both, said("undo", id=undone)])])
        assert (words.standing, words.others) == ({("pair", ONE, OTHER): 0}, {1: "replaced", 2: "noted"})
        words = last_words([line.decision for line in lines(anna=[*both, said("undo"), said("undo", id=undone)])])
        assert words.standing == {}


def test_of_rows_of_one_id_what_is_seen_of_any_is_seen_of_all() -> None:
    found = resolve(
        lines(anna=[said("label", "green", label="blue"), said("keep", label="red")]), {ONE: {"red", "blue"}}
    )
    assert outcomes(found) == {"anna": [None, None]}
    assert (found.rows[ONE].label, found.rows[ONE].keep) == (("green",), True)


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**200)])
def test_numbers_of_any_size_are_kept_to_the_last_digit(number: int, tmp_path: Path) -> None:
    (line,) = lines(anna=[said("target", {"b": [number], "a": 1.5})])
    append(tmp_path / "a.jsonl", [line.decision])
    assert read(tmp_path / "a.jsonl") == [line.decision]
    assert line.decision.answer() == line.decision.value_text() == f'{{"a":1.5,"b":[{number}]}}'
    found = resolve([line], {ONE: {"red"}})
    assert found.rows[ONE].target == f'{{"b": [{number}], "a": 1.5}}'
    (near,) = lines(anna=[said("target", {"b": [number + 1], "a": 1.5})])
    assert file_digest([line.decision]) != file_digest([near.decision])
