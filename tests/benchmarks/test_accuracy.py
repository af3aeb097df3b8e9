"""The labelled set is what it says of itself, and the scores are those of scikit-learn."""

import ast
import json
import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from benchmarks import accuracy, edits, labelled
from benchmarks.labelled import Item, Text

PROSE = (
    "The supplier shall deliver 120 units to Northern Harbour Trust by 14 March 2019. Each unit is tested, packed and "
    "sealed. The buyer may refuse what arrives late; nothing else is refused.\n- Payment follows within 30 days.\n"
    "- Interest runs at 4 per cent a year. Façade works in Ålesund were finished before the café opened."
)
SOURCE = (
    "def total(rows):\n    count = 0\n    for row in rows:\n        if row:\n            count += 1\n    return count\n"
)
HAN = "经审理查明，2016年1月期间，被告人与他人共谋盗窃。其中一人动手，所得财物平分；涉案金额为8500元。"


def made(name: str, text: str) -> tuple[str, str]:
    (kind,) = (kind for kind in edits.kinds() if kind.name == name)
    pair = kind.edit(text, random.Random(0))
    assert pair is not None
    return pair


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("exact copy", str),
        ("case", str.casefold),
        ("white space", str.split),
        ("punctuation", letters),
        ("Unicode form", lambda text: unicodedata.normalize("NFKC", re.sub("[\u00ad\u200b]", "", text))),
        ("sentences shuffled", lambda text: Counter(text.split())),
        ("last sentences first", lambda text: Counter(text.split())),
    ],
)
def test_what_an_edit_leaves_as_it_was(name: str, same: Callable[[str], object]) -> None:
    before, after = made(name, PROSE)
    assert same(before) == same(after)
    assert name == "exact copy" or before != after


def test_edits_of_other_scripts() -> None:
    before, after = made("width", HAN)
    assert before != after
    assert unicodedata.normalize("NFKC", after) == unicodedata.normalize("NFKC", before)
    before, after = made("punctuation", HAN)
    assert before != after
    assert letters(before) == letters(after)
    accented = "Façade works in Ålesund were finished before the café opened"
    assert made("Unicode form", accented)[1] == unicodedata.normalize("NFD", accented)


def test_code_is_indented_anew() -> None:
    _, after = made("white space", SOURCE)
    assert [line.rstrip(" ") for line in after.split("\r\n")][1:3] == ["  count = 0", "  for row in rows:"]
    assert after.split() == SOURCE.split()


@pytest.mark.parametrize(("name", "share"), [("1%", 0.01), ("3%", 0.03), ("8%", 0.08), ("20%", 0.2)])
def test_the_strength_of_an_edit_is_what_it_is_called(name: str, share: float) -> None:
    text = " ".join(f"w{number}" for number in range(200))
    _, after = made(f"words replaced, {name}", text)
    assert sum(one != other for one, other in zip(text.split(), after.split(), strict=True)) == round(200 * share)
    assert len(made(f"words inserted, {name}", text)[1].split()) == 200 + round(200 * share)
    assert len(made(f"words deleted, {name}", text)[1].split()) == 200 - round(200 * share)


def test_cuts_and_pages_hold_the_text() -> None:
    for share in (95, 85, 70):
        _, after = made(f"cut to {share}%", PROSE)
        assert PROSE.startswith(after)
        assert len(after.split()) == round(len(PROSE.split()) * share / 100)
    for name in ("line added before", "page around"):
        _, after = made(name, PROSE)
        assert PROSE in after
        assert len(after) > len(PROSE)
    one, other = made("two pages around", PROSE)
    assert PROSE in one
    assert PROSE in other
    assert not one.startswith(other[:20])


def test_typos_by_the_thousand() -> None:
    text = "".join(random.Random(1).choices("abcdefghij ", k=3000))
    _, after = made("typos, 10 per 1,000 characters", text)
    changes = [code for code, *_ in SequenceMatcher(None, text, after, False).get_opcodes() if code != "equal"]
    assert 20 <= len(changes) <= 35  # of 30: a swap may be two, and neighbours one


def test_what_makes_another_text() -> None:
    before, after = made("numbers changed", PROSE)
    pairs = list(zip(re.findall(r"\d+", before), re.findall(r"\d+", after), strict=True))
    assert all(one != other and len(one) == len(other) for one, other in pairs)
    assert re.sub(r"\d", "", before) == re.sub(r"\d", "", after)
    _, after = made("names changed", PROSE)
    assert "Northern Harbour Trust" not in after
    _, after = made("denied", PROSE)
    assert len(after.split()) == len(PROSE.split()) + 1
    one, other = edits.on_one_form(PROSE * 3, ["own " * 60, "other " * 60], 0.67) or ("", "")
    same = sum(a == b for a, b in zip(one.split(), other.split(), strict=True))
    assert (same, len(one.split())) == (67, 100)
    assert edits.on_one_form("too short", ["own " * 60, "other " * 60], 0.67) is None


def test_labels_are_made_without_our_measure() -> None:
    for module in (edits, labelled):
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not any(name.split(".")[0] in {"curate", "datasketch"} for name in names)


