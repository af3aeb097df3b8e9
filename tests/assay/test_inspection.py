"""Inspect: what a newcomer is shown of files without a recipe, and the recipe that they get."""

import glob
import gzip
import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from assay.cli import app
from assay.console import UNSAFE
from assay.file_group import Group
from assay.inspection import inspect
from assay.previews import previews
from assay.starter import orders, write_starter
from curate.contract import Contract
from curate.engine import map_in_process
from curate.errors import AssayError
from curate.pipeline import curate
from curate.publish.summary import curation_tables
from curate.read.files import find_files
from curate.read.mapping import Mapper, RecordMapping
from curate.read.profile import Seen
from curate.read.shapes import SHAPES
from curate.record import SPLITS
from curate.store import Store
from evaluation.settings import FullRecipe
from tests.project import Project, make_rows

HOSTILE = "\x1b[2J\x1b]0;x\x07 [red]r[/red] [link=http://example.org]l[/link] {{ 7 * 7 }} {% raw %} \u202e"


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def only(path: Path) -> Group:
    [group] = inspect(path, 1000).groups
    return group


def started(path: Path, folder: Path, tokenizer: Path) -> FullRecipe:
    """The starter recipe of a file, with a tokenizer that is there."""
    write_starter(inspect(path, 1000), folder)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["fit"]["model"] = str(tokenizer)
    (folder / "tested.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return FullRecipe.load(folder / "tested.yaml")


# What columns look like


def group_of(rows: list[dict[str, Any]]) -> Group:
    group = Group("jsonl")
    for row in rows:
        group.profile.add(row)
    return group


@pytest.mark.parametrize(
    ("rows", "mapping"),
    [
        (
            [{"id": n, "text": f"word {n}", "answer": f"free {n}", "case_id": n // 2} for n in range(20)],
            {
                "turns": [{"role": "user", "content": "text"}, {"role": "assistant", "content": "answer"}],
                "group": "case_id",
            },
        ),
        (
            [{"index": n, "answer": ["Yes", "No"][n % 2], "text": f"word {n}"} for n in range(20)],
            {"turns": [{"role": "user", "content": "text"}], "target": {"answer": "answer"}, "label": "answer"},
        ),
        (
            [{"the text": f"word {n}", "fields": json.dumps({"n": n})} for n in range(20)],
            {"turns": [{"role": "user", "content": '_row["the text"]'}], "target": "fields"},
        ),
        (
            [{"body": f"word {n}", "lang": "en"} | ({"out": {"n": n}} if n else {}) for n in range(20)],
            {"turns": [{"role": "user", "content": "body"}], "target": "out | default(none)"},
        ),
        (
            [{"short": "a", "long": f"words {n}", "not": n, "is": "pq"[n % 2], "kind": "pq"[n % 2]} for n in range(20)],
            {
                "turns": [{"role": "user", "content": "long"}],
                "target": {"is": '_row["is"]', "kind": "kind"},
                "label": "kind",
            },
        ),
        (
            [{"Agent reply": f"yes {n}", "customer_message": f"words {n}", "priority": "ab"[n % 2]} for n in range(20)],
            {"turns": [{"role": "user", "content": "customer_message"},
                       {"role": "assistant", "content": '_row["Agent reply"]'}]},
        ),
        (
            [{"Frage": f"Wie {n}?", "Antwort": f"So geht die Nummer {n}.", "Größe": str(n)} for n in range(20)],
            {"turns": [{"role": "user", "content": "Frage"}, {"role": "assistant", "content": "Antwort"}]},
        ),
        (
            [{"key": f"k{n}", "first": f"What was written first {n}", "then": f"and what then {n}"} for n in range(20)],
            {"turns": [{"role": "user", "content": "first"}, {"role": "assistant", "content": "then"}]},
        ),
    ],
)  # fmt: skip
def test_a_mapping_is_guessed(rows: list[dict[str, Any]], mapping: dict[str, Any]) -> None:
    assert group_of(rows).mapping() == mapping


def test_an_id_is_told_and_what_cannot_be_guessed_is_said() -> None:
    group = group_of([{"uid_id": f"u{n}", "page": f"word {n} and more"} for n in range(20)])
    assert (group.guess.id, group.guess.prompt, group.guess.answers) == ("uid_id", "page", ())
    with pytest.raises(AssayError, match="No column looks like an answer; there are uid_id, page"):
        group.mapping()
    with pytest.raises(AssayError, match="No column looks like a prompt; there are n"):
        group_of([{"n": 1}]).mapping()


def test_why_rows_are_not_read_is_said(tmp_path: Path) -> None:
    image = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    write(tmp_path / "image.jsonl", [image] * 3)
    shown = " ".join(CliRunner().invoke(app, ["inspect", str(tmp_path / "image.jsonl")]).output.split())
    assert "a part of type 'image_url'; only text can be learned" in shown
    (tmp_path / "header.csv").write_text("question,answer\n")
    (tmp_path / "broken.jsonl").write_text("{\n" * 3)
    for name, why in {"header.csv": "there is no row in it", "broken.jsonl": "none of its rows can be read"}.items():
        with pytest.raises(AssayError, match=f"{name}: {why}"):
            write_starter(inspect(tmp_path / name, 10), tmp_path / "out")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3), min_size=1, max_size=12))
