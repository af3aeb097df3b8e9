"""Rows are forgotten: afterwards no byte of the store says what they said, and they do not come back."""

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import assay
from assay import forgetting
from assay.web import listed
from curate.forgotten import ForgottenError
from curate.pointers import Pointer
from curate.publish import version as publishing
from curate.store import Store
from curate.traces import texts_in
from evaluation.ask.kept import kept_in
from evaluation.judge.answer import Generated
from tests.assay.conftest import Finished
from tests.assay.test_retraction import command
from tests.documented import missing
from tests.project import RECIPE, TARGET_SCHEMA, Project, make_rows

SECRET = "Zoltan Quixworth of Hexham paid the ferryman twice"
CASE = "case of Zoltan"


def with_secret(rows: list[dict[str, Any]], *places: int, **more: Any) -> list[dict[str, Any]]:
    """Rows of which some say what is to be forgotten, each in other words."""
    said = [dict(row) for row in rows]
    for number, place in enumerate(places):
        words = f"{SECRET}, {number} boats {'north south east west'.split()[number % 4]}"  # noqa: SIM905
        said[place] = {"text": words, "colour": "red", "count": number} | more
    return said


def spoken(store: Path) -> list[str]:
    """The files of a store that say it, whether packed or not."""
    return sorted(
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file() and any(word in data for data in told(path) for word in (b"Zoltan", b"Quixworth"))
    )


def told(path: Path) -> Iterator[bytes]:
    yield from texts_in(path)
    yield path.read_bytes()
    if path.suffix == ".html":
        for packed in re.findall(rb"H4sI[A-Za-z0-9+/=]+", path.read_bytes()):
            yield gzip.decompress(base64.b64decode(packed))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "one")


def drop(project: Project, name: str, rows: list[dict[str, Any]]) -> Path:
    project.drop = project.folder / name
    project.add("rows.jsonl", rows)
    return project.curate().folder


def ids_of(version: Path, names: tuple[str, ...] = ("train", "validation", "test", "quarantine")) -> set[str]:
    rows = [row for name in names for row in pq.read_table(version / f"{name}.parquet").to_pylist()]
    return {row["id"] for row in rows if "Quixworth" in json.dumps(row)}


def test_nothing_of_a_row_is_left_in_the_store_and_it_does_not_come_back(project: Project) -> None:
    version = drop(project, "first", with_secret(make_rows(150), 20, 75))
    store = project.folder / "store"
    assert spoken(store)
    (some, *more) = sorted(ids_of(version))
    plan = assay.forget([some, *more], store=store)
    assert not plan.removed
    assert version.is_dir()
    assert {(each.kind, each.which) for each in plan.holding} >= {
        ("data set", f"demo/{version.name}"),
        ("index", "demo"),
    }
    assert {(each["file"], each["row"]) for each in plan.drops} == {("rows.jsonl", 20), ("rows.jsonl", 75)}
    done = assay.forget([some, *more], store=store, remove=True, reason="asked for")
    assert done.left == []
    assert spoken(store) == []
    now = Store(store).resolve("datasets", "demo")
    assert now.name == done.now[f"demo/{version.name}"]
    assert not version.exists()
    assert Store(store).resolve("datasets", f"demo/{version.name}") == now
    assert assay.check(now).passed
    assert assay.check_store(store=store).problems == []
    project.drop = project.folder / "first"
    with pytest.raises(ForgottenError, match=r"rows\.jsonl, row 20") as refused:
        project.curate()
    assert refused.value.why == "forgotten"
    assert spoken(store) == []
    assert [event["why"] for event in Store(store).events() if event["event"] == "refused"] == ["forgotten"]


