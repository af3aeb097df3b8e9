"""The benchmarks at tiny sizes, and the two parts of them that could mislead: the memory and the judgement."""

import json
import os
import random
import re
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import (
    cache,
    curation,
    documents,
    doubt,
    flow,
    growth,
    incremental,
    measure,
    near_dedup,
    quality,
    review,
    scoring,
    texts,
    tokenise,
)
from tests.curate.rows.test_render import TOKENIZER
from tests.project import Project, make_rows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 altered texts in ten files."""
    return texts.write(texts.mutated(), 500, tmp_path_factory.mktemp("texts") / "mutated-500", rows_of_file=50)


def test_texts_are_the_same_each_time_and_numbered(inputs: Path) -> None:
    table = pq.read_table(inputs)
    assert table["id"].to_pylist() == list(range(500))
    assert table["text"].to_pylist() == list(islice(texts.mutated(), 500))
    assert texts.describe(inputs)["bytes"] == sum(len(text.encode()) for text in table["text"].to_pylist())


def test_cuts_are_the_sources_whole() -> None:
    first = texts.sources()[:20]
    whole = "".join(path.read_text(encoding="utf-8", errors="replace") for path in first)
    cut = list(islice(texts.cuts(), 40))
    assert max(map(len, cut)) == texts.CUT
    assert whole.startswith("".join(cut)[: len(whole)])


def test_too_few_texts_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2 texts, not 3"):
        texts.write(["a", "b"], 3, tmp_path / "texts")
    assert not (tmp_path / "texts").exists()


def test_memory_is_that_of_all_processes_together() -> None:
    hold = "import time; held = b'x' * (100 << 20); time.sleep({})"
    child = hold.format(1.5)
    code = f"import subprocess, sys; other = subprocess.Popen([sys.executable, '-c', {child!r}]); {hold.format(1)}"
    done = measure.run([sys.executable, "-c", f"{code}; other.wait()"])
    assert 200 < done.peak_mib < 300
    assert done.seconds > 1


def test_processor_seconds_are_those_of_all_processes() -> None:
    """Also of one that nobody waits for, as workers are of which another process is the parent."""
    work = "import time; began = time.process_time()\nwhile time.process_time() - began < 0.5: pass"
    left = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {work!r}])"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {left!r}])"
    done = measure.run([sys.executable, "-c", code])
    assert done.processor > 0.5


def test_a_failed_run_shows_what_it_printed() -> None:
    with pytest.raises(SystemExit, match="ended with 3:\nout\n"):
        measure.run([sys.executable, "-c", "print('out'); raise SystemExit(3)"])


@given(
    st.lists(st.frozensets(st.integers(0, 12), min_size=1), min_size=1, max_size=25),
    st.integers(),
    st.sampled_from([0.3, 0.5, 0.7, 1.0]),
)
def test_judgement_is_that_of_brute_force(rows: list[frozenset[int]], seed: int, threshold: float) -> None:
    kept = np.random.default_rng(abs(seed)).random(len(rows)) < 0.6
    values = [sorted(row) for row in rows]
    hashes = np.array([each for row in values for each in row], np.uint64)
    sets = quality.by_rarity(np.cumsum([0, *map(len, values)]), hashes)

    def alike(row: int, other: int) -> bool:
        return row != other and len(rows[row] & rows[other]) / len(rows[row] | rows[other]) >= threshold

    kept_rows = [int(row) for row in np.flatnonzero(kept)]
    unlike = sum(not any(alike(row, other) for other in kept_rows) for row in range(len(rows)) if not kept[row])
    left = sum(alike(row, other) for row in kept_rows for other in kept_rows if row < other)
    assert quality.judge([sets], kept, threshold) == (unlike, left)


def test_doubt_about_words_speaks_for_the_peer() -> None:
    """Rows 0 and 1 are alike to one definition only: removing 1 is not wrong then, and neither is keeping it."""
    same = quality.by_rarity(np.array([0, 1, 2]), np.array([7, 7], np.uint64))
    different = quality.by_rarity(np.array([0, 1, 2]), np.array([7, 8], np.uint64))
    assert quality.judge([different, same], np.array([True, False]), 0.7) == (0, 0)
    assert quality.judge([different, same], np.array([True, True]), 0.7) == (0, 0)
    assert quality.judge([different], np.array([True, False]), 0.7) == (1, 0)
    assert quality.judge([same], np.array([True, True]), 0.7) == (0, 1)


def test_peers_words() -> None:
    text = "Foo_bar,  baz\n1.5"
    words = {name: list(split(text)) for name, split in quality.WORDS.items()}
    assert words == {
        "text-dedup": ["foo_bar", "", "", "baz", "1", "5"],
        "data-juicer": ["foo_bar,", "baz\n1.5"],
        "datatrove": ["foo", "bar", "baz", "0"],
        "daft": ["foobar", "baz", "15"],
    }


def test_near_dedup_reports_what_assay_did(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assay = near_dedup.SYSTEMS["assay"]
    done = measure.run(assay.command(Path(sys.executable), inputs, tmp_path, 2), assay.variables)
    kept = near_dedup.kept_rows(tmp_path)
    removed = pq.read_table(tmp_path / "removed.parquet").to_pylist()
    assert sorted([*kept.tolist(), *(row["id"] for row in removed)]) == list(range(500))
    assert {row["reason"] for row in removed} == {"exact_duplicate", "near_duplicate"}
    column = pq.read_table(inputs)["text"].combine_chunks()
    steps = near_dedup.profile(done, [done], [done])
    near_dedup.report(texts.describe(inputs), {"assay": [done]}, {"assay": kept}, steps, column)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    judged = {"kept": len(kept), "removed_unlike_any_kept": 0, "pairs_left": 0}
    assert result["rows"] == {"assay": judged}
    assert {"read and sign", "judge", "write"} <= result["profile"].keys()
    assert result["profile"]["times the floor"] == 1


def test_kept_rows_of_a_stream_of_arrow(tmp_path: Path) -> None:
    """As text-dedup writes them."""
    (tmp_path / "kept").mkdir()
    table = pa.table({"id": [2, 0]})
    with pa.ipc.new_stream(tmp_path / "kept" / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    assert near_dedup.kept_rows(tmp_path).tolist() == [0, 2]


@pytest.mark.slow
def test_growth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "growth.svg"
    growth.main(["--sizes", "100", "300", "--repeats", "1", "--texts", str(tmp_path), "--plot", str(picture)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [each["rows"] for each in result["input"].values()] == [100, 300]
    assert len(result["seconds"]["300"]) == 1
    assert "300 rows" in picture.read_text()


def test_exponent() -> None:
    assert growth.exponent([10, 100, 1000], [3, 30, 300]) == pytest.approx(1)
    assert growth.exponent([10, 100, 1000], [3, 300, 30_000]) == pytest.approx(2)


@pytest.mark.slow
def test_incremental(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["--indexed", "300", "--drop", "60", "--small", "40"]
    incremental.main([*rows, "--repeats", "1", "--texts", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    _, by_earlier = map(int, re.findall(r"(\d+) removed, (\d+) by earlier", printed[1])[0])
    assert by_earlier > 0
    result = json.loads(printed[-1])
    assert (result["input"]["indexed"]["rows"], result["input"]["drop"]["rows"]) == (300, 60)
    assert result["share"] == pytest.approx(result["seconds"]["drop"][0] / result["seconds"]["full"][0], abs=1e-3)


@pytest.mark.slow
def test_scoring(capsys: pytest.CaptureFixture[str]) -> None:
    scoring.main(["--rows", "60", "--repeats", "1"])
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert result["input"] == {"rows": 60, "outputs": 120}
    assert set(result["ratio"]) == {"jsonschema", "jsonschema-rs"}
    assert "do not agree" not in printed


def test_review(capsys: pytest.CaptureFixture[str]) -> None:
    review.main(["--rows", "40"])
    *lines, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert (result["name"], result["input"]) == ("review", {"rows": 40})
    asked = ["open", "list", "filter", "scroll", "search", "next", "counts", "decide"]
    assert [line.split()[0] for line in lines if " ms, most " in line] == asked
    assert [*result["asked"]] == asked[1:]
    assert set(map(len, result["asked"].values())) == {review.ASKED}


def test_tokenise() -> None:
    pieces = list(islice(tokenise.code(), 20))
    assert {len(piece) for piece in pieces} == {tokenise.CUT}
    seconds = tokenise.compare(TOKENIZER, pieces, 2)
    assert {system: len(times) for system, times in seconds.items()} == {"assay": 2, "library": 2}


@pytest.mark.slow
def test_curation(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "notices"
    source.mkdir()
    rows = pq.read_table(inputs).to_pylist()
    (source / "notices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assay = curation.COMPARED["assay"]
    (tmp_path / "work").mkdir()
    done = measure.run(assay.command(Path(sys.executable), source, tmp_path / "work", 2), assay.variables)
    kept = curation.kept_rows(tmp_path / "work")
    assert kept + pq.read_metadata(tmp_path / "work" / "removed.parquet").num_rows == 500
    curation.report({"rows": 500, "bytes": 1}, {"assay": [done]}, {"assay": kept})
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"read", "clean", "pii", "duplicates", "write"} <= result["profile"]["assay"].keys()


def test_flow_tells_how_much_more_a_flow_takes(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = {
        "fresh": {"assay": [20.0, 24.0, 22.0], "up": [25.0, 23.0, 30.0]},
        "cached": {"assay": [6.0], "up": [9.0]},
    }
    runs = {
        kind: {name: [measure.Run(each, 1.0, "", 2.0) for each in of_one] for name, of_one in of_kind.items()}
        for kind, of_kind in seconds.items()
    }
    flow.report({"rows": 40}, runs)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["seconds"], result["cached"]) == (seconds["fresh"], seconds["cached"])
    assert result["seconds_more"] == {"fresh": {"up": 3.0}, "cached": {"up": 3.0}}
    assert result["ratio"] == {"up": 1.14}


def test_documents(capsys: pytest.CaptureFixture[str]) -> None:
    documents.main(["--quick"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["input"]["documents"] == 3
    assert result["found"]["assay"]["pages"] >= 3
    assert result["found"]["assay"]["words"] == 1
    assert [*result["seconds"]] == ["assay"]


@pytest.mark.slow
def test_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(40))
    flow.main(["--recipe", str(project.recipe_path), "--repeats", "1"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["input"]["rows"] == 40
    assert [*result["seconds"]] == [*result["cached"]] == [*flow.SYSTEMS]


@pytest.mark.slow
def test_the_cache_is_held_to_the_drop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(60))
    cache.main([str(project.recipe_path), "--drop", str(project.drop), "--repeats", "1", "--processes", "1"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["input"] == {"rows": 60, "bytes": (project.drop / "rows.jsonl").stat().st_size}
    assert told["over_drop"] == {"assay": round(told["cache_bytes"]["assay"] / told["input"]["bytes"], 2)}


def test_a_file_with_two_names_is_on_the_disk_once(tmp_path: Path) -> None:
    (tmp_path / "cache/a").mkdir(parents=True)
    (tmp_path / "cache/a/kept").write_bytes(b"12345")
    os.link(tmp_path / "cache/a/kept", tmp_path / "cache/kept")
    (tmp_path / "cache/other").write_bytes(b"123")
    assert cache.cache_bytes(tmp_path) == {"kept": 5, "other": 3}


def test_planted_wrong_labels_are_found_and_drawn() -> None:
    draw = random.Random(0)
    words = {label: [f"{label}{n}" for n in range(12)] for label in "abc"}
    rows = doubt.labelled([(" ".join(draw.choices(words[label], k=6)), label, n) for n in range(50) for label in "abc"])
    assert (len(rows.texts), rows.labels.max()) == (150, 2)
    found = [doubt.measured("cuad", rows, how) for how in ("any", "like")]
    for each in found:
        assert (each["rows"], each["wrong"]) == (150, 8)
        assert each["top"]["0.5"] == 1
        assert each["tfidf"]["shares"]["true"]["value"] >= each["tfidf"]["shares"]["planted"]["value"]
    assert doubt.curves(found).count("<polyline") == 2
