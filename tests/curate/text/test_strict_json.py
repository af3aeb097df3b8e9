"""Strict JSON against the parsing suite that other parsers are judged by, and on what that suite leaves open."""

from pathlib import Path

import pytest

from curate.text import strict_json


def test_nst_parsing_suite(shared_data: Path) -> None:
    """Accepts what must be accepted, save repeated keys; rejects what must be rejected."""
    accepted, rejected, wrong = 0, 0, []
    for path in sorted((shared_data / "json_nst_testsuite/test_parsing").glob("[yn]_*.json")):
        try:
            strict_json.loads(path.read_bytes().decode())
            fine = True
        except ValueError:  # UnicodeDecodeError is one
            fine = False
        must = path.name.startswith("y_") and "duplicated_key" not in path.name
        accepted, rejected = accepted + must, rejected + (not must)
        if fine != must:
            wrong.append(path.name)
    assert (accepted, rejected) == (93, 190)
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "duplicate key 'a'"),
        ('{"a": {"b": 1, "b": 1}}', "duplicate key 'b'"),
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("1e999", "1e999 is too large for a double"),
        (r'["\ud800"]', r"lone surrogate \\ud800"),
        (r'{"\uDFAA": 0}', r"lone surrogate \\udfaa"),
        ("[" * 100_000, "nested too deeply"),
        ("[1] [2]", "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_what_readers_disagree_on_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        strict_json.loads(text)


def test_values() -> None:
    assert strict_json.loads(r'{"a": [1, 2.5, true, null], "b": "\ud83d\ude00 \\ud800", "c": {"a": 1}}') == {
        "a": [1, 2.5, True, None],
        "b": "😀 \\ud800",
        "c": {"a": 1},
    }
