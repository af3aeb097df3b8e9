"""Reading: every format, packed and broken in every way, and nothing lost on the way."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.registry import _registry
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.hashing import file_digest
from curate.read import formats
from curate.read import raw as read
from curate.read.formats import json_value, plain_yaml, strict_value
from curate.read.raw import Files, InputFile, Options, Row, Unread, drop_digest, find_files, parse, read_rows


def file_of(path: Path, format: str | None = None) -> InputFile:
    [found] = find_files(Files(files=[path.name], format=format), path.parent, path.parent / "cache")
    return found


def parsed(content: bytes, format: str, name: str = "f", **options: Any) -> list[Row | Unread]:
    """The rows of bytes."""
    return list(parse(InputFile(Path(name), name, "", len(content), format, Options(**options)), content))


def rows_of(path: Path, format: str | None = None) -> list[Row | Unread]:
    return list(read_rows(file_of(path, format)))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., list[Row | Unread]]:
    """Write bytes under a name and read them."""

    def write(name: str, content: bytes | str, format: str | None = None) -> list[Row | Unread]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return rows_of(tmp_path / name, format)

    return write


Written = Callable[..., list[Row | Unread]]
UNSURE = "; no other encoding is sure: state `encoding` in the recipe's source"
ROWS = [{"a": "1", "b": "é"}, {"a": "2", "b": ""}]
PACKERS = {".gz": partial(gzip.compress, mtime=0), ".xz": lzma.compress, ".bz2": partial(bz2.compress, compresslevel=1)}


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def parquet_of(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def messages(rows: Iterable[Row | Unread]) -> list[str]:
    return [row.message for row in rows if isinstance(row, Unread)]


# Formats


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.jsonl", b'{"a": "1", "b": "\xc3\xa9"}\r\n\n  \n{"a": "2", "b": ""}'),
        ("f.ndjson", b'\xef\xbb\xbf{"a": "1", "b": "\\u00e9"}\n{"a": "2", "b": ""}\n'),
        ("f.JSON", '[{"a": "1", "b": "é"}, {"a": "2", "b": ""}]'.encode()),
        ("f.csv", "a,b\n1,é\n\n2,\n".encode()),
        ("f.csv", '\ufeffa,b\r\n"1","é"\r\n"2",""'.encode()),
        ("f.csv", "a,b\r1,é\r2,\r".encode()),
        ("f.tsv", "a\tb\n1\té\n2\t\n".encode()),
        ("f.parquet", parquet_of(pa.table({"a": ["1", "2"], "b": ["é", ""]}))),
    ],
)
@pytest.mark.parametrize("packing", ["", *PACKERS])
def test_the_same_rows_from_every_format(written: Written, name: str, content: bytes, packing: str) -> None:
    pack = PACKERS.get(packing, bytes)
    assert written(name + packing, pack(content)) == ROWS


def test_a_json_object_is_one_row(written: Written) -> None:
    assert written("f.json", '{"a": {"b": [1, null]}}') == [{"a": {"b": [1, None]}}]


def test_cells_may_hold_delimiters_quotes_and_line_ends(written: Written) -> None:
    rows = [["a", "b"], ['say "x"', "one, two\r\nthree"], ["\0", " "]]
    quoted = "\r\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    assert written("f.csv", quoted) == [{"a": 'say "x"', "b": "one, two\r\nthree"}, {"a": "\0", "b": " "}]


def test_repeated_columns_are_numbered(written: Written) -> None:
    assert written("f.csv", "a,a,a.1,,\n1,2,3,4,5\n") == [{"a": "1", "a.1": "2", "a.1.1": "3", "": "4", ".1": "5"}]


def test_thousands_of_columns_without_a_name(written: Written) -> None:
    [row] = written("f.csv", "," * 16383 + "\n" + "," * 16383 + "\n")
    assert len(row) == 16384
    assert list(row)[-1] == ".16383"


def test_front_matter(written: Written) -> None:
    text = "---\nname: MIT\nsince: 1988-01-01\n2: [x]\n---\n\nPermission is\n---\nhereby\n"
    expected = {"name": "MIT", "since": date(1988, 1, 1), "2": ["x"], "text": "\nPermission is\n---\nhereby\n"}
    assert written("mit.RULE", text, "front_matter") == [expected]
    assert written("mit.RULE", "\ufeff---\r\n--- \r\ntext", "front_matter") == [{"text": "text"}]


def test_text(written: Written) -> None:
    assert written("a.b.txt", "\ufeffone\r\ntwo") == [{"text": "one\r\ntwo", "name": "a.b.txt"}]
    assert written("empty.md", "") == [{"text": "", "name": "empty.md"}]


def test_parquet_values(written: Written) -> None:
    row = {"t": date(2020, 1, 2), "d": Decimal("1.50"), "x": b"\xff", "l": [{"k": None}], "m": [("a", 1)], "n": None}
    types = {"m": pa.map_(pa.string(), pa.int64()), "n": pa.int64()}
    table = pa.table({name: pa.array([value], types.get(name)) for name, value in row.items()})
    assert written("f.parquet", parquet_of(table)) == [row]


def test_files_without_rows(written: Written) -> None:
    assert written("f.jsonl", "\n \n") == []
    assert written("f.json", "[]") == []
    assert written("f.csv", "") == []
    assert written("f.csv", "a,b\n") == []
    assert written("f.parquet", parquet_of(pa.table({"a": pa.array([], pa.string())}))) == []


# Archives


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("f.tar", bytes),
        ("f.tar.gz", gzip.compress),
        ("f.tgz", gzip.compress),
        ("f.tar.xz", lzma.compress),
        ("f.tar.bz2", bz2.compress),
        ("f.zip", None),
    ],
)
def test_members_of_an_archive(written: Written, name: str, pack: Callable[[bytes], bytes] | None) -> None:
    members = {
        "in/a.jsonl": b'{"a": 1}\nbroken\n{"a": 2}',
        "in/b.csv.gz": gzip.compress(b"a\n3\n"),
        "c.parquet": parquet_of(pa.table({"a": [4]})),
        "LICENSE": b"no suffix",
        "d.zip": zip_of({}),
        "e.txt": b"five",
    }
    rows = written(name, pack(tar_of(members)) if pack else zip_of(members))
    assert [row for row in rows if isinstance(row, dict)] == [
        {"a": 1, "_member": "in/a.jsonl"},
        {"a": 2, "_member": "in/a.jsonl"},
        {"a": "3", "_member": "in/b.csv.gz"},
        {"a": 4, "_member": "c.parquet"},
        {"text": "five", "name": "e.txt", "_member": "e.txt"},
    ]
    broken, unknown, nested = (row for row in rows if isinstance(row, Unread))
    assert broken.message == "in/a.jsonl: Expecting value: line 1 column 1 (char 0)"
    assert (broken.line, broken.raw) == (2, "broken\n")
    assert unknown.message == "LICENSE: cannot tell the format by its suffix."
    assert nested.message == "d.zip: an archive within an archive"


def test_a_stated_format_is_that_of_every_member(written: Written) -> None:
    assert written("f.zip", zip_of({"x.txt": b'{"a": 1}'}), "jsonl") == [{"a": 1, "_member": "x.txt"}]


@pytest.mark.parametrize(("name", "pack"), [("f.tar", tar_of), ("f.zip", zip_of)])
def test_members_whose_paths_leave_the_archive_are_set_aside(
    written: Written, tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    members = ["../../up.txt", "/etc/passwd.txt", "a/../../b.txt", "C:\\x.txt", "..\\x.txt", "in/..a.txt"]
    *outside, inside = written(name, pack(dict.fromkeys(members, b"x")))
    assert inside == {"text": "x", "name": "in/..a.txt", "_member": "in/..a.txt"}
    words = [row.message for row in outside if isinstance(row, Unread)]
    assert words == [f"{member}: a path that leaves the archive" for member in members[:-1]]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_links_and_folders_are_passed_over(written: Written) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind, name in [(tarfile.SYMTYPE, "link.txt"), (tarfile.DIRTYPE, "folder"), (tarfile.FIFOTYPE, "pipe.txt")]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("a.txt"))
    assert written("f.tar", buffer.getvalue()) == [{"text": "", "name": "a.txt", "_member": "a.txt"}]


# What cannot be read


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
    monkeypatch.setattr(formats, "LONGEST_ROW", 1 << 20)
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
    assert messages(written("f.json", '[{"a": 1}')[1:]) == ["Expecting ',' delimiter: line 1"]


def test_broken_csv_rows(written: Written) -> None:
    content = b'a,b\n1\n2,x\n"3,"y\n4,\xff\n5,6,7\n"8\n9",ok\n"10,z\n11,z\n'
    rows = written("f.csv", content)
    assert [row for row in rows if isinstance(row, dict)] == [{"a": "2", "b": "x"}, {"a": "8\n9", "b": "ok"}]
    assert [(row.message, row.line, row.raw) for row in rows if isinstance(row, Unread)] == [
        ("1 cells, expected 2", 2, "1\n"),
        ("',' expected after '\"'", 4, '"3,"y\n'),
        (f"not UTF-8{UNSURE}", 5, "4,\\xff\n"),
        ("3 cells, expected 2", 6, "5,6,7\n"),
        ("unexpected end of data", 9, '"10,z\n11,z\n'),
    ]


def test_a_broken_csv_header_names_no_columns(written: Written) -> None:
    assert messages(written("f.csv", b"a,\xff\n1,2\n3,4\n")) == [f"not UTF-8{UNSURE}"] * 2
    assert messages(written("f.csv", b'"a"x,b\n1,2\n')) == ["',' expected after '\"'", "the header could not be read"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no dashes", "no YAML front matter"),
        (b"---\na: [\n---\nx", "ParserError"),
        (b"---\na: 2001-99-99\n---\nx", "month must be in 1..12"),
        (b"---\n- a\n---\nx", "is a list"),
        (b"---\ntext: a\n---\nx", "the key `text`"),
        (b"---\na: !!python/object/apply:os.getcwd []\n---\nx", "could not determine a constructor"),
        (b"---\na: &x [*x]\n---\nx", "aliases are not read"),
        (b"---\na: &a [1]\nb: [*a, *a]\n---\nx", "aliases are not read"),
        (b"---\na: " + b"[" * 300 + b"]" * 300 + b"\n---\nx", "nested deeper than 200 levels"),
        (b"---\na: \xff\n---\nx", "can't decode byte 0xff"),
    ],
)
def test_broken_front_matter(written: Written, content: bytes, words: str) -> None:
    [row] = written("f.RULE", content, "front_matter")
    assert isinstance(row, Unread)
    assert words in row.message
    assert row.raw == content.decode("utf-8", "backslashreplace")


def test_text_that_is_not_utf8(written: Written) -> None:
    [row] = written("f.txt", "naïve".encode("latin-1"))
    assert isinstance(row, Unread)
    assert row.raw == "na\\xefve"


@pytest.mark.parametrize("packing", PACKERS)
def test_a_truncated_file_gives_what_is_whole_and_says_so(written: Written, packing: str) -> None:
    lines = [json.dumps({"n": number, "x": f"{number * 7919:x}" * 40}) for number in range(3000)]
    packed = PACKERS[packing]("\n".join(lines).encode())
    rows = written("f.jsonl" + packing, packed[: len(packed) // 2])
    assert rows[:-1] == [json.loads(line) for line in lines[: len(rows) - 1]]
    assert len(rows) > 1000
    assert isinstance(rows[-1], Unread)
    assert "EOFError" in rows[-1].message
    spoilt = packed[: len(packed) // 2] + b"spoilt" * 9 + packed[len(packed) // 2 + 54 :]
    assert isinstance(written("f.jsonl" + packing, spoilt)[-1], Unread)


@pytest.mark.parametrize("packing", [".gz", ".xz"])
def test_of_a_small_truncated_file_little_is_lost(written: Written, packing: str) -> None:
    """Less than a piece of what is unpacked at a time, in every format of rows."""
    draw = random.Random(0)
    rows = [{"n": str(number), "x": f"{draw.getrandbits(300):x}"} for number in range(2000)]
    lines = [json.dumps(row) for row in rows]
    for name, content in {
        "f.jsonl": "\n".join(lines),
        "f.json": f"[{', '.join(lines)}]",
        "f.csv": "\n".join(["n,x", *(f"{row['n']},{row['x']}" for row in rows)]),
    }.items():
        for encoding in ("utf-8", "utf-16"):
            packed = PACKERS[packing](content.encode(encoding))
            read = written(name + packing, packed[: len(packed) // 2])
            assert len(read) > 800
            told = {} if encoding == "utf-8" else {"_encoding": encoding}
            assert read[:-1] == [row | told for row in rows[: len(read) - 1]]
            assert [message.split(":")[0] for message in messages(read)] == ["EOFError"]
            # A last line is whole only where the file is: of an array the bracket tells.
            assert len(written(name + packing, packed[:-6])) - 1 == 2000 - (name != "f.json")


def test_a_file_that_is_not_what_its_suffix_says(written: Written) -> None:
    for name in ("f.jsonl.gz", "f.jsonl.xz", "f.jsonl.bz2", "f.zip", "f.tar", "f.tar.gz", "f.parquet", "f.parquet.gz"):
        for content in (b"this is text\n" * 100, b""):
            rows = written(name, content)
            if content or name in ("f.zip", "f.tar", "f.parquet"):
                assert len(rows) == 1, name
            assert all(isinstance(row, Unread) for row in rows), name


def test_a_tar_that_ends_early_or_is_spoilt_says_so(written: Written) -> None:
    packed = tar_of({f"{name}.txt": name.encode() for name in "abc"})
    ends = [1024, 1024 + 300, 1024 + 512 + 1, 3 * 1024]
    for end, whole in zip(ends, [1, 1, 2, 3], strict=True):
        rows = written("f.tar", packed[:end])
        assert [row["text"] for row in rows[:whole] if isinstance(row, dict)] == list("abc")[:whole]
        assert rows[whole:]
        assert all(isinstance(row, Unread) for row in rows[whole:])
    assert written("f.tar", packed[: 4 * 1024]) == written("f.tar", packed)
    spoilt = packed[:1024] + b"?" * 512 + packed[1536:]
    rows = written("f.tar", spoilt)
    assert [isinstance(row, Unread) for row in rows] == [False, True]


def test_a_spoilt_member_of_a_zip_leaves_the_others(written: Written) -> None:
    packed = bytearray(zip_of({"a.txt": b"first", "b.txt": b"second", "c.txt": b"third"}, zipfile.ZIP_STORED))
    packed[packed.index(b"second")] ^= 1
    rows = written("f.zip", bytes(packed))
    assert [row["text"] if isinstance(row, dict) else row.message for row in rows] == [
        "first",
        "b.txt: BadZipFile: Bad CRC-32 for file 'b.txt'",
        "third",
    ]
    encrypted = bytearray(zip_of({"a.txt": b"first", "b.txt": b"second"}))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(mark) + flags] |= 1
    rows = written("f.zip", bytes(encrypted))
    assert [isinstance(row, Unread) for row in rows] == [True, False]
    assert "encrypted" in messages(rows)[0]


def test_what_unpacks_without_end_is_stopped(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(read, "UNPACKED_RATIO", 0)
    zeros = bytes(64 << 20)
    bomb = gzip.compress(zeros)
    for name, packed in {
        "f.txt.gz": bomb,
        "f.jsonl.xz": lzma.compress(zeros),
        "f.tar.bz2": bz2.compress(tar_of({"a.txt": zeros})),
        "f.tar": tar_of({"a.txt.gz": bomb}),
        "f.zip": zip_of({"a.txt": zeros}),
    }.items():
        found = messages(written(name, packed))
        assert found, name
        assert all("unpacks to more than" in message for message in found), name
    several = written("g.zip", zip_of({f"{n}.txt": bytes(400 << 10) for n in range(9)}))
    assert [isinstance(row, Unread) for row in several] == [False] * 2 + [True] * 7


def test_a_parquet_value_that_python_does_not_have(written: Written) -> None:
    far = pa.array([0, 10**18, 1], pa.int64()).cast(pa.timestamp("us"))
    spoilt = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc"))
    for column in (far, spoilt):
        rows = written("f.parquet", parquet_of(pa.table({"a": column})))
        assert [isinstance(row, Unread) for row in rows] == [False, True, False]


def test_repeated_columns_of_parquet(written: Written) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert written("f.parquet", parquet_of(table)) == [{"a": 1, "a.1": 2}]


def test_the_json_suite_never_crashes_the_readers(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "json_nst_testsuite/test_parsing").glob("*.json"))
    assert len(files) == 318
    read_rows_of = 0
    for path in files:
        content = path.read_bytes()
        rows = rows_of(path)
        lines = parsed(content, "jsonl", encoding="utf-8")
        assert len(lines) == sum(bool(line.strip()) for line in content.split(b"\n")), path.name
        if path.name.startswith("n_"):
            *before, broken = rows
            assert isinstance(broken, Unread), path.name
            whole = [{}] if path.name == "n_array_unclosed_with_object_inside.json" else []
            assert [row for row in before if isinstance(row, dict)] == whole, path.name
        elif path.name.startswith("y_"):
            value = json.loads(content)
            expected = value if isinstance(value, list) else [value]
            assert len(rows) == len(expected), path.name
            for row, wanted in zip(rows, expected, strict=True):
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
def test_every_line_gives_exactly_one_row(lines: list[bytes], end: bytes) -> None:
    content = end.join(lines)
    rows = parsed(content, "jsonl", encoding="utf-8")
    kept = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    assert len(rows) == len(kept)
    for row, (number, line) in zip(rows, kept, strict=True):
        if isinstance(row, Unread):
            assert row.line == number
            assert row.raw.rstrip("\n") == line.decode("utf-8", "backslashreplace")
        else:
            assert row == json.loads(line.decode("utf-8-sig"))


CELLS = st.text(st.sampled_from('ab,"\n\r\t \0é'), max_size=5)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6))
def test_written_csv_reads_back(rows: list[list[str]]) -> None:
    quoted = "\r\n".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [["a", "b"], *rows])
    found = parsed(quoted.encode(), "csv")
    assert found == [{"a": row[0], "b": row[1]} for row in rows]


@given(st.lists(st.binary(max_size=6).map(lambda line: line.translate(None, b'"\r\n')), max_size=12))
def test_every_line_of_unquoted_csv_gives_exactly_one_row(lines: list[bytes]) -> None:
    rows = parsed(b"\n".join([b"a,b", *lines]), "csv", encoding="utf-8", delimiter=",")
    assert len(rows) == sum(bool(line) for line in lines)
    for row, line in zip(rows, filter(None, lines), strict=True):
        if isinstance(row, Unread):
            assert row.raw.rstrip("\n") == line.decode("utf-8", "backslashreplace")
        else:
            assert f"{row['a']},{row['b']}".encode() == line


@given(st.binary(max_size=60))
def test_no_byte_of_any_csv_is_lost(content: bytes) -> None:
    rows = parsed(b"a,b\n" + content, "csv", encoding="utf-8", delimiter=",")
    kept = "".join("".join(row.values()) if isinstance(row, dict) else row.raw for row in rows)
    shown = content.decode("utf-8", "backslashreplace")
    ignored = dict.fromkeys(map(ord, '",\r\n'))
    assert kept.translate(ignored) == shown.translate(ignored)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_by_every_reader(content: bytes) -> None:
    for format in ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "front_matter", "text"):
        for row in parsed(content, format):
            assert isinstance(row, (dict, Unread))


def test_headers_of_archives_that_make_no_sense(written: Written) -> None:
    packed = zip_of({"é.txt": b"first"})
    assert "UnicodeDecodeError" in messages(written("f.zip", packed.replace("é".encode(), b"\xff\xff")))[0]
    for said in ({"GNU.sparse.map": "a,b"}, {"GNU.sparse.size": "x"}):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("a.txt")
            info.pax_headers = said
            archive.addfile(info)
        assert "ValueError" in messages(written("f.tar", buffer.getvalue()))[0]


@given(st.data())
def test_spoilt_archives_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    members = {"é.jsonl": b'{"a": 1}\n{"a": 2}\n', "b.txt.gz": gzip.compress(b"text", mtime=0), "c.csv": b"a\n1\n"}
    name = data.draw(st.sampled_from(["f.tar", "f.tar.gz", "f.zip", "f.tar.xz"]))
    packed = zip_of(members) if name == "f.zip" else PACKERS.get(Path(name).suffix, bytes)(tar_of(members))
    spoilt = bytearray(packed[: data.draw(st.integers(0, len(packed)))])
    for _ in range(data.draw(st.integers(0, 3)) if spoilt else 0):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("spoilt") / name
    path.write_bytes(spoilt)
    rows = list(read_rows(InputFile(path, name, file_digest(path), len(spoilt), None)))
    assert all(isinstance(row, (dict, Unread)) for row in rows)


def corpus() -> dict[str, bytes]:
    """Whole files of every format, of the same rows."""
    rows = [{"n": f"{number}", "x": f'é "{number * 7919:x}", {"y" * (number % 40)}'} for number in range(60)]
    table = pa.Table.from_pylist(rows)
    quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in rows)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    arrow = io.BytesIO()
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    files = {
        "f.jsonl": lines.encode(),
        "f.json": json.dumps(rows, indent=1).encode(),
        "g.json": json.dumps({"data": rows}).encode(),
        "f.csv": "\n".join(["n,x", *quoted]).encode(),
        "f.tsv": "\n".join(["n\tx", *(f"{row['n']}\t{row['n']}" for row in rows)]).encode("utf-16"),
        "f.parquet": parquet_of(table),
        "f.arrow": arrow.getvalue(),
        "f.md": lines.encode("cp1252", "replace"),
        "f.RULE": b"---\nn: 1\nx: [a, {b: c}]\n---\n" + lines.encode(),
    }
    packers = PACKERS | {".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}
    return files | {
        f"{name}{suffix}": packers[suffix](content) for name, content in files.items() for suffix in packers
    }


CORPUS = corpus()
SPOILT = st.tuples(st.sampled_from(["cut", "set", "twice", "lost"]), st.floats(0, 1), st.integers(0, 255))


@pytest.mark.parametrize("name", CORPUS)
@settings(max_examples=12)
@given(changes=st.lists(SPOILT, min_size=1, max_size=3))
def test_spoilt_files_of_every_format_never_crash(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[str, float, int]]
) -> None:
    """And of lines that are not packed, those before the first change are read as they were."""
    content, first = CORPUS[name], len(CORPUS[name])
    for how, place, byte in changes:
        at = int(place * len(content))
        first = min(first, at)
        end = at + 1 + byte if how in ("twice", "lost") else at + 1
        middle = {"cut": b"", "set": bytes([byte]), "twice": content[at:end] * 2, "lost": b""}[how]
        content = content[:at] + middle + (b"" if how == "cut" else content[end:])
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    source = Files(files=[name], format="front_matter") if ".RULE" in name else Files(files=[name])
    [file] = find_files(source.model_copy(update={"encoding": "utf-8"} if name == "f.jsonl" else {}), path.parent, path)
    rows = list(read_rows(file))
    assert all(isinstance(row, (dict, Unread)) for row in rows)
    if name == "f.jsonl":
        whole = content[:first].count(b"\n")
        assert rows[:whole] == [json.loads(line) for line in CORPUS[name].split(b"\n")[:whole]]


# What orjson and the fast path of YAML give is what the strict readers give

JSON_TEXT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())
JSON_BITS = st.lists(
    st.sampled_from(
        [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"a"',
            "1",
            "-0",
            "-0.0",
            "1e400",
            "1.5e308",
            "0.1",
            "NaN",
            '"\\ud800"',
            '"\\ud83d\\ude00"',
            '"\\u0000"',
            "true",
        ]
    )
    | st.sampled_from(["9223372036854775808", "-9223372036854775809", "18446744073709551616", "12345678901234567.89"]),
    max_size=8,
).map(lambda bits: "".join(bits).encode())


def outcome(read: Callable[[], Any]) -> str:
    try:
        return repr(read())
    except ValueError:
        return "refused"


@given(JSON_TEXT | JSON_BITS | st.binary(max_size=12))
def test_json_is_what_the_standard_library_reads_strictly(content: bytes) -> None:
    assert outcome(lambda: json_value(content)) == outcome(lambda: strict_value(content.decode("utf-8-sig")))


def test_json_of_the_suite_is_what_the_standard_library_reads_strictly(shared_data: Path) -> None:
    for path in (shared_data / "json_nst_testsuite/test_parsing").glob("*.json"):
        content = path.read_bytes()
        fast, strict = (
            outcome(lambda c=content: json_value(c)),
            outcome(lambda c=content: strict_value(c.decode("utf-8-sig"))),
        )
        assert fast == strict, path.name


YAML_WORDS = st.sampled_from(
    [
        "a",
        "text",
        "key",
        "yes",
        "No",
        "NULL",
        "on",
        "~",
        "0",
        "10",
        "010",
        "1.5",
        "1:30",
        "2001-01-01",
        "a:b",
        "a#b",
        "#c",
        "-",
        ":",
        "'q'",
        "x:",
        "/p",
        "(c)",
        ",",
        "=",
    ]
)
YAML_LINES = st.builds(
    lambda lead, words: lead + " ".join(words),
    st.sampled_from(["a: ", "b: ", "yes: ", "c:", "- ", "  - ", "    - ", "", "  "]),
    st.lists(YAML_WORDS, max_size=3),
)


@given(st.lists(YAML_LINES, max_size=5))
def test_plain_yaml_is_what_yaml_says(lines: list[str]) -> None:
    text = "".join(line + "\n" for line in lines)
    found = plain_yaml(text)
    if found is not None:
        expected = formats._yaml_value(text)
        assert repr(found) == repr(expected)


def test_plain_yaml_on_every_real_notice(licence_data: Path) -> None:
    fast = 0
    for path in sorted((licence_data / "rules").glob("*.RULE"))[::8]:
        match = formats.FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        assert match is not None
        found = plain_yaml(match[1])
        fast += found is not None
        assert found is None or repr(found) == repr(formats._yaml_value(match[1])), path.name
    assert fast > 2000


# More formats


def test_arrow_files_and_streams(written: Written) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "é"]})
    for kind in (pa.ipc.new_file, pa.ipc.new_stream):
        buffer = io.BytesIO()
        with kind(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        content = buffer.getvalue()
        assert written("f.arrow", content) == table.to_pylist()
        assert written("f.arrow.zst", pa.compress(content, "zstd", asbytes=True)) == table.to_pylist()
        assert isinstance(written("f.arrow", content[: len(content) // 2])[-1], Unread)


def test_zstandard(written: Written) -> None:
    packed = pa.compress(b'{"a": 1}\n{"a": 2}\n', "zstd", asbytes=True)
    assert written("f.jsonl.zst", packed + packed) == [{"a": 1}, {"a": 2}] * 2
    assert "Truncated" in messages(written("f.jsonl.zst", packed[:-3]))[0]
    tar = pa.compress(tar_of({"a.txt": b"x"}), "zstd", asbytes=True)
    assert written("f.tar.zst", tar) == [{"text": "x", "name": "a.txt", "_member": "a.txt"}]


def test_objects_of_rows() -> None:
    rows = [{"a": 1}, {"a": 2}]
    keyed = {"x": rows[0], "y": rows[1]}
    assert parsed(orjson.dumps({"version": "1", "data": rows}), "json") == rows
    assert parsed(orjson.dumps(keyed), "json") == [{"a": 1, "_key": "x"}, {"a": 2, "_key": "y"}]
    assert parsed(orjson.dumps(keyed), "json", rows=".") == [keyed]
    assert parsed(orjson.dumps({"only": rows, "b": []}), "json", rows="only") == rows
    assert parsed(orjson.dumps({"messages": rows}), "json") == [{"messages": rows}]
    assert parsed(orjson.dumps({"k": rows[0]}), "json", rows="*") == [{"a": 1, "_key": "k"}]


def test_a_long_array_is_read_element_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LONGEST_ROW", 1 << 12)
    rows = [{"n": number, "x": "é[" * (number % 50)} for number in range(2000)]
    content = json.dumps(rows, ensure_ascii=False, indent=1).encode()
    assert parsed(content, "json") == rows
    assert parsed(b'{"a": 1, "data": ' + content + b', "b": []}', "json", rows="data") == rows
    *whole, broken = parsed(content[: len(content) // 2], "json")
    assert whole == rows[: len(whole)]
    assert isinstance(broken, Unread)
    assert broken.line is not None
    assert broken.line > len(whole)


def test_lines_are_told_behind_a_long_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LONGEST_ROW", 1 << 21)
    content = b'[{"a": "' + b"x" * (1 << 20) + b'"}' + b',\n{"a": 1}' * 100_000 + b",\n\n3, 4 5]"
    *whole, number, other, broken = parsed(content, "json")  # quadratic, it took minutes
    assert len(whole) == 100_001
    assert [(row.message, row.line) for row in (number, other, broken) if isinstance(row, Unread)] == [
        ("expected a JSON object", 100_003),
        ("expected a JSON object", 100_003),
        ("Expecting ',' delimiter: line 100003", 100_003),
    ]


@pytest.mark.parametrize(
    ("content", "options", "row"),
    [
        ("a;b\n1,5;x\n2,5;y\n", {}, {"a": "1,5", "b": "x"}),
        ("a|b\n1|x\n", {}, {"a": "1", "b": "x"}),
        ("a\tb\n1\tx\n", {}, {"a": "1", "b": "x"}),
        ("text\nx;y\n", {}, {"text": "x;y"}),
        ("'a','b'\n'1','x,y'\n", {}, {"a": "1", "b": "x,y"}),
        ("a:b\n1:x\n", {"delimiter": ":"}, {"a": "1", "b": "x"}),
        ('a,b\n1,"x\n', {"quote": ""}, {"a": "1", "b": '"x'}),
    ],
)
def test_delimiters_and_quotes_are_stated_or_told(content: str, options: dict[str, str], row: Row) -> None:
    assert parsed(content.encode(), "csv", **options)[0] == row


# Encodings


def test_encodings_are_told_or_stated() -> None:
    russian = "Все люди рождаются свободными и равными в своем достоинстве и правах"
    content = json.dumps({"a": russian}, ensure_ascii=False) + "\n"
    for encoding, stated, said in [
        ("utf-8", None, None),
        ("utf-8-sig", None, None),
        ("utf-16", None, "utf-16"),
        ("utf-16-le", "utf-16-le", "utf-16-le"),
        ("cp1251", None, "cp1251"),
        ("koi8_r", "koi8_r", "koi8_r"),
    ]:
        expected = {"a": russian} | ({"_encoding": said} if said else {})
        assert parsed(content.encode(encoding), "jsonl", encoding=stated) == [expected], encoding
        assert parsed(content.encode(encoding), "json", encoding=stated) == [expected], encoding
    [text] = parsed(russian.encode("utf-16"), "text")
    assert text == {"text": russian, "name": "f", "_encoding": "utf-16"}


def test_one_broken_byte_is_a_broken_line() -> None:
    lines = [json.dumps({"a": "naïve"}, ensure_ascii=False).encode()] * 9 + [b'{"a": "\xe9"}']
    rows = parsed(b"\n".join(lines), "jsonl")
    assert rows[:-1] == [{"a": "naïve"}] * 9
    assert messages(rows) == ["'utf-8' codec can't decode byte 0xe9 in position 7: invalid continuation byte"]
    [row] = parsed('{"a": "\ud800"}'.encode("utf-16-le", "surrogatepass"), "jsonl", encoding="utf-16-le")
    assert isinstance(row, Unread)
    assert row.message == "not utf-16-le"


# Remote files


def test_files_of_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        import s3fs

        storage = s3fs.S3FileSystem(skip_instance_cache=True)
        storage.mkdir("drop")
        storage.pipe("drop/in/a.jsonl", b'{"a": 1}\n')
        storage.pipe("drop/in/b.csv.gz", gzip.compress(b"a\n2\n"))
        for source, drop in (("s3://drop/in/*", str(tmp_path)), ("in/*", "s3://drop")):
            found = find_files(Files(files=[source]), drop, tmp_path / "cache")
            assert [file.name for file in found] == ["s3://drop/in/a.jsonl", "s3://drop/in/b.csv.gz"]
            assert [row for file in found for row in read_rows(file)] == [{"a": 1}, {"a": "2"}]
        with pytest.raises(AssayError, match=r"s3://drop/none\.jsonl"):
            find_files(Files(files=["s3://drop/none.jsonl"]), tmp_path, tmp_path / "cache")
    finally:
        server.stop()


def test_a_drop_may_be_the_root_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    name = (tmp_path / "rows.jsonl").as_posix().lstrip("/")
    assert [file.name for file in find_files(Files(files=[name]), Path("/"), tmp_path)] == [name]


class CloudStorage(BaseHTTPRequestHandler):
    """As much of Google's storage as is asked of it: a bucket's list, an object's description and its bytes."""

    objects = {"in/a.jsonl": b'{"a": 1}\n', "in/b.csv.gz": gzip.compress(b"a\n2\n", mtime=0)}

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query, name = parse_qs(url.query), unquote(url.path.partition("/o/")[2])
        told = {
            key: {"name": key, "bucket": "drop", "size": str(len(value)), "generation": "1", "etag": key, "md5Hash": ""}
            | dict.fromkeys(("updated", "timeCreated"), "2026-01-01T00:00:00Z")
            for key, value in self.objects.items()
        }
        status, body = 404, json.dumps({"error": {"code": 404, "message": "none"}}).encode()
        if url.path.endswith("/o"):
            listed = [each for key, each in told.items() if key.startswith(query.get("prefix", [""])[0])]
            status, body = 200, json.dumps({"items": listed}).encode()
        elif name in told:
            media = query.get("alt") == ["media"]
            status, body = 200, self.objects[name] if media else json.dumps(told[name]).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """No line for each request."""


