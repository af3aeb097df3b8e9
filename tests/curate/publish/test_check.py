"""The checker: silent about what the pipeline publishes, and every check fails when its law is broken."""

import ast
import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.hashing import file_digest
from curate.publish.check import check_version
from curate.publish.check_conserved import _id
from curate.publish.check_leaks import Inner, Member
from curate.publish.check_result import Check
from curate.publish.check_text import shingles, shingles_of, words
from curate.publish.published import SPLITS
from curate.record import content_id
from curate.sets.duplicates import Duplicates
from curate.sets.keys import compared_text
from curate.text.words import shingle_sets
from curate.text.words import shingles as shingles_in_order
from tests.manifests import forge as forge_manifest
from tests.project import Project, make_rows
from tests.records import RECORDS, table_of

ROOT = Path(__file__).resolve().parents[3]
NAMES = {
    *(
        "files",
        "version",
        "stages",
        "sources",
        "drop",
        "json_lines",
        "ids",
        "groups",
        "clusters",
        "prompts",
        "near_duplicates",
    ),
    *("near_duplicates", "lengths", "texts", "duplicates"),
}
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with rows in every split, groups, conflicts, and duplicates of both kinds in quarantine."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.add("rows.jsonl", make_rows(400, seed=3))
    return project.curate().folder


@pytest.fixture
def version(published: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(published, tmp_path / published.name))


def failing(folder: Path, **options: Any) -> dict[str, Check]:
    return {each.name: each for each in check_version(folder, **options) if each.failures}


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return rows


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Replace a file's rows, in Parquet and as JSON lines."""
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    if (folder / f"{name}.jsonl").is_file():
        lines = [row | {"meta": {entry["key"]: entry["value"] for entry in row["meta"]}} for row in rows]
        lines = [{key: value for key, value in line.items() if key != "signals"} for line in lines]
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def forge(folder: Path, change: Change = lambda manifest: None) -> None:
    """`tests.manifests.forge`, the rows of the splits counted again."""

    def counted(manifest: dict[str, Any]) -> None:
        manifest["counts"]["splits"] = {name: pq.read_metadata(folder / f"{name}.parquet").num_rows for name in SPLITS}
        change(manifest)

    forge_manifest(folder, counted)


def move(folder: Path, source: str, target: str, number: int) -> dict[str, Any]:
    """Move a row from one split to another."""
    rows = rows_of(folder, source)
    row = rows.pop(number)
    write(folder, source, rows)
    write(folder, target, [*rows_of(folder, target), row])
    return row


def test_what_is_published_passes_every_check(published: Path) -> None:
    checks = check_version(published)
    assert {each.name for each in checks} == NAMES
    assert [each.name for each in checks if each.failures] == []
    assert all(each.compared > 0 and each.how == "all" for each in checks)
    compared = {each.name: each.compared for each in checks}
    sizes = [len(rows_of(published, name)) for name in SPLITS]
    assert compared["near_duplicates"] == sizes[0] * (sizes[1] + sizes[2]) + sizes[1] * sizes[2]
    assert compared["sources"] == 400


def test_a_flipped_byte(version: Path) -> None:
    path = version / "train.jsonl"
    content = bytearray(path.read_bytes())
    at = content.index(b'"content":"') + 12
    content[at] ^= 1
    path.write_bytes(content)
    failures = failing(version)
    assert set(failures) == {"files", "json_lines"}
    (offence,) = failures["files"].offences
    assert offence.startswith(
        f"train.jsonl: changed since it was published: its SHA-256 is {file_digest(path)}, it was "
    )
    assert failures["json_lines"].offences[0].startswith("train.jsonl, line 1: rows.jsonl, row ")


@given(
    turns=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant"]), "content": st.text()}
            | {"reasoning": st.none() | st.text(), "trained": st.sampled_from([None, True, False])}
        )
    ),
    target=st.none() | st.text(),
    reasoning=st.none() | st.text(),
)
def test_the_id_is_the_one_that_reading_gives(turns: list[dict[str, Any]], target: Any, reasoning: Any) -> None:
    assert _id({"turns": turns, "target": target, "reasoning": reasoning}) == content_id(turns, target, reasoning)