def test_a_schema_holds_for_all_that_it_was_derived_from(values: list[Any]) -> None:
    import jsonschema_rs

    seen = Seen()
    for value in values:
        seen.add(value)
    schema = seen.schema()
    validator = jsonschema_rs.validator_for({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema)
    for value in values:
        validator.validate(value)
    # And not for an object of another key.
    if schema.get("properties"):
        assert not validator.is_valid({**{key: values[0].get(key) for key in schema["required"]}, "another": 1})


def test_a_schema_has_types_required_keys_and_classes() -> None:
    seen = Seen()
    for number in range(20):
        seen.add({"kind": "ab"[number % 2], "n": number, "x": number / 2, "tags": ["t"], "name": f"n{number}"})
    seen.add({"kind": None, "n": 1, "x": 1, "tags": []})
    assert seen.schema() == {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b", None]},
            "n": {"type": "integer"},
            "x": {"type": "number"},
            "tags": {"type": "array", "items": {"enum": ["t"]}},
            "name": {"type": "string"},
        },
        "required": ["kind", "n", "x", "tags"],
        "additionalProperties": False,
    }


# Files


def test_files_of_one_kind_are_taken_together_and_the_largest_kind_comes_first(tmp_path: Path) -> None:
    asked = [{"instruction": f"q {n}", "output": "a"} for n in range(30)]
    write(tmp_path / "in/a.jsonl", asked)
    write(tmp_path / "in/deep/b.jsonl", asked)
    (tmp_path / "in/c.csv").write_text("x,y\n1,2\n")
    (tmp_path / "in/LICENSE").write_text("MIT")
    (tmp_path / "in/.hidden.jsonl").write_text("{}")
    write(tmp_path / "in/unnamed.rows", [{"x": 1, "z": 2}])
    found = inspect(tmp_path / "in", 40)
    assert found.passed_over == ["LICENSE"]
    assert [[file.name for file in group.files] for group in found.groups] == [
        ["a.jsonl", "deep/b.jsonl"], ["c.csv"], ["unnamed.rows"],
    ]  # fmt: skip
    first, _, unnamed = found.groups
    assert (first.format, first.options, first.profile.rows, first.shapes) == ("jsonl", {}, 40, {"alpaca": 40})
    assert (first.total, first.exact) == (60, True)
    assert found.hidden == [".hidden.jsonl"]
    assert found.left_out() == [
        "Other kinds of files, each to be inspected by itself: c.csv, unnamed.rows",
        "Passed over, of no known format: LICENSE",
        "Hidden, and left alone: .hidden.jsonl",
    ]
    assert (unnamed.format, unnamed.options) == ("json", {})


def test_encodings_are_told(tmp_path: Path) -> None:
    for name in ("utf-8", "utf-16", "latin-1"):
        (tmp_path / f"{name}.csv").write_text("x\né\n", encoding=name)
    found = {name for group in inspect(tmp_path, 9).groups for name in group.encodings}
    assert found == {"utf-8", "utf-16", "not UTF-8"}


@pytest.mark.parametrize("content", [b"", b"{broken", b"\xff\xfe\x00", b"[" * 100_000, b"\x00" * 50, b"---\n: :\n"])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet", "json.gz", "zip", "txt", "strange"])
def test_broken_files_are_shown_for_what_they_are(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(content)
    done = CliRunner().invoke(app, ["inspect", str(path)])
    assert done.exit_code in (0, 1)
    assert "Unexpected" not in done.output
    assert ("Files of" in done.stdout) or done.exit_code == 1


def test_what_cannot_be_read_is_told_of_every_kind_of_files(tmp_path: Path) -> None:
    write(tmp_path / "good.jsonl", [{"instruction": f"q {n}", "output": "a"} for n in range(9)])
    (tmp_path / "torn.jsonl").write_text('{"x": 1}\n{"x"\n')
    (tmp_path / "wide.csv").write_text("a,b\n1,2,3\n")
    done = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    shown = " ".join(done.stdout.split())
    assert "Cannot be read: torn.jsonl, line 2: " in shown
    assert "Cannot be read: wide.csv, line 2: " in shown


@pytest.mark.parametrize(("name", "words"), [("nothing", "no such file or folder"), ("", "an empty folder")])
def test_nothing_to_inspect(tmp_path: Path, name: str, words: str) -> None:
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / name)])
    assert done.exit_code == 1
    assert words in done.output


