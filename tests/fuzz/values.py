"""Values held as text, and text itself: JSON, literals of Python, URLs with secrets, what stages over a row see."""

import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from curate.read.conversation import Turn
from curate.read.expressions import from_json
from curate.read.files import without_secrets
from curate.read.json_value import check_depth, duplicate_key, json_value, text_value
from curate.read.python_value import is_python, python_value
from curate.record import SCHEMA, content_id
from curate.rows.clean import Clean
from curate.rows.language import Language
from curate.rows.pii import Pii
from curate.rows.quality import Quality
from curate.text.strict_json import InvalidJson, loads
from tests.fuzz.readers import JSON_WORDS
from tests.fuzz.target import Choices, Target, told

SECRET = "s3cr3t"


def json_text(data: bytes) -> None:
    """JSON is read as the standard library does, or refused; and can be written again."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (text_value, from_json, loads):
        try:
            value = read(text)
        except (ValueError, InvalidJson) as error:
            told(error)
            continue
        assert same(value, json.loads(text)), read
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    try:
        value = json_value(data)
    except ValueError:
        return
    check_depth(value)
    duplicate_key(data, value)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and of one type."""
    if isinstance(one, float) and isinstance(other, float):
        return math.copysign(1, one) == math.copysign(1, other) and one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def python_text(data: bytes) -> None:
    """A literal of Python is read as JSON has it, or refused."""
    text = data.decode("utf-8", "replace")
    try:
        value = python_value(text)
    except ValueError as error:
        told(error)
        assert not is_python(text)
        return
    check_depth(value)
    json.dumps(value, ensure_ascii=False)


NAMES = (
    f"user:{SECRET}@",
    f"{SECRET}@",
    f"user:pass/{SECRET}@",
    f"KEY:{SECRET}/with+more@",
    f"a@b:{SECRET}@",
    f":{SECRET}@",
    "",
)
PROTOCOLS = (
    "http",
    "https",
    "s3",
    "gs",
    "ftp",
    "zip",
    "simplecache",
    "filecache",
    "blockcache",
    "file",
    "memory",
    "hf",
    "HTTP",
)
PLACES = ("host/a.jsonl", "host:80/a", "bucket/a*.csv", "", "/a", "host", "[::1]/a", "a%40b/c", "é/日本")
QUERIES = (f"?key={SECRET}", f"#{SECRET}", f"?a=1&X-Amz-Signature={SECRET}", f"?x=http://u:{SECRET}@h", "")


def url(data: bytes) -> None:
    """Of a URL, chained or not, no secret is told."""
    choices = Choices(data)
    parts = []
    for _ in range(1 + choices.one_of((0, 1, 2))):
        has = choices.one_of((True, True, False))
        secret = (choices.one_of(NAMES), choices.one_of(QUERIES)) if has else ("", "")
        parts.append(f"{choices.one_of(PROTOCOLS)}://{secret[0]}{choices.one_of(PLACES)}{secret[1]}")
    whole = choices.one_of(("", "zip::", "inner.jsonl::", "zip://*.jsonl::")) + "::".join(parts)
    assert SECRET not in without_secrets(whole), whole


def rows(data: bytes) -> None:
    """What stages over a row are given, they keep or set aside; what they write can be read."""
    turns, target = [], None
    for at, text in enumerate(data.decode("utf-8", "replace").split("\0")):
        turns.append(Turn(role="assistant" if at % 2 else "user", content=text))
    if len(turns) > 2:
        target = json.dumps({"a": turns.pop()["content"]}, ensure_ascii=False)
    row = {"id": content_id(turns, target), "turns": turns, "target": target, "meta": {"from": "here"}}
    row |= {"source": {"drop": None, "file": "a", "row": 0}, "language": "en"}
    table = pa.Table.from_pylist([row], schema=SCHEMA)
    for stage in STAGES:
        outcome = stage.run(table)
        outcome.kept.validate(full=True)
        assert outcome.kept.num_rows + outcome.rejected.num_rows == 1 + outcome.made, stage
        assert stage.run(table).kept.equals(outcome.kept), stage


STAGES = (Clean(), Language(), Quality(), Pii())
TEXTS = (
    "Call +44 20 7946 0018 or mail jane.doe@example.org; IBAN GB82 WEST 1234 5698 7654 32, 2001:db8::1.",
    "schÃ¶n â€œquotedâ€\x9d \ufeff\u202e <|im_end|> `<s>` &amp; <b>bold</b>",
    "Das ist ein deutscher Satz. C'est une phrase. 这是一个中文句子。これは日本語です。",
    "```python\nx = {'password': 'hunter2', \"key\": \"AKIAIOSFODNN7EXAMPLE\"}\n```\n\nsk-proj-abcdefghijklmnop",
)
TEXT_WORDS = tuple(
    word.encode()
    for word in (
        "@",
        "://",
        "+",
        "(",
        "1234567890",
        "```",
        "<|",
        "|>",
        "Ã",
        "â€",
        "\u0301",
        "\u200b",
        "##",
        "sk-",
        " a",
    )
)


def seeded(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


TARGETS = (
    Target(
        "json_text", json_text, seeded('{"a": [1, -0.0, 1e5, "\\u00e9", true, null]}', "[]", '"a"', "1"), JSON_WORDS
    ),
    Target(
        "python_text",
        python_text,
        seeded("{'a': [1, None, True, (2, 3.5)], \"b\": 'x\\n'}", "['a', 'b']", "-1+2j", "b'a'", "{1, 2}"),
        (
            b"(",
            b"[",
            b"{",
            b"'",
            b"-",
            b"not ",
            b"lambda:",
            b"f'{",
            b"1+",
            b"1if 1else ",
            b"'''",
            b"\\",
            b"**",
            b"#",
            b"\f",
            b"0" * 50,
            b"9" * 5000,
            b"a.",
        ),
    ),
    Target("url", url, lambda: [bytes(range(20)), bytes(20), b"\1\0\1" * 5], led=True),
    Target("rows", rows, seeded(*TEXTS, "\0".join(TEXTS)), TEXT_WORDS),
)