def test_ids_that_are_not_of_what_rows_say(version: Path) -> None:
    """As many rows may say something else as stages have changed; what rot has changed nobody has counted."""
    train = rows_of(version, "train")
    manifest = json.loads((version / "manifest.json").read_bytes())
    told = sum(sum(each["counters"].values()) for each in manifest["stages"] if each["name"] in ("clean", "pii", "fit"))
    assert 0 < told < len(train)
    for row in train:
        row["turns"][0]["content"] += "."
    write(version, "train", train)
    forge(version)
    failures = failing(version)
    assert failures["ids"].failures > told
    assert f"its id is not that of what it says ({told} rows were changed)" in failures["ids"].offences[0]

    def unchanged(manifest: dict[str, Any]) -> None:
        for stage in manifest["stages"]:
            stage["counters"] = {}

    train[1:] = rows_of(version, "train")[1:]
    forge(version, unchanged)
    assert "ids" in failing(version)
    forge(version, lambda manifest: manifest["stages"][2].update(name="of_another_package"))
    assert "ids" not in failing(version)
    (ids,) = (each for each in check_version(version) if each.name == "ids")
    assert ids.how == "none: of_another_package may change rows"


def test_an_unreadable_or_missing_file_ends_the_checks(version: Path) -> None:
    (version / "test.parquet").write_bytes(b"PAR1 and no more")
    (version / "train.jsonl").unlink()
    found = check_version(version)
    assert [each.name for each in found] == ["files", "version"]
    assert {offence.partition(":")[0] for offence in found[0].offences} == {"test.parquet", "train.jsonl"}
    with pytest.raises(AssayError, match="no manifest"):
        check_version(version / "data_docs")
    (version / "manifest.json").write_text("{")
    with pytest.raises(AssayError, match="not readable"):
        check_version(version)
    (version / "manifest.json").write_text("{}")
    with pytest.raises(AssayError, match="not a data set version"):
        check_version(version)


def test_a_file_that_the_manifest_does_not_know(version: Path) -> None:
    shutil.copy(version / "test.parquet", version / "more.parquet")
    assert failing(version)["files"].offences == ["more.parquet: not one of the files that were published"]


def test_a_changed_manifest(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["recipe"]["fit"]["max_tokens"] = 9999
    (version / "manifest.json").write_text(json.dumps(manifest))
    assert set(failing(version)) == {"version", "lengths"}  # those too long are not longer than that


def test_a_row_lost(version: Path) -> None:
    rows = rows_of(version, "train")
    lost = rows.pop(3)
    write(version, "train", rows)
    forge(version)
    failures = failing(version)
    assert {"stages", "sources"} <= set(failures) <= {"stages", "sources", "duplicates"}
    assert f"rows lost [{lost['source']['row']}]" in failures["sources"].offences[0]


def test_a_row_twice(version: Path) -> None:
    rows = rows_of(version, "train")
    write(version, "train", [*rows[1:], rows[1]])
    forge(version)
    failures = failing(version)
    assert {"sources"} <= set(failures) <= {"sources", "duplicates"}
    assert f"twice [{rows[1]['source']['row']}]" in failures["sources"].offences[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["stages"][3]["reasons"].update(empty=manifest["stages"][3]["reasons"]["empty"] + 1),
        lambda manifest: manifest["stages"][4].update(kept=manifest["stages"][4]["kept"] - 1),
        lambda manifest: manifest["counts"].update({"in": 401}),
        lambda manifest: manifest["counts"].update(kept=1),
        lambda manifest: manifest["counts"]["splits"].update(test=1),
    ],
)
def test_arithmetic_that_does_not_add_up(version: Path, change: Change) -> None:
    forge(version, change)
    assert set(failing(version)) == {"stages"}


