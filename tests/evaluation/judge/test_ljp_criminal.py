"""The official scorer of lbox_open's ljp_criminal: the reference's rules, one by one, and counts by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.judge.ljp_criminal import FIELDS, render, score, segments, text_of


def levels(fine: int, labour: int, without: int) -> str:
    return json.dumps(dict(zip(FIELDS, (fine, labour, without), strict=True)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("벌금2, 징역0, 금고0", (("벌금2",), None, None)),
        ("벌금0,징역3,금고0", (None, ("징역3",), None)),
        ("벌금 2 , 징역 1", (("벌금2",), ("징역1",), None)),
        ("벌금1|2 , 징역0, 금고0", (("벌금1", "2"), None, None)),
        (
            "벌금1|2, 징역3, 금고4",
            (("벌금1", "2,징역3"), ("금고4",), None),
        ),  # a comma right after `1|2` is taken for its own
        ("벌금10, 징역0, 금고0", (None, None, None)),  # a 0 anywhere empties the segment
        ("벌금1,500 , 징역2, 금고3", (None, ("징역2",), ("금고3",))),  # the comma of a number does not divide
        ("벌금1,511 , 징역2, 금고3", (("벌금1,511",), ("징역2",), ("금고3",))),
        ("", (("",), None, None)),
        ("모르겠습니다", (("모르겠습니다",), None, None)),
        ("징역2, 벌금1, 금고3", (("징역2",), ("벌금1",), ("금고3",))),  # by position, not by word
        ("벌금1, 징역2, 금고3, 그리고", (("벌금1",), ("징역2",), ("금고3",))),
    ],
)
def test_segments(text: str, found: tuple[object, ...]) -> None:
    assert segments(text) == found


def test_json_is_rendered_first() -> None:
    assert text_of(levels(2, 0, 1)) == "벌금2, 징역0, 금고1"
    assert render({"fine_lv": None, "imprisonment_with_labor_lv": [1, 2]}) == "벌금0, 징역1|2, 금고0"
    assert text_of('{"other": 1}') == '{"other": 1}'
    assert text_of("벌금2") == "벌금2"
    assert text_of("[1, 2]") == "[1, 2]"


def test_counts_and_f1_by_hand() -> None:
    expected = [levels(2, 0, 0), levels(0, 3, 0), levels(1, 0, 0), levels(0, 0, 2), levels(0, 4, 0)]
    outputs = [
        levels(2, 0, 0),  # fine: tp
        levels(1, 3, 0),  # fine: fp; labour: tp
        levels(2, 0, 0),  # fine: fp, a wrong level is no fn
        "벌금0, 징역0",  # without labour: missing, so fn
        "I cannot say",  # fine: fp; labour: missing, so fn
    ]
    found = score(outputs, expected)
    counts = {name: [each[key] for key in ("tp", "fp", "fn", "tn")] for name, each in found["fields"].items()}
    assert counts == dict(zip(FIELDS, ([1, 3, 0, 1], [1, 0, 1, 3], [0, 0, 1, 4]), strict=True))
    precision, recall = 1 / (4 + 1e-5), 1 / (1 + 1e-5)
    assert found["fields"]["fine_lv"]["f1"] == pytest.approx(
        2 * precision * recall / (precision + recall + 1e-5), abs=1e-6
    )
    assert found["exact_match"] == pytest.approx(1 / 5)
    assert found["score"] == pytest.approx(sum(each["f1"] for each in found["fields"].values()) / 3, abs=1e-6)


def test_all_right_is_almost_one() -> None:
    rows = [levels(1, 1, 1), levels(2, 3, 1)]
    assert score(rows, rows)["score"] == pytest.approx(1, abs=1e-4)
    assert score(rows, rows)["exact_match"] == 1.0
    assert score([], [])["exact_match"] is None


@given(st.text(), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_any_text_is_scored(output: str, right: list[int]) -> None:
    found = score([output], [levels(right[0], right[1], right[2])])
    assert all(sum(each[key] for key in ("tp", "fp", "fn", "tn")) == 1 for each in found["fields"].values())
