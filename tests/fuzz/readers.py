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
import xlsxwriter

from curate.engine import map_in_process
from curate.errors import AssayError
from curate.read.files import Files, InputFile
from curate.read.ingest import Ingested, ingest
from curate.read.mapping import Mapper, RecordMapping, raw_json
from curate.read.raw import parse
from curate.read.raw_row import Unread
from tests.curate.read.documents.made import WORD, docx_of, drawn, odt_of, pdf_of, said
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


def office() -> list[bytes]:
    """A DOCX and an ODT whose parts are as they are, not packed: what is changed is then their XML."""
    cells = f"<w:tbl><w:tr><w:tc>{said('a')}</w:tc><w:tc>{said('b')}</w:tc></w:tr></w:tbl>"
    note = '<w:p><w:r><w:t>Fee</w:t><w:footnoteReference w:id="1"/></w:r></w:p>'
    notes = f'<w:footnotes {WORD}><w:footnote w:id="1">{said("Net.")}</w:footnote></w:footnotes>'
    open_note = "<text:note><text:note-body><text:p>Net.</text:p></text:note-body></text:note>"
    paragraph = f'<text:p>Fee{open_note}<text:s text:c="2"/><text:tab/>two</text:p>'
    return [unpacked(docx_of(cells + note, footnotes=notes)), unpacked(odt_of(paragraph))]


def unpacked(archive: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as packed, zipfile.ZipFile(file, "w") as stored:
        for name in packed.namelist():
            stored.writestr(zipfile.ZipInfo(name), packed.read(name))
    return file.getvalue()


def sheets() -> list[bytes]:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        book.set_properties({"created": datetime(2026, 1, 1)})
        sheet = book.add_worksheet("A")
        for at, row in enumerate([["a", "b"], [1, "x"], [True, 2.5]]):
            sheet.write_row(at, 0, row)
    return [file.getvalue(), unpacked(file.getvalue())]


RTF = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 A;}} The fee is {\b two}\par Caf\'e9 \u233?\bin3 abc\cell\row}"
PAGE = (
    b"<html><head><meta charset=utf-8><title>T</title></head><body><nav>N</nav><p>Fee<table><td>a<td>b</table></body>"
)
MAIL = (
    b"Subject: =?utf-8?q?R=C3=A9?=\nFrom: A <a@x.test>\nDate: Mon, 02 Mar 2026 10:00:00 +0100\nMIME-Version: 1.0\n"
    b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain; charset=utf-8\n\nFee\n--b\n'
    b"Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n"
    b"Content-Transfer-Encoding: base64\n\nAAAA\n--b--\n"
)
CONLL = b"-DOCSTART- -X- O O\n\nAda NNP B-NP B-PER\nof IN O O\nParis NNP I-NP B-LOC\n\nx y O I-LOC\n"
BRAT = b"T1\tParty 0 3;5 9\tAda x\nE1\tSale:T1 Buyer:T2\nR1\tOf Arg1:T1 Arg2:T2\n#1\tNote T1\tx\nA1\tNegated T1\n"
PDF_WORDS = (b"endobj", b"stream\n", b" 0 R", b"<<", b">>", b"/Type /Page", b"/Kids [", b"trailer", b"xref", b"9" * 20)
XML_WORDS = (b"<w:p>", b"</w:p>", b"<w:tc>", b"<a>", b"<!DOCTYPE d [<!ENTITY a 'b'>]>", b"&a;", b"<text:p>", b"]]>")

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
    target("pdf", "a.pdf", lambda: [pdf_of(["Fee.", drawn]), pdf_of(["a"] * 3, pageCompression=0)], PDF_WORDS),
    target("office", "a.docx", office, (*XML_WORDS, b"PK\x01\x02")),
    target("sheets", "a.xlsx", sheets, (b"<c r='XFD1048576'>", b"<v>", b"</row>", b"PK\x01\x02")),
    target("rtf", "a.rtf", lambda: [RTF], (b"{", b"}", b"\\'e9", b"\\bin99999999 ", b"\\u-1 ", b"\\*", b"\\uc9 ")),
    target(
        "html",
        "a.html",
        lambda: [PAGE],
        (b"<div>", b"</p>", b"<table>", b"<!--", b"<script>", b"&#0;", b"<meta charset="),
    ),
    target("mail", "a.eml", lambda: [MAIL], (b"=?utf-8?b?", b"Content-Type: ", b"\n\n", b"--b", b"charset=", b"\r\n ")),
    target("mbox", "a.mbox", lambda: [b"From a@x.test Mon\n" + MAIL + b"\n>From x\n\nFrom b\n" + MAIL], (b"\nFrom ",)),
    target("conll", "a.conll", lambda: [CONLL], (b"\tB-PER", b" E-LOC", b"\n\n", b"-DOCSTART-"), format="conll"),
    target("brat", "a.ann", lambda: [BRAT], (b"\t", b";", b" 9 ", b"T1", b"-1"), format="brat"),
    target("unnamed", "a", lambda: [lines(), table_text(","), TEXT, FRONT_MATTER, *packed(), *tables(), *archives()]),
)