@pytest.mark.parametrize("width", ["80", "120"])
def test_hostile_content_is_shown_and_steers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    rows = [{"instruction": f"{HOSTILE} {n}", HOSTILE: HOSTILE, "output": HOSTILE} for n in range(3)]
    path = write(tmp_path / "[red]rows[red].jsonl", [*rows, 7])
    done = CliRunner().invoke(app, ["inspect", str(path)])
    assert done.exit_code == 0, done.output
    assert not UNSAFE.search(done.stdout)
    shown = "".join(done.stdout.replace("│", "").split())
    assert shown.count("[red]rows[red].jsonl") == 3  # title, file, and the row that is none
    assert "[red]r[/red]" in shown
    assert "{{7*7}}" in shown


# Starters


def test_a_starter_of_answers_in_json_works_unchanged(tmp_path: Path) -> None:
    project = Project(tmp_path)
    rows = [row for row in make_rows(200) if row["colour"] != "purple" and str(row["text"]).strip()]
    path = write(tmp_path / "raw/things.jsonl", rows)
    recipe = started(path, tmp_path / "mine", project.tokenizer)
    assert json.loads((tmp_path / "mine/contract/target.schema.json").read_text())["properties"] == {
        "colour": {"enum": ["blue", "green", "red"]}
    }
    shown = list(previews(recipe, Store(tmp_path / "store"), project.tokenizer, 2))
    asked = next(each.messages[0]["content"] for each in shown if each.messages)
    assert asked.endswith('"colour": "blue"|"green"|"red"')
    done = curate(recipe, Store(tmp_path / "store"), tokenizer_folder=project.tokenizer, map_shards=map_in_process)
    reasons = {reason for stage in done.manifest.stages for reason in stage.reasons}
    assert done.manifest.counts.rows_in == len(rows)
    assert not reasons & {"unmappable", "unrecognised", "record_schema", "target_schema"}
    assert done.manifest.counts.kept > 50


def test_a_starter_of_conversations_works_unchanged(tmp_path: Path) -> None:
    project = Project(tmp_path)

    def said(*contents: str) -> dict[str, Any]:
        roles = ["user", "assistant"] * len(contents)
        return {"messages": [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]}

    rows = [said(f"ask {n} of the {n * n} things", f"answer {n}", "why so", f"for {n} and {n + 1}") for n in range(30)]
    rows.append({"messages": [{"role": "system", "content": "Be kind."}, *said("hi", "ho")["messages"]]})
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    result = {"role": "tool", "name": "f", "content": "1"}
    [question, answer] = said("how many", "one")["messages"]
    rows.append({"messages": [question, call, result, answer], "tools": [{"function": {"name": "f"}}]})
    recipe = started(write(tmp_path / "raw/chat.jsonl", rows), tmp_path / "mine", project.tokenizer)
    assert recipe.record.turns is None
    done = curate(recipe, Store(tmp_path / "store"), tokenizer_folder=project.tokenizer, map_shards=map_in_process)
    counts = done.manifest.counts
    assert (counts.rows_in, counts.kept) == (32, 32)
    assert done.manifest.stages[0].counters == {"messages": 32}
    assert ["  read as messages", "32"] in curation_tables(done)[0].rows
    texts = [row["text"] for name in SPLITS for row in pq.read_table(done.folder / f"{name}.parquet").to_pylist()]
    [with_tool] = [text for text in texts if "<|im_start|>tool" in text]
    assert with_tool == (
        '<|im_start|>system\n[{"function": {"name": "f"}}]<|im_end|>\n<|im_start|>user\nhow many<|im_end|>\n'
        '<|im_start|>assistant\n{"name": "f", "arguments": {}}<|im_end|>\n'
        '<|im_start|>tool\n{"name": "f", "content": "1"}<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n'
    )