def cap_sources(folder: Path, before: str, found: int, told: int) -> list[dict[str, Any]]:
    """Make a version in which a stage that nobody knows stood before another one and turned rows of train away.

    The first of them is one in whose favour duplicates were removed. `found` rows are moved to the quarantine; the
    manifest tells of `told`, and is else as if the stage had been there.
    """
    quarantine, train = rows_of(folder, "quarantine"), rows_of(folder, "train")
    kept = {json.loads(row["evidence"])["kept"] for row in quarantine if row["reason"] == "near_duplicate"}
    train.sort(key=lambda row: row["id"] not in kept)
    assert train[0]["id"] in kept
    turned_away = [
        {name: row.get(name) for name in quarantine[0]}
        | {"meta": [(entry["key"], entry["value"]) for entry in row["meta"]]}
        | {"stage": "source_cap", "reason": "over_source_cap", "evidence": '{"cap": 100}'}
        for row in train[:found]
    ]
    write(folder, "quarantine", [*quarantine, *turned_away])
    write(folder, "train", train[found:])

    def stage(manifest: dict[str, Any]) -> None:
        stages = manifest["stages"]
        at = [each["name"] for each in stages].index(before)
        rows = stages[at]["rows_in"]
        for each in stages[at:]:
            each["rows_in"] -= told
            each["kept"] -= told
        capped = {"name": "source_cap", "rows_in": rows, "kept": rows - told, "rejected": told}
        stages.insert(at, stages[at] | capped | {"reasons": {"over_source_cap": told}})
        manifest["counts"]["kept"] -= found
        manifest["counts"]["quarantined"] += found

    forge(folder, stage)
    return turned_away


def test_a_stage_that_only_the_manifest_knows(version: Path) -> None:
    before = {each.name: each for each in check_version(version)}
    cap_sources(version, before="split", found=3, told=3)
    assert failing(version) == {}
    after = {each.name: each for each in check_version(version)}
    assert after["duplicates"].compared == before["duplicates"].compared
    assert after["sources"].compared == before["sources"].compared


def test_counts_of_a_stage_that_do_not_agree_with_the_quarantine(version: Path) -> None:
    cap_sources(version, before="split", found=3, told=2)
    failures = failing(version)
    assert set(failures) == {"stages"}
    told = "quarantine.parquet: 3 rows source_cap/over_source_cap, 2 by the stage"
    assert failures["stages"].offences[-1] == told


def test_a_duplicate_of_a_row_that_an_earlier_stage_had_turned_away(version: Path) -> None:
    first, *_ = cap_sources(version, before="duplicates", found=3, told=3)
    failures = failing(version)
    assert set(failures) == {"duplicates"}
    assert any(first["id"] in offence and "did not stay" in offence for offence in failures["duplicates"].offences)


def test_a_quarantined_row_of_a_stage_that_did_not_run(version: Path) -> None:
    quarantine = rows_of(version, "quarantine")
    quarantine[0]["stage"] = "nowhere"
    write(version, "quarantine", quarantine)
    forge(version)
    failures = failing(version)
    assert "quarantine.parquet: 1 rows of nowhere, no stage of the manifest" in failures["stages"].offences


def test_two_stages_of_one_name(version: Path) -> None:
    def twice(manifest: dict[str, Any]) -> None:
        manifest["stages"][-1]["name"] = manifest["stages"][1]["name"]

    forge(version, twice)
    assert failing(version)["stages"].offences == ["manifest.json: two stages of one name"]


def test_nothing_of_the_stages_is_used() -> None:
    """What checks them shares no code with them, but for the ground floor."""
    folder = ROOT / "curate" / "publish"
    modules = {f"curate.publish.{path.stem}": path for path in (folder / "published.py", *folder.glob("check*.py"))}
    imported = {
        node.module
        for path in modules.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("curate.")
    }
    ground = {"curate.hashing", "curate.manifest", "curate.progress", "curate.reach", "curate.store"}
    assert imported - modules.keys() == ground


