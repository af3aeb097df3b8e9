"""What lies in a mirror is called by the bucket's address."""

import pickle
from pathlib import Path

import pytest

from curate import addresses
from curate.addresses import addressed, known
from curate.errors import AssayError, RotError

ROOT = Path("/home/me/.cache/assay/stores/0123456789abcdef")


@pytest.fixture(autouse=True)
def _mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_urls", {})
    known(ROOT, "s3://bucket/prefix")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (f"{ROOT}: no store", f"s3://bucket/prefix (its copy {ROOT}): no store"),
        (f"look at {ROOT}/a/b.json.", f"look at s3://bucket/prefix/a/b.json (its copy {ROOT}/a/b.json)."),
        (
            f"'{ROOT}/a', {ROOT}/b",
            f"'s3://bucket/prefix/a (its copy {ROOT}/a)', s3://bucket/prefix/b (its copy {ROOT}/b)",
        ),
        (f"{ROOT}0/a and {ROOT}.old", f"{ROOT}0/a and {ROOT}.old"),
        ("/home/me/drop/a.jsonl: no", "/home/me/drop/a.jsonl: no"),
    ],
)
def test_each_path_in_words_is_told_with_its_address_once(words: str, told: str) -> None:
    assert addressed(words) == told
    assert addressed(told) == told


def test_errors_tell_it_whatever_raises_them_and_wherever() -> None:
    error = AssayError(f"{ROOT / 'index/demo/manifest.json'}: not as it was written.", f"Look at {ROOT}.")
    assert error.message.startswith("s3://bucket/prefix/index/demo/manifest.json (its copy /home/me/")
    assert error.remedy == f"Look at {ROOT}.", "what is to be done is done here"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    rot = pickle.loads(pickle.dumps(RotError(ROOT / "cache/stages/ab/abcd", "kept.arrow is missing")))
    assert rot.folder == ROOT / "cache/stages/ab/abcd"
    assert "s3://bucket/prefix/cache/stages/ab/abcd (its copy" in str(rot)
