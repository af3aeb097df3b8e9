"""Doubted labels: against cleanlab and brute force, and planted errors are found, whatever the order and the shards."""

import json
import random
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cleanlab.filter import find_label_issues
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.publish.check import check_version
from curate.publish.doubted import doubted_rows
from curate.publish.without import Gone, without
from curate.record import SPLITS
from curate.sets import doubt, out_of_sample
from curate.sets.doubt import Doubt, Doubting, can_be_judged, doubted, issues, labels_of
from curate.sets.keys import Compared
from curate.sets.out_of_sample import deal, nearest, probabilities, terms, words_and_pairs
from curate.stage import Context
from curate.store import Store
from tests.browser import Browser
from tests.project import RECIPE, Project
from tests.records import record, table_of

SUBJECTS = {
    "red": "rose tomato brick ruby cherry poppy lobster wine rust sunset",
    "green": "grass leaf moss lime frog pine olive fern pea jade",
    "blue": "sea sky denim whale cobalt ice river plum steel ink",
}


def text_of(colour: str, draw: random.Random) -> str:
    words = draw.choices(SUBJECTS[colour].split(), k=6) + draw.choices("a the of near with under".split(), k=5)  # noqa: SIM905
    draw.shuffle(words)
    return " ".join(words)


def planted(count: int, wrong: int, seed: int = 0) -> tuple[list[dict[str, Any]], set[str]]:
    """Rows about things of a colour, and the texts of those that name another colour than theirs."""
    draw = random.Random(seed)
    colours = list(SUBJECTS)
    rows = [{"text": text_of(colours[n % 3], draw), "colour": colours[n % 3], "count": n} for n in range(count)]
    chosen = draw.sample(rows, wrong)
    for row in chosen:
        row["colour"] = draw.choice([each for each in colours if each != row["colour"]])
    return rows, {row["text"] for row in chosen}


def keys_of(rows: list[dict[str, Any]]) -> pa.Table:
    """What `Doubting.keys_of` makes of rows of `planted`, each alone unless it names a `case`."""
    offsets, hashes = words_and_pairs(pa.array([row["text"] for row in rows], pa.string()))
    return pa.table(
        {
            "id": [f"{row['count']:032x}" for row in rows],
            "group": pa.array([row.get("case") for row in rows], pa.string()),
            "cluster": [f"c{row['count']}" for row in rows],
            "file": ["a"] * len(rows),
            "row": pa.array([row["count"] for row in rows], pa.int64()),
            "given": pa.array([row["colour"] for row in rows], pa.string()),
            "terms": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes)),
        }
    )


def doubting(**changed: Any) -> Doubting:
    return Doubting(**({"of": "label", "sha256": None, "model": None, "compared": Compared()} | changed))


