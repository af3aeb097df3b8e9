"""Decisions of people: what a file of them says, and what the next version makes of it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import AssayError
from curate.publish.check import check_version
from curate.publish.version import Curated
from curate.record import SPLITS
from curate.rows.decisions import Decision, append, file_digest, kappa, lines_of, read, resolve, seen_hash
from tests.curate.test_unharmed import lighten
from tests.project import CONTRACT, Project

FIT = {"model": "tokenizer", "max_tokens": 300}
WHEN = "2026-01-02T03:04:05Z"
BOOK = "The red box on the upper shelf holds nine small round balls that people painted by hand for a game"
WORDS = "which was the second one of that afternoon and went on until it was dark"
PLAIN = [
    {"text": f"{number} {word} boxes hold {number + 1} balls of the {word} kind each", "colour": "red", "count": number}
    for number, word in enumerate("apple birch cedar dogwood elder fir gum hazel iris juniper".split())  # noqa: SIM905
]


def decision(row: dict[str, Any], action: str, value: Any = None, **more: Any) -> Decision:
    """A decision about a published or quarantined row, as it is."""
    seen = seen_hash(row["id"], row["label"], None)
    said = {"id": row["id"], "seen": seen, "action": action, "value": value, "who": "anna", "when": WHEN}
    return Decision.model_validate(said | more)


def rows_of(curated: Curated) -> dict[str, dict[str, Any]]:
    """Every row by its text: published ones with `split`, others with `stage` and `reason`."""
    found: dict[str, dict[str, Any]] = {}
    for name in (*SPLITS, "quarantine"):
        for row in pq.read_table(curated.folder / f"{name}.parquet").to_pylist():
            found[row["turns"][0]["content"]] = row | {"split": name}
    return found


def outcomes(curated: Curated) -> list[tuple[str, str, str | None]]:
    table = pq.read_table(curated.folder / "decisions.parquet").to_pylist()
    return [(row["action"], row["outcome"], row["because"]) for row in table]


def require_sound(curated: Curated) -> None:
    assert {check.name: check.examples for check in check_version(curated.folder) if check.failures} == {}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    lighten(monkeypatch)
    made = Project(tmp_path, decisions="anna.jsonl", quality={"max_chars": 140}, fit=FIT)
    made.add("rows.jsonl", PLAIN)
    (tmp_path / "anna.jsonl").touch()
    return made


def decide(project: Project, *decisions: Decision, file: str = "anna.jsonl") -> Curated:
    append(project.folder / file, decisions)
    curated = project.curate()
    require_sound(curated)
    return curated


def test_a_row_is_dropped_mended_relabelled_and_told(project: Project) -> None:
    first = project.curate()
    rows = [rows_of(first)[row["text"]] for row in PLAIN]
    after = decide(
        project,
        decision(rows[0], "drop", reason="not ours"),
        decision(rows[1], "target", {"colour": "blue", "count": 7}),
        decision(rows[2], "label", "green"),
        decision(rows[3], "target", {"colour": "purple", "count": 7}),
        decision(rows[4], "target", json.loads(rows[4]["target"])),
        decision(rows[5], "keep"),
        decision(rows[6], "note", reason="ask the author"),
        decision(rows[0] | {"id": "0" * 32}, "drop"),
        decision(rows[7] | {"label": "other"}, "drop"),
    )
    found = rows_of(after)
    gone = found[PLAIN[0]["text"]]
    assert (gone["stage"], gone["reason"]) == ("decisions", "decided")
    assert json.loads(gone["evidence"]) == {"decisions": [{"who": "anna", "reason": "not ours"}]}
    assert found[PLAIN[1]["text"]]["target"] == '{"colour": "blue", "count": 7}'
    assert (found[PLAIN[2]["text"]]["label"], found[PLAIN[2]["text"]]["decided"]) == ("green", "label")
    assert found[PLAIN[3]["text"]]["reason"] == "target_schema"
    assert {row["id"] for row in rows} == {row["id"] for row in found.values()}, "a row keeps its id"
    assert outcomes(after) == [
        ("drop", "applied", None),
        ("target", "applied", None),
        ("label", "applied", None),
        ("target", "overruled", "validate/target_schema"),
        ("target", "no_effect", None),
        ("keep", "no_effect", None),
        ("note", "noted", None),
        ("drop", "no_row", None),
        ("drop", "stale", None),
    ]
    told = after.manifest.decided
    assert told is not None
    assert told.outcomes == Counter(outcome for _, outcome, _ in outcomes(after))
    assert after.manifest.decisions == {"anna.jsonl": file_digest(read(project.folder / "anna.jsonl"))}
    assert first.manifest.decisions == {"anna.jsonl": file_digest([])}


def test_keep_overrules_opinions_and_no_facts(project: Project) -> None:
    long = {"text": f"{BOOK} {WORDS}", "colour": "blue", "count": 1}
    fits = [{"text": f"{BOOK} {word}", "colour": "red", "count": 2} for word in ("there", "here")]
    torn = [
        {"text": "Which of both answers is it that you give", "colour": each, "count": 3} for each in ("red", "blue")
    ]
    wrong = {"text": "A colour that is none of those", "colour": "purple", "count": 4}
    project.add("more.jsonl", [long, *fits, *torn, torn[0], wrong])
    first = project.curate()
    whole = pq.read_table(first.folder / "quarantine.parquet").to_pylist()
    assert sorted(row["reason"] for row in whole) == [
        *("conflict", "conflict", "conflict", "near_duplicate", "target_schema", "too_long")
    ]
    after = decide(
        project,
        *(
            decision(row, "keep")
            for row in whole
            if row["reason"] != "conflict" or (row["label"], row["source"]["row"]) == ("blue", 4)
        ),
    )
    found = pq.read_table(after.folder / "quarantine.parquet").to_pylist()
    assert sorted(row["reason"] for row in found) == ["conflict", "conflict", "target_schema"]
    assert sorted(outcomes(after)) == [
        ("keep", "applied", "duplicates/conflict"),
        ("keep", "applied", "duplicates/near_duplicate"),
        ("keep", "applied", "quality/too_long"),
        ("keep", "overruled", "validate/target_schema"),
    ]
    kept = [(row["target"], row["kept"]) for row in pq.read_table(after.folder / "conflicts.parquet").to_pylist()]
    assert sorted(kept) == [
        ('{"colour": "blue", "count": 3}', True),
        ('{"colour": "red", "count": 3}', False),
        ('{"colour": "red", "count": 3}', False),
    ]
    assert sum(stage.counters.get("kept_by_decision", 0) for stage in after.manifest.stages) == 3


def test_rows_are_the_same_or_are_not(project: Project) -> None:
    near = [{"text": f"{BOOK} {word}", "colour": "red", "count": 2} for word in ("there", "here")]
    torn = [
        {"text": "Which of both answers is it that you give", "colour": each, "count": 3} for each in ("red", "blue")
    ]
    alike = [
        {"text": text, "colour": "red", "count": 5}
        for text in ("What is it worth in the end", "How much is to be paid")
    ]
    apart = [
        {"text": text, "colour": each, "count": 6}
        for text, each in (("Who is meant by the seller", "red"), ("Name the vendor in this deed", "blue"))
    ]
    project.add("more.jsonl", [*near, *torn, *alike, *apart])
    first = project.curate()
    tables = [pq.read_table(first.folder / f"{name}.parquet").to_pylist() for name in (*SPLITS, "quarantine")]
    rows = {(row["turns"][0]["content"], row["label"]): row for table in tables for row in table}
    by = [[rows[each["text"], each["colour"]] for each in pair] for pair in (near, torn, alike, apart)]
    after = decide(
        project,
        *(
            decision(one, action, other["id"])
            for (one, other), action in zip(by, ["different", "different", "same", "same"], strict=True)
        ),
    )
    gone = {row["turns"][0]["content"]: row for row in pq.read_table(after.folder / "quarantine.parquet").to_pylist()}
    assert {text: row["reason"] for text, row in gone.items()} == {
        **dict.fromkeys((each["text"] for each in apart), "conflict"),
        alike[1 if alike[1]["text"] in gone else 0]["text"]: "decided_duplicate",
    }
    assert after.manifest.counts.kept == 10 + 2 + 2 + 1


def test_of_rows_that_are_the_same_one_stays_however_they_were_paired(project: Project) -> None:
    texts = ["What is it worth in the end", "How much is to be paid", "Say the price of the whole", "Name the sum due"]
    project.add("more.jsonl", [{"text": text, "colour": "red", "count": 5} for text in texts])
    found = rows_of(project.curate())
    chain = sorted((found[text] for text in texts), key=lambda row: row["id"])
    pairs = [(chain[0], chain[3]), (chain[2], chain[3]), (chain[1], chain[2])]
    after = decide(project, *(decision(one, "same", other["id"]) for one, other in pairs))
    gone = pq.read_table(after.folder / "quarantine.parquet").to_pylist()
    assert {row["reason"] for row in gone} == {"decided_duplicate"}
    assert len(gone) == len(texts) - 1
    (kept,) = {json.loads(row["evidence"])["kept"] for row in gone}
    assert kept in {row["id"] for row in rows_of(after).values()}


def test_the_version_is_that_of_what_was_said_not_of_when(project: Project) -> None:
    rows = [rows_of(project.curate())[row["text"]] for row in PLAIN]
    one = decide(project, decision(rows[0], "drop"))
    (project.folder / "anna.jsonl").unlink()
    later = decide(project, decision(rows[0], "drop", when="2031-01-01T00:00:00Z"))
    assert later.folder == one.folder
    other = project.curate(store="second", shard_bytes=200)
    assert other.folder.name == project.curate(store="third").folder.name


def test_only_the_shards_that_hold_a_decided_row_are_judged_again(project: Project) -> None:
    rows = [rows_of(project.curate(shard_bytes=200))[row["text"]] for row in PLAIN]
    append(project.folder / "anna.jsonl", [decision(rows[0], "drop")])
    cached, shards = project.curate(shard_bytes=200).cached["decisions"]
    assert shards > 2
    assert cached == shards - 1


def test_of_one_person_the_last_word_stands_and_undo_takes_it_back(tmp_path: Path) -> None:
    row = {"id": "a" * 32, "label": "red"}
    mended = seen_hash(row["id"], "red", '{"a":1}')
    said = [
        decision(row, "drop"),
        decision(row, "keep"),
        decision(row, "undo"),
        decision(row, "target", {"a": 1}),
        decision(row, "label", "blue", seen=mended),
        decision(row, "keep", seen=seen_hash(row["id"], "blue", '{"a":1}')),
        decision(row, "keep", seen=seen_hash(row["id"], "blue", '{"a":2}')),
    ]
    append(tmp_path / "a.jsonl", said)
    found = resolve(lines_of([tmp_path / "a.jsonl"]), {row["id"]: {"red"}})
    assert found.outcomes == ["replaced", "replaced", "noted", None, None, None, "stale"]
    verdict = found.rows[row["id"]]
    assert (verdict.keep, verdict.drop, verdict.target, verdict.label) == (True, [], '{"a": 1}', ("blue",))


def test_what_two_people_disagree_on_is_not_applied(project: Project) -> None:
    rows = [rows_of(project.curate())[row["text"]] for row in PLAIN]
    recipe = project.recipe_path.read_text().replace("decisions: anna.jsonl", "decisions: [anna.jsonl, ben.jsonl]")
    project.recipe_path.write_text(recipe)
    append(project.folder / "anna.jsonl", [decision(row, "drop") for row in rows[:3]])
    ben = [decision(row, "drop", who="ben") for row in rows[:2]] + [decision(rows[2], "keep", who="ben")]
    after = decide(project, *ben, file="ben.jsonl")
    assert after.manifest.counts.quarantined == 2
    assert Counter(outcomes(after)) == {("drop", "applied", None): 4} | {
        (action, "disagreement", None): 1 for action in ("drop", "keep")
    }
    (told,) = after.manifest.decided.agreement  # type: ignore[union-attr]
    assert (told.who, told.of, told.rows, told.agreed, told.kappa) == (["anna", "ben"], "fate", 3, 2, 0.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_is_that_of_scikit_learn(answers: list[tuple[str, str]]) -> None:
    cohen = pytest.importorskip("sklearn.metrics").cohen_kappa_score
    ours = kappa(answers)
    if ours is None:
        assert len({*answers}) == 1
    else:
        assert ours == pytest.approx(cohen([a for a, _ in answers], [b for _, b in answers]), abs=1e-6)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 1: no line of JSON"),
        ('{"id": "x"}', "line 1: id: String should match pattern"),
        ({"action": "sell"}, "line 1: action: Input should be 'keep', 'drop'"),
        ({"action": "same"}, "line 1: the line: same needs another row's id as its value"),
        ({"action": "keep", "value": 3}, "keep has no value"),
        ({"colour": "red"}, "line 1: colour: Extra inputs are not permitted"),
        ('{"id": 1, "id": 2}', "line 1: no line of JSON"),
    ],
)
def test_a_line_that_is_no_decision_is_an_error(tmp_path: Path, line: Any, problem: str) -> None:
    known = {"id": "a" * 32, "seen": "b" * 16, "action": "keep", "who": "anna", "when": WHEN}
    (tmp_path / "a.jsonl").write_text(line if isinstance(line, str) else json.dumps(known | line))
    with pytest.raises(AssayError) as error:
        read(tmp_path / "a.jsonl")
    assert problem in error.value.message


def test_a_file_that_is_not_there_is_an_error_and_one_elsewhere_is_too(project: Project) -> None:
    (project.folder / "anna.jsonl").unlink()
    with pytest.raises(AssayError, match=r"anna.jsonl: decisions cannot be read: No such file"):
        project.curate()
    project.recipe_path.write_text(project.recipe_path.read_text().replace("anna.jsonl", "../anna.jsonl"))
    with pytest.raises(AssayError, match=r"recipe.yaml: decisions.files"):
        project.recipe  # noqa: B018


def test_what_is_decided_of_a_row_that_is_divided_holds_of_its_parts(tmp_path: Path) -> None:
    said = [(role, f"{word} {at} " * 9) for at in range(3) for role, word in (("user", "one"), ("assistant", "two"))]
    split = {"model": "tokenizer", "max_tokens": 180, "policy": "split_turns"}
    record = {"turns": "turns", "label": "colour"}
    project = Project(tmp_path, decisions="anna.jsonl", record=record, fit=split, duplicates={"threshold": 1.0})
    contract = project.folder / "contract"
    (contract / "target.schema.json").unlink()
    document = json.loads(json.dumps(CONTRACT))
    document["schema"][0]["properties"].pop()
    (contract / "contract.yaml").write_text(json.dumps(document))
    turns = [[{"role": role, "content": f"{text}{n}"} for role, text in said] for n in range(8)]
    project.add("rows.jsonl", [{"turns": each, "colour": "red"} for each in turns])
    (tmp_path / "anna.jsonl").touch()
    first = project.curate()
    assert first.manifest.counts.made
    parts = pq.read_table(first.folder / "train.parquet").to_pylist()
    whole = dict(parts[0]["meta"][at].values() for at in range(len(parts[0]["meta"])))["part_of"]
    row = {"id": whole, "label": "red"}
    after = decide(project, decision(row, "label", "blue"), decision(row, "keep"), decision(parts[1], "drop"))
    assert outcomes(after) == [
        ("label", "applied", "divided"),
        ("keep", "no_effect", "divided"),
        ("drop", "no_row", None),
    ]
    labels = Counter(
        row["label"] for name in SPLITS for row in pq.read_table(after.folder / f"{name}.parquet").to_pylist()
    )
    assert labels["blue"] > 1
