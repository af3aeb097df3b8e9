"""JSON values: orjson gives what the standard library reads strictly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from curate.read.json_value import json_value, strict_value

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