@given(st.integers(2, 6), st.integers(20, 200), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_the_rows_are_those_that_cleanlab_finds(labels: int, rows: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    given_labels = np.append(np.arange(labels), draw.integers(0, labels, rows))
    probable = draw.dirichlet(np.ones(labels), len(given_labels))
    probable[np.arange(len(given_labels)), given_labels] += draw.random(len(given_labels))
    probable = (probable / probable.sum(axis=1, keepdims=True)).astype(np.float32)
    wanted = find_label_issues(
        given_labels, probable, filter_by="low_self_confidence", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    another = probable[wanted].max(axis=1) > probable[wanted, given_labels[wanted]]
    assert issues(given_labels, probable).tolist() == wanted[another].tolist()


def cosines(texts: list[str]) -> np.ndarray:
    """Cosines of all pairs by sets of words and pairs of words, each counted by its rarity; by hand."""
    said = [text.split() for text in texts]
    sets = [{*words, *pairwise(words)} for words in said]
    known = sorted({str(each) for one in sets for each in one})
    names = {str(each): each for one in sets for each in one}
    counts = {each: sum(names[each] in one for one in sets) for each in known}
    weights = np.array(
        [
            [np.log1p(len(texts) / counts[each]) * (names[each] in one and counts[each] > 1) for each in known]
            for one in sets
        ]
    )
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    unit = weights / np.where(lengths > 0, lengths, 1)
    return unit @ unit.T


def test_the_nearest_rows_are_those_of_brute_force() -> None:
    texts = [row["text"] for row in planted(60, 0)[0]] + ["alone", "sea sea"]
    brute = np.round(cosines(texts), 6)
    vectors = terms(*words_and_pairs(pa.array(texts)), 3)
    np.testing.assert_allclose((vectors @ vectors.T).toarray(), brute, atol=1e-6)
    rows, among = np.arange(0, 62, 2), np.arange(62)[np.arange(62) % 3 > 0]
    wanted = [
        sorted(((int(each), brute[row, each]) for each in among if each != row and brute[row, each] > 0), key=by_cosine)
        for row in rows
    ]
    for given_vectors in (vectors, vectors.toarray()):
        found = nearest(given_vectors, rows, among, 4)
        assert [[cosine for _, cosine in each] for each in found] == [
            pytest.approx([cosine for _, cosine in each[:4]]) for each in wanted
        ]
        assert found[0] == nearest(given_vectors, rows[:1], among, 4)[0]
    assert nearest(vectors, np.array([60]), among, 4) == [[]], "it has nothing in common with any"


def by_cosine(other: tuple[int, float]) -> tuple[float, int]:
    return -other[1], other[0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=80), st.integers(2, 5))
def test_what_is_tied_shares_a_fold_and_labels_are_spread(rows: list[tuple[int, int]], folds: int) -> None:
    labels, ties = (np.array(column) for column in zip(*rows, strict=True))
    _, labels = np.unique(labels, return_inverse=True)
    fold = deal(labels, ties, folds)
    assert all(len({*fold[ties == each].tolist()}) == 1 for each in np.unique(ties))
    alone = deal(labels, np.arange(len(labels)), folds)
    for label in np.unique(labels):
        counts = np.bincount(alone[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    judged, dealt = can_be_judged(labels, ties, folds)
    for label in np.unique(labels[judged]):
        assert len({*ties[labels == label].tolist()}) >= folds
        assert len({*dealt[labels[judged] == label].tolist()}) >= 2
        assert (labels == label).sum() == (labels[judged] == label).sum(), "all of a label's rows, or none"


def test_planted_errors_are_found_whatever_the_order_and_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, wrong = planted(180, 9)
    found = doubted(keys_of(rows), doubting())
    texts = [rows[number]["text"] for number in found.rows]
    assert {*texts} <= wrong
    assert len(texts) >= 8
    first = found.evidence[0]
    assert first["given"] == rows[found.rows[0]]["colour"]
    assert first["margin"] == pytest.approx(first["likelier_probability"] - first["given_probability"])
    assert text_is_about(rows[found.rows[0]]["text"], first["likelier"])
    for side in ("given", "likelier"):
        assert {rows[each["row"]]["colour"] for each in first[f"nearest_{side}"]} == {first[side]}
    assert found.told["doubted"] == len(texts)
    assert sum(count for *_, count in found.told["pairs"]) == len(texts)

    order = random.Random(1).sample(range(len(rows)), len(rows))
    monkeypatch.setattr(out_of_sample.os, "sched_getaffinity", lambda _: {0})
    again = doubted(keys_of(rows).take(pa.array(order)), doubting())
    assert [order[number] for number in again.rows] == found.rows.tolist()
    assert again.evidence == found.evidence
    assert again.told == found.told


def text_is_about(text: str, colour: str) -> bool:
    return len({*text.split()} & {*SUBJECTS[colour].split()}) > 3


def test_copies_do_not_vouch_for_each_other() -> None:
    """A wrong label that ten copies share is doubted where they are tied together, and held to be right where not."""
    rows, _ = planted(240, 0)
    text = "whale ice river sea sky steel ink plum"
    copies = [{"text": f"{text} {n}", "colour": "red", "count": 1000 + n, "case": "one"} for n in range(10)]
    tied = doubted(keys_of(rows + copies), doubting())
    assert sorted(tied.rows.tolist()) == [*range(240, 250)]
    loose = [{**copy, "case": None} for copy in copies]
    assert doubted(keys_of(rows + loose), doubting()).rows.tolist() == []


def test_embeddings_are_judged_like_words() -> None:
    rows, wrong = planted(180, 9)
    centres = np.eye(3, 8)
    draw = np.random.default_rng(0)
    about = [n % 3 for n in range(180)]
    vectors = (centres[about] + 0.2 * draw.normal(size=(180, 8))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    keys = keys_of(rows).drop_columns("terms").append_column("vector", doubt.vector_column(vectors))
    found = doubted(keys, doubting(sha256="of the model"))
    assert {rows[number]["text"] for number in found.rows} <= wrong
    assert len(found.rows) >= 8


def test_rare_labels_are_left_and_told() -> None:
    rows, _ = planted(90, 0)
    for number, row in enumerate(rows[:7]):
        row["colour"] = "teal" if number < 4 else None
    rows += [{"text": f"pink {n}", "colour": "pink", "count": 100 + n, "case": "one"} for n in range(20)]
    found = doubted(keys_of(rows), doubting())
    assert found.told["left"] == {"labels": 2, "rows": 24, "named": {"pink": 20, "teal": 4}}
    assert (found.told["rows"], found.told["labels"]) == (83, 3)
    assert not {*found.rows.tolist()} & {*range(7), *range(90, 110)}
    assert doubted(keys_of(rows), doubting(folds=4)).told["left"]["named"] == {"pink": 20}


def test_of_too_many_labels_the_rarest_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = planted(90, 0)
    monkeypatch.setattr(doubt, "CELLS", 2 * 60)
    told = doubted(keys_of(rows), doubting()).told
    assert (told["labels"], told["rows"], told["left"]["rows"]) == (2, 60, 30)


@pytest.mark.parametrize("colours", [["red"] * 9, ["red", None, None]])
def test_one_label_alone_cannot_be_doubted(colours: list[str | None]) -> None:
    rows = [{"text": "x", "colour": colour, "count": n} for n, colour in enumerate(colours)]
    found = doubted(keys_of(rows), doubting())
    assert (found.rows.tolist(), found.evidence, found.told["doubted"]) == ([], [], 0)


def test_no_rows_and_no_labels() -> None:
    assert doubted(keys_of([]), doubting()).told["rows"] == 0
    with pytest.raises(AssayError, match=r"doubt\.of: no row has label\."):
        doubted(keys_of([{"text": "x", "colour": None, "count": 0}]), doubting())


def test_texts_without_any_word_in_common_are_judged_too() -> None:
    rows = [{"text": f"word{n}", "colour": "ab"[n % 2], "count": n} for n in range(20)]
    assert doubted(keys_of(rows), doubting()).told["rows"] == 20


def test_the_label_is_a_key_of_the_target() -> None:
    targets = ['{"a":{"b":"x"}}', '{"a":{"b":2}}', '{"a":{"b":true}}', '{"a":{"b":null}}', '{"a":[]}', "{}", None]
    source = {"drop": None, "file": "f.jsonl", "row": 7}
    table = table_of([record("q", target=target, source=source) for target in targets])
    assert labels_of(table, "target.a.b").to_pylist() == ["x", "2", "true", None, None, None, None]
    with pytest.raises(AssayError, match=r"target\.a of f\.jsonl, row 7, is a dict, which is no class"):
        labels_of(table, "target.a")
    for wrong in ("target", "labels", "target..a", "meta.a"):
        with pytest.raises(ValidationError):
            Doubt(of=wrong)


def test_every_probability_is_of_a_model_that_has_not_seen_the_row() -> None:
    """Rows of noise, of which each has one word of its own twice over: who has seen a row knows its label by heart."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 200)
    vectors = np.eye(200)
    fold = deal(labels, np.arange(200), 5)
    probable = probabilities(vectors, labels, fold)
    assert np.ptp(probable[:, 1][fold == 0]) < 0.01, "nothing is known of any of them"
    np.testing.assert_allclose(probable.sum(axis=1), 1, atol=1e-5)


EVERY = {"split": {"train": 1.0, "validation": 0, "test": 0}, "duplicates": {"threshold": 0.9}, "quality": {}}


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A version of `planted(120, 6)` whose doubted rows are flagged, and the same of other shards."""
    rows, _ = planted(120, 6)
    project = Project(tmp_path_factory.mktemp("flagged"), doubt={"of": "target.colour"}, **EVERY)
    project.add("a.jsonl", rows[:70])
    project.add("b.jsonl", rows[70:])
    return project.curate("one").folder, project.curate("two", shard_bytes=3000).folder


def test_flagged_rows_stay_and_are_published_beside_the_splits(flagged: tuple[Path, Path]) -> None:
    _, wrong = planted(120, 6)
    folder, again = flagged
    assert again.name == folder.name
    assert (again / "doubted.parquet").read_bytes() == (folder / "doubted.parquet").read_bytes()
    manifest = DatasetManifest.read(folder)
    assert manifest.counts.kept == 120
    assert manifest.doubt is not None
    found = pq.read_table(folder / "doubted.parquet").to_pylist()
    assert {row["turns"][0]["content"] for row in found} <= wrong
    assert 4 <= len(found) == manifest.doubt.doubted
    for row in found:
        seen = json.loads(row["evidence"])
        assert row["what"] == "doubted_label"
        assert json.loads(row["target"])["colour"] == row["given"] == seen["given"]
        assert seen["likelier"] == row["likelier"] != row["given"]
        assert seen["margin"] == row["margin"] > 0
    published = {each for split in SPLITS for each in pq.read_table(folder / f"{split}.parquet")["id"].to_pylist()}
    assert {row["id"] for row in found} <= published
    assert "cleanlab" in manifest.libraries
    assert [check.name for check in check_version(folder) if check.failures] == []


def test_the_report_shows_them_and_sifts_them(flagged: tuple[Path, Path], browser: Browser) -> None:
    folder, _ = flagged
    found = pq.read_table(folder / "doubted.parquet").to_pylist()
    browser.open(folder / "report.html")
    texts = "[...document.querySelectorAll('#doubts > li:not([hidden]) > pre')].map(each => each.textContent)"
    assert browser.run(texts) == [row["turns"][0]["content"] for row in found]
    assert "another target.colour: most often" in browser.run("document.querySelector('.findings').textContent")
    wanted = found[-1]["given"]
    browser.run(
        f"(form => {{ form.elements.given.value = '{wanted}'; form.elements.order.value = 'margin';"
        " form.dispatchEvent(new Event('input')); })(document.getElementById('sift'))"
    )
    by_margin = sorted((row for row in found if row["given"] == wanted), key=lambda row: -row["margin"])
    assert browser.run(texts) == [row["turns"][0]["content"] for row in by_margin]
    assert browser.run("document.getElementById('sifted').textContent") == f"{len(by_margin)} of {len(found)} rows"
    assert browser.run("document.querySelectorAll('#doubts .pair pre').length") == 2 * len(found)


def test_a_doubted_row_is_shown_beside_the_nearest_that_is_not_forgotten(
    flagged: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, _ = flagged
    (first, *_), (near, *others) = (
        doubted_rows(folder),
        pq.read_table(folder / "doubted.parquet")["evidence"].to_pylist(),
    )
    named = [each["id"] for each in json.loads(near)["nearest_likelier"]]
    assert others
    shutil.copytree(folder.parents[2], tmp_path / "store")
    store = Store(tmp_path / "store")
    made = without(store, store.resolve("datasets", f"demo/{folder.name}"), Gone(frozenset(named[:1])))
    shown = {row["id"]: row for row in doubted_rows(made)}[first["id"]]
    assert first["nearest"]["likelier"]["id"] == named[0]
    assert [shown["nearest"]["likelier"]["id"]] == named[1:2]


def test_quarantined_rows_go_with_the_evidence(tmp_path: Path) -> None:
    rows, wrong = planted(120, 6)
    project = Project(tmp_path, doubt={"of": "label", "policy": "quarantine"}, **EVERY)
    project.add("a.jsonl", rows)
    folder = project.curate().folder
    gone = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert {(row["stage"], row["reason"]) for row in gone} == {("doubt", "doubted_label")}
    assert {row["turns"][0]["content"] for row in gone} <= wrong
    manifest = DatasetManifest.read(folder)
    assert manifest.counts.kept + len(gone) == 120
    beside = pq.read_table(folder / "doubted.parquet")
    assert {row["evidence"] for row in gone} == {*beside["evidence"].to_pylist()}
    assert [check.name for check in check_version(folder) if check.failures] == []


def test_a_package_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(AssayError, match="needs the packages cleanlab and scikit-learn") as error:
        Doubt(of="label").prepare(cast(Context, None))
    assert error.value.remedy == "pip install 'assay-curation[doubt]'"
    assert Doubt().prepare(cast(Context, None)) == Doubt()


def test_off_it_says_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, **EVERY)
    project.add("a.jsonl", planted(30, 3)[0])
    curated = project.curate()
    assert curated.manifest.doubt is None
    assert not (curated.folder / "doubted.parquet").exists()
    assert "doubt" not in [stage.name for stage in curated.manifest.stages]
    assert RECIPE.keys().isdisjoint({"doubt"})