def test_what_is_left_is_as_it_was_and_later_drops_are_compared_with_it(tmp_path: Path) -> None:
    project = Project(tmp_path / "one", drop_is="delivery")
    rows = with_secret(make_rows(150), 20, 75)
    first = drop(project, "first", rows)
    second = drop(project, "second", [*make_rows(60, seed=9), rows[20]])
    third = drop(project, "third", make_rows(40, seed=10))
    store = project.folder / "store"
    before = {version: split_of(version) for version in (first, second)}
    (id_,) = ids_of(second)
    (twin,) = [row for row in pq.read_table(second / "quarantine.parquet").to_pylist() if row["id"] == id_]
    assert json.loads(twin["evidence"])["version"] == first.name
    done = assay.forget([id_], store=store, remove=True)
    new = {old: old.parent / done.now[f"demo/{old.name}"] for old in (first, second)}
    assert [entry.version for entry in assay.versions("demo", store=store).versions] == [
        new[first].name, new[second].name, third.name,
    ]  # fmt: skip
    page = {(each.version, each.time) for each in listed(Store(store))["datasets"]}
    assert page == {(each.version, each.time) for each in assay.versions("demo", store=store).versions}
    for old, now in new.items():
        assert split_of(now) == {row: split for row, split in before[old].items() if row != id_}
        assert assay.check(now).passed
    (other,) = ids_of(new[first])  # which was not asked for
    assert spoken(store) != []
    assert assay.check_store(store=store).problems == []
    project.drop = project.folder / "third"  # the same run again finds what it gave, though what it names has gone
    assert project.curate().folder == third
    more = drop(project, "more", [*make_rows(30, seed=11), rows[75]])
    (twin,) = [row for row in pq.read_table(more / "quarantine.parquet").to_pylist() if row["id"] == other]
    assert (twin["reason"], json.loads(twin["evidence"])["version"]) == ("exact_duplicate", new[first].name)
    again = assay.forget([other], store=store, remove=True)
    assert spoken(store) == []
    assert again.now.keys() == {f"demo/{new[first].name}", f"demo/{more.name}"}
    assert Store(store).resolve("datasets", f"demo/{first.name}").name == again.now[f"demo/{new[first].name}"]
    assert assay.check_store(store=store).problems == []


def split_of(version: Path) -> dict[str, str]:
    names = ("train", "validation", "test")
    return {id_: name for name in names for id_ in pq.read_table(version / f"{name}.parquet")["id"].to_pylist()}


def test_the_gate_is_asked_again_and_keeps_nothing_from_being_forgotten(project: Project) -> None:
    path = project.folder / "contract/contract.yaml"
    contract = yaml.safe_load(path.read_text())
    named = {"type": "custom", "engine": "greatExpectations"}
    bounds = {
        "fits": ("expect_column_values_to_be_between", {"min_value": 1, "max_value": "fit.max_tokens"}),
        "long_one": ("expect_column_max_to_be_between", {"min_value": 75}),
    }
    contract["schema"][1]["properties"].append(
        {
            "name": "tokens",
            "logicalType": "integer",
            "quality": [
                named | {"name": name, "implementation": {"type": kind, "kwargs": kwargs}}
                for name, (kind, kwargs) in bounds.items()
            ],
        }
    )
    path.write_text(yaml.safe_dump(contract, sort_keys=False))
    rows = [{"text": f"{number} balls", "colour": "red", "count": number} for number in range(40)]
    version = drop(project, "first", with_secret(rows, 3))
    store = project.folder / "store"
    done = assay.forget([*ids_of(version)], store=store, remove=True)
    now = version.parent / done.now[f"demo/{version.name}"]
    gate = json.loads((now / "manifest.json").read_bytes())["gate"]
    assert gate["failed"] == ["long_one"]
    assert gate["evaluated"] == len(gate["rules"])
    text = (now / "report.html").read_text(encoding="utf-8")
    assert re.search(r"<dt>Forgotten</dt><dd>1<", text)
    assert spoken(store) == []


