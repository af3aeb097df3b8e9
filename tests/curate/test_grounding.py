"""Grounding: what a text says is found however it is written, and what it does not say is not."""

import json
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from curate.contract import Contract
from curate.engine import map_in_process
from curate.errors import AssayError
from curate.grounding import Grounding, How, Place, Prompt, find, nearest
from curate.read.ingest import SHARD_BYTES, ingest
from curate.recipe import Recipe, find_recipe
from curate.record import dicts

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
GERMAN = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]
SPANISH = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
]
ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
ORDINALS += [f"twenty-{each}" for each in ORDINALS[:9]] + ["thirtieth", "thirty-first"]
UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
FILLER = "This Agreement is made between the parties below and binds their heirs, so help us."
"""Text without a number, a date or a name."""


@pytest.mark.parametrize(
    ("value", "text", "passage"),
    [
        ("ACME, INC", "by Acme Inc. and", "Acme Inc"),
        ("Müller & Söhne", "Firma MÜLLER und… MU\u0308LLER AND SO\u0308HNE", "MU\u0308LLER AND SO\u0308HNE"),
        ("L.L.C.", "the LLC is", "LLC"),
        ("agreement", "this agree-\nment", "agree-\nment"),
        ("efficient", "an e\ufb03cient one", "e\ufb03cient"),
        ("US", "the BUSINESS of us", "us"),
        ("1.5", "Section 15, Section 1.5", "1.5"),
        ("C++", "in C or C++ code", "C++"),
        ("北京", "公司位于北京市", "北京"),
        ("हिन्दी", "भाषा हिन्दी है", "हिन्दी"),
        ("[***]", "paid [***] dollars", "[***]"),
    ],
)
def test_words_are_found_in_any_form(value: str, text: str, passage: str) -> None:
    place = find(value, "normalised", text)
    assert place is not None
    assert text[place.begin : place.end] == passage


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Acme Inc", "Acme Incorporated"),
        ("US", "BUSINESS"),
        ("15", "Section 1.5"),
        ("C++", "C"),
        ("हिन्दी", "हिन्दु"),
        ("[*]", "nothing"),
    ],
)
def test_other_words_are_not(value: str, text: str) -> None:
    assert find(value, "normalised", text) is None


def test_verbatim_is_to_the_character() -> None:
    assert find("Acme Inc", "verbatim", "by Acme Inc.") == Place(3, 11)
    for text in ("ACME INC", "Acme  Inc", "Acme Incorporated", "BigAcme Inc"):
        assert find("Acme Inc", "verbatim", text) is None


