"""Replies from files: read in every format, judged, published, found again; and what is wrong with a file is said."""

import json
import os
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import AssayError
from curate.store import Store
from evaluation import replies
from evaluation.card.compare import compare
from evaluation.card.format import schema
from evaluation.replies import find, read, score
from evaluation.settings import EvaluationSettings

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["x", "y"]}, "count": {"type": "integer"}},
    "required": ["kind", "count"],
    "additionalProperties": False,
}


def rows(system: str, right: float, count: int = 60) -> list[dict[str, Any]]:
    draw = random.Random(system)
    made = []
    for number in range(count):
        wanted = {"kind": "xy"[number % 2], "count": number % 3}
        given = wanted if draw.random() < right else wanted | {"count": 7}
        made.append(
            {
                **{"id": f"r{number}", "system": system, "output": json.dumps(given), "expected": wanted},
                **{"language": "ko" if number % 4 else "de", "group": f"g{number // 2}", "prompt": "p" * (number * 10)},
                **{"confidence": 0.9 if given == wanted else 0.4, "seconds": 0.5, "tokens": 5},
            }
        )
    return made


def write(path: Path, made: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row | {"expected": json.dumps(row["expected"])} for row in made]), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(made))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_from_files_to_a_scorecard(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.jsonl", rows("good", 0.9)),
        write(tmp_path / "b.json", rows("bad", 0.3)),
        write(tmp_path / "c.parquet", rows("worse", 0.3)),
    ]
    store = Store(tmp_path / "store")
    settings = EvaluationSettings.model_validate({"resamples": 500})
    read_ = read(find([str(tmp_path / "*.json*"), str(files[2])]), "made")
    folder = score(read_, SCHEMA, settings, files, store)
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(schema().iter_errors(card)) == []
    assert (card["rows"], card["groups"], list(card["systems"])) == (60, 30, ["good", "bad", "worse"])
    assert card["systems"]["good"]["calibration"]["ece"] == pytest.approx(0.15, abs=0.1)
    assert set(card["systems"]["good"]["slices"]) == {"language", "length"}
    pairs = {(each["a"], each["b"]): each for each in card["comparisons"] if each["measure"] == "whole_match"}
    assert pairs["good", "bad"]["verdict"] == "better"
    assert pairs["bad", "worse"]["verdict"] == "no difference shown"
    assert pairs["good", "bad"]["rows_needed"] < 60
    assert score(read_, SCHEMA, settings, files, store) == folder
    assert store.resolve("scorecards", "made") == folder
    found = compare(folder, folder, "good", "bad")
    whole = next(each for each in found["comparisons"] if each["measure"] == "whole_match")
    assert whole["difference"] == pairs["good", "bad"]["difference"]
    assert whole["p"] == pytest.approx(pairs["good", "bad"]["p"], abs=0.003), "groups, so by chance: of other draws"