def test_a_group_is_forgotten_with_what_comes_of_it_later(project: Project) -> None:
    drop(project, "first", with_secret(make_rows(80), 3, 40, case=CASE))
    store = project.folder / "store"
    done = assay.forget(group=CASE, store=store, remove=True)
    assert len(done.these.ids) == 2
    assert spoken(store) == []
    project.drop = project.folder / "other"
    project.add(
        "rows.jsonl", [*make_rows(50, seed=2), {"text": "something new", "colour": "red", "count": 1, "case": CASE}]
    )
    with pytest.raises(ForgottenError, match=r"rows\.jsonl, row 50"):
        project.curate()
    assert b"something new" not in b"".join(
        data for path in store.rglob("*") if path.is_file() for data in texts_in(path)
    )
    (store / "forgotten.jsonl").write_text("")
    assert project.curate().folder.is_dir()


def test_rows_are_named_by_what_they_say(project: Project) -> None:
    drop(project, "first", [*with_secret(make_rows(80), 3, 40), {"nobody": f"maps this: {SECRET}"}])
    store = project.folder / "store"
    done = assay.forget(where="'Quixworth' in text or 'Quixworth' in (raw or '')", store=store, remove=True)
    assert (len(done.these.ids), len(done.these.raws)) == (2, 1)
    assert spoken(store) == []
    project.drop = project.folder / "other"
    project.add("rows.jsonl", [*make_rows(50, seed=2), {"nobody": f"maps this: {SECRET}"}])
    with pytest.raises(ForgottenError, match=r"rows\.jsonl, row 50"):
        project.curate()


def test_what_was_refused_or_taken_back_is_forgotten_too(project: Project) -> None:
    rows = with_secret(make_rows(80), 3)
    version = drop(project, "first", rows)
    store = project.folder / "store"
    (id_,) = ids_of(version)
    assay.retract(f"demo/{version.name}", store=store)
    shutil.copytree(store / "retracted/datasets/demo" / version.name, store / "failed/demo")
    assert {each.kind for each in assay.forget([id_], store=store).holding} == {"retracted", "candidate", "cache"}
    assert assay.forget([id_], store=store, remove=True).left == []
    assert spoken(store) == []


def test_a_run_that_is_killed_is_ended_by_the_same_command(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = with_secret(make_rows(100), 20)
    first = drop(project, "first", rows)
    drop(project, "second", [*make_rows(60, seed=9), rows[20]])
    store = project.folder / "store"
    (id_,) = ids_of(first)
    real, made = forgetting.without, []

    def without(*given: Any) -> Path:
        if made:
            raise KeyboardInterrupt
        made.append(real(*given))
        return made[0]

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "without", without)
        with pytest.raises(KeyboardInterrupt):
            assay.forget([id_], store=store, remove=True)
    assert assay.forget([id_], store=store, remove=True).left == []
    assert spoken(store) == []
    assert assay.forget([id_], store=store, remove=True).now == {}  # a third time there is nothing left to do
    assert assay.check_store(store=store).problems == []


