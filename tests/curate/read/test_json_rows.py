"""JSON: lines, arrays and objects of rows, broken in every way, and nothing lost on the way."""

import codecs
import json
import tracemalloc
from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from curate.read import json_rows, raw_row
from curate.read.raw import Row, Unread
from curate.read.sniff import has_magic, packing_of
from tests.curate.read.made import Written, messages, parsed, rows_of


def test_a_json_object_is_one_row(written: Written) -> None:
    assert written("f.json", '{"a": {"b": [1, null]}}') == [{"a": {"b": [1, None]}}]


def test_a_broken_line_is_set_aside_and_the_rest_read(written: Written) -> None:
    deep = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    lines = {
        b"{": "Expecting property name",
        b'{"a": "\xff"}': "can't decode byte 0xff",
        b'{"a": "\\ud800"}': "lone surrogate",
        b'{"a": NaN}': "NaN is not JSON",
        b'{"a": -Infinity}': "-Infinity is not JSON",
        b'{"a": "\x00"}': "Invalid control character",
        b'["a"]': "expected a JSON object",
        b"null": "expected a JSON object",
        b'{"a": 1}{"a": 2}': "Extra data",
        b'{"a": ' + b"9" * 5000 + b"}": "Exceeds the limit",
        deep.encode(): "nested deeper than 200 levels",
        ('{"a": ' + "[" * 201 + "]" * 201 + "}").encode(): "nested deeper than 200 levels",
    }
    rows = written("f.jsonl", b"\n".join([b'{"n": 0}', *lines, b'{"n": 1}']))
    assert (rows[0], rows[-1]) == ({"n": 0}, {"n": 1})
    assert len(rows) == len(lines) + 2
    for number, (row, (line, words)) in enumerate(zip(rows[1:-1], lines.items(), strict=True), start=2):
        assert isinstance(row, Unread)
        assert words in row.message
        assert row.line == number
        assert row.raw == line.decode("utf-8", "backslashreplace") + "\n"


def test_depth_is_counted_in_brackets_not_in_text(written: Written) -> None:
    value = {"a": "[" * 500, "b": json.loads("[" * 199 + "]" * 199), "c": [[]] * 300}
    assert written("f.jsonl", json.dumps(value)) == [value]


def test_an_endless_line_is_set_aside(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (json_rows, raw_row):
        monkeypatch.setattr(module, "LONGEST_ROW", 1 << 20)
    long = json.dumps({"a": "x" * (3 << 20)})
    rows = written("f.jsonl", f'{{"n": 0}}\n{long}\n{{"n": 1}}\n{long}')
    assert [row for row in rows if isinstance(row, dict)] == [{"n": 0}, {"n": 1}]
    assert [(row.message, row.line, row.raw) for row in rows if isinstance(row, Unread)] == [
        ("longer than 1 MiB", 2, long[:1000]),
        ("longer than 1 MiB", 4, long[:1000]),
    ]


def test_broken_elements_of_an_array(written: Written) -> None:
    rows = written("f.json", '[{"a": 1}, 2, ["é"], {"a": 3}]')
    assert [row for row in rows if isinstance(row, dict)] == [{"a": 1}, {"a": 3}]
    assert [row.raw for row in rows if isinstance(row, Unread)] == ["2", '["\\u00e9"]']
    assert messages(written("f.json", '[{"a": 1}')[1:]) == ["cut off before its ]: line 1"]


WHOLE: dict[str, list[Row]] = {
    "n_array_unclosed_with_object_inside.json": [{}],
    "n_structure_object_with_trailing_garbage.json": [{"a": True}],
    "n_object_with_trailing_garbage.json": [{"a": "b"}],
} | {
    f"n_object_trailing_comment{end}.json": [{"a": "b"}]
    for end in ("", "_open", "_slash_open", "_slash_open_incomplete")
}
"""Of files that break behind a whole row, that row."""


def test_the_json_suite_never_crashes_the_readers(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "json_nst_testsuite/test_parsing").glob("*.json"))
    assert len(files) == 318
    read_rows_of = 0
    for path in files:
        content = path.read_bytes()
        rows = rows_of(path)
        lines = parsed(content, "jsonl", encoding="utf-8")
        bare = content.removeprefix(codecs.BOM_UTF8)
        assert len(lines) == sum(bool(line.strip()) for line in bare.split(b"\n")), path.name
        if path.name == "n_structure_double_array.json":
            assert rows == []  # two texts, one after the other, without a row
        elif path.name.startswith("n_"):
            *before, broken = rows
            assert isinstance(broken, Unread), path.name
            assert [row for row in before if isinstance(row, dict)] == WHOLE.get(path.name, []), path.name
        elif path.name.startswith("y_"):
            value = json.loads(content)
            expected = value if isinstance(value, list) else [value]
            assert len(rows) == len(expected), path.name
            for row, wanted in zip(rows, expected, strict=True):
                wanted = wanted | {"_duplicate_key": "a"} if "duplicated_key" in path.name else wanted
                assert (row == wanted) if isinstance(wanted, dict) else isinstance(row, Unread), path.name
                read_rows_of += isinstance(wanted, dict)
    assert read_rows_of > 10


