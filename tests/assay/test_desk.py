"""A desk: what a row is to somebody who decides, when what was decided did not stand, and what is to be decided."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import assay
from assay.desk import Desk
from assay.queue import Queue
from assay.reviewing import Session, answer
from assay.reviewing import shown as shown_case
from curate.errors import AssayError
from curate.publish.version import Curated
from curate.record import SPLITS
from curate.rows.decisions import read
from tests.project import CONTRACT, RECIPE, Project

RECORD = RECIPE["record"] | {"label": "kind"}
ROWS = [
    {"text": f"{n} {word} boxes hold {n + 1} balls of the {word} kind each", "colour": "red", "count": n, "kind": "old"}
    for n, word in enumerate(["apple", "birch", "cedar", "elder"])
]
FIT = {"model": "tokenizer", "max_tokens": 300}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, decisions=["anna.jsonl", "ben.jsonl"], record=RECORD, fit=FIT)
    made.add("rows.jsonl", ROWS)
    for name in ("anna", "ben"):
        (tmp_path / f"{name}.jsonl").touch()
    return made


def desk_of(project: Project, who: str = "anna", store: str = "store") -> Desk:
    return Desk(project.recipe_path, who=who, store=project.folder / store)


def first_id(desk: Desk) -> str:
    (found,) = [row["id"] for row in desk.rows.to_pylist() if row["turns"][0]["content"] == ROWS[0]["text"]]
    return str(found)


def came(curated: Curated) -> list[tuple[str, str, str, str | None]]:
    lines = pq.read_table(curated.folder / "decisions.parquet").to_pylist()
    return [(each["who"], each["action"], each["outcome"], each["because"]) for each in lines]


def relabelled(project: Project, kind: str, store: str) -> Curated:
    """A version of a drop in which all rows have another label, in a store of its own."""
    project.add("rows.jsonl", [row | {"kind": kind} for row in ROWS])
    return project.curate(store)


def test_after_a_stale_word_the_next_one_of_its_author_is_of_the_row_as_it_is(project: Project) -> None:
    project.curate()
    desk = desk_of(project)
    row = first_id(desk)
    desk.decide([desk.decision(row, "label", "better"), desk.decision(row, "target", '{"colour": "blue", "count": 0}')])
    desk.decide([desk.decision(row, "keep")])
    assert {outcome for _, _, outcome, _ in came(relabelled(project, "new", "second"))} == {"stale"}
    again = desk_of(project, store="second")
    assert (again.known(row).label, again.known(row).mended, again.words()) == ("new", None, {})
    again.decide([again.decision(row, "label", "best"), again.decision(row, "drop")])
    assert again.known(row).label == "best"
    assert came(project.curate("third")) == [
        ("anna", "label", "replaced", "stale"),
        ("anna", "target", "stale", None),
        ("anna", "keep", "replaced", "stale"),
        ("anna", "label", "no_effect", "decisions/decided"),
        ("anna", "drop", "applied", None),
    ]
    third = desk_of(project, store="third")
    third.decide([third.decision(row, "undo")])
    assert {question[0] for question in third.words()} == {"label"}, "the stale word does not stand again"


def test_a_row_of_which_a_word_is_stale_is_to_be_decided_again(project: Project) -> None:
    project.curate()
    desk = desk_of(project)
    row = first_id(desk)
    desk.decide([desk.decision(row, "drop")])
    relabelled(project, "new", "second")
    for who in ("anna", "ben"):
        again = desk_of(project, who, "second")
        queue = Queue(again)
        (number,) = queue.found("stale", "", True).to_pylist()
        assert (queue.case(number).id, queue.case(number).why) == (row, "anna: drop")
        assert shown_case(Session(again, queue), queue.case(number))["decided"] == []
    again.decide([again.decision(row, "note", reason="who knows")])
    assert queue.found("stale", "", True).to_pylist() == [number], "a note decides nothing"
    again.decide([again.decision(row, "keep")])
    assert queue.found("stale", "", True).to_pylist() == []
    assert queue.found("stale", "", False).to_pylist() == [number]


def test_a_row_on_which_two_disagree_is_to_be_decided_again(project: Project) -> None:
    project.add("rows.jsonl", [*ROWS, ROWS[0] | {"colour": "blue"}])
    project.curate()
    for who, action in (("anna", "keep"), ("ben", "drop")):
        desk = desk_of(project, who)
        (conflict,) = Queue(desk).found("conflict", "", True).to_pylist()
        row = Queue(desk).case(conflict).id
        desk.decide([desk.decision(row, action), desk.decision(row, "label", "agreed")])
        assert Queue(desk).found("conflict", "", True).to_pylist() == []
    assert {outcome for _, action, outcome, _ in came(project.curate()) if action != "label"} == {"disagreement"}
    for who in ("anna", "ben"):
        desk = desk_of(project, who)
        queue = Queue(desk)
        (number,) = queue.found("disagreement", "", True).to_pylist()
        assert [each["action"] for each in shown_case(Session(desk, queue), queue.case(number))["decided"]] == [
            {"anna": "keep", "ben": "drop"}[who],
            "label",
        ]
        desk.decide([desk.decision(row, "drop")])
        assert queue.found("disagreement", "", True).to_pylist() == []


def test_what_is_the_same_row_once_more_is_not_to_be_decided(project: Project) -> None:
    wrong = {"text": "A colour that is none of those", "colour": "purple", "count": 1, "kind": "old"}
    project.add("rows.jsonl", [*ROWS, ROWS[0], ROWS[1] | {"kind": "new"}, ROWS[2] | {"text": f" {ROWS[2]['text']}"}])
    project.add("wrong.jsonl", [wrong, wrong])
    desk = desk_of_made(project)
    assert sorted(filter(None, desk.rows["reason"].to_pylist())) == [
        *("exact_duplicate", "exact_duplicate", "near_duplicate", "target_schema", "target_schema")
    ]
    queue = Queue(desk)
    assert [(each["kind"], each["all"]) for each in queue.counts()] == [
        ("quarantined", 2),
        ("quarantined/near_duplicate", 1),
        ("quarantined/target_schema", 1),
    ]


def desk_of_made(project: Project) -> Desk:
    project.curate()
    return desk_of(project)


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_a_number_of_any_size_is_an_answer_by_every_way(project: Project, number: int) -> None:
    desk = desk_of_made(project)
    row, text = first_id(desk), f'{{"colour": "red", "count": {number}}}'
    session = Session(desk, Queue(desk))
    body = {"id": row, "action": "target", "value": text}
    assert answer(session, "POST", "/decide", {}, body) == {"decided": "target"}
    by_case = shown_case(session, session.queue.case(0)) if session.queue.table.num_rows else {"decided": []}
    json.dumps(by_case)
    store = project.folder / "store"
    done = assay.decide(project.recipe_path, row, "target", text, who="ben", store=store)
    assert str(number) in json.dumps(assay.result.plain(done.data()))
    table = project.folder / "decisions.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "action", "value"], [row, "target", text]])
    assay.decide(project.recipe_path, table=table, who="ben", store=store)
    for name, lines in (("anna", 1), ("ben", 2)):
        assert [each.value["count"] for each in read(project.folder / f"{name}.jsonl")] == [number] * lines
    after = project.curate()
    assert {outcome for _, _, outcome, _ in came(after)} == {"applied", "replaced"}
    targets = [row["target"] for name in SPLITS for row in pq.read_table(after.folder / f"{name}.parquet").to_pylist()]
    assert text in targets
    again = desk_of(project)
    assert again.known(row).mended == f'{{"colour":"red","count":{number}}}'
    again.decide([again.decision(row, "keep")])
    assert ("anna", "keep", "no_effect", None) in came(project.curate())


@pytest.fixture
def divided(tmp_path: Path) -> Project:
    """Documents of three paragraphs, of which each is a row by itself."""
    document = json.loads(json.dumps(CONTRACT))
    made = Project(
        tmp_path,
        decisions="anna.jsonl",
        record=RECORD,
        fit=FIT | {"max_tokens": 260, "policy": "windows"},
        split={"train": 1, "validation": 0, "test": 0},
    )
    (tmp_path / "contract/contract.yaml").write_text(json.dumps(document))
    parts = [[f"{word} 7 boxes are {part} " + "here and there " * 6 for part in "abc"] for word in ("Red", "Green")]
    made.add("rows.jsonl", [{"text": "\n\n".join(each), "colour": "red", "count": 7, "kind": "old"} for each in parts])
    (tmp_path / "anna.jsonl").touch()
    return made


def published(curated: Curated) -> list[dict[str, Any]]:
    return [row for name in SPLITS for row in pq.read_table(curated.folder / f"{name}.parquet").to_pylist()]


def test_what_is_decided_of_a_part_is_decided_of_the_row(divided: Project) -> None:
    assert divided.curate().manifest.counts.made
    desk = desk_of(divided)
    red, green = (
        [row for row in desk.rows.to_pylist() if row["turns"][0]["content"].startswith(word)]
        for word in ("Red", "Green")
    )
    assert min(len(red), len(green)) > 1
    whole = red[0]["part_of"]
    told = assay.reviewing._row(desk, red[1]["id"])
    assert (told["editable"], "holds of all its parts" in told["where"]) == (False, True)
    for action, value in (("target", red[0]["target"]), ("same", green[0]["id"])):
        with pytest.raises(AssayError, match="part of a row that was divided") as error:
            desk.decision(red[1]["id"], action, value)
        assert whole in error.value.remedy
    assert desk.decision(red[1]["id"], "label", "new").id == whole
    desk.decide(
        [desk.decision(red[1]["id"], "label", "new"), desk.decision(whole, "target", '{"colour": "blue", "count": 7}')]
    )
    desk.decide([desk.decision(red[0]["id"], "keep"), desk.decision(green[1]["id"], "drop")])
    assert desk.known(red[2]["id"] if len(red) > 2 else red[1]["id"]).label == "new"
    after = divided.curate()
    assert came(after) == [
        ("anna", "label", "applied", "divided"),
        ("anna", "target", "applied", "divided"),
        ("anna", "keep", "no_effect", "divided"),
        ("anna", "drop", "applied", None),
    ]
    rows = published(after)
    assert {(row["label"], row["target"]) for row in rows} == {("new", '{"colour": "blue", "count": 7}')}
    assert len(rows) == len(red)
    again = desk_of(divided)
    again.decide([again.decision(rows[0]["id"], "label", "new"), again.decision(whole, "target", rows[0]["target"])])
    assert [outcome for _, _, outcome, _ in came(divided.curate())][4:] == ["applied", "applied"]
