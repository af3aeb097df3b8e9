"""JSON values: orjson gives what the standard library reads strictly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from curate.read.json_value import duplicate_key, json_value, strict_value

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


def test_a_key_given_twice_is_found() -> None:
    for text, key in (
        ('{"a": 1, "a": 2}', "a"),
        ('{"b": [{"x": {"": 1, "" : 2}}]}', ""),
        ('[{"a": 1}, {"a": 1}]', None),
        (r'{"a": "\"b\":", "b\\": ":", "c:": "\u003a"}', None),
        (r'{"a": "\"b\": 1", "\u0061": 2}', "a"),
        ('{"n": 123456789012345678901234567890, "m": {"n": 1, "n": 1}}', "n"),
        ('\ufeff{"a": 1, "a": 1}', "a"),
        ("3", None),
    ):
        assert duplicate_key(text.encode(), json.loads(text.removeprefix("\ufeff"))) == key, text


KEY = st.sampled_from(["a", "b", "", ":", 'a":', "\\", "é"])
PAIRS = st.recursive(
    st.sampled_from([":", '"a":', 1, None, "\\", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEY, inner), max_size=3).map(tuple),
    max_leaves=12,
)


def written(value: Any) -> str:
    """JSON of a value whose objects are tuples of pairs."""
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(key)} : {written(inner)}" for key, inner in value) + "}"
    return "[" + ",".join(map(written, value)) + "]" if isinstance(value, list) else json.dumps(value)


def repeats(value: Any) -> bool:
    if isinstance(value, tuple):
        return len({key for key, _ in value}) < len(value) or any(repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(map(repeats, value))


@given(PAIRS)
def test_a_key_is_said_to_be_twice_if_and_only_if_it_is(value: Any) -> None:
    text = written(value)
    assert (duplicate_key(text.encode(), json.loads(text)) is not None) == repeats(value)