def test_files_of_a_bucket_of_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks what kind a bucket is, of another server
    pytest.importorskip("gcsfs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), CloudStorage)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon", "skip_instance_cache": True})
        for source, drop in (("gs://drop/in/*", str(tmp_path)), ("in/*", "gs://drop")):
            found = find_files(Files(files=[source]), drop, tmp_path / "cache")
            assert [file.name for file in found] == ["gs://drop/in/a.jsonl", "gs://drop/in/b.csv.gz"]
            assert [row for file in found for row in read_rows(file)] == [{"a": 1}, {"a": "2"}]
        with pytest.raises(AssayError, match=r"gs://drop/none\.jsonl: FileNotFoundError"):
            find_files(Files(files=["gs://drop/none.jsonl"]), tmp_path, tmp_path / "cache")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("scheme", "package", "extra"), [("gs", "gcsfs", "gs"), ("s3", "s3fs", "s3")])
def test_a_storage_without_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, scheme, raising=False)
    with pytest.raises(AssayError) as error:
        find_files(Files(files=[f"{scheme}://drop/a.jsonl"]), tmp_path, tmp_path / "cache")
    assert error.value.message.startswith(f"{scheme}://drop/a.jsonl: ImportError")
    assert error.value.remedy == f"pip install 'assay-curation[{extra}]'"


