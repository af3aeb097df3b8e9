"""`assay contract`: the whole of a contract, as YAML that a program can read."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from assay.cli import app
from assay.contracts import whole_contract
from curate.contract import Contract
from tests.documented import missing
from tests.project import Project, make_rows

ROOT = Path(__file__).resolve().parents[2]


def assay_contract(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["contract", *map(str, arguments)])


@pytest.mark.parametrize("name", ["licences", "guanaco"])
def test_it_shows_what_is_said_and_what_follows(name: str) -> None:
    done = assay_contract(name)
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(done.stdout) == whole_contract(name).data()
    contract = Contract.load(name)
    shown = yaml.safe_load(done.stdout)
    assert shown["contract"] == contract.document
    assert shown["target_schema"] == contract.target_schema
    assert shown["row_schema"] == contract.row_schema
    assert shown["suite"] == list(contract.expectations)
    headings = [line for line in done.stdout.splitlines() if line.startswith("# ")]
    assert len(headings) == len(shown)


def test_a_folder_or_the_recipe_that_names_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    of_folder = whole_contract(str(project.folder / "contract")).data()
    assert of_folder["contract"]["name"] == "demo"
    assert whole_contract(str(project.recipe_path)).data() == of_folder


def test_what_a_contract_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text(
        'name: "[red]r[/red]\\u202e\\e[2J"\nversion: "1"\ndescription: {purpose: "a\\tb [link=http://example.org]l[/link]"}\n'
    )
    done = assay_contract(tmp_path)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    shown = yaml.safe_load(done.stdout)["contract"]
    assert shown["description"]["purpose"] == "a\tb [link=http://example.org]l[/link]"


def test_a_name_that_is_none_says_which_there_are() -> None:
    done = assay_contract("nonsense")
    assert done.exit_code == 1
    assert "guanaco, instructions, licences" in " ".join(done.output.split())


def words(output: str) -> str:
    return " ".join(output.split())


def copied(folder: Path, **changes: object) -> Path:
    """The packaged contract of licences with other top-level keys."""
    document = yaml.safe_load((ROOT / "data_contracts/licences/contract.yaml").read_text()) | changes
    folder.mkdir()
    (folder / "contract.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    (folder / "target.schema.json").write_bytes((ROOT / "data_contracts/licences/target.schema.json").read_bytes())
    return folder


def test_what_breaks_asks_for_a_new_major_version(tmp_path: Path) -> None:
    looser = copied(tmp_path / "looser")
    schema = json.loads((looser / "target.schema.json").read_text())
    schema["properties"]["kind"]["enum"].append("other")
    (looser / "target.schema.json").write_text(json.dumps(schema))
    done = assay_contract("diff", "licences", looser, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert missing("contract diff", told) == []
    assert (told["old"], told["new"], told["version_asked"]) == ("1.1.0", "1.1.0", "2.0.0")
    found = {(each["key"], each["said"]): each["breaks"] for each in told["changes"]}
    assert found == {
        ("record.target.kind", "values: other may be there now"): True,
        ("set.kinds_present", "value_set: with other"): True,
    }
    assert "`version` to 2.0.0" in told["error"]["remedy"]
    shown = assay_contract("diff", "licences", looser)
    assert "2 of 2 changes break" in words(shown.stdout)
    raised = copied(tmp_path / "raised", version="2.0.0")
    (raised / "target.schema.json").write_text(json.dumps(schema))
    assert assay_contract("diff", "licences", raised).exit_code == 0
    back = assay_contract("diff", raised, "licences", "--json")
    assert back.exit_code == 1, "all three kinds must be there, and one is gone"


def test_what_is_harmless_asks_for_nothing(tmp_path: Path) -> None:
    worded = copied(tmp_path / "worded", domain="law", team={"name": "us"})
    done = assay_contract("diff", "licences", worded, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["version_asked"] is None
    assert {each["key"] for each in told["changes"] if not each["breaks"]} == {"domain", "team"}
    assert json.loads(assay_contract("diff", "licences", "licences", "--json").stdout)["changes"] == []


def test_a_published_version_is_named_as_elsewhere(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("rows.jsonl", make_rows(40))
    version = project.curate().folder
    store = ["--store", tmp_path / "store", "--json"]
    for name in (version, f"demo/{version.name}", "demo"):
        for other in (project.folder / "contract", project.recipe_path):
            done = assay_contract("diff", name, other, *store)
            assert done.exit_code == 0, done.output
            assert json.loads(done.stdout)["changes"] == []
    assert "no such contract" in assay_contract("diff", "demi", "licences", *store).output


def test_it_shows_whichever_way_it_is_asked() -> None:
    outputs = [
        assay_contract(*each).stdout
        for each in (["guanaco", "--json"], ["--json", "guanaco"], ["show", "guanaco", "--json"])
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    assert json.loads(outputs[0])["contract"]["name"] == "guanaco"
