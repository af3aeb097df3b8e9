"""Readers: whatever a file holds, its rows are conserved, and are the same whatever the shards.

Each row is a record or in the quarantine with words; nothing but an error with words stops the run.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.engine import map_in_process
from curate.errors import AssayError
from curate.read.files import Files, InputFile
from curate.read.ingest import Ingested, ingest
from curate.read.mapping import Mapper, RecordMapping, raw_json
from curate.read.raw import parse
from curate.read.raw_row import Unread
from tests.fuzz.target import Choices, Target, altered, told

ROWS: list[dict[str, Any]] = [
    {"instruction": "Name a colour.", "input": "", "output": "Red."},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, ünïcode 日本"}]},
    {"conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "<think>two</think>\nthree"}]},
    {"text": "### Human: a### Assistant: b", "id": 12345678901234567890, "score": 1.5e300},
    {"text": "<s>[INST] a [/INST] b </s>", "rating": 5},
    {"text": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"question": "a?", "choices": ["x", "y"], "answer": 1},
    {"message_id": "1", "parent_id": None, "text": "a", "role": "prompter"},
    {"message_id": "2", "parent_id": "1", "text": "b", "role": "assistant"},
    {"prompt": {"message_id": "m", "text": "a", "role": "prompter", "replies": [{"text": "b", "role": "assistant"}]}},
    {"data": {"items": [None, True, -0.0, {"$oid": "507f1f77bcf86cd799439011"}]}},
]
"""Of every shape."""


def lines() -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


def table_text(delimiter: str, quote: str = '"') -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quotechar=quote)
    writer.writerow(["question", "answer", "score"])
    writer.writerows([["a", "b", 1], ['with "quotes"', "a\nline", 2], ["['x', 'y']", "{'a': 1}", ""]])
    return file.getvalue().encode()


def table() -> pa.Table:
    """A row of every type that files have in practice."""
    return pa.table(
        {
            "prompt": ["a", "b", None],
            "response": pa.array(["x", "y", "x"]).dictionary_encode(),
            "messages": [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], [], None],
            "when": pa.array([date(2020, 1, 1), None, date(1, 1, 1)]),
            "at": pa.array([datetime(2020, 1, 1), None, datetime(1900, 1, 1)], pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.50"), None, Decimal("-2")], pa.decimal128(9, 2)),
            "score": pa.array([1.0, float("nan"), float("inf")], pa.float32()),
            "data": pa.array([b"a", b"\xff", None], pa.binary()),
            "view": pa.array(["a", "longer than twelve bytes", None], pa.string_view()),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
            "runs": pa.RunEndEncodedArray.from_arrays([2, 3], ["r", "s"]),
            "nothing": pa.nulls(3),
        }
    )


def parquet(**options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table().drop_columns("runs"), file, **options)
    return file.getvalue()


def arrow(opened: Callable[..., Any], **options: Any) -> bytes:
    file = io.BytesIO()
    with opened(file, table().schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table(), max_chunksize=2)
    return file.getvalue()


def tables() -> list[bytes]:
    written = [arrow(pa.ipc.new_file), arrow(pa.ipc.new_stream), arrow(pa.ipc.new_stream, compression="zstd")]
    return [*written, parquet(), parquet(compression="zstd", use_dictionary=False, data_page_version="2.0")]


def archives() -> list[bytes]:
    contents = {"a.jsonl": lines(), "folder/b.csv": table_text(","), "c.txt": b"text", "d.jsonl.gz": packed()[0]}
    zipped, taped = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with tarfile.open(fileobj=taped, mode="w", format=tarfile.PAX_FORMAT) as tape:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tape.addfile(info, io.BytesIO(content))
    return [zipped.getvalue(), taped.getvalue(), gzip.compress(taped.getvalue(), mtime=0)]


def packed() -> list[bytes]:
    content = lines()
    zstd = pa.Codec("zstd").compress(content, asbytes=True)
    return [gzip.compress(content, mtime=0), lzma.compress(content), bz2.compress(content), zstd]


def encoded() -> list[bytes]:
    """A table in encodings that its bytes show, and in such as they can only be guessed by."""
    text = "question,answer\nÇa va? «Oui» Grüße,日本語 текст\n" * 3
    names = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "gb18030")
    return [
        *(text.encode(name) for name in names),
        "Grüße,ça va\n".encode("cp1252"),
        "日本語,です\n".encode("shift_jis"),
    ]


FRONT_MATTER = (
    b"---\nlicense: mit\nscore: 1.5\nwhen: 2020-01-01\ntags:\n  - a\n  - 'b: c'\ninner: {a: [1, ~]}\n---\nText\n"
)
TEXT = b"# 1 first\nsome text\nmore\n\n# 2 second\n\xe4\xf6\xfc text\n"


def read(name: str, data: bytes, **written: Any) -> None:
    """Read a file, row by row and as a run does it.

    Args:
        name: the file's.
        data: what it holds.
        written: how the recipe says it is written.
    """
    source = Files(files=["*"], **written)
    file = InputFile(Path(name), name, "", len(data), source.format, source.options)
    try:
        rows = list(parse(file, data))
    except AssayError as error:
        told(error)
        return
    for row in rows:
        if isinstance(row, Unread):
            assert row.message.strip(), "set aside without words"
        (row.raw if isinstance(row, Unread) else raw_json(row)).encode()
    assert [repr(row) for row in parse(file, data)] == [repr(row) for row in rows], "read another time, other rows"
    with tempfile.TemporaryDirectory() as folder:
        (drop := Path(folder) / "drop").mkdir()
        (drop / name).write_bytes(data)

        def curated(cache: str, shard_bytes: int) -> list[list[dict[str, Any]]]:
            done = ingest([source], {}, RecordMapping(), drop, Path(folder) / cache, map_in_process, shard_bytes)
            return records(done)

        kept, rejected = curated("one", 1 << 20)
        numbered = list(Mapper(RecordMapping(), {}).rows(iter(rows)))  # messages of a tree are one
        assert {row["source"]["row"] for row in kept + rejected} == set(range(len(numbered))), "rows are lost"
        assert [kept, rejected] == curated("other", max(500, len(data) // 3)), "other records in shards of another size"


def records(done: Ingested) -> list[list[dict[str, Any]]]:
    """The rows kept and those rejected."""
    kept = [row for shard in done.shards for row in shard.kept().to_pylist()]
    return [kept, [row for shard in done.shards for row in shard.quarantine().to_pylist()]]


def target(
    name: str, file: str, seeds: Callable[[], Sequence[bytes]], words: tuple[bytes, ...] = (), **written: Any
) -> Target:
    return Target(name, partial(read, file, **written), seeds, words)


JSON_WORDS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\ud800",
    b"1e999",
    b"NaN",
    b"-0",
    b'"_key":',
    b"null",
    b'{"a":',
)
YAML_WORDS = (
    b"&a ",
    b"*a ",
    b"!!python/object:os.system ",
    b"- ",
    b"[",
    b"{",
    b"? ",
    b": ",
    b"---\n",
    b"<<: ",
    b"!!binary ",
    b"!!timestamp ",
    b"0x",
    b"1_0:59",
    b"9" * 50,
    b"|\n",
    b'"\\ud800"',
)
CSV_WORDS = (b'"', b'""', b",", b";", b"\t", b"\r", b"\r\n", b"\\", b"|", b"sep=;\n", b"\xef\xbb\xbf", b"\xff\xfe")
"""What files of text may begin with and hold."""


def shapes(data: bytes) -> None:
    """Rows that are nearly of a shape."""
    choices = Choices(data)
    rows = [altered(choices.one_of(ROWS), choices) for _ in range(choices.one_of((1, 2, 3, 4)))]
    read("a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))


TARGETS = (
    Target("shapes", shapes, lambda: [bytes(9), bytes(range(9))], led=True),
    target("jsonl", "a.jsonl", lambda: [lines(), b"[1]\n"], JSON_WORDS),
    target(
        "json",
        "a.json",
        lambda: [json.dumps(ROWS).encode(), json.dumps({"data": {"rows": ROWS}}, indent=1).encode()],
        JSON_WORDS,
    ),
    target("csv", "a.csv", lambda: [table_text(","), table_text(";"), table_text("|", "'")], CSV_WORDS),
    target("tsv", "a.tsv", lambda: [table_text("\t")], CSV_WORDS),
    target("tables", "a.parquet", tables, (b"ARROW1", b"PAR1", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")),
    target("front_matter", "a.md", lambda: [FRONT_MATTER], YAML_WORDS, format="front_matter"),
    target(
        "text",
        "a.txt",
        lambda: [TEXT, TEXT.decode("latin-1").encode("utf-16")],
        (b"# ", b"\r\n"),
        format="text",
        record_start=r"# (?P<part>\d+)",
    ),
    target("packed", "a.jsonl", packed),
    target("archives", "a.zip", archives, (b"PK\x03\x04", b"../", b"/", b"ustar")),
    target("encoded", "a.csv", encoded, (b"\xff\xfe", b"\xef\xbb\xbf", b"\x81", b"\xa4\xa4", b"charset=", b"\0")),
    target("unnamed", "a", lambda: [lines(), table_text(","), TEXT, FRONT_MATTER, *packed(), *tables(), *archives()]),
)