def test_a_row_of_a_cluster_moved_to_another_split(version: Path) -> None:
    train = rows_of(version, "train")
    clusters = [row["cluster"] for row in train]
    alone = [row["group"] is None and clusters.count(row["cluster"]) > 1 for row in train]
    moved = move(version, "train", "test", alone.index(True))
    forge(version)
    failures = failing(version)
    assert "clusters" in failures
    assert set(failures) <= {"clusters", "near_duplicates"}
    place = f"test: rows.jsonl, row {moved['source']['row']} and train: "
    assert failures["clusters"].offences[0].startswith(place)


def test_a_row_of_a_group_moved_to_another_split(version: Path) -> None:
    number = next(at for at, row in enumerate(rows_of(version, "train")) if row["group"])
    move(version, "train", "validation", number)
    forge(version)
    assert "groups" in failing(version)


def test_an_equal_prompt_and_a_near_duplicate_in_another_split(version: Path) -> None:
    train, rows = rows_of(version, "train"), rows_of(version, "test")
    copied = next(row for row in train if len(row["turns"][0]["content"].split()) > 12)
    rows[0] |= {"turns": copied["turns"], "messages": copied["messages"], "text": copied["text"]}
    rows[0]["target"] = copied["target"]
    write(version, "test", rows)
    forge(version)
    assert {"prompts", "near_duplicates"} <= set(failing(version)) <= {"prompts", "near_duplicates", "duplicates"}

    content = copied["turns"][0]["content"] + " end"
    rows[0]["turns"] = [copied["turns"][0] | {"content": content}]
    rows[0]["messages"] = [copied["messages"][0] | {"content": content}, copied["messages"][-1]]
    rows[0]["text"] = copied["text"].replace(copied["turns"][0]["content"], content)
    write(version, "test", rows)
    forge(version)
    failures = failing(version)
    assert {"near_duplicates"} <= set(failures) <= {"near_duplicates", "duplicates"}
    row = rows[0]["source"]["row"]
    assert any(f"test: rows.jsonl, row {row} and train: " in each for each in failures["near_duplicates"].offences)


def test_a_sample_is_told_and_finds_what_it_meets(version: Path) -> None:
    moved = move(version, "test", "train", 0)
    write(version, "validation", [*rows_of(version, "validation"), moved])
    forge(version)
    held = len(rows_of(version, "validation")) + len(rows_of(version, "test"))
    found = failing(version, sample=held - 1)["near_duplicates"]
    assert found.how == f"{held - 1} of {held} rows of validation and test (seed 0) against all"
    assert found.failures == failing(version)["near_duplicates"].failures
    again = failing(version, sample=held - 1)["near_duplicates"]
    assert (again.compared, again.offences) == (found.compared, found.offences)


def test_an_answer_cut_in_the_text(version: Path) -> None:
    rows = rows_of(version, "validation")
    rows[2]["text"] = rows[2]["text"].replace('"}', "", 1) if '"}' in rows[2]["text"] else rows[2]["text"][:-20]
    write(version, "validation", rows)
    forge(version)
    failures = failing(version)
    assert set(failures) == {"texts"}
    where = f"validation: rows.jsonl, row {rows[2]['source']['row']}"
    assert failures["texts"].offences == [f"{where}: the text does not hold message 1 (assistant)"]


def test_an_answer_cut_in_the_messages(version: Path) -> None:
    rows = rows_of(version, "train")
    cut = rows[5]["messages"][-1]["content"][:-1]
    rows[5]["text"] = rows[5]["text"].replace(rows[5]["messages"][-1]["content"], cut)
    rows[5]["messages"][-1]["content"] = cut
    write(version, "train", rows)
    forge(version)
    (offence,) = failing(version)["texts"].offences
    assert offence == f"train: rows.jsonl, row {rows[5]['source']['row']}: the last message does not hold the answer"


def test_a_row_too_long_and_one_that_was_not(version: Path) -> None:
    rows = rows_of(version, "train")
    rows[0]["tokens"] = 151
    write(version, "train", rows)
    quarantine = rows_of(version, "quarantine")
    row = next(row for row in quarantine if row["reason"] == "too_many_tokens")
    row["evidence"] = '{"tokens": 150, "bound": 150}'
    write(version, "quarantine", quarantine)
    forge(version)
    failures = failing(version)
    assert set(failures) == {"lengths"}
    assert failures["lengths"].failures == 2


