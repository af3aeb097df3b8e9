"""Mapping: expressions make records of rows, rows cannot make expressions do anything else."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import AssayError
from curate.read.expressions import compile_expression, fold, iso_date
from curate.read.mapping import UNDERIVABLE, UNMAPPABLE, Mapper, RecordMapping, RowError, build_lookup, raw_json
from curate.read.raw import Files, Row, Unread, find_files, read_rows
from curate.record import SCHEMA, content_id

ASKED = [{"role": "user", "content": "question"}]


def mapped(mapping: dict[str, Any], row: Row, lookups: dict[str, dict[str, Row]] | None = None) -> dict[str, Any]:
    mapper = Mapper(RecordMapping.model_validate({"turns": ASKED} | mapping), lookups or {})
    [record] = mapper.records({"question": "q"} | row, "folder/file.csv")
    return {name: record[name] for name in SCHEMA.names if name in record}


def value_of(expression: str, row: Row | None = None, lookups: dict[str, dict[str, Row]] | None = None) -> Any:
    """What an expression gives as the target's only key."""
    target = mapped({"target": {"x": expression}}, row or {}, lookups)["target"]
    return json.loads(target)["x"]


def problem_of(mapping: dict[str, Any], row: Row | None = None) -> tuple[str, dict[str, Any]]:
    with pytest.raises(RowError) as error:
        mapped(mapping, row or {})
    return error.value.reason, error.value.evidence


def test_a_record() -> None:
    mapping = {
        "let": {"twice": "n + n", "again": "twice + n"},
        "turns": [
            {"role": "system", "content": "hint"},
            {"role": "user", "content": 'question ~ "?"'},
            {"role": "assistant", "content": "answer"},
        ],
        "target": {"b": "again", "a": "answer"},
        "group": "n",
        "label": "none",
        "meta": {"file": "_file", "n": "_row['n']", "empty": "none"},
    }
    turns = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "é"}]
    assert mapped(mapping, {"n": 2, "answer": "é", "hint": None}) == {
        "id": content_id(turns, '{"b": 6, "a": "é"}'),
        "turns": turns,
        "target": '{"b": 6, "a": "é"}',
        "reasoning": None,
        "group": "2",
        "label": None,
        "language": None,
        "meta": {"file": "folder/file.csv", "n": "2"},
    }


def test_turns_from_one_expression() -> None:
    row = {"said": [{"role": "user", "content": "q", "more": 1}, {"role": "assistant", "content": "a"}]}
    assert mapped({"turns": "said"}, row)["turns"] == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
    assert mapped({"turns": "said | selectattr('role', 'equalto', 'user')"}, row)["turns"] == [
        {"role": "user", "content": "q"}
    ]


@pytest.mark.parametrize(
    ("expression", "target"),
    [
        ("none", None),
        ("text", '{"a": 1}'),
        ("{'a': [1, 2.5, true, none, 'é']}", '{"a": [1, 2.5, true, null, "é"]}'),
        ("[1]", "[1]"),
        ("12345678901234567890123", "12345678901234567890123"),
    ],
)
def test_a_target_from_one_expression(expression: str, target: str | None) -> None:
    assert mapped({"target": expression}, {"text": '{"a": 1}'})["target"] == target


# Filters


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'a1b22' | findall('[0-9]+')", ["1", "22"]),
        ("'a1b22' | sub('[0-9]+', '#')", "a#b#"),
        ("'ÉCOLE ﬁn Straße' | fold", "ecole fin strasse"),
        ("'5/7/19' | iso_date('%m/%d/%y')", "2019-05-07"),
        ("'5/7/1919' | iso_date('%m/%d/%y')", "1919-05-07"),
        ("'2019-02-30' | iso_date('%Y-%m-%d')", None),
        ("['k', 'none'] | pluck(table, 'v')", [1, None]),
        ("[1, 2, 2] | unique | list", [1, 2]),
        ("['Acme', 'ACME', 'Acme'] | unique | list", ["Acme", "ACME"]),
        ("['Acme', 'ACME', 'Acme'] | unique(false) | list", ["Acme"]),
        ("[{'k': 'A'}, {'k': 'a'}] | groupby('k') | map('first') | list", ["A", "a"]),
        ("""'{"a": [1, null]}' | from_json""", {"a": [1, None]}),
        ("\"{'a': (1, None), 2: True}\" | from_python", {"a": [1, None], "2": True}),
        ("['q', 'r'] | zip(['a', 'b'])", [["q", "a"], ["r", "b"]]),
        (
            "['q', 'r'] | zip(['a', 'b']) | map('object', 'ask', 'say') | list",
            [{"ask": "q", "say": "a"}, {"ask": "r", "say": "b"}],
        ),
        ("['q', 'r'] | zip([1, 2]) | object", {"q": 1, "r": 2}),
        ("{'a': 1, 'b': 2, 'c': 3} | pick('a', x='b')", {"a": 1, "x": 2}),
        ("{'a': 1, 'b': 2} | omit('b', 'z')", {"a": 1}),
        (
            "['q', 'a', 'r'] | spoken_by('user', 'assistant') | map(attribute='role') | list",
            ["user", "assistant", "user"],
        ),
        ("table['k'].v if 'k' in table else none", 1),
        ("'k' in table and 'z' not in table", True),
        ("3 * 4 + 0.5", 12.5),
        ("'%s-%s' | format(1, 'x')", "1-x"),
    ],
)
def test_filters_and_lookups(expression: str, value: Any) -> None:
    assert value_of(expression, lookups={"table": {"k": {"v": 1}}}) == value


