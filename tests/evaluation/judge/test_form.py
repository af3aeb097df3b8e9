"""Every class of form, and nothing that makes the judgement of a form crash."""

import json
import tarfile
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from evaluation.judge.form import ABSENT, FLAGS, Class, form_of, runs_in_circles, validator_of, value_of

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "count": {"type": "integer", "minimum": 0},
        "kind": {"enum": ["a", "b"]},
        "inner": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
}
VALIDATOR = validator_of(SCHEMA)
GOOD = '{"name": null, "count": 1}'


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (GOOD, "valid"),
        (f" \n{GOOD}\t", "valid"),
        ('{"count": 1e0, "name": "\\u00e9"}', "valid"),
        ("[]", "wrong_type"),
        ("null", "wrong_type"),
        ('{"name": 1, "count": "1"}', "wrong_type"),
        ('{"name": null}', "missing_key"),
        ('{"name": null, "count": 1, "inner": {}}', "missing_key"),
        ('{"name": null, "count": 1, "colour": 2}', "invented_key"),
        ('{"name": null, "count": 1, "kind": "c"}', "wrong_enum"),
        ('{"name": null, "count": -1}', "wrong_value"),
        ("", "empty"),
        (" \n", "empty"),
        (f"```json\n{GOOD}\n```", "code_fence"),
        (f"```\n{GOOD}\n```", "code_fence"),
        (f"Sure! {GOOD}", "text_before"),
        (f"see [1]: {GOOD}", "text_before"),
        (f"{GOOD} I hope this helps", "text_after"),
        (f"{GOOD}{GOOD}", "text_before"),
        (f"<think>so it is {GOOD}</think>\n{GOOD}", "valid"),
        (f"<think>so it is {GOOD}", "truncated"),
        ("Take {name} as it is.", "no_answer"),
        (f"{GOOD}<|im_start|>", "text_after"),
        (f"Here:\n```json\n{GOOD}\n```\nDone.", "text_around"),
        (f"I'm sorry, I cannot be sure, but: {GOOD}", "text_before"),
        ('{"name": null, "count": 1, "count": 2}', "duplicate_key"),
        ('{"count": NaN}', "not_finite"),
        ('{"count": -Infinity}', "not_finite"),
        ('{"count": 1e999}', "not_finite"),
        ("1" * 5000, "not_finite"),
        (r'{"name": "\ud800"}', "lone_surrogate"),
        ('{"name": "\ud800"}', "lone_surrogate"),
        ("[" * 10_000, "too_deep"),
        ("[" * 10_000 + "]" * 10_000, "too_deep"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "too_deep"),
        ('{"a":' * 300 + "1" + "}" * 300, "too_deep"),
        ("I'm sorry, but I cannot answer that.", "refusal"),
        ("As an AI language model, I do not judge.", "refusal"),
        ("抱歉，作为一个AI，我无法预测判决。", "refusal"),
        ("刑法第235条、第236条、第237条、" * 20, "repetition"),
        ('{"name": ["' + "a b c, " * 60, "repetition"),
        ('{"name": null, "cou', "truncated"),
        ('{"name": null, "count": 1', "truncated"),
        ('Here you are: {"name": nul', "truncated"),
        ('{"name": "x\\u00', "truncated"),
        ("{'name': null}", "syntax"),
        ('{"name": null,}', "syntax"),
        ('{"name": "a\nb"}', "syntax"),
        ('{"name": null "count": 1}', "syntax"),
        ("yes", "no_answer"),
        ("x" * (1 << 20), "repetition"),
        ("{" + "x" * (1 << 20), "repetition"),
    ],
)
def test_one_class(output: str, kind: str) -> None:
    form = form_of(output, VALIDATOR)
    assert form.kind == kind
    assert (form.detail == "") == form.valid
    assert form.parses == (kind in ("valid", "wrong_type", "missing_key", "invented_key", "wrong_enum", "wrong_value"))
    if kind in FLAGS:
        assert kind in form.flags
    if kind.startswith(("text", "code")):
        assert form.extracted == json.loads(GOOD)
        assert form.extracted_valid
        assert form.value is ABSENT


def test_all_that_is_wrong_is_flagged() -> None:
    form = form_of('{"count": "1", "kind": "c", "more": 1}', VALIDATOR, cut_off=True)
    assert form.kind == "wrong_type"
    assert form.flags == {"wrong_type", "missing_key", "invented_key", "wrong_enum", "truncated"}
    assert form.detail.startswith("at /")


