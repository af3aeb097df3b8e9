"""Sniffing: what a file's bytes say decides, whatever its name; every byte of it is in a row or told of."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.read import json_rows, raw_row, sniff
from curate.read.raw import InputFile, Options, Row, Unread, form_of, is_plain_json_lines, parse
from tests.curate.read.made import Written, file_of, messages, parquet_of, tar_of, zip_of


def read(content: bytes | str, name: str, format: str | None = None, **options: Any) -> list[Row | Unread]:
    data = content.encode() if isinstance(content, str) else content
    return list(parse(InputFile(Path(name), name, "", len(data), format, Options(**options)), data))


ROWS: list[Row] = [{"prompt": f"q {n}", "completion": "a, b", "é": n * 0.5, "deep": [{"x": {}}]} for n in range(5)]


def lines(rows: Iterable[Row], end: str = "\n", begin: str = "", **how: Any) -> str:
    return "".join(begin + json.dumps(row, ensure_ascii=False, **how) + end for row in rows)


def arrow_of(rows: list[Row], file: bool) -> bytes:
    buffer = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


WRITTEN: dict[str, Callable[[list[Row]], str]] = {
    "lines": lines,
    "lines with carriage returns": lambda rows: lines(rows, "\r\n"),
    "lines of old Macs": lambda rows: lines(rows, "\r"),
    "lines among blank ones": lambda rows: "\n \n" + lines(rows, "\n\n\t\n"),
    "an array": lambda rows: json.dumps(rows),
    "an array on lines": lambda rows: json.dumps(rows, indent=2),
    "an array of lines": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "texts on lines": lambda rows: lines(rows, indent=1),
    "texts": lambda rows: lines(rows, ""),
    "texts on one line": lambda rows: lines(rows, " "),
    "a sequence": lambda rows: lines(rows, begin="\x1e"),
    "a sequence on lines": lambda rows: lines(rows, begin="\x1e", indent=1),
    "arrays": lambda rows: json.dumps(rows[:1], indent=1) + "\n" + json.dumps(rows[1:], indent=1),
}
NAMES = ["f.json", "f.jsonl", "f.csv", "f.txt", "f.parquet", "f", "f.jsonl.1", "f.json.gz", "f.zip", "f.tgz"]
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "not": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
    "thrice": lambda data: gzip.compress(bz2.compress(lzma.compress(data))),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("name", NAMES)
def test_json_is_read_whatever_the_file_is_called(how: str, name: str) -> None:
    text = WRITTEN[how](ROWS)
    assert read(text, name) == ROWS
    assert read("\ufeff" + text, name) == ROWS
    assert read(text.encode("utf-16"), name) == [row | {"_encoding": "utf-16"} for row in ROWS]


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", NAMES)
def test_a_packing_is_told_by_its_bytes(packed: str, name: str) -> None:
    pack = PACKED[packed]
    rows = [{"prompt": f"q{n}", "completion": "a"} for n in range(3)]
    assert read(pack(lines(rows).encode()), name) == rows
    assert read(pack(parquet_of(pa.Table.from_pylist(rows))), name) == rows
    for file in (True, False):
        assert read(pack(arrow_of(rows, file)), name) == rows
    member = [row | {"_member": "in/a"} for row in rows]
    assert read(pack(tar_of({"in/a": lines(rows).encode()})), name) == member
    assert read(pack(zip_of({"in/a": pack(lines(rows).encode())})), name) == member
    assert read(pack(b"prompt,completion\nq0,a\nq1,a\nq2,a\n"), name) == rows


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(
    st.lists(st.dictionaries(TEXT, TEXT, min_size=1, max_size=3), min_size=2, max_size=5),
    st.sampled_from(list(WRITTEN)),
    st.sampled_from(NAMES),
)
def test_any_rows_are_read_in_any_form(rows: list[Row], how: str, name: str) -> None:
    assert read(WRITTEN[how](rows), name) == rows


@given(st.integers(0, 4), st.sampled_from(NAMES[:6]), st.data())
def test_one_broken_line_is_set_aside_alone(broken: int, name: str, data: st.DataObject) -> None:
    every = lines(ROWS).splitlines(keepends=True)
    at = data.draw(st.integers(1, len(every[broken]) - 3))
    every[broken] = every[broken][:at] + "\n"
    rows = read("".join(every), name)
    assert [row for row in rows if isinstance(row, dict)] == [row for n, row in enumerate(ROWS) if n != broken]
    [unread] = [row for row in rows if isinstance(row, Unread)]
    assert (unread.line, unread.raw) == (broken + 1, every[broken])


@pytest.mark.parametrize("how", [how for how in WRITTEN if how not in ("arrays", "lines of old Macs")])
@given(data=st.data())
def test_of_a_file_that_was_cut_off_nothing_is_lost(how: str, data: st.DataObject) -> None:
    """What comes before the cut is read; the rest is one row, with its whole text and its line."""
    text = WRITTEN[how](ROWS)
    name = data.draw(st.sampled_from(["f.json", "f.jsonl"]))
    content = text[: data.draw(st.integers(2, len(text) - 1))]
    rows = read(content, name)
    whole = [row for row in rows if isinstance(row, dict)]
    assert whole == ROWS[: len(whole)]
    assert [isinstance(row, Unread) for row in rows[len(whole) :]] in ([], [True])
    for unread in rows[len(whole) :]:
        assert isinstance(unread, Unread)
        assert content.endswith(unread.raw)
        assert unread.line == 1 + content[: len(content) - len(unread.raw)].count("\n")
        assert content[: len(content) - len(unread.raw)].count("prompt") == len(whole)
    if not rows[len(whole) :]:
        assert content.count("prompt") == len(whole)


def test_the_rest_of_a_broken_text_is_held_up_to_the_longest_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (json_rows, raw_row):
        monkeypatch.setattr(module, "LONGEST_ROW", 1 << 16)
    for length, held in ((1 << 15, 1 << 15), (1 << 17, 1000)):
        first, rest = read('[{"a": 1}, {"b": "' + "x" * length, "f.json")
        assert first == {"a": 1}
        assert isinstance(rest, Unread)
        assert held <= len(rest.raw) < held + 20


def test_a_row_longer_than_is_first_looked_at() -> None:
    rows: list[Row] = [{"prompt": "x" * (3 << 20), "n": 1}, {"prompt": "y", "n": 2}]
    for how in ("lines", "texts on one line", "texts on lines", "an array", "a sequence"):
        for name in ("f.json", "f.jsonl", "f.txt"):
            assert read(WRITTEN[how](rows), name) == rows, (how, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.txt", "{a}\n{b}\n{c: 1}\n"),
        ("f.md", "[link](https://example.org) {x}\n\n| id | text |\n| --- | --- |\n| 1 | a |\n"),
        ("f.txt", "Roses are red, violets are blue,\nSugar is sweet, and so are you.\n"),
        ("f.txt", '{"a": 1} is an object.\nSo is {"b": 2}.\n'),
        ("f.txt", "[1] The first note.\n[2] The second, {sic}.\n"),
        ("f.txt", "question, answer\n"),
        ("f.txt", "Title, by its author\nThe first line\n"),
        ("f.md", "---\ntitle: x\n---\n{% raw %}{{ x }}{% endraw %}\n"),
        ("f.txt", "<html><body>A page that is to be read.</body></html>"),
        ("f.txt", ""),
        ("f.md", "PK, BZh and Obj are only letters here."),
    ],
)
def test_text_stays_text(name: str, content: str) -> None:
    assert read(content, name) == [{"text": content, "name": name}]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["f.json", "f.jsonl", "f.txt", "f", "f.csv.gz"])
def test_a_table_is_told_by_its_header(mark: str, name: str) -> None:
    table = "".join(
        mark.join(cells) + "\n" for cells in (["Question", "Answer", "n"], ['"a{', 'b"', "c"], ["d", "e", "f"])
    )
    table = table.replace(f'"a{{{mark}b"', '"a{\nb"' + mark + "x")
    assert read(table, name) == [
        {"Question": "a{\nb", "Answer": "x", "n": "c"},
        {"Question": "d", "Answer": "e", "n": "f"},
    ]


def test_what_is_no_file_of_rows_says_what_it_is() -> None:
    for magic, words in sniff.FOREIGN.items():
        for name in ("f.jsonl", "f.csv", "f.txt", "f.parquet", "f"):
            [row] = read(magic + b"\x00\x01 more", name)
            assert isinstance(row, Unread), (magic, name)
            assert row.message.startswith(f"{words}; expected ")
    for page in (
        "<!DOCTYPE html><p>",
        " \n<HTML>",
        "<!-- x --><html>",
        '<?xml version="1.0"?>\n<Error><Code>AccessDenied',
    ):
        [row] = read(page, "f.jsonl")
        assert isinstance(row, Unread)
        assert row.message.startswith("an HTML page")
        assert (row.line, row.raw) == (1, page)
    [row] = read(zip_of({"[Content_Types].xml": b"", "xl/sheet1.xml": b""}), "f.csv")
    assert isinstance(row, Unread)
    assert "save its words as text" in row.message


def test_what_unpacks_to_itself_ends() -> None:
    data = lines(ROWS).encode()
    for _ in range(4):
        data = gzip.compress(data)
    assert messages(read(data, "f.jsonl")) == ["UnpackedSizeError: packed more than 3 times over"]


def test_a_stated_format_stands_and_a_plain_contradiction_is_told(written: Written) -> None:
    assert read(lines(ROWS), "f.json", "text") == [{"text": lines(ROWS), "name": "f.json"}]
    for content, format, said in (
        (json.dumps(ROWS), "jsonl", "JSON"),
        ("prompt,answer\n1,2\n", "jsonl", "CSV"),
        (lines(ROWS).encode(), "parquet", "JSON lines"),
        (parquet_of(pa.table({"a": [1]})), "json", "Parquet"),
        ("<html>", "jsonl", "an HTML page"),
    ):
        *_, row = read(content, "f", format)
        assert isinstance(row, Unread)
        assert f"; the recipe states `format: {format}`, the content is {said}" in row.message
    [broken, _] = read('{"a": \n{"a": 1}', "f", "jsonl")
    assert isinstance(broken, Unread)
    assert "states" not in broken.message


def test_where_rows_are_stated_to_be_an_object_is_no_row() -> None:
    pages = "".join(json.dumps({"page": n, "data": ROWS}) + "\n" for n in range(2))
    assert read(pages, "f.json", rows="data") == ROWS * 2
    assert read(pages, "f.jsonl", rows="data") == [{"page": n, "data": ROWS} for n in range(2)]
    [row] = read(json.dumps({"data": ROWS})[:-1] + ', "data": {}} ', "f.json", rows="rows")
    assert messages([row]) == ["expected a list under the key 'rows'"]


def test_rows_under_a_key_that_is_given_twice_are_all_read() -> None:
    data = json.dumps(ROWS)
    assert read(f'{{"data": {data}, "data": {data}}}', "f.json") == ROWS * 2
    twice = '{"x": {"a": 1}, "x": {"a": 2}, "y": {"a": 3}}'
    assert read(twice, "f.json") == [{"a": 1, "_key": "x"}, {"a": 2, "_key": "x"}, {"a": 3, "_key": "y"}]


def test_forms_are_told_before_a_file_is_read(written: Written, tmp_path: Any) -> None:
    for name, content, form in (
        ("a.json", lines(ROWS).encode(), (None, "jsonl")),
        ("b.csv", gzip.compress(lines(ROWS).encode()), ("gzip", "jsonl")),
        ("c.jsonl", json.dumps(ROWS).encode(), (None, "json")),
        ("d.dat", gzip.compress(tar_of({"a": b""})), ("tar", None)),
        ("e.jsonl", b"%PDF-1.7", (None, "pdf")),
        ("e.csv", b"\x89PNG\r\n\x1a\n", (None, None)),
        ("f.gz", gzip.compress(b"x" * 99)[:20], ("gzip", None)),
    ):
        (tmp_path / name).write_bytes(content)
        assert form_of(file_of(tmp_path / name)) == form, name
        assert is_plain_json_lines(file_of(tmp_path / name)) == (name == "a.json")
    assert not is_plain_json_lines(file_of(tmp_path / "c.jsonl", "jsonl"))  # whose rows say that it is not
    assert is_plain_json_lines(file_of(tmp_path / "a.json", "jsonl"))


def test_what_is_called_json_and_is_not_says_so() -> None:
    for name in ("f.json", "f.jsonl"):
        for content in ("a,b\n", "key: value\n", "<DOC>\n", "var rows = [\n"):
            assert all("does not begin like JSON: state `format`" in words for words in messages(read(content, name)))
            assert len(read(content, name)) == 1
    words = "expected a JSON object; a list's values have no names: write objects, or CSV with a header"
    assert messages(read('["a"]\n["b"]\n', "f.jsonl")) == [words] * 2


def test_comments_are_looked_at_once() -> None:
    assert sniff.sniff(io.BytesIO(b"<!-- -->" * 10_000 + b"text"), None, None)[0].foreign == ""