def test_a_group_of_several_keys() -> None:
    keys = {"group": ["customer", "case"]}
    assert mapped(keys, {"customer": "a", "case": 7})["group"] == "0:a\x1f1:7"
    assert mapped(keys, {"customer": None, "case": 7})["group"] == "1:7"
    assert mapped(keys, {"customer": None, "case": None})["group"] is None
    assert problem_of(keys, {"customer": "a"})[1]["key"] == "record.group.1"


def test_turns_of_two_lists_and_of_objects_with_other_keys() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    two = "asked | zip(said) | sum(start=[]) | spoken_by('user', 'assistant')"
    assert mapped({"turns": two}, {"asked": ["q"], "said": ["a"]})["turns"] == turns
    other = "dialogue | map('pick', role='who', content='text')"
    said = [{"who": turn["role"], "text": turn["content"], "at": 1} for turn in turns]
    assert mapped({"turns": other}, {"dialogue": said})["turns"] == turns


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'[1' | from_json", "from_json: Expecting ',' delimiter"),
        ("'[NaN]' | from_json", "NaN is not JSON"),
        ("[1] | from_json", "expected text, found list"),
        ("\"[{'a': 'it'}]\" | from_json", "it is Python's notation, which from_python reads"),
        ("\"['a' 'b']\" | from_python", "as numpy prints an array"),
        ("\"['a'\\n 'b']\" | from_python", "as numpy prints an array"),
        ("'open(1)' | from_python", "no literal of Python"),
        ("'{1, 2}' | from_python", "a set, which JSON does not have"),
        ("brackets | from_python", "no literal of Python"),
        ("signs | from_python", "no literal of Python"),
        ("['q'] | zip([])", "argument 2 is shorter"),
        ("[['a', 1], ['a', 2]] | object", "object: a key twice"),
        ("{'a': 1} | pick('b')", "KeyError: 'b'"),
    ],
)
def test_filters_say_what_is_wrong(expression: str, message: str) -> None:
    row = {"brackets": "[" * 5000, "signs": "-" * 100_000 + "1"}
    reason, evidence = problem_of({"target": {"x": expression}}, row)
    assert reason == UNMAPPABLE
    assert message in evidence["message"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("label: [a, b]", "YAML takes this for a list: put an expression that begins with"),
        ("label: {a: b}", "YAML takes this for a mapping"),
        ("target: {x: [a, b]}", "YAML takes this for a list"),
        ("label: '{{ a }}'", "write it without {{ and }}"),
    ],
)
def test_what_yaml_takes_for_something_else(written: str, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        RecordMapping.model_validate(yaml.safe_load(written))


def test_expressions_that_yaml_takes_for_numbers_and_truths() -> None:
    written = "underivable: [{when: false, because: never}]\ntarget: {n: 5, x: '[1, {\"a\": 2}]'}"
    assert mapped(yaml.safe_load(written), {})["target"] == '{"n": 5, "x": [1, {"a": 2}]}'


@given(st.text(st.characters(max_codepoint=127)))
def test_folding_ascii_is_lower_case(text: str) -> None:
    assert fold(text) == text.lower()


@given(st.dates(), st.text(max_size=8))
def test_dates_are_read_back_and_other_text_is_none(day: date, text: str) -> None:
    assert iso_date(f" {day.isoformat()}\n", "%Y-%m-%d") == day.isoformat()
    assert iso_date(day.isoformat() + "x" + text, "%Y-%m-%d") is None


# Names


def test_what_the_recipe_names_hides_what_the_row_has() -> None:
    row = {"table": "the row's", "x": "the row's", "_row": "the row's", "_file": "the row's", "fold": "column"}
    lookups: dict[str, dict[str, Row]] = {"table": {"k": {"v": 1}}}
    made = mapped(
        {
            "let": {"x": "'let'"},
            "meta": {
                "lookup": "table.k.v",
                "let": "x",
                "shadowed": "_row.table ~ _row.x",
                "file": "_file",
                "filter": "fold | fold",
            },
        },
        row,
        lookups,
    )
    assert made["meta"] == {
        "lookup": "1",
        "let": "let",
        "shadowed": "the row'sthe row's",
        "file": "folder/file.csv",
        "filter": "column",
    }


@pytest.mark.parametrize("name", ["result", "context", "environment", "loop", "caller", "l_0_x", "resolve", "range"])
def test_columns_may_be_named_like_what_jinja_has_inside(name: str) -> None:
    assert value_of(name, {name: "the column"}) == "the column"
    assert value_of(f"{name} ~ ' ' ~ {name}", {name: "a"}) == "a a"


@pytest.mark.parametrize("name", ["in", "not", "if", "is", "none", "true", "self", "two words", "Ö", "9", ""])
def test_columns_that_are_no_names_are_found_in_row(name: str) -> None:
    assert value_of(f"_row[{name!r}]", {name: "the column"}) == "the column"


@pytest.mark.parametrize(
    "expression", ["items.append(2)", "_row.update({'a': 1})", "_row.clear()", "table.pop('k')", "items.sort()"]
)
def test_a_row_changes_nothing_for_the_next(expression: str) -> None:
    with pytest.raises(ValidationError, match=r"No method named '(append|update|clear|pop|sort)' may be used"):
        mapped({"meta": {"x": expression}}, {"items": [1]}, {"table": {"k": {"v": 1}}})


# What cannot be mapped


def test_underivable() -> None:
    mapping = {
        "let": {"ratio": "n / 2"},
        "underivable": [{"when": "n == 0", "because": "none"}, {"when": "ratio > 1", "because": "too many"}],
    }
    assert mapped(mapping, {"n": 2})["turns"] == [{"role": "user", "content": "q"}]
    assert problem_of(mapping, {"n": 3}) == (
        UNDERIVABLE,
        {"because": "too many", "rule": "record.underivable.1.when"},
    )
    assert problem_of(mapping, {"n": 0})[1]["because"] == "none"


@pytest.mark.parametrize(
    ("mapping", "key", "message"),
    [
        ({"turns": "missing"}, "turns", "UndefinedError: 'missing' is undefined"),
        ({"turns": "n"}, "turns", "TypeError: 'int' object is not iterable"),
        ({"turns": "none"}, "turns", "TypeError: 'NoneType' object is not iterable"),
        ({"turns": "[1]"}, "turns", "TypeError"),
        ({"turns": "[{'role': 'user'}]"}, "turns", "KeyError: 'content'"),
        ({"turns": "[{'role': 'user', 'content': n}]"}, "turns", "expected text, found int"),
        ({"turns": "[{'role': none, 'content': 'x'}]"}, "turns", "expected text, found NoneType"),
        ({"turns": "[n] | map('upper') | map(attribute='x')"}, "turns", "UndefinedError"),
        ({"turns": "[]"}, "turns", "no turns"),
        ({"turns": "\"[{'role': 'user'}]\""}, "turns", "it is Python's notation, which from_python reads"),
        ({"turns": [{"role": "user", "content": "none"}]}, "turns", "no turns"),
        ({"turns": [*ASKED, {"role": "assistant", "content": "missing"}]}, "turns.1.content", "'missing' is undefined"),
        ({"turns": [{"role": "user", "content": "when"}]}, "turns.0.content", "expected text, found date"),
        ({"turns": [{"role": "user", "content": "raw"}]}, "turns.0.content", "expected text, found bytes"),
        ({"let": {"a": "b", "b": "1"}}, "let.a", "'b' is undefined"),
        ({"target": {"a": "missing"}}, "target.a", "'missing' is undefined"),
        ({"target": {"a": "n.x"}}, "target.a", "has no attribute 'x'"),
        ({"target": {"a": "1", "b": "when"}}, "target.b", "Object of type date is not JSON serializable"),
        ({"target": {"a": "price"}}, "target.a", "Object of type Decimal is not JSON serializable"),
        ({"target": {"a": "[raw]"}}, "target.a", "Object of type bytes is not JSON serializable"),
        ({"target": {"a": "[n] | map(attribute='x') | list"}}, "target.a", "not JSON serializable"),
        ({"target": {"a": "big"}}, "target.a", "Out of range float values are not JSON compliant"),
        ({"target": "missing"}, "target", "'missing' is undefined"),
        ({"group": "[n]"}, "group", "expected text or a number, found list"),
        ({"label": "[question] | map('upper')"}, "label", "expected text or a number, found generator"),
        ({"group": "missing"}, "group", "'missing' is undefined"),
        ({"label": "question.nothing"}, "label", "has no attribute 'nothing'"),
        ({"meta": {"a": "n / 0"}}, "meta.a", "ZeroDivisionError: division by zero"),
        ({"meta": {"a": "question | sub(question ~ '(', '')"}}, "meta.a", "missing ): q("),
        ({"underivable": [{"when": "missing", "because": ""}]}, "underivable.0.when", "'missing' is undefined"),
    ],
)
def test_errors_name_the_key_and_what_is_wrong(mapping: dict[str, Any], key: str, message: str) -> None:
    row = {"n": 1, "when": date(2020, 1, 2), "raw": b"x", "price": Decimal("1.5"), "big": float("inf")}
    reason, evidence = problem_of(mapping, row)
    assert reason == UNMAPPABLE
    assert evidence["key"] == f"record.{key}"
    assert message in evidence["message"]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3)
    | st.dates()
    | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "turns", "self", "table"]), VALUES, max_size=5))
