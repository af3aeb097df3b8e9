"""Replies that are long, deep or made to keep a reader busy: judged in linear time, as wrong, and never a crash."""

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import lawbench
from evaluation.judge import ljp_criminal
from evaluation.judge.extract import places
from evaluation.judge.form import form_of, validator_of
from evaluation.judge.structured import Judge
from evaluation.judge.thinking import LONGEST

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["x", "y"]}, "count": {"type": "integer"}, "words": {"type": "array"}},
    "required": ["kind", "count"],
    "additionalProperties": False,
}
VALIDATOR = validator_of(SCHEMA)
MIB = 200_000
"""Characters of a hostile reply: a reader that looks at each part of it from each other would need hours."""
PIECES = [
    *("[1", "[", "{", '{"a":', "[1,", "[1 ", "[0, 1) ", "{x} ", "[{", '["', '{"', "{a:", "[true", "[-", "]", '"', "\\"),
    *(
        "```json\n",
        "```{",
        "\n```\n",
        "<think>",
        "<think></think>",
        "<think>{",
        "</think>",
        "<|channel|>analysis",
        "<|",
    ),
    *(
        "final ",
        "word [ ",
        "[] ",
        '{"a": 1',
        '["x" y',
        "[1 2",
        "[null x ",
        "◁think▷",
        "[THINK]",
        "i am sor",
        "analysis",
    ),
    *(
        '" : {} ',
        "{} ,",
        "9",
        "第",
        "第9",
        "9 ",
        "三",
        "十百",
        "[法条]",
        "盗窃;",
        "9年零",
        "<eoa>",
        "第\n",
        "1,2 ",
        "1|2,",
    ),
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_reply_of_the_same_over_and_over_is_judged_in_linear_time(piece: str) -> None:
    text = piece * (MIB // len(piece))
    form = form_of(text, VALIDATOR)
    assert not form.extracted_valid
    assert form.kind != "valid"
    ljp_criminal.score([text], ['{"fine_lv": 1}'])
    for task in lawbench.TASKS:
        assert not task.form_of(text).valid
        task.official([text], [{"articles": [1], "charges": ["盗窃"], "months": 3}])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[" * 100_000, "too_deep"),
        ("[" * 100_000 + "]" * 100_000, "too_deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "too_deep"),
        ('{"kind": "x", "count": 1e400}', "not_finite"),
        ('{"kind": "x", "count": ' + "9" * 10_000 + "}", "not_finite"),
        ('{"kind": "x", "count": ' + "9" * 4_000 + "}", None),
        ('{"kind": "\\ud800", "count": 1}', "lone_surrogate"),
        ('{"kind": "\ud800", "count": 1}', "lone_surrogate"),
        (json.dumps({f"k{n}": n for n in range(70_000)}), "missing_key"),
        (json.dumps({"kind": "x" * MIB, "count": 1}), "wrong_enum"),
        (json.dumps({"kind": "x", "count": 1, "words": ["w"] * 300_000}), "valid"),
        ("words " * 200_000 + '{"kind": "x", "count": 1}', "no_answer"),
        ("{" * (100 << 20), "repetition"),
    ],
    ids=range(13),
)
def test_any_reply_has_a_class(text: str, kind: str | None) -> None:
    form = form_of(text, VALIDATOR)
    assert kind is None or form.kind == kind
    assert len(form.detail) < 600
    judgement = Judge(SCHEMA)(text, {"kind": "x", "count": 1})
    assert judgement.form == form.kind


def test_what_is_too_long_to_be_looked_through_is_told() -> None:
    value = '{"kind": "x", "count": 1}'
    text = f"Sure! {value}"
    assert form_of(text, VALIDATOR).extracted_valid
    long = form_of(
        text + "".join(hashlib.sha256(bytes([n % 251, n // 251])).hexdigest() for n in range(20_000)), VALIDATOR
    )
    assert (long.kind, long.extracted_valid) == ("no_answer", False)
    assert "of more than 1,048,576 characters, so no value is looked for within" in long.detail
    assert form_of(value + " " * 2 * LONGEST, VALIDATOR).valid, "JSON alone may have any length"


def test_a_value_is_found_behind_many_that_do_not_end() -> None:
    text = "an interval [0, 1) " * 200 + '{"kind": "x"}'
    assert [text[place.begin : place.end] for place in places(text) if place.complete] == ['{"kind": "x"}']


@given(st.text("第条款1二\n万元、x", max_size=12), st.sampled_from("条款"))
def test_marks_are_found_as_the_reference_finds_them(text: str, end: str) -> None:
    assert lawbench.within_marks(text, end, lambda name: name) == re.sub(f"第(.*?){end}", r"\1", text)
    assert lawbench.within_marks(text, end, lambda _: "") == re.sub(f"第(.*?){end}", "", text)


@given(st.text("12,.| 벌금", max_size=14))
def test_commas_divide_as_the_reference_has_it(text: str) -> None:
    inside = [match.span() for match in re.finditer(r"\d[\d|,.]+\d", text)]
    commas = [at for at, char in enumerate(text) if char == "," and not any(a <= at <= b for a, b in inside)]
    parts = [text[begin:end] for begin, end in zip([0, *(at + 1 for at in commas)], [*commas, len(text)], strict=True)]
    found: list[Any] = [None if "0" in part else tuple(re.sub(r"\s", "", v) for v in part.split("|")) for part in parts]
    assert ljp_criminal.segments(text) == tuple(found[at] if at < len(found) else None for at in range(3))


def test_a_number_has_no_more_digits_than_can_be_meant() -> None:
    assert lawbench.number_of("三" * 9_000) == lawbench.number_of("三" * 15)
    assert lawbench.official_months(["三" * 9_000 + "月"], [{"months": 3}])["abstained"] == 0