def test_many_systems_are_compared_with_the_best_as_if_each_were_with_each(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.jsonl", rows(name, 0.5)) for name in "abcde"]
    settings = EvaluationSettings.model_validate({"resamples": 100})
    folder = score(read(files, "many"), SCHEMA, settings, files, Store(tmp_path / "store"))
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(schema().iter_errors(card)) == []
    found = card["comparisons"]
    assert len({each["a"] for each in found}) == 1
    assert len({each["b"] for each in found}) == 4
    assert card["tests"] == len(found) // 4 * 10
    each_with_each = [
        pair
        for one, other in combinations("abcde", 2)
        for pair in compare(folder, folder, one, other)["comparisons"]
        if (pair["measure"], pair["field"]) in {(each["measure"], each["field"]) for each in found}
    ]
    least = min(each["p"] for each in each_with_each)
    for each in found:
        rank = sum(other["p"] < each["p"] for other in each_with_each)
        assert each["p_adjusted"] >= min(1.0, (card["tests"] - rank) * each["p"]) * 0.99
        assert each["p"] > least or each["p_adjusted"] == pytest.approx(min(1.0, card["tests"] * least), rel=0.01)
    assert f"{card['tests']} tests that all pairs would make" in (folder / "report.html").read_text()


def test_outputs_of_any_kind_are_published(tmp_path: Path) -> None:
    outputs = ["\ud800", "x" * (1 << 20), "[" * 10_000, '{"count": 1e999}', '{"count": ' + "9" * 400 + "}", "NaN", ""]
    made = [{"output": output, "expected": {"kind": "x", "count": 1}} for output in outputs]
    file = write(tmp_path / "odd.jsonl", made)
    folder = score(read([file], "odd"), SCHEMA, EvaluationSettings(), [file], Store(tmp_path / "store"))
    forms = pq.read_table(folder / "predictions.parquet")["form"].to_pylist()
    assert forms == ["no_answer", "repetition", "too_deep", "not_finite", "missing_key", "not_finite", "empty"]
    assert pq.read_table(folder / "predictions.parquet")["output"][0].as_py() == "\\ud800"


def test_a_schema_that_names_no_field(tmp_path: Path) -> None:
    """Whole answers are compared all the same."""
    made = [{"output": "[1]", "expected": [1]}, {"output": "[2]", "expected": [1]}]
    file = write(tmp_path / "lists.jsonl", made)
    folder = score(read([file], "lists"), {"type": "array"}, EvaluationSettings(), [file], Store(tmp_path / "store"))
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert card["systems"]["lists"]["whole_match"]["value"] == 0.5
    assert card["fields"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no reply in it"),
        ("{broken\n", "cannot be read"),
        ("[1]\n", "rows that are objects"),
        ('{"expected": {}}\n', "row 1: `output` is no text"),
        ('{"output": "x"}\n', "row 1: no `expected`"),
        ('{"output": "x", "expected": "{"}\n', "row 1: `expected` is not JSON"),
        ('{"output": "x", "expected": "{\\"a\\": NaN}"}\n', "row 1: `expected` is not JSON: NaN"),
        ('{"output": "x", "expected": {"a": 1e999}}\n', "row 1: `expected` is not JSON"),
        ('{"output": "x", "expected": {"a": "\\ud800"}}\n', "row 1: `expected` is not JSON"),
        ('{"output": "x", "expected": "' + "[" * 10_000 + '"}\n', "row 1: `expected` is not JSON: nested too deep"),
        ('{"output": "x", "expected": {}, "tokens": "many"}\n', "row 1: `tokens` is 'many'"),
        ('{"output": "x", "expected": {}, "tokens": 1e12}\n', "row 1: `tokens`"),
        ('{"output": "x", "expected": {}, "seconds": 1e999}\n', "row 1: `seconds` is inf"),
        ('{"output": "x", "expected": {}, "id": 1}\n' * 2, "row 2: .* has replied to 1 before"),
        (
            '{"output": "x", "expected": {}}\n{"output": "x", "expected": {}, "system": "b"}\n',
            "were not asked the same",
        ),
        (
            '{"output": "x", "expected": {}, "id": 1}\n{"output": "x", "expected": [], "id": 1, "system": "b"}\n',
            "expect",
        ),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(text)
    with pytest.raises(AssayError, match=message):
        read([path], "made")


def test_names_that_cannot_be_written_and_what_is_not_known(tmp_path: Path) -> None:
    """Lone surrogates in what names a row or a system; columns in which Parquet has nothing."""
    odd = {"system": "\ud800", "group": "\ud801", "language": "\ud802", "prompt": "\ud803"}
    made = [{"id": f"\ud804{each}", "output": "x", "expected": {"kind": "x", "count": 1}} | odd for each in range(6)]
    file = write(tmp_path / "odd.jsonl", made)
    folder = score(read([file], "odd"), SCHEMA, EvaluationSettings(), [file], Store(tmp_path / "store"))
    card = json.loads((folder / "scorecard.json").read_bytes())
    assert list(card["systems"]) == ["\\ud800"]
    assert list(card["systems"]["\\ud800"]["slices"]["language"]) == ["\\ud802"]
    unknown = {"id": None, "tokens": float("nan"), "seconds": float("nan"), "confidence": None}
    replies = read([write(tmp_path / "made.jsonl", [each | unknown for each in made])], "made")
    assert list(replies.ids) == ["0", "1", "2", "3", "4", "5"]
    assert {(each.tokens, each.seconds) for each in replies.systems["\\ud800"]} == {(0, None)}


def test_a_file_of_another_name_is_another_system(tmp_path: Path) -> None:
    """Its scorecard is not the one of the same bytes under the old name."""
    row = {"output": "x", "expected": {"kind": "x", "count": 1}}
    store, named = Store(tmp_path / "store"), []
    for name in ("one", "other", "one"):
        file = write(tmp_path / f"{name}.jsonl", [row])
        folder = score(read([file], "made"), SCHEMA, EvaluationSettings(), [file], store)
        named.append((*json.loads((folder / "scorecard.json").read_bytes())["systems"], folder))
        file.unlink()
    assert [name for name, _ in named] == ["one", "other", "one"]
    assert named[0] == named[2]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="no such file"):
        find([str(tmp_path / "none*.jsonl")])


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(AssayError, match="cannot be read"):
        read([tmp_path / "x.parquet"], "made")


def dictionary_of(value: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value]))


