"""Diff: every row of both versions is accounted for once, and what became of it is told as it is."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import assay
from assay.cli import app
from curate.publish.diff import ROWS, Diff, diff, matched, read_rows
from tests.browser import DESKTOP, PHONE, Browser, assert_readable
from tests.documented import missing
from tests.project import Project, make_rows

NAMES = ("id", "group", "file", "row", "text", "state")
ROW = st.tuples(
    st.sampled_from("ab") | st.none(),
    st.sampled_from(["x", "y"]) | st.none(),
    st.sampled_from(["f", "g"]),
    st.integers(0, 2),
    st.sampled_from("12") | st.none(),
    st.sampled_from(["train", "test", "read: broken"]),
)


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    whole = [dict.fromkeys(ROWS.names) | dict(zip(NAMES, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(whole, schema=ROWS).append_column("number", pa.array(range(len(rows)), pa.int64()))


@given(st.lists(ROW, max_size=12), st.lists(ROW, max_size=12))
def test_every_row_of_both_is_accounted_for_once(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
    found = matched(table(before), table(after))
    assert sorted([*found.before, *found.gone]) == list(range(len(before)))
    assert sorted([*found.after, *found.added]) == list(range(len(after)))
    assert len(found.before) == len(found.after) == len(found.changed)
    for one, other, changed in zip(found.before, found.after, found.changed, strict=True):
        (a, group, *place, text, _), (b, other_group, *other_place, other_text, _) = before[one], after[other]
        same_id = a is not None and a == b
        assert same_id or place == other_place or (group is not None and group == other_group)
        assert changed == (not same_id or (None not in (text, other_text) and text != other_text))
    ids = [[row[0] for row in rows if row[0] is not None] for rows in (before, after)]
    matches = sum(
        before[one][0] is not None and before[one][0] == after[other][0]
        for one, other in zip(found.before, found.after, strict=True)
    )
    assert matches == sum(min(ids[0].count(each), ids[1].count(each)) for each in {*ids[0]})  # none is missed


@given(st.lists(ROW.filter(lambda row: row[0] is not None), max_size=12))
def test_a_version_is_the_same_as_itself(rows: list[tuple[Any, ...]]) -> None:
    found = matched(table(rows), table(rows))
    assert not [*found.gone, *found.added]
    assert [rows[at] for at in found.before] == [rows[at] for at in found.after]
    assert not found.changed.any()


def test_by_hand() -> None:
    before = [
        ("a", None, "f", 0, "1", "train"),  # stays
        ("b", None, "f", 1, "1", "train"),  # is mended in its place
        ("c", None, "f", 2, "1", "train"),  # moves to another file
        ("d", "g", "f", 3, "1", "train"),  # is mended and moves: its group tells
        ("e", None, "f", 4, "1", "train"),  # goes
        ("h", None, "f", 5, "1", "train"),  # is cleaned in another way
    ]
    after = [
        ("new", None, "k", 0, "1", "train"),
        ("h", None, "f", 5, "2", "train"),
        ("D", "g", "k", 3, "1", "train"),
        ("c", None, "k", 9, "1", "test"),
        ("B", None, "f", 1, "1", "quality: empty"),
        ("a", None, "f", 0, "1", "train"),
    ]
    found = matched(table(before), table(after))
    pairs = {
        before[a][0]: (after[b][0], bool(c)) for a, b, c in zip(found.before, found.after, found.changed, strict=True)
    }
    assert pairs == {"a": ("a", False), "b": ("B", True), "c": ("c", False), "d": ("D", True), "h": ("h", True)}
    assert [before[at][0] for at in found.gone] == ["e"]
    assert [after[at][0] for at in found.added] == ["new"]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=10).flatmap(
        lambda ids: st.tuples(st.just(ids), st.permutations(range(len(ids))))
    )
)
def test_rows_that_are_alike_have_not_moved_where_as_many_have_each_fate(drawn: tuple[list[str], list[int]]) -> None:
    """The first of equal rows is trained, the others go: whatever order a file has them in."""
    ids, order = drawn

    def rows(names: list[str]) -> list[tuple[Any, ...]]:
        fate = ["train" if name not in names[:at] else "duplicates: exact_duplicate" for at, name in enumerate(names)]
        return [(name, None, "f", at, "1", fate[at]) for at, name in enumerate(names)]

    before, after = rows(ids), rows([ids[at] for at in order])
    found = matched(table(before), table(after))
    assert [before[one][5] for one in found.before] == [after[other][5] for other in found.after]
    assert len(found.before) == len(ids)


def test_rows_without_an_id_are_shown(tmp_path: Path) -> None:
    folders = []
    for name, lines in (("one", '{"broken\n'), ("two", '{"broken too\n')):
        project = Project(tmp_path / name)
        project.add("rows.jsonl", ROWS_OF[:9])
        (project.drop / "rows.jsonl").open("a").write(lines)
        folders.append(project.curate().folder)
    found = diff(*folders)
    conserved(found)
    shown = [each for fate in found.fates for example in fate.examples for each in example.values() if each]
    assert [(each["id"], each["text"].strip()) for each in shown] == [(None, '{"broken'), (None, '{"broken too')]


ROWS_OF = make_rows(60)
HOSTILE = {"text": "<script>alert(1)</script> is what somebody wrote here", "colour": "blue", "count": 3}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A version, and one of a mended drop by another recipe: one row more, two fewer, shorter texts alone."""
    folders = []
    for name, rows, bound in (("one", ROWS_OF, 400), ("two", [*ROWS_OF[:30], *ROWS_OF[32:], HOSTILE], 60)):
        project = Project(tmp_path_factory.mktemp(name), quality={"max_chars": bound})
        project.add("rows.jsonl", rows)
        folders.append(project.curate().folder)
    return folders[0], folders[1]


