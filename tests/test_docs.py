"""What the documents show is true: the example of a stage runs, the recipe explained loads, every reason is listed."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
import yaml

from assay.stage_list import OF_EVERY, recipe_schema, stages
from curate.contract import Contract
from curate.errors import AssayError
from curate.odcs import common
from curate.read.expressions import FILTERS, compile_expression
from curate.read.files import Files, Options
from curate.read.mapping import Mapper, RecordMapping
from curate.record import SCHEMA
from curate.stage import RowStage
from evaluation.settings import FullRecipe
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parent.parent
REASONS = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/quarantine.md").read_text(), re.MULTILINE))


def code_block(document: str, language: str, mark: str) -> str:
    """The one fenced block of a document that contains `mark`, without its indentation."""
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    (found,) = [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in blocks if mark in text]
    return found


def test_the_example_of_a_stage_works(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shouting")
    monkeypatch.setitem(sys.modules, "shouting", module)  # where pydantic looks for it
    exec(code_block("CONTRIBUTING.md", "python", "class Shouting"), vars(module))
    stage = module.Shouting(max_share=0.5)
    assert isinstance(stage, RowStage)
    said = ["HELLO", "Hello", "", "ÀÉÎ o", "ab CD"]
    rows = [{"id": text, "turns": [{"role": "user", "content": text}]} for text in said]
    outcome = stage.run(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert outcome.rejected["id"].to_pylist() == ["HELLO", "ÀÉÎ o"]
    assert outcome.rejected["reason"].to_pylist() == ["shouting"] * 2
    assert outcome.kept["id"].to_pylist() == ["Hello", "", "ab CD"]


def test_every_reason_that_a_run_gives_is_documented(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(240))
    given = {reason for stage in project.curate().manifest.stages for reason in stage.reasons}
    assert len(given) >= 7
    assert given <= REASONS


def test_the_session_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path / "made", fit={"model": str(tmp_path / "made/tokenizer"), "max_tokens": 150})
    project.add("rows.jsonl", make_rows(60))
    monkeypatch.setenv("ASSAY_STORE", str(tmp_path / "store"))
    session: dict[str, Any] = {}
    exec(
        code_block("README.md", "python", "import assay").replace('"licences"', repr(str(project.recipe_path))), session
    )
    version, text = session["version"], (ROOT / "README.md").read_text()
    said = re.findall(r"`(\w+)`", text[text.index("`version.train`") : text.index("say the rest")])
    assert len(said) >= 8
    assert [name for name in said if not hasattr(version, name)] == []
    assert len(version.train) == version.manifest.counts.splits["train"]


def test_the_recipe_explained_in_the_readme_is_one(tmp_path: Path) -> None:
    text = code_block("README.md", "yaml", "# What a recipe says")
    assert set(yaml.safe_load(text)) == set(FullRecipe.model_fields), "it explains every section"
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = FullRecipe.load(tmp_path / "recipe.yaml", "long")
    assert recipe.training.epochs == 3


def test_the_page_of_stages_is_what_the_command_prints() -> None:
    page = (ROOT / "docs/stages.md").read_text()
    assert page.endswith("\n".join(table.markdown() for table in stages().tables()))


def test_the_page_of_the_recipe_has_every_key_with_its_meaning() -> None:
    [table] = recipe_schema().tables()
    assert (ROOT / "docs/recipe.md").read_text().endswith(table.markdown())
    keys = [key for key, _, _ in table.rows]
    assert len(keys) == len(set(keys))
    assert [key for key, _, about in table.rows if not about] == []
    schema = recipe_schema().schema
    named = {name for each in [schema, *schema["$defs"].values()] for name in each.get("properties", {})}
    assert named <= {key.rpartition(".")[2].removesuffix("[]") for key in keys}
    assert {"sources[].record_start", "record.turns[].role", "select.rows", "variants.NAME.training"} <= {*keys}
    filters = (ROOT / "docs/expressions.md").read_text()
    assert [name for name in FILTERS if not re.search(rf"\b{name}\b", filters)] == []


def test_every_reason_of_every_stage_is_documented_as_it_is() -> None:
    lines = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*) \| .+ \|$", (ROOT / "docs/quarantine.md").read_text(), re.MULTILINE
    )
    told = [(stage.name, code, meaning) for stage in stages() for code, meaning in stage.reasons.items()]
    assert [(stage, code, meaning) for code, stage, meaning in lines] == told
    page = (ROOT / "docs/quarantine.md").read_text()
    assert all(f"| `{code}` | every stage over a row | {meaning} |" in page for code, meaning in OF_EVERY.items())


def test_the_recipe_explained_in_the_readme_has_every_stage_in_order() -> None:
    text = code_block("README.md", "yaml", "# What a recipe says")
    shown = list(yaml.safe_load(text))
    named = [stage.name for stage in stages() if stage.settings]
    assert [key for key in shown if key in named] == named


def test_the_shipped_schema_is_what_the_command_prints() -> None:
    shipped = ROOT / "recipes/recipe.schema.json"
    assert json.loads(shipped.read_text()) == recipe_schema().schema
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        text = path.read_text()
        assert text.startswith("# yaml-language-server: $schema=recipe.schema.json\n"), path.name
        jsonschema.validate(yaml.safe_load(text), recipe_schema().schema)
    jsonschema.validate(yaml.safe_load(code_block("README.md", "yaml", "# What a recipe says")), recipe_schema().schema)


@pytest.mark.parametrize(
    "wrong",
    [{"select": 0}, {"select": {"rowz": 3}}, {"duplicates": {"threshold": 2}}, {"colour": "red"}, {"fit": {}}],
    ids=str,
)
def test_the_schema_refuses_what_loading_refuses(wrong: dict[str, Any], tmp_path: Path) -> None:
    recipe = yaml.safe_load((ROOT / "recipes/licences.yaml").read_text())
    jsonschema.validate(recipe, recipe_schema().schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe | wrong, recipe_schema().schema)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | wrong))
    with pytest.raises(AssayError):
        FullRecipe.load(tmp_path / "recipe.yaml")


def test_the_contract_explained_is_one(tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text(code_block("data_contracts/README.md", "yaml", "name: tickets"))
    contract = Contract.load(tmp_path, 512)
    assert contract.properties["license"] == "cc-by-4.0"
    assert contract.target_schema is not None
    assert contract.target_schema["properties"] == {
        "product": {"type": "string", "enum": ["editor", "server", "viewer"]},
        "urgent": {"type": "boolean"},
    }
    stated = {rule["meta"]["name"]: rule for rule in contract.expectations}
    rules = list(stated)
    assert rules[0] == "enough_rows"
    assert stated["products_present"]["kwargs"]["value_set"] == ["editor", "server", "viewer"]
    assert stated["rows_fit"]["kwargs"]["max_value"] == 512
    assert stated["labels_stable"]["meta"]["severity"] == "warning"
    document = yaml.safe_load((tmp_path / "contract.yaml").read_text())
    _, whole = document["schema"]
    [changed] = yaml.safe_load(code_block("data_contracts/README.md", "yaml", "for no validation split"))
    whole["properties"].append(changed)
    whole |= yaml.safe_load(code_block("data_contracts/README.md", "yaml", "property: withoutRules"))
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(document))
    by_name = {rule["meta"]["name"]: rule for rule in Contract.load(tmp_path).expectations}
    assert by_name.keys() == set(rules) - {"clusters_whole"}
    assert by_name["splits_present"]["kwargs"]["value_set"] == ["train", "test"]


def test_the_common_rules_and_columns_are_listed() -> None:
    text = (ROOT / "data_contracts/README.md").read_text()
    columns = common()["schema"][1]["properties"]
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+) \|$", text, re.MULTILINE)
    assert listed == [
        (rule["name"], column["name"], rule["description"]) for column in columns for rule in column.get("quality", [])
    ]
    table = text.partition("| column | is |")[2].partition("\n## ")[0]
    named = {
        name for first in re.findall(r"^\| (`.+?`) \| ", table, re.MULTILINE) for name in re.findall(r"`(.+?)`", first)
    }
    assert named == {column["name"] for column in columns} | {"target.KEY"}


def test_what_the_page_of_expressions_shows_is_one() -> None:
    page = (ROOT / "docs/expressions.md").read_text()
    for name in FILTERS:
        assert re.search(rf"\b{name}\b", page.partition("## Filters")[2]), name
    for expression in re.findall(r"^\w+:  (.*?)   ", page, re.MULTILINE):
        compile_expression(expression)
    record = yaml.safe_load(code_block("docs/expressions.md", "yaml", "low"))["record"]
    shown = RecordMapping.model_validate(record | {"turns": [{"role": "user", "content": "name"}]})
    row = {"score": 5, "name": "q", "tags": ["a", "a"], "code": "a"}
    [made] = Mapper(shown, {}).records(row, "f")
    assert (made["label"], made["target"]) == ("high", '{"name": "q", "tags": ["a"]}')
    assert made["meta"] == {"where": "office: main"}


def test_the_sources_that_the_page_of_reading_shows_are_some() -> None:
    for source in yaml.safe_load(code_block("docs/reading.md", "yaml", "record_start"))["sources"]:
        assert Files.model_validate(source).options.cuts_text
    page = (ROOT / "docs/reading.md").read_text()
    for option in Options.model_fields:
        assert f"`{option}" in page, option


def test_the_attacks_that_the_page_of_security_names_are_mounted() -> None:
    page = (ROOT / "docs/security.md").read_text()
    tests = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    mounted = {name for text in tests.values() for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) >= 15
    assert named - mounted == set()
    assert set(re.findall(r"`(tests/[\w/]+\.py)`", page)) - tests.keys() == set()
