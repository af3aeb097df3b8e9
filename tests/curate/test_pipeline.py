"""The laws on whole runs: rows conserved, the same bytes, nothing half-published, no leak, nothing cut."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from curate.cache import entries
from curate.errors import AssayError
from curate.manifest import DatasetManifest
from curate.publish.check import check_version
from curate.publish.version import Curated, GateError
from curate.record import SPLITS
from curate.rows.chat_template import ChatTemplate, read_template
from curate.rows.renderer import Renderer, load_tokenizer
from curate.store import Store
from tests.project import CONTRACT, RECIPE, Project, make_rows


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    rows = make_rows(240)
    for number in range(6):
        made.add(f"part-{number}.jsonl", rows[number * 40 : (number + 1) * 40])
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(curated: Curated) -> dict[str, pa.Table]:
    return {name: pq.read_table(curated.folder / f"{name}.parquet") for name in SPLITS}


def test_rows_are_conserved_at_every_stage_and_in_all(project: Project) -> None:
    project.add("an-empty-one.jsonl", [])
    with (project.drop / "part-0.jsonl").open("a") as file:
        file.write('{"text": "broken\n[1]\n{"text": 7, "colour": "red", "count": 1}\n')
        file.write('{"text": "a stop `<|im_end|>` in the words", "colour": "red", "count": 1}\n')
    curated = project.curate()
    counts, stages = curated.manifest.counts, curated.manifest.stages
    assert counts.rows_in == 244 == counts.kept + counts.quarantined
    rows = 244
    for stage in stages:
        assert stage.rows_in == rows == stage.kept + stage.rejected
        assert stage.rejected == sum(stage.reasons.values())
        rows = stage.kept
    order = "read clean language quality pii decontaminate validate render fit duplicates split"
    assert [stage.name for stage in stages] == order.split()
    quarantine = pq.read_table(curated.folder / "quarantine.parquet")
    reasons = Counter(quarantine["reason"].to_pylist())
    assert {"unreadable", "unmappable", "too_long", "empty", "conflict", "exact_duplicate", "near_duplicate"} < set(
        reasons
    )
    assert {"target_schema", "special_token", "too_many_tokens"} < set(reasons)
    # Every line of the drop is in the version or in the quarantine, once, and told where it came from.
    published = [source for table in rows_of(curated).values() for source in table["source"].to_pylist()]
    sources = published + quarantine["source"].to_pylist()
    assert len({(source["file"], source["row"]) for source in sources}) == 244
    assert {source["drop"] for source in sources} == {curated.manifest.drop.sha256}
    broken = quarantine.filter(pc.equal(quarantine["reason"], "unreadable")).to_pylist()
    assert [row["raw"] for row in broken] == ['{"text": "broken\n', "[1]\n"]
    assert all(row["evidence"] for row in quarantine.to_pylist())


def test_same_bytes_whatever_the_shards_the_order_or_the_workers(project: Project) -> None:
    from curate.workers import process_pool

    def shuffled(stage: str, function: Callable[[Any], Any], tasks: Sequence[Any], /) -> list[Any]:
        order = random.Random(stage).sample(range(len(tasks)), len(tasks))
        results = {index: function(tasks[index]) for index in order}
        return [results[index] for index in range(len(tasks))]

    first = project.curate("one")
    again = project.curate("two", shuffled, shard_bytes=1000)
    assert contents(first.folder) == contents(again.folder)
    with process_pool(2, lambda *_: None) as pool:
        pooled = project.curate("three", pool, shard_bytes=2000)
    assert contents(pooled.folder) == contents(first.folder)


def test_a_second_run_takes_everything_from_the_cache(project: Project) -> None:
    first, second = project.curate(), project.curate()
    assert first.folder == second.folder
    assert all(hit == of for hit, of in second.cached.values())
    assert not any(hit for hit, _ in first.cached.values())


def test_a_change_redoes_only_what_comes_after_it(project: Project) -> None:
    project.curate()
    project.recipe_path.write_text(project.recipe_path.read_text().replace("max_chars: 400", "max_chars: 300"))
    cached = project.curate().cached
    assert all(cached[name][0] == cached[name][1] for name in ("read", "clean", "language"))
    assert cached["quality"][0] == 0


def test_no_leak_between_splits(project: Project) -> None:
    tables = rows_of(project.curate())
    assert all(table.num_rows > 5 for table in tables.values())
    for key in ("group", "cluster", "id"):
        names = [set(table[key].drop_null().to_pylist()) for table in tables.values()]
        assert not (names[0] & names[1])
        assert not (names[0] & names[2])
        assert not (names[1] & names[2])


def test_a_row_keeps_its_split_when_new_drops_arrive(project: Project) -> None:
    def splits(curated: Curated) -> dict[str, str]:
        return {key: name for name, table in rows_of(curated).items() for key in table["id"].to_pylist()}

    before = splits(project.curate())
    project.add("later.jsonl", make_rows(200, seed=1))
    project.add("aaa.jsonl", make_rows(60, seed=2))
    later = project.curate()
    after = splits(later)
    assert all(after[key] == name for key, name in before.items() if key in after)
    assert len(after) > len(before)
    tables = rows_of(later)
    assert not set(tables["train"]["cluster"].to_pylist()) & set(tables["test"]["cluster"].to_pylist())


def test_a_row_goes_only_in_favour_of_a_published_one(project: Project) -> None:
    curated = project.curate()
    published = {key for table in rows_of(curated).values() for key in table["id"].to_pylist()}
    quarantine = pq.read_table(curated.folder / "quarantine.parquet").to_pylist()
    named = [json.loads(row["evidence"])["kept"] for row in quarantine if row["reason"].endswith("_duplicate")]
    assert len(named) > 10
    assert set(named) <= published


def test_nothing_is_cut(project: Project) -> None:
    curated = project.curate()
    tokenizer, tokens = load_tokenizer(project.tokenizer)
    renderer = Renderer(ChatTemplate("chatml"), tokenizer, tokens)
    for table in rows_of(curated).values():
        for row in table.to_pylist():
            assert row["text"] == renderer.text(row["messages"])
            assert row["messages"][-1] == {"role": "assistant", "content": row["target"], "trained": None}
            assert row["tokens"] == len(renderer.encode(row["messages"]).input_ids) <= 150
    fit = next(stage for stage in curated.manifest.stages if stage.name == "fit")
    assert fit.reasons["too_many_tokens"] == fit.rejected > 0


def test_personal_data_does_not_reach_the_published_rows(project: Project) -> None:
    published = contents(project.curate().folder)
    text = b"".join(published[f"{name}.jsonl"] for name in SPLITS)
    assert b"[EMAIL_1]" in text
    assert b"[PHONE_1]" in text
    assert b"jane.doe" not in text


def test_a_failed_gate_publishes_nothing_and_names_the_expectation(project: Project) -> None:
    import yaml

    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 100_000}}
    quality = [{"name": "enough_rows", "type": "custom", "engine": "greatExpectations", "implementation": rule}]
    record, whole = CONTRACT["schema"]
    document = CONTRACT | {"schema": [record, whole | {"quality": quality}]}
    (project.folder / "contract/contract.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(GateError, match="enough_rows") as error:
        project.curate()
    assert re.search(r"\n\d+ rows are kept; quarantined: .*\d+ near_duplicate \(duplicates\)", error.value.message)
    assert not list((project.folder / "store/datasets").rglob("*.parquet"))


def test_the_manifest_holds_neither_clock_nor_path(project: Project) -> None:
    curated = project.curate()
    text = (curated.folder / "manifest.json").read_text()
    assert str(project.folder) not in text
    manifest = DatasetManifest.read(curated.folder)
    assert set(manifest.files) >= {"train.parquet", "test.jsonl", "quarantine.parquet", "conflicts.parquet"}
    assert manifest.drop.files == 6
    event, promoted = map(json.loads, (project.folder / "store/ledger/events.jsonl").read_text().splitlines())
    assert (promoted["event"], promoted["version"]) == ("promoted", event["version"])
    assert event["version"] == curated.folder.name
    assert event["time"]


def untold(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Path]:
    """A store with a version whose run was killed before the ledger told of it."""
    store = Store(project.folder / "store")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            project.curate()
    (version,) = store.versions("datasets", "demo")
    return store, version


@pytest.mark.parametrize("noted", [False, True])
def test_the_ledger_tells_of_a_version_whose_run_was_killed_before_it_did(
    project: Project, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    """The next run says so, whether it finds the version by the cache's note or by what it holds."""
    store, version = untold(project, monkeypatch)
    assert store.events() == []
    if noted:
        project.curate()
        (store.ledger / "events.jsonl").unlink()
    curated = project.curate()
    assert curated.folder == version
    (told,) = store.told("datasets", "demo")
    manifest = curated.manifest
    assert (told["version"], told["drop"]) == (version.name, manifest.drop.sha256)
    assert (told["where"], told["counts"]) == (str(project.drop), manifest.counts.content())
    project.curate()
    assert len(store.told("datasets", "demo")) == 1