def test_who_was_trained_on_them_is_told_and_goes_if_asked_for(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    (train, test) = (
        pq.read_table(finished.version.folder / f"{split}.parquet", columns=["id"])["id"].to_pylist()
        for split in ("train", "test")
    )
    adapter, scorecard = f"demo/{finished.adapter.id}", f"demo/{finished.scorecard.id}"
    told = {each.which: each.fate for each in assay.forget(test, store=place).holding}
    assert adapter not in told
    assert told[scorecard] == "removed"
    told = {each.which: each.fate for each in assay.forget(train[:1], store=place).holding}
    assert told[adapter] == "stays: its version had them to train on (--adapters removes it)"
    status, said = command("forget", train[0], "--adapters", "--yes", "--store", place)
    assert status == 0
    assert missing("forget", said) == []
    assert not (place / "adapters/demo" / finished.adapter.id).exists()
    assert Store(place).pointed("adapters", "demo") == Pointer(None)
    assert assay.check_store(store=place).problems == []


def test_an_adapter_is_evaluated_on_what_is_left(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    id_ = pq.read_table(finished.version.folder / "test.parquet", columns=["id"])["id"].to_pylist()[0]
    done = assay.forget([id_], store=place, remove=True)
    scorecard = assay.evaluate(f"demo/{finished.adapter.id}", finished.project.recipe_path, store=place)
    assert scorecard.manifest.inputs.dataset.version == done.now[f"demo/{finished.version.id}"]


def test_answers_that_were_paid_for_go_where_they_quote_a_row(project: Project) -> None:
    version = drop(project, "first", with_secret(make_rows(80), 3))
    store = project.folder / "store"
    folder = store / "cache/endpoints/ab/abcd"
    folder.mkdir(parents=True)
    answers = {"quotes": f'{{"said": "{SECRET}, 0 boats north"}}', "other": '{"colour": "red"}'}
    with kept_in(folder) as kept:
        for key, answer in answers.items():
            kept.add(key, Generated(text=answer, tokens=3, seconds=0.1, truncated=False), [])
    assay.forget([*ids_of(version)], store=store, remove=True)
    assert spoken(store) == []
    with kept_in(folder) as kept:
        assert ("quotes" in kept, "other" in kept) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to forget"),
        (["0" * 32], "No such row"),
        (["--where", "text =="], "--where: no Jinja expression"),
        (["--where", "meta.x.y == 1"], "cannot be said of row"),
    ],
)
def test_what_cannot_be_forgotten_is_told(arguments: list[str], message: str, project: Project) -> None:
    drop(project, "first", make_rows(30))
    status, told = command("forget", *arguments, "--store", project.folder / "store")
    assert status == 1
    assert message in told["error"]["message"]


def test_a_list_that_is_not_understood_stops_every_run(project: Project) -> None:
    (project.folder / "store").mkdir()
    (project.folder / "store/forgotten.jsonl").write_text('{"id": "0", "group": "1"}\n')
    with pytest.raises(assay.AssayError, match=r"forgotten\.jsonl, line 1: not as"):
        drop(project, "first", make_rows(30))


def test_of_what_cannot_be_read_only_that_is_forgotten(project: Project) -> None:
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"sources": [{"files": ["*.jsonl", "*.parquet"]}]}))
    project.add("rows.jsonl", make_rows(40))
    for name in ("bad", "other"):
        (project.drop / f"{name}.parquet").write_bytes(b"PAR1" + name.encode() * 9)
    project.curate()
    store = project.folder / "store"
    done = assay.forget(where="file == 'bad.parquet'", store=store, remove=True)
    assert (len(done.these.ids), len(done.these.raws)) == (0, 1)
    (project.drop / "bad.parquet").write_bytes(b"PAR1 of a third kind")
    left = pq.read_table(project.curate().folder / "quarantine.parquet", columns=["source"])["source"].to_pylist()
    assert {source["file"] for source in left} >= {"bad.parquet", "other.parquet"}
    (project.drop / "bad.parquet").write_bytes(b"PAR1" + b"bad" * 9)
    with pytest.raises(ForgottenError, match=r"bad\.parquet, row 0"):
        project.curate()


def test_what_a_recipe_calls_part_of_ties_no_rows(project: Project) -> None:
    record = RECIPE["record"] | {"meta": {"part_of": "book", "part": "'1 of 2'"}}
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"record": record}))
    rows = [{"text": f"{number} balls", "colour": "red", "count": number, "book": "book 1"} for number in range(30)]
    version = drop(project, "first", rows)
    (id_, *_) = pq.read_table(version / "train.parquet", columns=["id"])["id"].to_pylist()
    done = assay.forget([id_], store=project.folder / "store", remove=True)
    assert done.these.ids == {id_}


