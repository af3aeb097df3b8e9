"""What is judged a piece at a time: the verdict is that of everything at once, and little memory is held a row."""

import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.cache import write_arrow
from curate.record import SCHEMA, content_id
from curate.sets import band_file, batches, beside_earlier, buckets, rivals
from curate.sets.duplicates import Duplicates
from curate.sets.judgement import judge
from curate.sets.keys import compared_text, key_table
from curate.sets.signed import Part, signed
from curate.sets.split import Split, assign
from tests.judged import judged


def table_of(texts: list[tuple[str, str]]) -> pa.Table:
    rows = []
    for number, (prompt, answer) in enumerate(texts):
        turns = [{"role": "user", "content": prompt}]
        source = {"drop": None, "file": "f", "row": number}
        known = {"id": content_id(turns, answer), "turns": turns, "target": answer, "source": source, "meta": []}
        rows.append(dict.fromkeys(SCHEMA.names) | known)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def texts_of(random: Random, rows: int, words: int = 24) -> list[tuple[str, str]]:
    """Texts of which many are like others, and many share a beginning."""
    beginning = [f"b{number}" for number in range(words // 2)]
    made: list[list[str]] = []
    for _ in range(rows):
        if made and random.random() < 0.5:
            made.append([f"x{random.random()}" if random.random() < 0.08 else word for word in random.choice(made)])
        else:
            own = [f"w{random.random()}" for _ in range(random.randint(3, words))]
            made.append(beginning + own if random.random() < 0.4 else own)
    return [(" ".join(each), random.choice(["{}", '{"a": 1}'])) for each in made]


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 0.5, 0.8]), st.sampled_from([None, 0.85]), st.integers(1, 30))
def test_pieces_of_any_size_give_one_verdict(seed: int, threshold: float, near: float | None, rows: int) -> None:
    random = Random(seed)
    data = table_of(texts_of(random, 60))
    chosen = Duplicates(threshold=threshold, shingle_words=2, conflict_similarity=near, conflicts="majority")
    with pytest.MonkeyPatch.context() as patch:
        large = random.choice([2, 5, 64])
        for module in (buckets, rivals):
            patch.setattr(module, "LARGE", large)
        whole = judged(data, chosen)
        patch.setattr(band_file, "PIECE", random.choice([1, 7, 50]))
        patch.setattr(batches, "BATCH", random.choice([1, 2000, 20_000]))
        patch.setattr(beside_earlier, "ROWS", 1)
        assert judged(data, chosen, rows=rows) == whole


def test_a_circle_of_more_than_a_batch_is_judged_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    base = [f"w{number}" for number in range(200)]
    texts = [(" ".join([*base[:at], f"x{at}", *base[at + 1 :]]), "{}") for at in range(50)]
    monkeypatch.setattr(batches, "BATCH", 1)
    found = judged(table_of(texts), Duplicates())
    assert found.reason.count("near_duplicate") == 49


def test_a_disk_without_room_for_the_last_entries_is_told(tmp_path: Path) -> None:
    """The system writes what there is room for, and says so by a number alone."""
    rows, numbers = np.arange(100), np.arange(100)
    signatures = np.zeros((100, 128), np.uint32)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with band_file.BandFile(tmp_path, 16, 100) as bands:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 16 * 100 - 12, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                bands.enter(signatures, rows, numbers, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(EOFError, match="ends before entry 100"):
            bands.sorted_piece(15, 0, 1)


def made(rows: int) -> tuple[pa.Table, pa.Table]:
    """Keys of rows that are like one another two and two, and what they are compared by."""
    random = Random(1)
    texts = []
    for number in range(rows // 2):
        words = [f"w{random.getrandbits(30)}" for _ in range(60)]
        texts += [(" ".join(words), f'{{"a": {number}}}'), (" ".join([*words[:-1], "else"]), f'{{"a": {number}}}')]
    data, chosen = table_of(texts), Duplicates()
    compared = compared_text(data, chosen)
    return key_table(data, compared), signed(compared, chosen.shingle_words)


def traced(work: Callable[[], object]) -> int:
    """The most memory that Python and numpy hold while something is done."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_judging_holds_little_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the rows go, each with evidence. A list of a value a row would take 60 bytes more, of a text 100."""
    monkeypatch.setattr(batches, "BATCH", 1 << 20)
    monkeypatch.setattr(band_file, "PIECE", 1 << 12)
    peaks = {}
    for rows in (1_000, 16_000, 28_000):
        keys, apart = made(rows)
        some = [apart.slice(begin, 1000) for begin in range(0, rows, 1000)]
        parts = [Part.of(1000, lambda each=each: each) for each in some]  # type: ignore[misc]
        peaks[rows] = traced(lambda: judge(keys, Duplicates(), parts))  # noqa: B023
    a_row = (peaks[28_000] - peaks[16_000]) / 12_000
    assert a_row < 240, peaks


def test_splitting_holds_little_a_row() -> None:
    peaks = {}
    for rows in (1_000, 20_000, 40_000):
        ids = pa.chunked_array([pa.array([f"{number:032x}" for number in range(rows)])])
        none = pa.chunked_array([pa.nulls(rows, pa.string())])
        nothing = np.full(rows, -1, np.int8), np.zeros(rows, np.uint8)
        peaks[rows] = traced(lambda: assign(ids, none, np.arange(rows), none, Split(), *nothing))  # noqa: B023
    assert (peaks[40_000] - peaks[20_000]) / 20_000 < 200, peaks


LIMITED = """
import resource, sys, threading
from curate.sets import band_file, batches
from curate.sets.duplicates import Duplicates
from curate.sets.judgement import judge
from curate.cache import read_arrow
from pathlib import Path
from curate.sets.signed import Part
folder, batch, piece, spare = Path(sys.argv[1]), *map(int, sys.argv[2:])
batches.BATCH, band_file.PIECE = batch, piece
threading.stack_size(1 << 20)
keys = read_arrow(folder / "keys.arrow")
paths = sorted(folder.glob("apart-*"))
parts = [Part.of(1000, lambda path=path: read_arrow(path)) for path in paths]
judge(keys.slice(0, 1000), Duplicates(), parts[:1])  # what is imported and compiled counts not
(held,) = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, ((held << 10) + spare, (held << 10) + spare))
found = judge(keys, Duplicates(), parts)
print(found.reason.length() - found.reason.null_count)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_set_is_judged_under_a_tight_limit(tmp_path: Path) -> None:
    """40,000 rows, each like another, have 39 MB of signatures and shingles, which at once are there twice."""
    keys, apart = made(40_000)
    write_arrow(keys, tmp_path / "keys.arrow")
    for begin in range(0, 40_000, 1000):
        write_arrow(apart.slice(begin, 1000).combine_chunks(), tmp_path / f"apart-{begin:05}")

    def run(batch: int, piece: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIMITED, str(tmp_path), str(batch), str(piece), str(52 << 20)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    bounded = run(1 << 20, 1 << 12)
    assert bounded.stdout == "20000\n", bounded.stderr
    at_once = run(1 << 40, 1 << 24)
    assert at_once.returncode != 0
    words = "MemoryError", "malloc", "Cannot allocate memory", "Resource temporarily unavailable"  # a thread
    assert any(each in at_once.stderr for each in words), at_once.stderr