def test_extraction_takes_the_last_that_fits_best() -> None:
    assert form_of(f"such as {{}} or {GOOD}.", VALIDATOR).extracted == json.loads(GOOD)
    assert form_of('{"name": "draft", "count": 0} no: {"name": "last", "count": 1} [2]', VALIDATOR).extracted == {
        "name": "last",
        "count": 1,
    }
    assert form_of('[1] and {"a": 1} and {"b": 2} and ["c"]', VALIDATOR).extracted == {"b": 2}
    assert form_of('{"name": 1, "count": 2} and {"b": 2}', VALIDATOR).extracted == {"name": 1, "count": 2}
    assert form_of("[1] and {nothing}", VALIDATOR).extracted == [1]
    assert form_of('so {"a": NaN} it is', VALIDATOR).extracted is ABSENT


def test_a_long_message_is_cut() -> None:
    assert len(form_of(json.dumps({"name": 1, "count": "x" * 10_000}), VALIDATOR).detail) <= 301


@pytest.mark.parametrize("depth", [10, 100, 199])
def test_deep_but_readable(depth: int) -> None:
    form = form_of('{"a":' * depth + "0" + "}" * depth, validator_of({"type": "object"}))
    assert form.kind == "valid"


@pytest.mark.parametrize("number", ["1e308", "9" * 400, "-" + "9" * 4000, "1e-999", "0." + "1" * 5000])
def test_numbers_of_any_size(number: str) -> None:
    assert form_of(f'{{"name": null, "count": {number}}}', VALIDATOR).parses


def test_the_value_of_an_output_is_without_its_think_part() -> None:
    assert value_of(f"<think>{{}}</think> {GOOD}") == value_of(GOOD) == json.loads(GOOD)
    assert value_of('"</think>"') == "</think>"


def test_circles() -> None:
    assert runs_in_circles("The same sentence again and again. " * 10)
    assert runs_in_circles("intro " + "第1条、第2条、" * 20 + "第")
    assert not runs_in_circles("The same sentence again and again. " * 2)
    assert not runs_in_circles(
        "A text that says many different things and never comes back to any of them, as one does."
    )


ANY_TEXT = st.text(st.characters()) | st.text('{}[]",:\\ud8001eE+-.nulltrsfaNI `')


@given(ANY_TEXT, st.booleans())
def test_any_text_has_one_class(output: str, cut_off: bool) -> None:
    form = form_of(output, VALIDATOR, cut_off)
    assert form.kind in get_args(Class)
    assert form.valid == (form.parses and VALIDATOR.is_valid(form.value))
    assert ("truncated" in form.flags) >= cut_off
    form.detail.encode()


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"pattern": "("}, [], 3])
def test_a_schema_that_is_none(schema: Any) -> None:
    with pytest.raises(AssayError, match="no JSON Schema"):
        validator_of(schema)


def test_a_schema_is_never_fetched() -> None:
    with pytest.raises(AssayError, match="no JSON Schema"):
        validator_of({"$ref": "http://192.0.2.1/schema.json"})


def test_the_official_suite(shared_data: Path) -> None:
    """All of Draft 2020-12, required and optional, formats asserted where the suite asserts them."""
    archive = shared_data / "json_schema_test_suite/JSON-Schema-Test-Suite.tar.gz"
    with tarfile.open(archive) as tar:
        files = {entry.name: json.load(tar.extractfile(entry)) for entry in tar if entry.name.endswith(".json")}  # type: ignore[arg-type]
    remotes = [
        (f"http://localhost:1234/{name.removeprefix('remotes/')}", schema)
        for name, schema in files.items()
        if name.startswith("remotes/") and "/draft3/" not in name and "/v1/" not in name
    ]
    registry = jsonschema_rs.Registry(remotes)
    failed, run = set(), 0
    for name, cases in files.items():
        if not name.startswith("tests/draft2020-12/"):
            continue
        formats = True if "/optional/format/" in name else None
        for case in cases:
            try:
                validator = jsonschema_rs.Draft202012Validator(
                    case["schema"], validate_formats=formats, registry=registry
                )
            except ValueError:
                failed |= {(name.removeprefix("tests/draft2020-12/"), case["description"], "(schema)")}
                continue
            for test in case["tests"]:
                run += 1
                if validator.is_valid(test["data"]) != test["valid"]:
                    failed.add((name.removeprefix("tests/draft2020-12/"), case["description"], test["description"]))
    assert failed == set(), "the library passes all of them, so there is none to list"
    assert run > 2100