def test_secrets_of_urls_are_not_told(tmp_path: Path) -> None:
    source = Files(files=["http://user:pass@127.0.0.1:9/a.jsonl?key=hidden"])
    assert source.model_dump(mode="json")["files"] == ["http://127.0.0.1:9/a.jsonl"]
    with pytest.raises(AssayError) as error:
        find_files(source, tmp_path, tmp_path / "cache")
    assert "http://127.0.0.1:9/a.jsonl" in str(error.value)
    assert not {"user", "pass", "hidden"} & set(str(error.value).replace(":", " ").replace("=", " ").split())


# Which files


def test_files_by_glob_are_sorted_and_known_by_their_content(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/1.jsonl", "a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = find_files(Files(files=["**/*.jsonl", "b/1.*", "a.csv"]), tmp_path, tmp_path)
    assert [(file.name, file.format, file.size) for file in found] == [
        ("a.csv", "csv", 5),
        ("b/1.jsonl", "jsonl", 9),
        ("b/2.jsonl", "jsonl", 9),
    ]
    assert [file.sha256 for file in found] == [hashlib.sha256(file.name.encode()).hexdigest() for file in found]
    assert drop_digest(found) == drop_digest(found[::-1])
    (tmp_path / "a.csv").write_text("other")
    assert drop_digest(find_files(Files(files=["a.csv"]), tmp_path, tmp_path)) != drop_digest(found[:1])


@pytest.mark.parametrize(
    ("pattern", "message", "remedy"),
    [
        ("none-*.jsonl", "No file matches 'none-*.jsonl' below", "--drop"),
        ("../x.jsonl", "'../x.jsonl' leaves the drop", "relative to the drop"),
        ("a/../../x.jsonl", "leaves the drop", "relative to the drop"),
        ("/etc/passwd", "'/etc/passwd' leaves the drop", "--drop"),
        ("", "'' is no glob", "Mend it in the recipe"),
        ("f.dat", "f.dat: cannot tell the format", "Set `format`"),
        ("f.dat.gz", "f.dat.gz: cannot tell the format", "Set `format`"),
    ],
)
def test_files_that_cannot_be_found(tmp_path: Path, pattern: str, message: str, remedy: str) -> None:
    for name in ("f.dat", "f.dat.gz"):
        (tmp_path / name).touch()
    with pytest.raises(AssayError) as error:
        find_files(Files(files=[pattern]), tmp_path, tmp_path)
    assert message in error.value.message
    assert remedy in error.value.remedy


def test_a_package_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"Package 'no-such-package' is not installed\.\npip install no-such-package"):
        find_files(Files(files=["*"], package="no-such-package"), tmp_path, tmp_path)