@pytest.mark.parametrize(
    ("group", "rows", "asked"),
    [
        (["case", "client"], {"case": "a", "client": "client 3"}, "client 3"),
        ("client", {"client": "jane.doe@example.org"}, "jane.doe@example.org"),
    ],
)
def test_a_group_is_what_its_keys_say(project: Project, group: Any, rows: dict[str, str], asked: str) -> None:
    record = RECIPE["record"] | {"group": [f"{each} | default(none)" for each in group] if isinstance(group, list) else f"{group} | default(none)"}  # fmt: skip  # noqa: E501
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"record": record}))
    drop(project, "first", [*make_rows(40), {"text": "one of them", "colour": "red", "count": 3} | rows])
    store = project.folder / "store"
    assert len(assay.forget(group=asked, store=store, remove=True).these.ids) == 1
    more = {"text": "another one", "colour": "red", "count": 4} | rows | {"case": "b"}
    project.drop = project.folder / "second"
    project.add("rows.jsonl", [*make_rows(20, seed=4), more])
    with pytest.raises(ForgottenError, match=r"rows\.jsonl, row 20"):
        project.curate()


def test_words_of_the_store_itself_stay(tmp_path: Path) -> None:
    project = Project(tmp_path / "one", name="ferry_receipts_extraction")
    rows = [{"text": f"{number} balls", "colour": "red", "count": number} for number in range(30)]
    version = drop(
        project, "first", [*rows, {"text": '"ferry_receipts_extraction" and more', "colour": "red", "count": 1}]
    )
    names = ("train", "validation", "test")
    (id_,) = [
        row["id"]
        for name in names
        for row in pq.read_table(version / f"{name}.parquet").to_pylist()
        if "ferry" in row["turns"][0]["content"]
    ]
    store = project.folder / "store"
    assay.forget([id_], store=store, remove=True)
    assert {event["name"] for event in Store(store).events()} == {"ferry_receipts_extraction"}
    assert assay.check_store(store=store).problems == []