def in_words(number: int) -> str:
    """An integer in English words."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        return TENS[number // 10] + (f"-{UNITS[number % 10]}" if number % 10 else "")
    for size, name in ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{in_words(number // size)} {name}" + (f" {in_words(rest)}" if rest else "")
    raise AssertionError(number)


def date_forms(day: date) -> dict[str, str]:
    """The ways in which a day is written."""
    y, m, d = day.year, day.month, day.day
    two = f"{y % 100:02}"
    ending = "th" if 10 < d < 20 else {1: "st", 2: "nd", 3: "rd"}.get(d % 10, "th")
    return {
        "iso": day.isoformat(),
        "legal": f"the {d}{ending} day of {MONTHS[m - 1]}, {y}",
        "words": f"this {ORDINALS[d - 1]} day of {MONTHS[m - 1]} in the year {in_words(y)}",
        "american": f"{MONTHS[m - 1]} {d}, {y}",
        "short": f"{MONTHS[m - 1][:3]}. {d:02}, {y}",
        "british": f"{d} {MONTHS[m - 1].upper()} {y}",
        "slashes": f"{m}/{d}/{y}",
        "day first": f"{d:02}.{m:02}.{y}",
        "two digits": f"{m}/{d}/{two}",
        "german": f"{d}. {GERMAN[m - 1]} {y}",
        "spanish": f"{d} de {SPANISH[m - 1]} de {y}",
        "chinese": f"{y}年{m}月{d}日",
        "dashes": f"{d}-{MONTHS[m - 1][:3]}-{y}",
    }


FORMS = list(date_forms(date(2019, 3, 5)))
DAYS = st.dates(date(1971, 1, 1), date(2039, 12, 31))


@given(DAYS, st.sampled_from(FORMS), st.integers(0, len(FILLER.split())))
@example(date(2019, 3, 5), "legal", 3)
@settings(max_examples=100, deadline=None)
def test_a_planted_day_is_found_and_another_is_not(day: date, form: str, at: int) -> None:
    words = FILLER.split()
    written = date_forms(day)[form]
    text = " ".join([*words[:at], written, *words[at:]])
    place = find(day.isoformat(), "date", text)
    assert place is not None, text
    assert text[place.begin : place.end] in written
    assert find(day.isoformat(), "date", FILLER) is None
    others = {day + timedelta(days=shift) for shift in (-366, -31, -1, 1, 31, 366)}
    swapped = {(m, d) for m, d in ((day.month, day.day), (day.day, day.month))}
    for other in others:
        if (other.month, other.day) not in swapped or other.year != day.year:
            assert find(other.isoformat(), "date", text) is None, (other, text)


def test_the_order_of_day_and_month_is_told_by_the_rest_of_the_text() -> None:
    assert find("2019-03-05", "date", "3/5/19")
    assert find("2019-05-03", "date", "3/5/19")
    assert find("2019-03-05", "date", "3/5/19 and 3/25/19")
    assert find("2019-05-03", "date", "3/5/19 and 3/25/19") is None
    assert find("2019-03-05", "date", "3/5/19 and 25/3/19") is None


@pytest.mark.parametrize(
    "text",
    [
        "the ___ day of March, 2019",
        "March 5 and April 6, 2019.",
        "March 2019. 5 copies",
        "5 March. In 2019 it",
        "section 3.5.2019.1",
    ],
)
def test_what_is_no_day_is_none(text: str) -> None:
    assert find("2019-03-05", "date", text) is None


def test_a_month_is_found_in_a_day_and_a_time_is_passed_over() -> None:
    assert find("2019-03", "date", "on March 5, 2019")
    assert find("2019-03", "date", "in March 2019")
    assert find("2019-04", "date", "on March 5, 2019") is None
    assert find("2019-03-05T10:30:00Z", "date", "on March 5, 2019")
    assert find("5 March 2019", "date", "on 3/5/2019")


def number_forms(number: int) -> dict[str, str]:
    """The ways in which a whole number is written."""
    forms = {
        "plain": str(number),
        "commas": f"{number:,}",
        "points": f"{number:,}".replace(",", "."),
        "spaces": f"{number:,}".replace(",", " "),
        "cents": f"${number:,}.00",
        "German cents": f"{number:,}".replace(",", ".") + ",00 €",
        "words": in_words(number),
        "capitals": in_words(number).upper(),
    }
    if number % 1000 == 0:
        forms |= {"thousand": f"{number // 1000} thousand", "k": f"{number // 1000}k"}
    if number % 100_000 == 0:
        forms["million"] = f"${number / 1_000_000:g} million"
    return forms


NUMBERS = st.one_of(
    st.integers(0, 3000),
    st.integers(1, 999).map(lambda number: number * 1000),
    st.integers(1, 99).map(lambda number: number * 100_000),
    st.integers(1000, 10**9),
)


@given(NUMBERS, st.data())
@example(500_000, None)
@settings(max_examples=100, deadline=None)
def test_a_planted_number_is_found_and_another_is_not(number: int, data: Any) -> None:
    forms = number_forms(number)
    written = forms["words"] if data is None else forms[data.draw(st.sampled_from(sorted(forms)))]
    text = f"The fee is {written}, and no more."
    assert find(number, "number", text), text
    assert find(float(number), "number", text)
    assert find(str(number), "number", text)
    assert find(number, "number", FILLER) is None
    for other in (number + 1, number * 10 + 7, number + 0.5):
        assert find(other, "number", text) is None, (other, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,234.50"),
        (1234.5, "1.234,50"),
        (1234567, "12,34,567"),
        (0.05, "five percent (5%)"),
        (5, "5 %"),
        (-500, "a loss of (500)"),
        (-3.5, "at −3.5 degrees"),
        (2500000, "€2.5 million"),
        (300_000_000, "3亿元"),
        ("$5 million", "five million dollars"),
        ("5 to 10", "from five to ten"),
    ],
)
def test_numbers_are_read_with_separators_scales_signs_and_percent(value: Any, text: str) -> None:
    assert find(value, "number", text)


@pytest.mark.parametrize(
    ("value", "text"), [("$5 million", "5 dollars"), ("5 to 10", "five"), (5, "15, 5.5 and 50"), (2, "Section 3.1.2")]
)
def test_other_numbers_are_not(value: Any, text: str) -> None:
    assert find(value, "number", text) is None


WORDS = st.text("abcdefghijklmnop", min_size=3, max_size=8)


@given(
    st.lists(WORDS, min_size=1, max_size=4),
    st.lists(st.text("qrstuvwxyz", min_size=3, max_size=8), max_size=20),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_a_planted_name_is_found_where_it_is(name: list[str], around: list[str], data: st.DataObject) -> None:
    change = data.draw(st.sampled_from([str, str.upper, str.title]))
    between = data.draw(st.sampled_from([" ", "  ", "\n", ", ", "-", " \u00ad"]))
    at = data.draw(st.integers(0, len(around)))
    written = change(between.join(name))
    text = " ".join([*around[:at], written, *around[at:]])
    place = find(" ".join(name), "normalised", text)
    assert place == Place(len(" ".join(around[:at])) + (at > 0), len(" ".join(around[:at])) + (at > 0) + len(written))
    assert find(" ".join(name), "normalised", " ".join(around)) is None
    assume(" ".join(name) not in " ".join(around))
    assert (find(" ".join(name), "verbatim", text) is not None) == (written == " ".join(name))


def test_the_nearest_passage_and_how_near_it_is() -> None:
    text = "Mount Knowledge Holdings Inc. of March 6, 2019 owes 4,900 dollars"
    near = nearest("Mount Kowledge Holdings Inc.", "normalised", text)
    assert near is not None
    assert (text[near.begin : near.end], near.similarity > 0.95) == ("Mount Knowledge Holdings Inc", True)
    near = nearest("2019-03-05", "date", text)
    assert near is not None
    assert (text[near.begin : near.end], near.similarity) == ("March 6, 2019", 0.667)
    near = nearest(5000, "number", text)
    assert near is not None
    assert (text[near.begin : near.end], near.similarity) == ("4,900", 0.98)
    assert nearest("2019-03-05", "date", "no day") is None
    assert nearest(5, "number", "no number") is None
    assert nearest("a name", "normalised", "") is None


def test_a_prompt_is_searched_turn_by_turn() -> None:
    prompt = Prompt([{"content": "You read contracts."}, {"content": "Acme Inc. of 3/5/19"}], "en")
    place = prompt.find("ACME INC", "normalised")
    assert place == Place(0, 8, 1)
    assert prompt.passage(place) == "Acme Inc"
    assert prompt.find("contracts Acme", "normalised") is None
    near = prompt.nearest("Acne Inc", "normalised")
    assert near is not None
    assert near.turn == 1


CONTRACT = """\
name: c
version: 1.0.0
status: draft
description: {purpose: p, limitations: l}
schema:
  - name: record
    properties:
      - name: target
        required: true
        properties:
          - {name: title, logicalType: string, required: true}
          - {name: signed, logicalType: string, logicalTypeOptions: {format: date}}
          - {name: fee, logicalType: number, customProperties: [{property: grounding, value: verbatim}]}
          - {name: urgent, logicalType: boolean}
          - name: kind
            logicalType: string
            quality: [{metric: invalidValues, arguments: {validValues: [a, b]}, mustBe: 0}]
          - name: summary
            logicalType: object
            customProperties: [{property: grounding, value: none, description: Written by people.}]
            properties:
              - {name: text, logicalType: string}
              - {name: by, logicalType: string, customProperties: [{property: grounding, value: normalised}]}
          - name: clauses
            logicalType: array
            items:
              logicalType: object
              required: true
              properties:
                - {name: title, logicalType: string, required: true}
                - {name: date, logicalType: string, logicalTypeOptions: {format: date}}