def conserved(found: Diff) -> None:
    rows = found.rows
    assert rows["before"] == rows["same"] + rows["changed"] + rows["gone"]
    assert rows["after"] == rows["same"] + rows["changed"] + rows["added"]
    for side, name in enumerate(("before", "after")):
        manifest = getattr(found, name)
        fates = sum(fate.rows for fate in found.fates if getattr(fate, name) is not None)
        assert fates == rows[name] == manifest.counts.kept + manifest.counts.quarantined
        assert {split: both[side] for split, both in found.figures["split"].items() if both[side]} == {
            split: count for split, count in manifest.counts.splits.items() if count
        }
        told = {
            f"{stage.name}: {reason}": count for stage in manifest.stages for reason, count in stage.reasons.items()
        }
        assert {reason: both[side] for reason, both in found.figures["reason"].items() if both[side]} == told
        for figure in ("label", "language"):
            assert sum(both[side] for both in found.figures[figure].values()) == manifest.counts.kept


def test_two_versions(two: tuple[Path, Path]) -> None:
    found = diff(*two)
    conserved(found)
    assert (found.rows["gone"], found.rows["added"], found.rows["changed"]) == (2, 1, 0)
    assert ("recipe.quality.max_chars", 400, 60) in found.inputs
    moved = {(fate.before, fate.after): fate for fate in found.fates}
    fate = moved["train", "quality: too_long"]
    for example in fate.examples:
        assert example["before"]["id"] == example["after"]["id"]
        assert example["before"]["evidence"] is None
        assert example["after"]["evidence"]["bound"] == 60
    ids = [
        {row["id"] for row in read_rows(folder).to_pylist() if row["state"] in ("train", "quality: too_long")}
        for folder in two
    ]
    assert 0 < fate.rows <= len(ids[0] & ids[1])
    (new,) = [example["after"]["text"] for (one, _), each in moved.items() if one is None for example in each.examples]
    assert new == HOSTILE["text"]


def test_a_mended_row_has_changed(tmp_path: Path) -> None:
    folders = []
    for name, text in (("one", "the first of two words"), ("two", "the second of two words")):
        project = Project(tmp_path / name)
        project.add("rows.jsonl", [{"text": text, "colour": "red", "count": 1}, *ROWS_OF[:9]])
        folders.append(project.curate().folder)
    found = diff(*folders)
    conserved(found)
    assert (found.rows["changed"], found.rows["gone"], found.rows["added"]) == (1, 0, 0)
    (fate,) = [each for each in found.fates if each.changed]
    (example,) = fate.examples
    assert (example["before"]["text"], example["after"]["text"]) == (
        "the first of two words",
        "the second of two words",
    )


def test_a_row_that_is_cleaned_in_another_way_has_changed(tmp_path: Path) -> None:
    folders = []
    for name, replace in (("one", ["email"]), ("two", [])):
        project = Project(tmp_path / name, pii={"replace": replace})
        row = {"text": "please write to jane.doe@example.org about the box", "colour": "red", "count": 1}
        project.add("rows.jsonl", [row, *({"text": f"no {word} here", "colour": "red", "count": 2} for word in "abc")])
        folders.append(project.curate().folder)
    found = diff(*folders)
    conserved(found)
    (fate,) = [each for each in found.fates if each.changed]
    assert fate.rows == 1
    assert fate.examples[0]["before"]["text"] == "please write to [EMAIL_1] about the box"


def test_a_version_against_itself(two: tuple[Path, Path]) -> None:
    found = diff(two[0], two[0])
    conserved(found)
    assert found.rows["same"] == found.rows["before"]
    assert found.inputs == []
    assert all(fate.before == fate.after and not fate.examples for fate in found.fates)
    assert all(one == other for figures in found.figures.values() for one, other in figures.values())
    assert assay.diff(*[str(two[0])] * 2).same


def test_the_command_tells_it_as_text_as_data_and_as_a_page(two: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["diff", *map(str, two), "--html", str(tmp_path / "diff.html")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert missing("diff", document) == []
    assert document["rows"] == diff(*two).rows
    assert not document["same"]
    page = (tmp_path / "diff.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    text = CliRunner().invoke(app, arguments).stdout
    assert "quality: too_long" in text
    assert CliRunner().invoke(app, ["diff", str(two[0]), "nothing", "--store", str(tmp_path)]).exit_code == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_is_readable(browser: Browser, two: tuple[Path, Path], tmp_path: Path, width: int, dark: bool) -> None:
    assay.diff(str(two[0]), str(two[1]), html=tmp_path / "diff.html")
    assert_readable(browser, tmp_path / "diff.html", width, dark, "diff")
