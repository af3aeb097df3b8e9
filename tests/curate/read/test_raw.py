"""Reading: files packed and archived in every way, spoilt in every way, and nothing lost on the way."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.hashing import file_digest
from curate.read import raw as read
from curate.read.raw import Files, InputFile, Unread, find_files, parse, read_rows
from tests.curate.read.made import (
    PACKERS,
    Written,
    messages,
    parquet_of,
    parsed,
    tar_of,
    zip_of,
)


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
    assert unknown.message == "LICENSE: cannot tell the format by its content, nor by its suffix."
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


def test_a_file_that_is_nothing_known(written: Written) -> None:
    """Neither what its suffix says nor anything else."""
    for name in ("f.jsonl.gz", "f.jsonl.xz", "f.jsonl.bz2", "f.zip", "f.tar", "f.tar.gz", "f.parquet", "f.parquet.gz"):
        for content in (b"this is text\n" * 100, bytes(range(256)), b""):
            rows = written(name, content)
            lines = ".jsonl" in name and content[:1] == b"t"  # each line is one that cannot be read
            if content or name in ("f.zip", "f.tar", "f.parquet"):
                assert len(rows) == (100 if lines else 1), name
            assert all(isinstance(row, Unread) for row in rows), name


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_a_tar_is_bounded(written: Written, kind: bytes) -> None:
    header = tarfile.TarInfo("a.txt")
    header.type, header.size = kind, 900 << 20
    [row] = written("f.tar", tar_of({"a.txt": b"a"})[:1024] + header.tobuf() + bytes(10240))[1:]
    assert isinstance(row, Unread)
    assert "a header of 943,718,400 bytes, more than 1 MiB" in row.message


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


def test_a_member_of_a_zip_without_a_name_is_read(written: Written) -> None:
    packed = zip_of({"x": b'{"a": 1}'}).replace(b"x", b"\0")  # a name ends at a NUL
    assert written("f.zip", packed, "jsonl") == [{"a": 1, "_member": ""}]


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


@given(st.binary(max_size=80))
def test_any_bytes_are_read_by_every_reader(content: bytes) -> None:
    for format in ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "front_matter", "text"):
        for row in parsed(content, format):
            assert isinstance(row, (dict, Unread))


def test_an_archive_that_sends_its_reader_before_the_file_begins_is_told_of(written: Written) -> None:
    """A zip without its first byte: its end says that the files begin one byte before it."""
    spoilt = zip_of({"a.jsonl": b'{"a": 1}\n'})[1:]
    said = ["a header names a place before the file's beginning"]
    assert messages(written("a.zip", spoilt)) == said
    assert messages(parse(InputFile(Path("a.zip"), "a.zip", "", len(spoilt), None), spoilt)) == said


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


def test_zstandard(written: Written) -> None:
    packed = pa.compress(b'{"a": 1}\n{"a": 2}\n', "zstd", asbytes=True)
    assert written("f.jsonl.zst", packed + packed) == [{"a": 1}, {"a": 2}] * 2
    assert "Truncated" in messages(written("f.jsonl.zst", packed[:-3]))[0]
    tar = pa.compress(tar_of({"a.txt": b"x"}), "zstd", asbytes=True)
    assert written("f.tar.zst", tar) == [{"text": "x", "name": "a.txt", "_member": "a.txt"}]


def test_rows_cost_their_share_of_what_a_file_unpacks_to(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "UNPACKED_BYTES", 1 << 20)
    for name, line in {"f.jsonl": b"{}\n", "f.csv": b"a,b\n", "f.json": b"{}\n"}.items():
        packed = lzma.compress(line * 200_000)
        *rows, last = written(f"{name}.xz", packed)
        assert len(rows) <= ((1 << 20) + 100 * len(packed)) / 100
        assert isinstance(last, Unread)
        assert "unpacks to more than" in last.message
        assert len(written(name, line * 200_000)) >= 199_999  # as it lies there, a file has paid for its rows