def test_a_folder_that_was_half_removed_is_no_version(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    version = drop(project, "first", with_secret(make_rows(60), 3))
    store, ids = project.folder / "store", ids_of(version)
    real = shutil.rmtree

    def killed(path: Path, *given: Any, **more: Any) -> None:
        if (Path(path) / "manifest.json").is_file() and Path(path).parent == version.parent:
            (Path(path) / "manifest.json").unlink()
            raise KeyboardInterrupt
        real(path, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            assay.forget([*ids], store=store, remove=True)
    assert assay.forget([*ids], store=store, remove=True).left == []
    assert spoken(store) == []
    assert assay.check_store(store=store).problems == []


def test_a_run_that_read_before_publishes_nothing_after(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    version = drop(project, "first", with_secret(make_rows(60), 3))
    store, ids = project.folder / "store", [*ids_of(version)]
    other = Project(project.folder / "other", name="other")
    other.add("rows.jsonl", with_secret(make_rows(60), 3))
    real = publishing.require_enough

    def meanwhile(*given: Any) -> None:
        assay.forget(ids, store=store, remove=True)
        real(*given)

    monkeypatch.setattr(publishing, "require_enough", meanwhile)
    with pytest.raises(assay.AssayError, match="Rows were forgotten meanwhile"):
        other.curate(store=str(store))
    monkeypatch.undo()
    with pytest.raises(ForgottenError):
        other.curate(store=str(store))


def test_of_many_rows_every_answer_that_quotes_one_goes(project: Project) -> None:
    words = "amber basil cedar dune ember fjord grove heath inlet jetty".split()  # noqa: SIM905
    rows = [
        {"text": " ".join(words[int(digit)] + str(place) for place, digit in enumerate(f"{number:09d}")), "colour": "red", "count": 1, "case": CASE}  # noqa: E501
        for number in range(1_500)
    ]  # fmt: skip
    drop(project, "first", [*rows, *make_rows(30)])
    store = project.folder / "store"
    folder = store / "cache/endpoints/ab/abcd"
    folder.mkdir(parents=True)
    with kept_in(folder) as kept:
        for number, row in enumerate(rows):
            kept.add(str(number), Generated(text=f'"{row["text"]}"'), [])
    assay.forget(group=CASE, store=store, remove=True)
    with kept_in(folder) as kept:
        assert [number for number in range(len(rows)) if str(number) in kept] == []


def test_a_later_report_names_no_label_that_only_those_rows_had(tmp_path: Path) -> None:
    schema = {"colour": {"type": "string"}, "count": {"type": "integer"}}
    project = Project(tmp_path / "one", drop_is="delivery")
    (project.folder / "contract/target.schema.json").write_text(json.dumps(TARGET_SCHEMA | {"properties": schema}))
    first = drop(
        project, "first", [*make_rows(60), {"text": "a thing", "colour": "Zoltanish Quixworth things", "count": 1}]
    )
    second = drop(project, "second", make_rows(40, seed=8))
    store = project.folder / "store"
    assert any("Quixworth" in name for name in (second / "report.html").read_text().splitlines())
    assay.forget([*ids_of(first)], store=store, remove=True)
    assert spoken(store) == []
    assert assay.check(second).passed
    assert assay.check_store(store=store).problems == []


def test_a_scorecard_that_was_taken_back_goes_too(finished: Finished, tmp_path: Path) -> None:
    place = shutil.copytree(finished.store, tmp_path / "store")
    assay.retract(f"demo/{finished.scorecard.id}", kind="scorecards", store=place)
    ids = pq.read_table(finished.version.folder / "test.parquet", columns=["id"])["id"].to_pylist()
    assert [each.kind for each in assay.forget(ids, store=place).holding].count("retracted") == 1
    assay.forget(ids, store=place, remove=True)
    assert not [*(place / "retracted/scorecards/demo").glob("[0-9a-f]*")]


def test_an_old_name_means_what_has_its_place(project: Project) -> None:
    version = drop(project, "first", with_secret(make_rows(60), 3))
    store = project.folder / "store"
    done = assay.forget([*ids_of(version)], store=store, remove=True)
    new = done.now[f"demo/{version.name}"]
    assert assay.promote(f"demo/{version.name}", store=store).data()["version"] == new
    assert assay.retract(f"demo/{version.name}", store=store).members[0].version == new
    assert Store(store).told("datasets", "demo") == []
    (store / "forgotten.jsonl").unlink()
    assert project.curate().folder == version
    assert Store(store).resolve("datasets", f"demo/{version.name}") == version
    assert [event["version"] for event in Store(store).told("datasets", "demo")] == [version.name]


def test_a_document_goes_with_the_rows_that_were_taken_from_it(project: Project) -> None:
    sections = {
        "sources": [{"files": ["table.jsonl"]}],
        "lookups": {"documents": {"files": ["contracts"], "key": "name"}},
        "record": RECIPE["record"] | {"turns": [{"role": "user", "content": "documents[name].text"}]},
    }
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | sections))
    (project.drop / "contracts").mkdir()
    rows = []
    for number, row in enumerate(with_secret([{"colour": "red", "text": f"{n} balls"} for n in range(30)], 4)):
        page = f"<html><body><p>Lease {number}: {row['text']}.</p></body></html>"
        (project.drop / f"contracts/c{number}.html").write_text(page)
        rows.append({"name": f"c{number}.html", "colour": "red", "count": number})
    project.add("table.jsonl", rows)
    project.curate()
    store = project.folder / "store"
    assert any(each.startswith("cache/documents") for each in spoken(store))
    done = assay.forget(where="'c4.html' in documents", store=store, remove=True)
    assert {(each["file"], each["row"]) for each in done.drops} == {("table.jsonl", 4), ("c4.html", None)}
    assert spoken(store) == []
    project.add("table.jsonl", [row for row in rows if row["name"] != "c4.html"])
    with pytest.raises(ForgottenError, match=r"contracts/c4\.html"):
        project.curate()
    assert spoken(store) == []
    (project.drop / "contracts/c4.html").unlink()
    project.curate()
    assert spoken(store) == []


def test_rows_of_another_data_set_that_ask_the_same_are_told(project: Project) -> None:
    version = drop(project, "first", with_secret(make_rows(60), 3))
    record = RECIPE["record"] | {"target": {"colour": "'blue'", "count": "count"}}
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"name": "other", "record": record}))
    other = project.curate().folder
    done = assay.forget([*ids_of(version)], store=project.folder / "store")
    assert {*done.alike} >= ids_of(other)
