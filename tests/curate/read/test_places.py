"""Places: where in a document, on which pages, turns stand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read.mapping import Mapper, RecordMapping, RowError, build_lookup
from curate.read.places import places_of
from curate.read.raw_row import Document, Row, Unread
from curate.record import pages_of


def placed(content: str, text: str, pages: list[int]) -> list[dict[str, Any]] | None:
    return places_of([{"role": "user", "content": content}], [(None, {"text": Document(text, pages)})])


def test_a_turn_over_several_pages_has_a_place_on_each() -> None:
    text = "One.\n\nTwo.\n\nThree."
    found = placed("Two.\n\nThr", text, [0, 6, 12])
    assert found == [
        {"turn": 0, "page": 2, "begin": 6, "end": 12, "file": None},
        {"turn": 0, "page": 3, "begin": 12, "end": 15, "file": None},
    ]
    assert placed(text, text, []) == [{"turn": 0, "page": None, "begin": 0, "end": 18, "file": None}]


def test_what_stands_nowhere_or_twice_has_no_place() -> None:
    assert placed("four", "One.", [0]) == []
    assert placed("aa", "aaa", [0]) == []
    assert placed("", "aaa", [0]) == []
    assert places_of([{"role": "user", "content": "One."}], [(None, {"text": "One.", "name": "x"})]) is None


@given(st.lists(st.text("ab\n ", max_size=6), min_size=1, max_size=6), st.data())
def test_places_are_those_of_brute_force(pages: list[str], data: st.DataObject) -> None:
    """Each character of a turn that is found stands on the page that it is said to be on."""
    text = "".join(pages)
    begins = [len("".join(pages[:at])) for at in range(len(pages))]
    begin = data.draw(st.integers(0, len(text)))
    content = text[begin : data.draw(st.integers(begin, len(text)))]
    count = sum(text.startswith(content, at) for at in range(len(text)))
    found = placed(content, text, begins)
    if not content or count != 1:
        assert found == []
        return
    assert found is not None
    page_of = [number for number, page in enumerate(pages, 1) for _ in page]
    assert [at for each in found for at in range(each["begin"], each["end"])] == list(
        range(begin, begin + len(content))
    )
    assert all(page_of[at] == each["page"] for each in found for at in range(each["begin"], each["end"]))


def lookup(*rows: Row | Unread) -> Mapper:
    table = build_lookup("contracts", "name", iter(rows))
    mapping = {
        "turns": [{"role": "user", "content": "contracts[file].text[:8]"}],
        "meta": {"there": "file in contracts"},
    }
    return Mapper(RecordMapping.model_validate(mapping), {"contracts": table})


def test_a_row_stands_in_the_document_that_it_asks_for() -> None:
    a, b = (
        {"name": name, "text": Document(text, [0, 6])} for name, text in (("a", "One.\n\nTwo."), ("b", "One.\n\nSix."))
    )
    mapper = lookup(a, b)
    for file in ("b", "a"):
        [record] = mapper.records({"file": file}, "table.csv")
        assert [(each["page"], each["begin"], each["end"], each["file"]) for each in record["places"]] == [
            (1, 0, 6, file),
            (2, 6, 8, file),
        ]
    [record] = Mapper(RecordMapping.model_validate({"turns": [{"role": "user", "content": "x"}]}), {}).records(
        {"x": "y"}, "f"
    )
    assert record["places"] is None


def test_a_row_that_asks_for_a_document_that_cannot_be_read_says_why() -> None:
    locked = Unread("encrypted: a password opens it", None, "", name="a")
    scan = Unread("page 1 of 1 has no text layer", None, "", page=1, reason="no_text_layer", name="b")
    late = Unread("page 2 of 2 has no text layer", None, "", page=2, reason="no_text_layer", name="c")
    mapper = lookup(locked, scan, {"name": "c", "text": Document("Some text.", [0, 12], [2])}, late)
    for file, reason, evidence in (
        ("a", "unreadable", {"message": locked.message, "document": "a"}),
        ("b", "no_text_layer", {"message": scan.message, "document": "b", "page": 1}),
    ):
        with pytest.raises(RowError) as caught:
            mapper.records({"file": file}, "table.csv")
        assert (caught.value.reason, caught.value.evidence) == (reason, evidence)
    [record] = mapper.records({"file": "c"}, "table.csv")
    assert record["turns"][0]["content"] == "Some tex"
    with pytest.raises(RowError) as caught:
        mapper.records({"file": "d"}, "table.csv")
    assert caught.value.reason == "unmappable"


def test_pages_are_said_in_words() -> None:
    def said(*places: tuple[int | None, str | None]) -> str:
        return pages_of({"places": [{"page": page, "file": file} for page, file in places]})

    assert said((3, None)) == "page 3"
    assert said((3, None), (4, None), (6, None)) == "pages 3 to 6"
    assert said((1, "a.pdf"), (2, "a.pdf"), (None, "b.txt")) == "a.pdf, pages 1 to 2; b.txt"
    assert said((None, None)) == said() == pages_of({"places": None}) == ""