def test_files_of_an_installed_package(tmp_path: Path) -> None:
    [found] = find_files(Files(files=["orjson/__init__.py"], package="orjson", format="text"), tmp_path, tmp_path)
    [row] = read_rows(found)
    assert isinstance(row, dict)
    assert "orjson" in row["text"]


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    for name in ("gone.jsonl", "gone.zip", "gone.tar.gz", "gone.parquet"):
        with pytest.raises(AssayError, match=r"gone.*: No such file or directory\.\nMake the file readable\."):
            list(read_rows(InputFile(tmp_path / name, name, "", 0, "jsonl")))


# datasets.load_dataset, from a local folder


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_datasets_folder(tmp_path: Path, kind: str) -> None:
    drop, cache = tmp_path / "drop", tmp_path / "cache"
    rows: dict[str, list[Any]] = {
        "train": [{"q": "a", "n": 1, "turns": [{"role": "user", "content": "é"}]}, {"q": None, "n": 2, "turns": []}],
        "test": [{"q": "t", "n": 3, "turns": []}],
    }
    (drop / "mine/data").mkdir(parents=True)
    for split, content in rows.items():
        path = drop / f"mine/data/{split}-00000.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(content), path)
        else:
            path.write_text("\n".join(json.dumps(row) for row in content))
    for split, content in rows.items():
        [file] = find_files(Files(dataset="mine", split=split), drop, cache)
        assert (file.name, file.format) == (f"mine/{split}", "parquet")
        assert list(read_rows(file)) == content
    [before] = find_files(Files(dataset="mine"), drop, cache)
    assert before.path.parent == cache / "hub"
    (drop / "mine/data" / f"train-00000.{kind}").rename(drop / "mine/data" / f"train-00001.{kind}")
    [after] = find_files(Files(dataset="mine"), drop, cache)
    assert after.path != before.path
    assert after.sha256 == before.sha256