@pytest.mark.parametrize("attack", ["one long text", "nothing many times", "a long file"])
def test_a_small_file_that_stands_for_more_than_fits_is_refused(
    tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    if attack == "one long text":  # 400 GB
        output = dictionary_of("x" * 4_000_000, 100_000)
        pq.write_table(pa.table({"output": output, "expected": dictionary_of("{}", 100_000)}), path, compression="zstd")
        monkeypatch.setattr(replies, "UNPACKED", 600 << 20)
    elif attack == "nothing many times":
        pq.write_table(pa.table({"output": pa.nulls(200_000, pa.string())}), path)
        monkeypatch.setattr(replies, "UNPACKED", 16 << 20)
    else:
        path = tmp_path / "a.jsonl"
        path.touch()
        os.truncate(path, replies.UNPACKED + 1)
    if attack != "a long file":
        assert path.stat().st_size < 10_000
    with pytest.raises(AssayError, match=r"more than [\d,]+ MiB of replies") as error:
        read([path], "made")
    assert error.value.remedy == "Divide it, and score the parts."


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"output": "x", "expected": ' + "[" * 210 + "]" * 210 + "}", "nested more than 200 levels deep"),
        ('{"output": "x", "expected": "' + "[" * 210 + "]" * 210 + '"}', "nested more than 200 levels deep"),
        ('{"output": "x", "expected": ' + "[" * 50_000, "cannot be read"),
        ('{"output": "x", "expected": ' + "9" * 5_000 + "}", "cannot be read"),
        ('{"output": "x", "expected": 1e400}', "`expected` is not JSON"),
        ('{"output": "x", "expected": 1, "tokens": 1e400}', "`tokens` is inf"),
        ('{"output": "x", "expected": 1, "seconds": -1}', "`seconds` is -1"),
        ('{"output": "x", "expected": "\\ud800"}', "`expected` is not JSON"),
        ('{"output": ["x"], "expected": 1}', "`output` is no text"),
    ],
    ids=range(9),
)
def test_rows_that_go_too_far(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(AssayError) as error:
        read([path], "made")
    assert said in error.value.message
    assert len(error.value.message) < 600
    assert error.value.remedy


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"PAR1" + bytes(99) + b"PAR1", b"PK\x03\x04"])
def test_parquet_that_is_none(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(raw)
    with pytest.raises(AssayError, match=r"a\.parquet: cannot be read"):
        read([tmp_path / "a.parquet"], "made")


def test_a_row_is_no_longer_than_a_drop_s_and_told_by_its_line(tmp_path: Path) -> None:
    good = json.dumps({"output": "x", "expected": 1})
    for line, said in [
        ('{"output": "' + "x" * (16 << 20) + '", "expected": 1}', "longer than 16 MiB"),
        ('{"output": "\x00"}', "Invalid control character"),
        ("9" * 5_000, "Exceeds the limit"),
    ]:
        path = tmp_path / "a.jsonl"
        path.write_text(f"{good}\n\n{line}\n{good}\n")
        with pytest.raises(AssayError, match=rf"a\.jsonl, line 3: cannot be read: {said}"):
            read([path], "made")


def test_systems_are_bounded(tmp_path: Path) -> None:
    rows = [{"system": f"s{number}", "output": "x", "expected": 1} for number in range(101)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row | {"id": "q"}) for row in rows))
    with pytest.raises(AssayError, match="101 systems; at most 100 are compared") as error:
        read([path], "made")
    assert "Score some of them at a time" in error.value.remedy