"""


def contract_of(text: str, folder: Path) -> Contract:
    (folder / "contract.yaml").write_text(text, encoding="utf-8")
    return Contract.load(folder)


def test_how_fields_are_grounded_is_stated_or_follows_from_the_schema(tmp_path: Path) -> None:
    grounding = Grounding.of(contract_of(CONTRACT, tmp_path))
    assert grounding.fields == {
        "title": "normalised",
        "signed": "date",
        "fee": "verbatim",
        "urgent": "enum",
        "kind": "enum",
        "summary": "none",
        "summary.text": "none",
        "summary.by": "normalised",
        "clauses[].title": "normalised",
        "clauses[].date": "date",
    }
    assert grounding.why == {"summary": "Written by people."}
    assert "clauses[].date" in grounding.nullable
    assert "clauses[].title" not in grounding.nullable
    target = {
        "title": "T",
        "signed": None,
        "fee": 5,
        "urgent": True,
        "kind": "a",
        "summary": {"text": "x", "by": "Jo", "new": "y"},
        "clauses": [{"title": "C", "date": "2019-03-05"}],
        "unknown": ["2019-03-05", 7, "name", ""],
    }
    said = {(each.path, each.at, each.value): each.how for each in grounding.said(target)}
    hows: dict[tuple[str, tuple[str | int, ...], Any], How] = {
        ("title", ("title",), "T"): "normalised",
        ("fee", ("fee",), 5): "verbatim",
        ("urgent", ("urgent",), True): "enum",
        ("kind", ("kind",), "a"): "enum",
        ("summary.text", ("summary", "text"), "x"): "none",
        ("summary.by", ("summary", "by"), "Jo"): "normalised",
        ("summary.new", ("summary", "new"), "y"): "none",
        ("clauses[].title", ("clauses", 0, "title"), "C"): "normalised",
        ("clauses[].date", ("clauses", 0, "date"), "2019-03-05"): "date",
        ("unknown[]", ("unknown", 0), "2019-03-05"): "date",
        ("unknown[]", ("unknown", 1), 7): "number",
        ("unknown[]", ("unknown", 2), "name"): "normalised",
    }
    assert said == hows


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value: verbatim", "value: literal", "schema.record.target.fee.customProperties.grounding: expected one of"),
        (", description: Written by people.", "", "`none` needs a `description`"),
        (
            "      - name: target",
            "      - {name: label, customProperties: [{property: grounding, value: enum}]}\n      - name: target",
            "only what is in the answer",
        ),
    ],
)
def test_a_contract_that_says_it_wrongly_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in CONTRACT
    with pytest.raises(AssayError) as error:
        contract_of(CONTRACT.replace(old, new), tmp_path)
    assert message in error.value.message


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("A of 3/5/19 and B", {"t": "A", "d": "2019-03-05", "c": [{"n": "B", "d": None}]}),
        ("A", {"t": "A", "d": None, "c": []}),
        ("B", None),
    ],
)
def test_an_answer_without_what_its_prompt_does_not_hold(prompt: str, left: Any) -> None:
    grounding = Grounding({"t": "normalised", "d": "date", "c[].n": "normalised"}, nullable=("d", "c[].d"))
    target = {"t": "A", "d": "2019-03-05", "c": [{"n": "B", "d": "2020-01-01"}, {"n": "Z", "d": "2021-01-01"}]}
    before = str(target)
    found = grounding.looked_for(target, Prompt([{"content": prompt}]))
    assert grounding.without(target, found) == left
    assert str(target) == before


def test_decimals_are_compared_exactly() -> None:
    assert find(0.1, "number", "10%")
    assert find(float(Decimal("1234567.89")), "number", "1,234,567.89")


def test_what_a_person_found_in_real_contracts(shared_data: Path, tmp_path: Path) -> None:
    """100 contracts of CUAD, those of the smallest ids, read by a person: for each value of the answer that is to be in
    the opening, whether the opening says it (y or n), as cuad_grounding.json has it by the row's id."""
    verdicts = json.loads((Path(__file__).parent / "cuad_grounding.json").read_text())
    recipe = Recipe.load(find_recipe("contracts"), drop=shared_data / "legal_cuad")
    read = ingest(recipe.sources, recipe.lookups, recipe.record, recipe.drop, tmp_path, map_in_process, SHARD_BYTES)
    rows = {row["id"]: row for shard in read.shards for row in dicts(shard.kept())}
    grounding = Grounding.of(recipe.held_to())
    pairs: Counter[tuple[str, bool]] = Counter()
    for row, said in verdicts.items():
        turns, target = rows[row]["turns"], json.loads(rows[row]["target"])
        places = [place for _, place in grounding.looked_for(target, Prompt(turns))]
        pairs.update((verdict, place is not None) for verdict, place in zip(said, places, strict=True))
    assert (len(verdicts), pairs.total()) == (100, 528)
    assert pairs["n", True] == 0, "what no person finds is not found"
    assert pairs["y", False] <= 26, "names that were joined, cut short, misspelt, or lost their brackets"