@given(st.lists(st.lists(st.text("ab", max_size=9), min_size=1, max_size=2), min_size=1, max_size=6))
def test_texts_that_share_a_run(rows: list[list[str]]) -> None:
    runs = [{text[at : at + 4] for text in row for at in range(len(text) - 3)} for row in rows]
    expected = [bool(own & set().union(*runs[:number])) for number, own in enumerate(runs)]
    assert labelled.sharing(rows, run=4).tolist() == expected


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """A small set, of texts that need no files."""
    draw = random.Random(3)
    vocabulary = ["".join(draw.choices("aeioulmnrst", k=draw.randint(2, 9))) for _ in range(3000)]

    def prose(number: int) -> str:
        verbs = ["is 31 of 12", "may not be", "was Jane Holder Trust"]
        parts = [f"{' '.join(draw.choices(vocabulary, k=12)).capitalize()} {verb} é, {number}." for verb in verbs * 3]
        return " ".join(parts)

    pool = [Text(f"document {number // 2}", prose(number)) for number in range(400)]
    real = [Item("facts", "few words", "instructions", False, ["15 * 7"], [None])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled, "SOURCES", {"contracts": lambda _: pool[:200], "Chinese": lambda _: pool[200:]})
        patch.setattr(labelled, "natural", lambda _: real)
        table = labelled.labelled(Path(), of_a_kind=2, alone=5)
        assert labelled.labelled(Path(), of_a_kind=2, alone=5).equals(table)
    return table


def test_each_kind_is_there_and_its_rows_are_grouped(rows: pa.Table) -> None:
    counts = Counter((row["source"], row["kind"]) for row in rows.to_pylist())
    forms = [f"one form, {share:.0%}" for share in labelled.SHARES]
    for kind in [*forms, *(kind.name for kind in edits.kinds() if "contracts" not in kind.but)]:
        assert counts["contracts", kind] == 4, kind
    assert counts["contracts", "alone"] == counts["Chinese", "alone"] == 5
    assert counts["instructions", "few words"] == 1
    assert ("Chinese", "denied") not in counts
    assert rows["id"].to_pylist() == list(range(rows.num_rows))
    for item in set(rows["item"].to_pylist()):
        of_one = [row for row in rows.to_pylist() if row["item"] == item]
        assert len({row["group"] for row in of_one}) == (1 if of_one[0]["duplicate"] else len(of_one))
    assert set(Counter(rows["group"].to_pylist()).values()) == {1, 2}
    answers = {row["kind"] for row in rows.to_pylist() if row["answer"]}
    assert answers == {"numbers changed", "names changed", "denied"}


@pytest.mark.slow
def test_real_pages_that_look_alike(shared_data: Path) -> None:
    """Of commands whose pages are not edited."""
    found = [item for item in labelled.natural(shared_data) if item.source in {"pages", "presidio"}]
    assert {item.kind for item in found} == {*labelled.NATURAL} - {"few words", "other version of a licence"}
    commands = {text.document.split("-")[0] for text in labelled.pages(shared_data)}
    assert not commands & {item.document.split("-")[0] for item in found if item.kind == "related command"}


GROUPS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@given(GROUPS)
def test_scores_are_those_of_scikit_learn(marked: list[tuple[int, bool]]) -> None:
    groups, kept = (np.array(each) for each in zip(*marked, strict=True))
    stays = np.zeros(len(groups), np.bool_)
    for group in set(groups.tolist()):
        own = np.flatnonzero(groups == group)
        stays[(own[kept[own]] if kept[own].any() else own)[0]] = True
    expected = precision_recall_fscore_support(~stays, ~kept, labels=[True, False], zero_division=0)
    found = accuracy.scores(accuracy.count(groups, groups, kept))
    (precision, other_precision), (recall, other_recall), f1, _ = expected
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["precision of others"] == pytest.approx(other_precision)
    assert found["recall of others"] == pytest.approx(other_recall)
    assert found["macro F1"] == pytest.approx(f1.mean())
    assert found["accuracy"] == pytest.approx(accuracy_score(stays, kept))


def test_scores_by_hand() -> None:
    """Two copies with one left, two with both left, two texts of which one is gone, and two copies both gone."""
    groups = np.array([0, 0, 1, 1, 2, 3, 4, 4])
    kept = np.array([True, False, True, True, True, False, False, False])
    counts = accuracy.count(groups, groups, kept)
    assert [each.sum() for each in counts] == [2, 3, 1, 2]
    found = accuracy.scores(counts)
    assert (found["precision"], found["recall"]) == (2 / 4, 2 / 3)
    assert (found["precision of others"], found["recall of others"]) == (3 / 4, 3 / 5)
    weighed = accuracy.scores(counts, np.ones((3, 5)))
    assert weighed["macro F1"].tolist() == pytest.approx([found["macro F1"]] * 3)
    assert accuracy.called(np.array([0, 0, 1, 1, 2, 2, 3, 3]), kept).tolist() == [True, False, True, True]


def test_assay_is_run_scored_and_reported(
    rows: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "RESAMPLES", 50)
    source = tmp_path / "texts"
    source.mkdir()
    pq.write_table(rows.select(["id", "text", "answer"]), source / "0.parquet")
    found = {}
    for setting in (accuracy.SETTINGS[0], accuracy.SETTINGS[-1]):
        done, marks = accuracy.marked(setting, Path(sys.executable), source, tmp_path, rows["id"].to_pylist())
        found[setting.name] = done, accuracy.scored(rows, marks)
    told = found[accuracy.ASSAY][1]
    for kind in ("exact copy", "case", "white space", "Unicode form", "words replaced, 1%"):
        assert told["kinds"][kind][0] == 1, kind
    assert told["kinds"]["alone"] == told["kinds"]["few words"] == (0, 0, 0)
    assert told["kinds"]["denied"][0] > 0
    assert found[accuracy.TOLD][1]["kinds"]["denied"][0] == 0
    low, high = told["scores"]["macro F1"][1:]
    assert low <= told["scores"]["macro F1"][0] <= high
    accuracy.report(rows, found)
    assert "words replaced, 1%" in capsys.readouterr().out
    json.dumps(told)