@pytest.mark.parametrize("reason", ["near_duplicate", "exact_duplicate"])
@pytest.mark.parametrize("wrong", ["similarity", "kept", "answer", "text"])
def test_a_duplicate_that_is_none(version: Path, reason: str, wrong: str) -> None:
    quarantine = rows_of(version, "quarantine")
    row = next(row for row in quarantine if row["reason"] == reason)
    seen = json.loads(row["evidence"])
    if wrong == "similarity":
        seen["similarity"] -= 0.001
    elif wrong == "kept":
        seen["row"] = row["source"]["row"]
    elif wrong == "answer":
        row["target"] = '{"colour": "red", "count": 99}'
    else:
        row["turns"][0]["content"] += " and other words, many, so that nothing of it is the same any more at all"
    row["evidence"] = json.dumps(seen)
    write(version, "quarantine", quarantine)
    forge(version)
    failures = failing(version)
    assert set(failures) == {"duplicates"}
    (offence,) = failures["duplicates"].offences
    assert offence.startswith(f"quarantine: rows.jsonl, row {row['source']['row']}: ")


def test_an_exact_duplicate_is_said_by_the_same(version: Path) -> None:
    quarantine = rows_of(version, "quarantine")
    row = next(row for row in quarantine if row["reason"] == "exact_duplicate")
    row["turns"][0]["role"] = "customer"
    write(version, "quarantine", quarantine)
    forge(version)
    (offence,) = failing(version)["duplicates"].offences
    assert "not equal to the row it names" in offence


@pytest.fixture
def later(version: Path) -> Path:
    """A version that was compared with an earlier one beside it, which holds the same rows, of files unknown."""
    (version / "sources.parquet").unlink()

    def compared(manifest: dict[str, Any]) -> None:
        manifest["index"] = {"compared_with": ["0" * 16, "1" * 16]}

    forge(version, compared)
    shutil.copytree(version, version.parent / ("0" * 16))
    return version


def test_earlier_versions_are_compared(later: Path) -> None:
    checks = {each.name: each for each in check_version(later)}
    assert set(checks) == NAMES | {"standing"}
    assert not any(each.failures for each in checks.values())
    assert checks["standing"].how == "all, and 1 earlier versions (1 more are not at hand)"
    earlier = later.parent / ("0" * 16)
    moved = move(earlier, "test", "train", 0)
    with pytest.raises(AssayError, match=re.escape(f"{earlier / 'test.jsonl'}: changed since it was published")):
        check_version(later)
    forge(earlier)
    failures = failing(later)
    assert {"standing", "clusters", "prompts", "near_duplicates"} <= set(failures)
    named = f"test: rows.jsonl, row {moved['source']['row']}"
    assert failures["standing"].offences == [f"{named} was in train of 0000000000000000"]
    assert any(f"{named} and 0000000000000000, train: " in each for each in failures["near_duplicates"].offences)
    # Moved the other way, it is a row of train that meets a row of an earlier test split.
    move(earlier, "train", "test", len(rows_of(earlier, "train")) - 1)
    moved = move(earlier, "train", "test", 0)
    forge(earlier)
    (offence, *_) = failing(later)["near_duplicates"].offences
    assert f"0000000000000000, test: rows.jsonl, row {moved['source']['row']} and train: " in offence


def test_versions_of_the_same_drop_are_stood_by(later: Path) -> None:
    def same_drop(manifest: dict[str, Any]) -> None:
        manifest["index"] = {"compared_with": []}
        manifest["splits_of"] = ["0" * 16]

    forge(later, same_drop)
    assert failing(later) == {}
    moved = move(later.parent / ("0" * 16), "test", "train", 0)
    forge(later.parent / ("0" * 16))
    (offence,) = failing(later)["standing"].offences
    assert offence == f"test: rows.jsonl, row {moved['source']['row']} was in train of {'0' * 16}"