def test_the_contract_of_a_starter_is_short_and_loads(tmp_path: Path) -> None:
    odd = "a: [b] # {c}\n'd\" \u2028é"
    answers = [{odd: f"{n}", "yes": True, "n": n} for n in range(30)]
    rows = [{"text": f"word {n}", "out": answer} for n, answer in enumerate(answers)]
    write_starter(inspect(write(tmp_path / "2024.jsonl", rows), 100), tmp_path / "mine")
    recipe = FullRecipe.load(tmp_path / "mine/recipe.yaml")
    text = (tmp_path / "mine/contract/contract.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 42
    contract = recipe.held_to()
    assert contract.name == "2024"
    assert {field.name for field in contract.fields} > {"id", "language", "target", f"target.{odd}", "target.n"}
    rules = {rule["meta"]["name"]: rule["kwargs"] for rule in contract.expectations}
    assert rules["rows_fit"]["max_value"] == recipe.fit.max_tokens
    assert {"ids_unique", "groups_whole", "clusters_whole"} < rules.keys()
    written = (tmp_path / "mine/recipe.yaml").read_text(encoding="utf-8")
    assert written.startswith("# yaml-language-server: $schema=recipe.schema.json\n"), "editors complete it"
    jsonschema.validate(yaml.safe_load(written), json.loads((tmp_path / "mine/recipe.schema.json").read_text()))
    stated = yaml.safe_load(
        text.replace("# quality", "quality")
        .replace("# properties", "properties")
        .replace("#   -", "  -")
        .replace("#     i", "    i")
    )
    assert stated["schema"][1]["quality"][0]["name"] == "enough_rows", "the remark is a rule when it is made one"


@given(st.sets(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1).map(tuple), min_size=1))
def test_a_contract_admits_the_orders_that_it_was_written_from(spoken: set[tuple[str, ...]]) -> None:
    for answered in (True, False):
        assert all(re.search(orders(spoken, answered), " ".join(roles)) for roles in spoken)


def test_a_contract_admits_no_other_orders() -> None:
    said = {("user", "assistant"), ("system", "user", "assistant", "user", "assistant")}
    assert orders(said, True) == "^(system )?user( (assistant|user))*? assistant$"
    assert (
        orders({("assistant", "user", "assistant")}, True)
        == "^(system )?(assistant|user)( (assistant|user))*? assistant$"
    )


def test_a_recipe_that_is_there_is_not_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"instruction": "q", "output": "a"}])
    (tmp_path / "mine/contract").mkdir(parents=True)
    (tmp_path / "mine/contract/contract.yaml").write_text("mine")
    done = CliRunner().invoke(app, ["inspect", str(path), "--write", str(tmp_path / "mine")])
    assert done.exit_code == 1
    assert "nothing is overwritten" in done.output
    assert [file.name for file in (tmp_path / "mine").rglob("*") if file.is_file()] == ["contract.yaml"]
    assert (tmp_path / "mine/contract/contract.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("ins_guanaco_oa/prompts/oa_questions.jsonl", "guanaco"),
        ("ins_oasst_trees/en_100_tree.jsonl", "oasst"),
        ("ins_self_instruct/data", "alpaca"),
        ("legal_legalbench/tasks/abercrombie", None),
        ("messy_presidio/tests", None),
    ],
)
def test_real_data(shared_data: Path, tmp_path: Path, path: str, shape: str | None) -> None:
    inspection = inspect(shared_data / path, 300)
    assert list(inspection.groups[0].shapes) == ([shape] if shape in SHAPES else [])
    write_starter(inspection, tmp_path / "mine")
    recipe = FullRecipe.load(tmp_path / "mine/recipe.yaml")
    assert Contract.load(recipe.contract).target_schema is None
    assert (recipe.record.turns is None) == (shape is not None)


# What is said


def test_what_is_known_of_the_files_is_stated(tmp_path: Path) -> None:
    rows = "".join(f"Is {n} even, or not?;{'yes' if n % 2 == 0 else 'nö'}\n" for n in range(30))
    (tmp_path / "a.dat").write_text(f"body;parity\n{rows}", encoding="cp850")
    arguments = ["--format", "csv", "--encoding", "cp850", "--delimiter", ";", "--sample", "20"]
    done = CliRunner().invoke(app, ["inspect", str(tmp_path), *arguments, "--write", str(tmp_path / "mine"), "--json"])
    [group] = json.loads(done.stdout)["groups"]
    assert (group["rows"], group["total"]) == (20, {"rows": 30, "exact": False})
    assert group["columns"]["parity"]["read_as"] == "target"
    assert FullRecipe.load(tmp_path / "mine/recipe.yaml").sources[0].options.encoding == "cp850"
    assert json.loads((tmp_path / "mine/contract/target.schema.json").read_text())["properties"] == {
        "parity": {"enum": ["nö", "yes"]}
    }