JSON_LINES = st.one_of(
    st.builds(
        orjson.dumps,
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.integers(-5, 5), max_size=3),
    ),
    st.binary(max_size=8),
    st.sampled_from([b"", b" ", b"[]", b"{", b"\xef\xbb\xbf", b'{"a":"\\udfff"}', b"\r", b"[" * 300, b'{"a":1e999}']),
)


@given(st.lists(JSON_LINES, max_size=12), st.sampled_from([b"\n", b"\r\n"]))
@example([b"{}", b","], b"\n")
@example([b"{}", b",", b"\x00"], b"\n")
def test_every_line_gives_exactly_one_row(lines: list[bytes], end: bytes) -> None:
    content = end.join(lines)
    assume(packing_of(content) is None and not has_magic(content))  # else it is no JSON lines, whatever is stated
    rows = parsed(content, "jsonl", encoding="utf-8")
    bare = content.removeprefix(codecs.BOM_UTF8)
    kept = [(number, line) for number, line in enumerate(bare.split(b"\n"), start=1) if line.strip()]
    assert len(rows) == len(kept)
    for row, (number, line) in zip(rows, kept, strict=True):
        if isinstance(row, Unread):
            assert row.line == number
            raw = row.raw.removeprefix("\ufeff") if number == 1 else row.raw
            assert raw.rstrip("\n") == line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").decode(
                "utf-8", "backslashreplace"
            )
        else:
            assert row == json.loads(line.decode("utf-8-sig"))


def test_objects_of_rows() -> None:
    rows = [{"a": 1}, {"a": 2}]
    keyed = {"x": rows[0], "y": rows[1]}
    assert parsed(orjson.dumps({"version": "1", "data": rows}), "json") == rows
    assert parsed(orjson.dumps(keyed), "json") == [{"a": 1, "_key": "x"}, {"a": 2, "_key": "y"}]
    assert parsed(orjson.dumps(keyed), "json", rows=".") == [keyed]
    assert parsed(orjson.dumps({"only": rows, "b": []}), "json", rows="only") == rows
    assert parsed(orjson.dumps({"messages": rows}), "json") == [{"messages": rows}]
    assert parsed(orjson.dumps({"k": rows[0]}), "json", rows="*") == [{"a": 1, "_key": "k"}]
    assert parsed(orjson.dumps({"a": 1, "b": {"c.d": rows, "e": {"f": rows}}}), "json", rows="b.e.f") == rows
    assert parsed(orjson.dumps({"a.b": rows, "a": {"b": []}}), "json", rows="a.b") == rows
    for absent in ("b.e", "a.e", "x.y"):
        [row] = parsed(orjson.dumps({"a": 1, "b": {"e": {}}}), "json", rows=absent)
        assert isinstance(row, Unread)


