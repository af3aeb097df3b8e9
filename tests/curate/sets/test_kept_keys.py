"""What a run has found of its rows stands in the index as it would be found of what is published."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from curate.sets import kept_keys
from curate.sets.duplicates import Duplicates
from curate.sets.index import Index
from curate.sets.kept_keys import KeptKeys
from curate.sets.signed import signed_table
from curate.store import Store
from tests.curate.sets.test_pieces import table_of, texts_of
from tests.judged import keys_of, parts_of
from tests.sets import Run, curator


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return curator(tmp_path)


@pytest.mark.parametrize(("piece", "pieces"), [(1, 256), (1, 3), (4000, 256), (64 << 20, 256)])
def test_keys_are_given_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, pieces: int) -> None:
    monkeypatch.setattr(kept_keys, "PIECE", piece)
    monkeypatch.setattr(kept_keys, "PIECES", pieces)
    chosen, data = Duplicates(), table_of(texts_of(Random(1), 50))
    kept = KeptKeys(keys_of(data, chosen), parts_of(data, chosen, 7), tmp_path)
    order = np.array(Random(2).sample(range(50), 40))
    wanted = data.take(order)
    rows = kept.rows_of([wanted.slice(0, 15), wanted.slice(15)])
    assert rows is not None
    assert rows.tolist() == order.tolist()
    assert kept.light(rows, wanted).equals(keys_of(wanted, chosen).drop_columns(["quality"]).select(
        ["id", "file", "row", "prompt", "answer", "form", "chars"]
    ))  # fmt: skip
    given = [signed_table(*each).to_pylist() for each in kept.signed(rows)]
    assert len(given) <= pieces
    found = [row for each in given for row in each]
    (part,) = parts_of(wanted, chosen)
    offsets, values = part.shingles(np.arange(40))
    assert found == signed_table(part.signatures(), offsets, values).to_pylist()
    assert kept.rows_of([table_of([("another", "{}")])]) is None
    assert not [*tmp_path.iterdir()]


def test_what_was_found_in_the_run_is_not_found_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = texts_of(Random(3), 120)
    rows = [{"prompt": prompt, "answer": answer} for prompt, answer in [*texts, *texts[:30]]]
    monkeypatch.setattr("curate.sets.published._computed", lambda *_: pytest.fail("found again"))
    run({"a.jsonl": rows}, duplicates={"scope": "both"})
    monkeypatch.undo()
    index = Index(Store(tmp_path / "store"), "set", Duplicates(scope="both"))
    assert index.check() == []
    before = index.segments()[0]
    index.rebuild()
    (after,) = index.segments()
    assert after.rows.equals(before.rows)
    assert np.array_equal(after.shingles, before.shingles)
    assert sum(after.rows["votes"].to_pylist()) > after.rows.num_rows
