"""The closing tables of an evaluation in a terminal of 100 columns, few systems or many."""

import json
from pathlib import Path

import pytest

from assay.console import print_tables
from evaluation.card.summary import evaluation_tables
from tests.evaluation.made import SKILLS, systems, write
from tests.manifests import scorecard_manifest, sealed


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of scorecards by how many systems they have."""
    folders = {}
    for names in (["base", "tuned"], [*SKILLS, "gpt-4.1-mini-2025-04-14", "nearest-5-constrained", "x", "y", "z"]):
        folder = tmp_path_factory.mktemp("card")
        card = write(folder, systems(60, {name: SKILLS.get(name, (0.5, 0.1)) for name in names}))
        (folder / "scorecard.json").write_text(json.dumps(card))
        (folder / "manifest.json").write_text(json.dumps(sealed(scorecard_manifest(scores=card))))
        folders[len(names)] = folder
    return folders


def test_few_systems_stand_side_by_side(cards: dict[int, Path]) -> None:
    tables = {table.key: table for table in evaluation_tables(cards[2])}
    assert tables["scorecard"].columns == ["", "base", "tuned"]
    rows = {row[0]: row[1:] for row in tables["scorecard"].rows}
    assert rows["whole answer right"][1].endswith(")*"), "shown to be better"
    assert rows["names F1 of items"][0]
    assert "runs in circles" not in rows, "no system does"
    assert rows["tokens out"]
    assert {"form", "compared", "gate"} <= tables.keys()
    assert tables["compared"].rows[0][2].startswith("better +")


def test_many_systems_stand_below_each_other_within_100_columns(
    cards: dict[int, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tables = evaluation_tables(cards[12])
    by_key = {table.key: table for table in tables}
    assert [row[0] for row in by_key["scorecard"].rows] == [row[0] for row in by_key["form"].rows]
    assert by_key["fields"].columns[1:] + by_key["fields-5"].columns[1:] == [
        *("license", "category", "kind", "names", "grant.copyleft", "grant.year")
    ]
    assert len(by_key["compared"].rows) == 11
    print_tables(tables)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for name in ("gpt-4.1-mini-2025-04-14", "nearest-5-constrained"):
        assert sum(f"│ {name} " in line for line in lines) >= 5, "a name is not folded"