def test_what_save_to_disk_left(tmp_path: Path) -> None:
    import datasets

    rows = {"train": [{"q": "é", "n": 1}, {"q": None, "n": 2}], "test": [{"q": "t", "n": 3}]}
    whole = datasets.DatasetDict({split: datasets.Dataset.from_list(content) for split, content in rows.items()})
    whole.save_to_disk(tmp_path / "whole")
    whole["test"].save_to_disk(tmp_path / "one")
    for name, split in (("whole", "train"), ("whole", "test"), ("one", "test")):
        [file] = find_files(Files(dataset=name, split=split), tmp_path, tmp_path / "cache")
        assert list(read_rows(file)) == rows[split]


def test_a_dataset_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, of what `datasets` keeps of an earlier download; here it is made by hand."""
    import datasets

    rows = [{"q": "é", "n": 1}, {"q": "b", "n": 2}]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    files = {"train": [str(tmp_path / "train.jsonl")]}
    builder = datasets.load_dataset_builder("json", data_files=files, cache_dir=str(tmp_path / "made"))
    builder.download_and_prepare()
    kept = tmp_path / "hub/me___mine/default/0.0.0" / ("0" * 64)
    shutil.copytree(builder.cache_dir, kept)
    (kept / "json-train.arrow").rename(kept / "mine-train.arrow")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    [file] = find_files(Files(dataset="me/mine"), tmp_path / "drop", tmp_path / "cache")
    assert (file.name, file.format) == ("me/mine/train", "parquet")
    assert list(read_rows(file)) == rows


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssayError) as error:
        find_files(Files(dataset="nobody/no-such-dataset"), tmp_path, tmp_path / "cache")
    assert "datasets.load_dataset('nobody/no-such-dataset', split='train') failed" in error.value.message
    assert "Check the name, the split and the network" in error.value.remedy
    assert not list(tmp_path.rglob("*.parquet"))