def test_the_ledger_tells_of_it_though_another_recipe_comes_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, version = untold(project, monkeypatch)
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"quality": {"min_chars": 30}}))
    curated = project.curate()
    assert [told["version"] for told in store.told("datasets", "demo")] == [version.name, curated.folder.name]


def test_the_ledger_tells_of_it_though_another_drop_comes_next(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, version = untold(project, monkeypatch)
    project.drop = project.folder / "next"
    project.add("1.jsonl", make_rows(40, 9))
    curated = project.curate()
    told = store.told("datasets", "demo")
    assert [event["version"] for event in told] == [version.name, curated.folder.name]
    assert ["where" in event for event in told] == [False, True], "nobody knows where that drop lay"
    assert not any(check.failures for check in check_version(version))


def test_a_damaged_line_of_the_ledger_is_told_before_anything_is_done(project: Project) -> None:
    project.curate()
    path = project.folder / "store/ledger/events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"datasets"', b'"dataseps"', 1))
    project.drop = project.folder / "next"
    project.add("1.jsonl", make_rows(40, 9))
    seen = {each.folder for each in entries(project.folder / "store/cache")}
    with pytest.raises(AssayError, match="line 1: not as it was written"):
        project.curate()
    assert {each.folder for each in entries(project.folder / "store/cache")} == seen


def test_conflicts_are_listed_whole(project: Project) -> None:
    curated = project.curate()
    table = pq.read_table(curated.folder / "conflicts.parquet").to_pylist()
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in table:
        groups.setdefault(row["conflict"], []).append(row)
    assert len(groups) == curated.manifest.counts.conflicts > 0
    for rows in groups.values():
        assert len({json.dumps(row["turns"]) for row in rows}) == 1
        assert len({row["target"] for row in rows}) > 1
        assert not any(row["kept"] for row in rows)


def test_an_unreadable_file_is_a_clear_error(project: Project) -> None:
    project.recipe_path.write_text(project.recipe_path.read_text().replace("*.jsonl", "*.csv"))
    with pytest.raises(AssayError, match=r"No file matches '\*\.csv'"):
        project.curate()


def test_a_drop_without_rows_is_a_clear_error(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("empty.jsonl", [])
    with pytest.raises(AssayError, match=r"holds no rows: 1 file\(s\) of 0 bytes"):
        project.curate()
    assert not (project.folder / "store/datasets").exists()
    (told,) = Store(project.folder / "store").events()
    assert (told["event"], told["why"], told["where"]) == ("refused", "unreadable", str(project.drop))


def test_examples_show_no_part_of_a_number_that_lies_across_their_edge(project: Project) -> None:
    edge = "card 4111 1111 1111 1111 " + "x" * 40 + "\u200b or " + "y" * 36 + " 5555 5555 5555 4444 then"
    project.add("secret.jsonl", [{"text": edge, "colour": "red", "count": 1}])
    clean = next(stage for stage in project.curate().manifest.stages if stage.name == "clean")
    shown = [text for found in clean.examples.values() for each in found for text in each.values()]
    ours = [text for text in shown if "xxxxx" in text]
    assert len(ours) >= 2
    assert not [text for text in ours if any(part in text for part in ("1111", "5555", "4444"))]


def test_a_template_or_a_schema_that_has_changed_is_rendered_anew_in_the_same_process(project: Project) -> None:
    chat, task = project.folder / "mine.jinja", project.folder / "task.jinja"
    chat.write_text(read_template("chat", "chatml"))
    task.write_text("{% block user %}{{ schema.properties | join(', ') }}: {{ content }}{% endblock %}")
    recipe = yaml.safe_load(project.recipe_path.read_text()) | {"render": {"task": "task.jinja", "chat": "mine.jinja"}}
    project.recipe_path.write_text(yaml.safe_dump(recipe))

    def text() -> str:
        return str(rows_of(project.curate())["train"]["text"][0])

    first = text()
    assert "colour, count: " in first
    chat.write_text("{{ 'Hello. ' }}" + chat.read_text())
    assert text() == f"Hello. {first}"
    path = project.folder / "contract/target.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"] = dict(reversed(schema["properties"].items()))
    path.write_text(json.dumps(schema))
    assert "count, colour: " in text()


def test_a_reference_that_is_read_in_another_way_is_compared_anew(project: Project) -> None:
    (project.drop / "reference.csv").write_bytes("слово за словом идёт строка о коробках на полке".encode("koi8-r"))
    said = "слово за словом идёт строка о коробках на полке"
    project.add("russian.jsonl", [{"text": said, "colour": "red", "count": 3}])

    def contaminated(encoding: str) -> int:
        recipe = yaml.safe_load(project.recipe_path.read_text())
        reference = {"files": ["reference.csv"], "format": "text", "encoding": encoding}
        project.recipe_path.write_text(yaml.safe_dump(recipe | {"decontaminate": {"references": [reference]}}))
        stages = {stage.name: stage for stage in project.curate().manifest.stages}
        return stages["decontaminate"].rejected

    assert contaminated("cp1251") == 0
    assert contaminated("koi8-r") == 1


@pytest.mark.parametrize("drop_is", ["appended", "all", "delivery"])
def test_a_prompt_keeps_its_split_where_the_recipe_gives_it_another_answer(drop_is: str, tmp_path: Path) -> None:
    """Else who was trained on the version before would be asked what it has seen."""

    def split_of(version: Path) -> dict[str, str]:
        return {
            row["turns"][0]["content"]: split
            for split in SPLITS
            for row in pq.read_table(version / f"{split}.parquet", columns=["turns"]).to_pylist()
        }

    project = Project(tmp_path / "one", drop_is=drop_is)
    words = "amber basil cedar dune ember fjord grove heath inlet jetty".split()  # noqa: SIM905
    rows = [
        {"text": f"{words[n % 10]} {words[n // 3]} tower {words[::-1][n % 7]}", "colour": "red", "count": n}
        for n in range(30)
    ]
    project.add("rows.jsonl", rows[:20])
    first = project.curate()
    project.add("rows.jsonl", rows)
    second = project.curate()
    before = split_of(first.folder) | split_of(second.folder)
    record = RECIPE["record"] | {"target": {"colour": "'blue'", "count": "count"}}
    project.recipe_path.write_text(yaml.safe_dump(RECIPE | {"drop_is": drop_is, "record": record}))
    third = project.curate()
    after = split_of(third.folder)
    assert after
    assert after == {prompt: before[prompt] for prompt in after}
    assert not any(check.failures for check in check_version(third.folder))
    assert project.curate().folder == third.folder