def test_any_row_gives_a_record_or_a_reason(row: Row) -> None:
    mapping = RecordMapping.model_validate(
        {
            "let": {"c": "a | default(b) | default('x')"},
            "turns": "turns" if "turns" in row else [{"role": "user", "content": "c"}],
            "target": {"x": "b", "y": "c"} if "b" in row else "c",
            "group": "c",
            "meta": {"m": "table | default(none)"},
        }
    )
    problem = None
    try:
        [made] = Mapper(mapping, {}).records(row, "f")
    except RowError as error:
        problem = error
    if problem is None:
        assert pa.Table.from_pylist([made], schema=SCHEMA).num_rows == 1
    else:
        assert problem.reason == UNMAPPABLE
        assert problem.evidence["key"].startswith("record.")
    assert isinstance(raw_json(row), str)


# All expressions of a mapping are one compiled function; one at a time, in the order of the recipe, they give the same


compiled = cache(compile_expression)


def one_at_a_time(mapping: RecordMapping, lookups: dict[str, dict[str, Row]], row: Row, file: str) -> Any:
    """What a mapping's expressions give, evaluated one by one; a RowError names the key of one that fails."""
    columns = row | lookups | {"_row": row, "_file": file}

    def value(key: str, source: str, form: Any = lambda value: value) -> Any:
        try:
            return form(compiled(source)(columns))
        except Exception:
            raise RowError(UNMAPPABLE, {"key": f"record.{key}"}) from None

    for name, source in mapping.let.items():
        columns[name] = value(f"let.{name}", source)
    for index, rule in enumerate(mapping.underivable):
        if value(f"underivable.{index}.when", rule.when):
            raise RowError(UNDERIVABLE, {"rule": f"record.underivable.{index}.when"})
    assert isinstance(mapping.turns, list)
    assert isinstance(mapping.target, dict)
    turns = [value(f"turns.{index}.content", turn.content) for index, turn in enumerate(mapping.turns)]
    target = {name: value(f"target.{name}", source, as_json) for name, source in mapping.target.items()}
    meta = {name: value(f"meta.{name}", source, as_text) for name, source in mapping.meta.items()}
    label = value("label", str(mapping.label), as_text)
    return turns, "{" + ", ".join(f'"{name}": {text}' for name, text in target.items()) + "}", meta, label


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def as_text(value: Any) -> str | None:
    if value is not None and not isinstance(value, (str, int, float)):
        raise TypeError
    return None if value is None else str(value)


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except RowError as problem:
        return problem