@pytest.mark.parametrize(
    ("options", "words"), [(["--encoding", "runes"], "encoding: 'runes' is no"), (["--format", "doc"], "format: Input")]
)
def test_an_option_that_makes_no_sense(tmp_path: Path, options: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["inspect", str(write(tmp_path / "a.jsonl", [{"a": 1}])), *options])
    assert done.exit_code == 1
    assert words in " ".join(done.output.split())


def test_totals_are_told_beside_the_sample(tmp_path: Path) -> None:
    rows = [{"instruction": f"q {n}", "output": "a" * 50} for n in range(500)]
    lines = write(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.csv").write_text("instruction,output\n" + "".join(f"q {n},a\n" for n in range(500)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    found = {
        name: inspect(tmp_path / name, 100).groups[0]
        for name in ("a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz", "a.json")
    }
    assert {name: (group.total, group.exact) for name, group in found.items() if name != "a.json"} == {
        "a.jsonl": (500, True), "a.csv": (500, False), "a.parquet": (500, True), "a.jsonl.gz": (None, False),
    }  # fmt: skip
    assert found["a.json"].total == pytest.approx(500, rel=0.1)
    assert inspect(tmp_path / "a.json", 1000).groups[0].total == 500


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": "hi", "mood": "gay"},
        {"role": "assistant", "content": "ho", "audio": {"id": 1}},
    ]
    rows = [{"messages": said, "stars": n % 5, "note": "x", "id": n} for n in range(30)]
    group = only(write(tmp_path / "chat.jsonl", rows))
    notes = " ".join(group.notes())
    assert "messages" in group.read_as()
    assert "mood" in notes
    assert "audio" in notes
    assert "note" in notes
    shown = " ".join(CliRunner().invoke(app, ["inspect", str(tmp_path)]).output.split())
    assert "Of messages these keys are not read: audio, mood." in shown


@pytest.mark.parametrize(
    "column",
    [
        {"sha1": [f"{n:040x}" for n in range(2)]},
        {"folder": ["inbox", "sent"]},
        {"source_path": ["/a/b", "/a/c"]},
        {"split": ["train", "test"]},
        {"when": ["2024-01-01", "2024-01-02"]},
        {"kept": ["same", "same"]},
        {"createdAt": ["noon", "night"]},
    ],
)
def test_what_cannot_be_learned_is_neither_label_nor_target(column: dict[str, list[str]]) -> None:
    [(name, values)] = column.items()
    rows = [
        {"body": f"The text number {n} of all.", name: values[n % 2], "mood": ["sad", "glad"][n % 2]} for n in range(40)
    ]
    mapping = group_of(rows).mapping()
    assert (mapping["target"], mapping["label"]) == ({"mood": "mood"}, "mood")
    with pytest.raises(AssayError, match="No column looks like an answer"):
        group_of([{key: row[key] for key in ("body", name)} for row in rows]).mapping()


def test_json_in_a_column_is_a_target_where_it_recurs_or_stands_in_the_text() -> None:
    def column(make: Any) -> dict[str, Any]:
        return group_of(
            [{"body": f"On day {n * 7919} it rained.", "extra": json.dumps(make(n))} for n in range(40)]
        ).mapping()

    assert column(lambda n: {"day": n * 7919})["target"] == "extra"
    assert column(lambda n: {"kind": "ab"[n % 2], "weather": "rain"})["target"] == "extra"
    with pytest.raises(AssayError, match="No column looks like an answer"):
        column(lambda n: {"crawl": f"x{n}", "took": n / 7})