def test_files_that_the_later_version_holds_itself_are_not_compared(later: Path) -> None:
    earlier = later.parent / ("0" * 16)
    move(earlier, "test", "train", 0)
    sources = pa.table({"file": ["rows.jsonl"], "sha256": ["ab"], "bytes": [1]})
    for folder in (later, earlier):
        pq.write_table(sources, folder / "sources.parquet")
        forge(
            folder,
            lambda manifest: manifest["files"].update({"sources.parquet": file_digest(later / "sources.parquet")}),
        )
    assert set(failing(later)) == {"standing"}


def test_a_duplicate_of_an_earlier_version(later: Path) -> None:
    quarantine = rows_of(later, "quarantine")
    row = next(row for row in quarantine if row["reason"] == "near_duplicate")
    seen = json.loads(row["evidence"])
    for told, broken in (("0" * 16, False), ("1" * 16, False), (None, False)):
        row["evidence"] = json.dumps(seen | {"version": told})
        write(later, "quarantine", quarantine)
        assert ("duplicates" in failing(later)) is broken
    found = {each.name: each for each in check_version(later)}["duplicates"]
    row["evidence"] = json.dumps(seen | {"version": "0" * 16, "kept": "f" * 32})
    write(later, "quarantine", quarantine)
    assert failing(later)["duplicates"].failures == 1
    row["evidence"] = json.dumps(seen | {"version": "1" * 16})
    write(later, "quarantine", quarantine)
    unknown = {each.name: each for each in check_version(later)}["duplicates"]
    assert unknown.compared == found.compared - 1
    assert "not at hand" in unknown.how


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    "ab ąÉßŉİ_1-. กำ漢字か\u0301\u0e49<=!*−", max_size=40
)


@given(st.lists(TEXT, max_size=6), st.integers(1, 6))
def test_words_and_shingles_are_those_of_the_kernel(texts: list[str], size: int) -> None:
    array = pa.array(texts, pa.string())
    assert [max(1, len(words(text))) for text in texts] == np.diff(shingles_in_order(array, 1)[0]).tolist()
    offsets, values = shingle_sets(array, size)
    theirs = [set(values[begin:end].tolist()) for begin, end in pairwise(offsets)]
    ours = [shingles(text, size) for text in texts]
    assert [len(each) for each in ours] == [len(each) for each in theirs]
    for first in range(len(texts)):
        for second in range(first):
            assert len(ours[first] & ours[second]) == len(theirs[first] & theirs[second])


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=1), max_size=8),
    st.lists(st.frozensets(st.sampled_from("abcdefghijkl"), min_size=1), max_size=8),
    st.sampled_from([0.1, 1 / 3, 0.5, 0.6, 0.75, 0.8, 1.0]),
)
def test_the_join_finds_what_comparing_every_pair_finds(
    inner: list[frozenset[str]], others: list[frozenset[str]], threshold: float
) -> None:
    members = [Member("test", str(number), each) for number, each in enumerate(inner)]
    found = Inner(members, threshold)
    for other in others:
        expected = {
            (str(number), len(each & other) / len(each | other))
            for number, each in enumerate(inner)
            if len(each & other) / len(each | other) >= threshold
        }
        similar = found.similar(Member("train", "", other))
        assert {(member.name, similarity) for member, similarity in similar} == expected


@given(RECORDS, st.sampled_from(["prompt", "answer", "both"]), st.lists(TEXT.filter(bool), max_size=2))
def test_what_is_compared_is_what_the_stage_compares(
    records: list[dict[str, Any]], scope: Any, boilerplate: list[str]
) -> None:
    settings = Duplicates(scope=scope, boilerplate=boilerplate, shingle_words=2)
    offsets, _ = shingle_sets(compared_text(table_of(records), settings), 2)
    ours = [shingles_of(row, settings.model_dump()) for row in records]
    assert [len(each) for each in ours] == np.diff(offsets).tolist()