def compare(mapping: RecordMapping, lookups: dict[str, dict[str, Row]], rows: list[tuple[Row, str]]) -> int:
    """How many rows give a record, after all rows have given the same both ways."""
    mapper = Mapper(mapping, lookups)
    made = 0
    for row, file in rows:
        expected = outcome(lambda: one_at_a_time(mapping, lookups, row, file))  # noqa: B023
        given = outcome(lambda: mapper.records(row, file))  # noqa: B023
        if isinstance(expected, RowError):
            assert given.reason == expected.reason
            assert expected.evidence.items() <= given.evidence.items()
            continue
        turns, target, meta, label = expected
        [record] = given
        assert [turn["content"] for turn in record["turns"]] == turns
        assert record["target"] == target
        assert record["meta"] == {name: value for name, value in meta.items() if value is not None}
        assert record["label"] == label
        made += 1
    return made


def test_licences_are_mapped_as_one_expression_at_a_time_maps_them(licence_data: Path) -> None:
    recipe = yaml.safe_load((Path(__file__).parents[3] / "recipes/licences.yaml").read_text(encoding="utf-8"))

    def rows_of(pattern: str, step: int) -> Iterator[tuple[Row | Unread, str]]:
        files = find_files(Files(files=[pattern], format="front_matter"), licence_data, licence_data)
        return ((row, file.name) for file in files[::step] for row in read_rows(file))

    table = build_lookup("licence", "key", (row for row, _ in rows_of("licenses/*.LICENSE", 1)))
    rows = [(row, name) for row, name in rows_of("rules/*.RULE", 40) if isinstance(row, dict)]
    assert 600 < compare(RecordMapping.model_validate(recipe["record"]), {"licence": table}, rows) < len(rows)