def test_a_recipe_names_many_files_by_patterns(tmp_path: Path) -> None:
    for n in range(12):
        write(tmp_path / f"in/p{n % 2}/f{n}.jsonl", [{"instruction": f"q {n}", "output": "a"}])
    written = write_starter(inspect(tmp_path / "in", 100), tmp_path / "in/mine")
    assert FullRecipe.load(written[0]).sources[0].files == ["**/*.jsonl"]
    shutil.rmtree(tmp_path / "in/mine")
    write(tmp_path / "in/p1/other.jsonl", [{"x": 1}])
    (tmp_path / "in/.hidden.jsonl").write_text("{}")
    written = write_starter(inspect(tmp_path / "in", 100), tmp_path / "mine")
    assert FullRecipe.load(written[0]).sources[0].files == ["p0/**/*.jsonl", "p1/f*.jsonl"]
    remarks = [line for line in written[0].read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("other.jsonl" in line for line in remarks)
    assert any(".hidden.jsonl" in line for line in remarks)


UUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.mark.parametrize(
    ("names", "others", "patterns", "later"),
    [
        (["part-0.jsonl"], [], ["part-*.jsonl"], "part-1.jsonl"),
        (["part-0.jsonl", "part-1.jsonl"], ["notes.jsonl"], ["part-*.jsonl"], "part-12.jsonl"),
        (["part0.jsonl", "part1.jsonl"], ["notes.jsonl"], ["part*.jsonl"], "part2.jsonl"),
        (["part-0.jsonl", "part-1.jsonl"], ["part-x.jsonl"], ["part-0.jsonl", "part-1.jsonl"], None),
        (["tickets-2024-01-31.jsonl"], [], ["tickets-*-*-*.jsonl"], "tickets-2024-02-29.jsonl"),
        (["train-00000-of-00004.jsonl"], [], ["train-*-of-*.jsonl"], "train-00003-of-00004.jsonl"),
        (["x-0f8fad5b-d9cb-469f-a165-70867728950e.jsonl"], [], ["x-*.jsonl"], f"x-{UUID}.jsonl"),
        (["2024/01/t.jsonl"], [], ["*/*/t.jsonl"], "2025/12/t.jsonl"),
        (["north.jsonl", "south.jsonl"], [], ["*.jsonl"], "west.jsonl"),
        (["a/north.jsonl", "a/south.jsonl"], ["b/notes.jsonl"], ["a/*.jsonl"], "a/west.jsonl"),
        (["north.jsonl", "south.jsonl"], ["notes.jsonl"], ["north.jsonl", "south.jsonl"], None),
        (["tickets.jsonl"], [], ["tickets.jsonl"], None),
        (["gpt4.jsonl"], [], ["gpt4.jsonl"], None),
        (["a[1]-2.jsonl"], [], ["a[[]*]-*.jsonl"], "a[7]-8.jsonl"),
    ],
)  # fmt: skip
def test_a_recipe_names_files_so_that_later_ones_are_read(
    tmp_path: Path, names: list[str], others: list[str], patterns: list[str], later: str | None
) -> None:
    for name in names:
        write(tmp_path / "in" / name, [{"instruction": f"q {n}", "output": "a"} for n in range(9)])
    for name in others:
        write(tmp_path / "in" / name, [{"x": 1}])
    inspection = inspect(tmp_path / "in", 100)
    recipe = FullRecipe.load(write_starter(inspection, tmp_path / "mine")[0])
    assert recipe.sources[0].files == patterns

    def read() -> list[str]:
        return sorted(file.name for file in find_files(recipe.sources[0], recipe.drop, tmp_path / "cache"))

    assert read() == sorted(names)
    if later is not None:
        write(tmp_path / "in" / later, [{"instruction": "q", "output": "a"}])
        assert read() == sorted([*names, later])
    alone = write_starter(inspect(tmp_path / "in" / names[0], 100), tmp_path / "alone")
    [said] = FullRecipe.load(alone[0]).sources[0].files
    assert said == glob.escape(PurePosixPath(names[0]).name), "of the files beside it nothing is known"


def test_a_name_cannot_write_into_the_recipe(tmp_path: Path) -> None:
    write(tmp_path / "in/a.jsonl", [{"instruction": f"q {n}", "output": "a"} for n in range(9)])
    (tmp_path / "in/x\nevaluation: {}\u2028\x1b.bin").write_bytes(b"\x00\x01")
    [recipe, *_] = write_starter(inspect(tmp_path / "in", 100), tmp_path / "mine")
    assert "evaluation" not in yaml.safe_load(recipe.read_text(encoding="utf-8"))


def test_a_json_text_has_its_rows_below_keys(tmp_path: Path) -> None:
    items = [{"question": f"What is {n}?", "answer": str(n)} for n in range(9)]
    (tmp_path / "a.json").write_text(json.dumps({"meta": {"n": 9}, "data": {"page": 1, "items": items}}))
    [recipe, *_] = write_starter(inspect(tmp_path / "a.json", 100), tmp_path / "mine")
    assert FullRecipe.load(recipe).sources[0].options.rows == "data.items"


def test_nothing_is_guessed_of_a_row_that_asks(tmp_path: Path) -> None:
    rows = [{"instruction": f"q {n}", "output": ["one answer", f"another {n}"]} for n in range(20)]
    group = only(write(tmp_path / "pairs.jsonl", rows))
    assert group.read_as() == {}
    with pytest.raises(AssayError, match="nothing says which is the better"):
        group.mapping()


def test_what_columns_say_of_answers_is_shown(tmp_path: Path) -> None:
    rows = [{"prompt": f"Is {n} even?", "completion": "It is.", "label": n % 2 == 0} for n in range(20)]
    group = only(write(tmp_path / "feedback.jsonl", rows))
    assert group.read_as() == {"prompt": "prompt", "completion": "answer", "label": "feedback"}
    assert group.notes() == ["10 of the 20 records of these rows would go to quarantine as rejected_answer."]
    assert "label" not in group.mapping()
    assert group.record_goes is None
    rows = [{"prompt": f"Is {n} even?", "response": "It is.", "score": n % 5} for n in range(20)]
    group = only(write(tmp_path / "graded.jsonl", rows))
    assert group.record_goes == "to quarantine as ungraded_answer"
    assert [note for note in group.notes() if note.startswith("score grades the answer")] == group.questions()


@pytest.mark.parametrize(
    ("column", "grades", "accept"),
    [
        ("label", [0, 1], "label == 1"),
        ("score", [0.0, 0.5, 1.0], "score >= 0.8"),
        ("reward", ["0", "1"], "reward | float == 1"),
        ("stars", [1, 5], "stars >= 4"),
        ("tone_score", [2, 10], "tone_score >= 8"),
    ],
)
def test_the_example_of_what_is_good_is_among_the_grades(
    column: str, grades: list[Any], accept: str, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Is {n} even?", "response": "It is.", column: grades[n % len(grades)]} for n in range(20)]
    [asked] = only(write(tmp_path / "graded.jsonl", rows)).questions()
    assert f"accept: {accept}" in asked
    mapper = Mapper(RecordMapping.model_validate({"accept": accept}), {})
    kept = {row[column] for row in rows if not mapper.records(row, "")[0]["rejected"]}
    assert kept == {grades[-1]}


def test_values_that_differ_by_case_or_space_alone_are_told_of(tmp_path: Path) -> None:
    values = ["Billing", "billing ", "BILLING", "Other", "N/A"]
    rows = [{"text": f"What about bill {n}, please?", "category": values[n % 5]} for n in range(50)]
    assert [note for note in only(write(tmp_path / "mails.jsonl", rows)).notes() if "case or space" in note] == [
        "Values of category that differ by case or space alone: 'BILLING', 'Billing', 'billing '."
    ]


def test_turns_that_say_nothing_are_told_of(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Is it even?"}, {"from": "gpt", "value": "It is."}]
    rows = [{"conversations": [{"from": "human", "value": " "}, *said] if n == 3 else said} for n in range(20)]
    assert only(write(tmp_path / "chats.jsonl", rows)).notes() == [
        "1 of the 20 records of these rows would go to quarantine as record_schema (a turn says nothing)."
    ]


def test_keys_of_objects_that_are_no_messages_are_not_told_of(tmp_path: Path) -> None:
    rows = [{"prompt": f"Is {n} even?", "response": "It is.", "items": [{"sku": "a"}]} for n in range(20)]
    assert only(write(tmp_path / "sold.jsonl", rows)).notes() == ["No notice is taken of items."]


def test_bytes_that_are_no_text_ask_for_their_encoding(tmp_path: Path) -> None:
    table = pa.table({"question": ["größer?".encode("latin-1")] * 9, "answer": [b"yes"] * 9})
    pq.write_table(table, tmp_path / "impala.parquet")
    with pytest.raises(AssayError) as error:
        only(tmp_path / "impala.parquet").mapping()
    assert "question: bytes that are not UTF-8" in error.value.remedy
    assert "--encoding latin-1" in error.value.remedy
    [group] = inspect(tmp_path / "impala.parquet", 100, {"encoding": "latin-1"}).groups
    assert group.record is not None
    assert group.record["turns"][0]["content"] == "größer?"


@pytest.mark.parametrize(
    ("column", "values", "accept", "kept"),
    [
        ("is_good", [0, 1], '(is_good | string) in ["1"]', {1}),
        ("Approved", ["yes", "no", ""], '(Approved | string) in ["yes"]', {"yes"}),
        ("is_toxic", [True, False, None], "is_toxic is not true", {False, None}),
        ("is_good_answer", [True, False], "is_good_answer is not false", {True}),
        ("shiny", [True, False], None, None),
        ("valid", ["2024-01-01", "2025-01-01"], None, None),
    ],
)
def test_of_a_guessed_mapping_bad_answers_are_not_accepted(
    column: str, values: list[Any], accept: str | None, kept: set[Any] | None, tmp_path: Path
) -> None:
    """What judges by its name is in the mapping; what may judge is asked for, and so is it in the starter."""
    rows = [
        {"mail": f"Is {n} even, please?", "our_reply": f"It is, number {n}.", column: values[n % len(values)]}
        for n in range(30)
    ]
    found = inspect(write(tmp_path / "in/mails.jsonl", rows), 1000)
    [group] = found.groups
    assert group.mapping().get("accept") == accept
    asked = [f"may stand in {column}, of which no notice is taken" in note for note in group.questions()]
    assert asked == [True] * (accept is None)
    recipe, *_ = write_starter(found, tmp_path / "mine")
    assert "# Whether an answer is good" in recipe.read_text("utf-8") or accept is not None
    if accept is not None:
        mapper = Mapper(RecordMapping.model_validate(group.mapping()), {})
        assert {row[column] for row in rows if not mapper.records(row, "")[0]["rejected"]} == kept


def test_a_guess_is_not_made_beside_a_grade(tmp_path: Path) -> None:
    rows = [{"mail": f"Is {n} even, please?", "our_reply": f"It is, number {n}.", "score": n % 5} for n in range(30)]
    with pytest.raises(AssayError) as error:
        only(write(tmp_path / "mails.jsonl", rows)).mapping()
    assert "score is 0, which may say that an answer is bad" in error.value.message
    assert "`accept: score >= 4`" in error.value.remedy


def test_a_verdict_of_prodigy_is_no_answer(tmp_path: Path) -> None:
    rows = [
        {
            "text": f"Shop {n} sells bread.",
            "label": "AB"[n % 2],
            "answer": ("accept", "reject")[n % 3 > 0],
            "_task_hash": n,
        }
        for n in range(30)
    ]
    with pytest.raises(AssayError) as error:
        only(write(tmp_path / "annotated.jsonl", rows)).mapping()
    assert "answer is Prodigy's verdict" in error.value.message


def test_lone_settings_and_files_without_a_mapping_come_behind_what_can_be_learned(tmp_path: Path) -> None:
    write(tmp_path / "z.jsonl", [{"instruction": f"q {n}", "output": "a"} for n in range(3)])
    (tmp_path / "package.json").write_text(json.dumps({"author": "a " * 900, "description": "d" * 900}))
    (tmp_path / "tokens.json").write_text(json.dumps([{"id": n, "special": True} for n in range(90)]))
    assert [group.files[0].name for group in inspect(tmp_path, 1000).groups] == [
        "z.jsonl", "tokens.json", "package.json",
    ]  # fmt: skip


def test_rows_of_files_that_are_not_opened_are_an_estimate(tmp_path: Path) -> None:
    for n in range(20):
        write(tmp_path / f"{n}.jsonl", [{"instruction": "q", "output": "a"}] * 2)
    group = inspect(tmp_path, 10).groups[0]
    assert (group.opened, group.exact) == (10, True), "lines are counted"
    for n in range(450):
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / f"deep/{n}.json").write_text('[{"question": "q"}]')
    group = next(group for group in inspect(tmp_path / "deep", 1000).groups)
    assert (group.opened, group.total, group.exact) == (150, 450, False)


def test_rows_alike_are_one_kind_in_whatever_format_and_the_starter_reads_them_all(tmp_path: Path) -> None:
    rows = [{"prompt": f"Is {n} even?", "completion": f"Divide {n} by two."} for n in range(10)]
    write(tmp_path / "in/a.json", rows[:2])
    (tmp_path / "in/b.json").write_text(json.dumps(rows[2:4]))
    (tmp_path / "in/c.jsonl.gz").write_bytes(gzip.compress(write(tmp_path / "packed", rows[4:6]).read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows[6:8]), tmp_path / "in/d.parquet")
    (tmp_path / "in/e.csv").write_text(
        "prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in rows[8:])
    )
    found = inspect(tmp_path / "in", 1000)
    [group] = found.groups
    assert group.formats == ["jsonl", "json", "parquet", "csv"]
    assert (group.total, group.exact, group.shapes) == (10, True, {"prompt": 10})
    recipe, *_ = write_starter(found, tmp_path / "mine")
    assert len(yaml.safe_load(recipe.read_text("utf-8"))["sources"][0]["files"]) == 4


def test_the_share_of_rows_in_which_a_column_is_filled(tmp_path: Path) -> None:
    rows = [
        {"all": "x", "half": "x" if n % 2 else None, "one": "x" if n == 7 else None, "none": None} for n in range(200)
    ]
    said = CliRunner().invoke(app, ["inspect", str(write(tmp_path / "a.jsonl", rows))], env={"COLUMNS": "200"}).stdout
    shown = {name: re.search(rf"│ {name} .*?(<?\d+%)", said) for name in ("all", "half", "one", "none")}
    assert {name: found and found[1] for name, found in shown.items()} == {
        "all": "100%",
        "half": "50%",
        "one": "<1%",
        "none": "0%",
    }
