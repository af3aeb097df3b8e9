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
from curate.forgotten import ForgottenError
from curate.pointers import Pointer
from curate.store import Store
from curate.traces import texts_in
from evaluation.ask.kept import kept_in
from evaluation.judge.answer import Generated
from tests.assay.conftest import Finished
from tests.assay.test_retraction import command
from tests.documented import missing
from tests.project import Project, make_rows

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
    told = {each.kind: each for each in assay.forget(test, store=place).holding}
    assert "adapter" not in told
    assert (told["scorecard"].which, told["scorecard"].fate) == (scorecard, "removed")
    told = {each.kind: each for each in assay.forget(train[:1], store=place).holding}
    assert (told["adapter"].which, told["adapter"].fate) == (
        adapter,
        "stays: it was trained on them (--adapters removes it)",
    )
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