SOURCES = st.sampled_from(
    [
        "a", "b", "c", "a.x", "a[0]", "table[a].v", "_row.a", "_file", "missing", "missing | default(a)", "a ~ b",
        "a + b", "a if b else c", "none", "[a, b] | map('upper') | list", "a | length", "{'k': a}", "not a",
        "a is defined and a", "1 / (a | int)", "a in table", "namespace", "result",
    ]
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["a", "b", "d"]), SOURCES, max_size=3),
    st.lists(SOURCES, max_size=2),
    st.lists(SOURCES, min_size=4, max_size=4),
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.none() | st.integers(0, 2) | st.sampled_from("xk"))),
)
def test_any_mapping_gives_what_one_expression_at_a_time_gives(
    let: dict[str, str], whens: list[str], sources: list[str], rows: list[Row]
) -> None:
    mapping = RecordMapping.model_validate(
        {
            "let": let,
            "underivable": [{"when": when, "because": ""} for when in whens],
            "turns": [{"role": "user", "content": "'q'"}],
            "target": {"x": sources[0], "y": sources[1]},
            "meta": {"m": sources[2]},
            "label": sources[3],
        }
    )
    compare(mapping, {"table": {"k": {"v": 1}}}, [(row, "file") for row in rows])


# The sandbox


@pytest.mark.parametrize(
    "attack",
    [
        "().__class__.__bases__[0].__subclasses__()",
        "''.__class__.__mro__",
        "question.__class__",
        "question['__class__']",
        "question | attr('__class__')",
        "[question] | map(attribute='__class__') | list",
        "'{0.__class__.__mro__}'.format(question)",
        "'{0.__class__}' | format(question) | attr('format')(question)",
        "_row.__class__",
        "cycler.__init__.__globals__",
        "lipsum.__globals__['os'].popen('touch pwned').read()",
        "(1).__class__",
        "none.__class__.__base__",
        "question.format.__self__.__class__",
        "(question | attr('for' ~ 'mat')).__func__",
    ],
)
def test_attributes_that_lead_out_of_the_sandbox_are_refused(attack: str) -> None:
    with pytest.raises((ValidationError, RowError), match=r"meta\.x"):
        mapped({"meta": {"x": attack}}, {"question": "q"})


@pytest.mark.parametrize(
    "loop",
    [
        "range(10 ** 9) | list",
        "range(1000000000)",
        "10 ** 10 ** 10",
        "n ** n ** n",
        "'x' * 10000000000",
        "question * 10000000000",
        "10000000000 * [n]",
        "[n] * n",
    ],
)
def test_what_would_fill_the_memory_is_refused(loop: str) -> None:
    words = r"no powers|of numbers only|numbers only, and|No function named 'range' may be used"
    with pytest.raises((ValidationError, RowError), match=words):
        mapped({"meta": {"x": loop}}, {"n": 10**9, "question": "q"})


