"""Caps take the worst rows of a label, and distributions count what there is, however rows are cut into shards."""

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.distribution import NAMED, distributions, quantiles, summed
from curate.errors import AssayError
from curate.sets.balance import Balance, judge
from tests.project import RECIPE, Project
from tests.records import RECORDS, layouts, record, table_of


def rows_of(labels: list[str | None], quality: list[float] | None = None) -> pa.Table:
    columns = {
        "id": [f"{row:04}" for row in range(len(labels))],
        "label": pa.array(labels, pa.string()),
    }
    table = pa.table(columns)
    return table if quality is None else table.append_column("quality", pa.array(quality, pa.float32()))


def kept(table: pa.Table, settings: Balance) -> list[str]:
    verdict = judge(table, settings)
    return [
        id_ for id_, reason in zip(table["id"].to_pylist(), verdict["reason"].to_pylist(), strict=True) if not reason
    ]


def test_a_cap_keeps_the_best_rows_of_a_label() -> None:
    table = rows_of(["a", "b", "a", "a", None, None], [0.1, 0.2, 0.9, 0.5, 0.1, 0.1])
    assert kept(table, Balance(cap={"a": 2})) == ["0001", "0002", "0003", "0004", "0005"]
    assert kept(table, Balance(cap=1)) == ["0001", "0002", "0004", "0005"], "rows without a label have no cap"
    (evidence,) = judge(table, Balance(cap={"a": 2}))["evidence"].drop_null().to_pylist()
    assert json.loads(evidence) == {"label": "a", "rows": 3, "cap": 2, "rank": 3, "quality": 0.1}
    assert kept(rows_of(["a"] * 3), Balance(cap=2)) == ["0000", "0001"]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 3)), max_size=30), st.integers(1, 5))
def test_a_cap_does_not_depend_on_the_order(rows: list[tuple[str | None, int]], cap: int) -> None:
    table = rows_of([label for label, _ in rows], [quality / 4 for _, quality in rows])
    order = random.Random(0).sample(range(len(rows)), len(rows))
    shuffled = table.take(pa.array(order, pa.int64()))
    assert sorted(kept(table, Balance(cap=cap))) == sorted(kept(shuffled, Balance(cap=cap)))
    counts = Counter(label for label, _ in rows)
    left = Counter(table["label"][int(id_)].as_py() for id_ in kept(table, Balance(cap=cap)))
    assert left == {label: count if label is None else min(count, cap) for label, count in counts.items()}


@pytest.mark.parametrize("wrong", [{"cap": 0}, {"cap": {"a": 0}}, {"weights": {"a": 0}}, {"weights": {"a": -1}}])
def test_what_is_no_cap_or_weight_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Balance.model_validate(wrong)


def test_a_label_that_no_row_has_is_said(tmp_path: Path) -> None:
    every = {"train": 1.0, "validation": 0, "test": 0}
    project = Project(tmp_path, split=every, balance={"cap": {"rad": 2}, "weights": {"blue": 2.0, "violet": 1.5}})
    schema = tmp_path / "contract/target.schema.json"
    project.add("a.jsonl", [{"text": f"the ball number {n}", "colour": "red", "count": n} for n in range(6)])
    with pytest.raises(AssayError) as error:
        project.curate()
    assert error.value.message == "balance: no row has the label 'rad', 'violet'."
    assert "Labels of this data set: 'blue', 'green', 'red'." in error.value.remedy, "those of the schema too"
    schema.write_text(schema.read_text().replace('"blue"', '"rad", "violet", "blue"'))
    assert project.curate().manifest.counts.kept == 6
    schema.write_text(schema.read_text().replace('"rad", ', ""))
    project.recipe_path.write_text(project.recipe_path.read_text().replace("rad:", "red:"))
    first = project.curate().manifest
    assert first.stages[-2].reasons == {"over_cap": 4}
    schema.write_text(schema.read_text().replace('"red", ', ""))
    project.drop = tmp_path / "later"
    project.add("b.jsonl", [{"text": "the ball of a later day", "colour": "blue", "count": 1}])
    assert project.curate().manifest.counts.kept == 1, "an earlier version had it"


def test_personal_data_of_labels_is_in_no_distribution(tmp_path: Path) -> None:
    record = RECIPE["record"] | {"label": "who"}
    project = Project(tmp_path, record=record, balance={"cap": {"jane.doe@example.org": 1}})
    names = ["jane.doe@example.org", "joe@example.org", "nobody"]
    rows = [{"text": f"ball number {n}", "colour": "red", "count": n, "who": names[n % 3]} for n in range(9)]
    project.add("a.jsonl", rows)
    hashes = [xxhash.xxh3_128_hexdigest(name.encode()) for name in names[:2]]
    with pytest.raises(AssayError, match=r"no row has the label 'jane\.doe@example\.org'"):
        project.curate()
    project.recipe_path.write_text(project.recipe_path.read_text().replace("jane.doe@example.org", hashes[0]))
    version = project.curate()
    for stage in version.manifest.stages:
        of_jane = 1 if stage.name in ("balance", "split") else 3
        assert stage.distributions["label"].values == {hashes[0]: of_jane, hashes[1]: 3, "nobody": 3}
    for name in ("manifest.json", "report.html", "README.md", "train.jsonl"):
        assert "@example.org" not in (version.folder / name).read_text()


def test_distributions_by_hand() -> None:
    rows = [
        record("four", ("assistant", "eight888"), label="x", language="en", source={"file": "a/b/c.json", "row": 0}),
        record("ééé", target="{}", label=None, language="en", source={"file": "a/b/d.json", "row": 0}),
        record("", language="und", label="x", source={"file": "top.json", "row": 0}),
    ]
    for table in layouts(rows):
        assert distributions(table) == {
            "label": {"x": 2, "(none)": 1},
            "language": {"en": 2, "und": 1},
            "source": {"a/b": 2, "top.json": 1},
            "length": {"0": 1, "4": 1, "8": 1},
        }


@given(RECORDS, st.integers(0, 6))
def test_distributions_do_not_depend_on_shards(rows: list[dict[str, object]], cut: int) -> None:
    whole = table_of(rows)
    parts = [distributions(whole.slice(0, cut)), distributions(whole.slice(min(cut, len(rows))))]
    assert summed(parts) == summed([distributions(whole)])
    counts = Counter()
    for row in rows:
        chars = sum(len(turn["content"]) for turn in row["turns"]) + len(row["target"] or "")  # type: ignore[attr-defined, arg-type]
        counts[str(1 << chars.bit_length() >> 1)] += 1
    assert distributions(whole)["length"] == counts


def test_the_manifest_names_the_most_frequent_values() -> None:
    told = summed([{"label": {f"{n:03}": n for n in range(1, 80)}}, {"label": {"001": 500}}])["label"]
    assert len(told["values"]) == NAMED
    assert list(told["values"].items())[:2] == [("001", 501), ("079", 79)]
    assert told["others"] == [29, sum(range(2, 31))]


def test_a_value_may_be_the_word_for_none() -> None:
    rows = [record("q", label=label, source={"drop": None, "file": "a", "row": 0}) for label in (None, "(none)", "a")]
    assert distributions(table_of(rows))["label"] == {"(none)": 2, "a": 1}


def test_quantiles() -> None:
    assert quantiles(pa.array(range(101))) == [0, 10, 50, 90, 100]
    assert quantiles(pa.array([], pa.int32())) == []