def test_a_long_array_is_read_element_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 1 << 12)
    rows = [{"n": number, "x": "é[" * (number % 50)} for number in range(2000)]
    content = json.dumps(rows, ensure_ascii=False, indent=1).encode()
    assert parsed(content, "json") == rows
    assert parsed(b'{"a": 1, "data": ' + content + b', "b": []}', "json", rows="data") == rows
    deep = b'{"a": {"x": 1}, "data": {"n": 2, "page": {"items": ' + content + b', "m": {}}}}'
    assert parsed(deep, "json", rows="data.page.items") == rows
    *whole, broken = parsed(content[: len(content) // 2], "json")
    assert whole == rows[: len(whole)]
    assert isinstance(broken, Unread)
    assert broken.line is not None
    assert broken.line > len(whole)


def test_an_endless_element_of_an_array_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (json_rows, raw_row):
        monkeypatch.setattr(module, "LONGEST_ROW", 1 << 20)
    first, endless = parsed(b'[{"a": 1},\n{"a": "' + b"x" * (3 << 20) + b'"}, {"a": 2}]', "json")
    assert first == {"a": 1}
    assert isinstance(endless, Unread)
    assert (endless.message, endless.line, endless.raw[:9]) == ("longer than 1 MiB", 2, '{"a": "xx')


def test_lines_are_told_behind_a_long_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 1 << 21)
    content = b'[{"a": "' + b"x" * (1 << 20) + b'"}' + b',\n{"a": 1}' * 100_000 + b",\n\n3, 4 5]"
    *whole, number, other, broken = parsed(content, "json")  # quadratic, it took minutes
    assert len(whole) == 100_001
    assert [(row.message, row.line) for row in (number, other, broken) if isinstance(row, Unread)] == [
        ("expected a JSON object", 100_003),
        ("expected a JSON object", 100_003),
        ("Expecting ',' delimiter: line 100003", 100_003),
    ]


FRAME = [{"a": "x", "b": 1}, {"a": "y", "b": None}]


@pytest.mark.parametrize("orient", ["records", "split", "columns", "table"])
def test_what_pandas_writes_is_read_back(written: Written, orient: str) -> None:
    frame = pd.DataFrame(FRAME)
    rows = written("f.json", frame.to_json(orient=orient))  # type: ignore[call-overload]
    assert [{key: row[key] for key in "ab"} for row in rows if isinstance(row, dict)] == FRAME
    assert len(rows) == 2
    keyed = written("f.json", frame.to_json(orient="index"))
    assert keyed == [row | {"_key": str(at)} for at, row in enumerate(FRAME)]


def test_lines_may_end_in_commas_and_be_json_in_json(written: Written) -> None:
    assert written("f.jsonl", '{"a": 1},\n{"a": 2},\r\n{"a": 3}\n') == [{"a": 1}, {"a": 2}, {"a": 3}]
    repeated = written("f.jsonl", '{"a": 1},\n{"a": 1, "a": 2},\n')
    assert repeated == [{"a": 1}, {"a": 2, "_duplicate_key": "a"}]
    twice = [json.dumps(json.dumps(row)) for row in FRAME]
    assert written("f.jsonl", "\n".join(twice)) == FRAME
    assert written("f.json", json.dumps(json.dumps(FRAME))) == FRAME
    assert written("f.jsonl", f'{json.dumps(FRAME)}\n{{"c": 1}}\n{{"c": 2}}\n') == [*FRAME, {"c": 1}, {"c": 2}]


@pytest.mark.parametrize("indent", ["", "  ", "\t"])
@pytest.mark.parametrize("between", [",\n", "\n"])
@pytest.mark.parametrize("end", ["\n]", ",\n]\n"])
def test_a_broken_row_of_an_array_on_lines_is_set_aside_alone(
    written: Written, indent: str, between: str, end: str
) -> None:
    lines = [json.dumps({"a": n, "l": [{"x": n}]}) for n in range(9)]
    whole = "[\n" + between.join(indent + line for line in lines) + end
    assert written("f.json", whole) == [json.loads(line) for line in lines]
    broken = lines[4][:-3] + "\n"
    rows = written("f.json", whole.replace(lines[4], broken))
    assert [row for row in rows if isinstance(row, dict)] == [json.loads(line) for line in lines if line != lines[4]]
    [unread] = [row for row in rows if isinstance(row, Unread)]
    assert unread.line == 6
    assert unread.raw.startswith(lines[4][:-3])


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("{'a': 1}", "it looks like Python's notation: write it with json.dumps"),
        ('{"a": None}', "it looks like Python's notation: write it with json.dumps"),
        ('{"a": NaN}', "write null in its place"),
        ('{"a": 1}{"a": 2}', "it looks like several objects on one line: end each with a line end"),
        ('{"a": 1 2}', None),
    ],
)
def test_broken_json_says_what_it_may_be(written: Written, text: str, remedy: str | None) -> None:
    [words] = messages(written("f.jsonl", f'{{"b": 1}}\n{text}\n{{"b": 1}}\n'))
    assert words.endswith(f"; {remedy}") if remedy else ";" not in words


def test_documents_of_mongodb_have_plain_values(written: Written) -> None:
    typed = {
        "n": {"$numberLong": "7"},
        "p": {"$numberDecimal": "3.50"},
        "when": [{"$date": "2024-01-01T00:00:00Z"}, {"$date": {"$numberLong": "1704067200000"}}],
        "odd": {"$numberInt": "x"},
        "ref": {"$ref": "#/a"},
    }
    plain = {
        "n": 7,
        "p": 3.5,
        "when": ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+00:00"],
        "odd": {"$numberInt": "x"},
        "ref": {"$ref": "#/a"},
    }
    for content in (json.dumps({"_id": {"$oid": "0a"}} | typed), json.dumps([{"_id": {"$oid": "0a"}} | typed])):
        assert written("f.json", content) == [{"_id": "0a"} | plain]
    assert written("f.json", json.dumps(typed)) == [typed]  # a query, say, not a document


def test_the_splits_of_an_object_are_all_read(written: Written) -> None:
    rows = [{"a": 1, "_key": "train"}, {"a": 2, "_key": "train"}, {"a": 3, "_key": "test"}]
    assert written("f.json", '{"train": [{"a": 1}, {"a": 2}], "test": [{"a": 3}]}') == rows
    repeated = written("f.json", '{"train": [{"a": 1}, {"a": 0, "a": 2}], "test": [{"a": 3}]}')
    assert repeated == [rows[0], rows[1] | {"_duplicate_key": "a"}, rows[2]]
    pair = {"chosen": [{"role": "user"}], "rejected": [{"role": "user"}]}
    assert written("f.json", json.dumps(pair)) == [pair]


def test_rows_of_json_have_bounded_keys() -> None:
    wide = json.dumps({str(key): 1 for key in range(200_000)})
    for format, content in (("jsonl", f'{wide}\n{{"a": 1}}\n'), ("json", f'[{wide}, {{"a": 1}}]')):
        row, after = parsed(content.encode(), format)
        assert isinstance(row, Unread)
        assert (row.message, row.raw) == ("200,000 columns, more than 16,384", wide)
        assert after == {"a": 1}


def test_white_space_without_end_is_not_held() -> None:
    content = b'[{"a": 1},' + b" " * (40 << 20) + b'{"a": 1}]'
    tracemalloc.start()
    try:
        assert parsed(content, "json") == [{"a": 1}] * 2
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