def test_text_of_a_row_is_never_an_expression() -> None:
    hostile = "{{ 7 * 7 }} {% for x in range(9) %}{% endfor %} {0.__class__} %(x)s"
    made = mapped({"meta": {"x": "question"}, "target": {"x": "question"}, "group": "question"}, {"question": hostile})
    assert made["turns"][0]["content"] == made["meta"]["x"] == made["group"] == hostile


# Recipes' own mistakes


@pytest.mark.parametrize(
    ("mapping", "where", "words"),
    [
        ({"label": "a ||"}, ("label",), "no Jinja expression"),
        ({"label": ""}, ("label",), "no Jinja expression"),
        ({"label": "{{ a }}"}, ("label",), "no Jinja expression"),
        ({"label": "a b"}, ("label",), "chunk after expression"),
        ({"label": "a | nothing"}, ("label",), "No filter named 'nothing'"),
        ({"label": "self.__init__.__globals__"}, ("label",), "`self` is Jinja's own"),
        ({"label": "a is nothing"}, ("label",), "No test named 'nothing'"),
        ({"label": "a | sub('(', '')"}, ("label",), "missing ): ("),
        ({"let": {"x": "("}}, ("let", "x"), "no Jinja expression"),
        ({"meta": {"x": "("}}, ("meta", "x"), "no Jinja expression"),
        ({"group": "("}, ("group",), "no Jinja expression"),
        ({"underivable": [{"when": "(", "because": "x"}]}, ("underivable", 0, "when"), "no Jinja expression"),
        ({"turns": [{"role": "user", "content": "("}]}, ("turns", "content"), "no Jinja expression"),
        ({"target": {"x": "("}}, ("target", "x"), "no Jinja expression"),
        ({"turns": [{"role": "human", "content": "a"}]}, ("turns", "role"), "'system', 'user' or 'assistant'"),
        ({"turns": []}, ("turns",), "at least 1 item"),
        ({"let": {"_row": "1"}}, ("let", "_row"), "should match pattern"),
        ({"let": {"two words": "1"}}, ("let", "two words"), "should match pattern"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(mapping: dict[str, Any], where: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        RecordMapping.model_validate({"turns": ASKED} | mapping)
    found = [problem for problem in error.value.errors() if words in problem["msg"]]
    assert found
    assert set(where) <= set(found[0]["loc"])


def test_an_expression_that_is_none() -> None:
    with pytest.raises(ValueError, match="no Jinja expression: unexpected"):
        compile_expression("a + ")


# Lookups


def test_a_lookup_by_key() -> None:
    rows: list[Row | Unread] = [{"k": 1, "v": "a"}, {"k": None, "v": "b"}, {"k": "2", "v": "c"}]
    assert build_lookup("table", "k", iter(rows)) == {"1": rows[0], "2": rows[2]}


@pytest.mark.parametrize(
    ("rows", "key", "message", "remedy"),
    [
        ([{"k": 1}, {"k": 1}], "k", "lookups.table: two rows have the key 1.", "Choose a key that is unique."),
        ([{"k": 1}, {"k": "1"}], "k", "lookups.table: two rows have the key '1'.", "unique"),
        ([{"k": 1}, {"j": 1}], "k", "lookups.table.key: row 1: UndefinedError: 'k' is undefined", "columns are j"),
        ([{"k": 1}, Unread("torn", 3, "")], "k", "lookups.table: row 1 cannot be read: torn", "Mend the file"),
    ],
)
def test_a_lookup_that_cannot_be_trusted(rows: list[Row | Unread], key: str, message: str, remedy: str) -> None:
    with pytest.raises(AssayError) as error:
        build_lookup("table", key, iter(rows))
    assert message in error.value.message
    assert remedy in error.value.remedy


# Raw rows


def test_raw_json_holds_what_json_cannot() -> None:
    row = {"b": b"\xff", "a": date(2020, 1, 2), "n": Decimal("1.5"), "f": float("nan"), "k": {2: "x", None: "y"}}
    assert json.loads(raw_json(row)) == {
        "b": "b'\\xff'",
        "a": "2020-01-02",
        "n": "1.5",
        "f": None,
        "k": {"2": "x", "null": "y"},
    }
    assert raw_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'
    assert raw_json({"n": 2**70}) == "{'n': 1180591620717411303424}"
    assert raw_json({"k": {(1, 2): "é"}}) == "{'k': {(1, 2): '\\xe9'}}"
