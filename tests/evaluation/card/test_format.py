"""The types of scorecard.json are those of its JSON Schema, and a scorecard that cannot be read says why."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from curate.errors import AssayError
from evaluation.card import format as layout
from evaluation.card.format import READABLE, read_scorecard
from tests.manifests import scorecard_manifest, sealed

SCHEMA = json.loads((files("evaluation.card") / "scorecard.schema.json").read_bytes())
DEFS = SCHEMA["$defs"]


@pytest.mark.parametrize(
    ("of", "described"),
    [
        (layout.Scorecard, SCHEMA),
        (layout.FieldKind, SCHEMA["properties"]["fields"]["additionalProperties"]),
        (layout.Gate, SCHEMA["properties"]["gate"]),
        (layout.GateRule, SCHEMA["properties"]["gate"]["properties"]["rules"]["items"]),
        (layout.Comparison, DEFS["comparison"]),
        (layout.FieldScores, DEFS["field"]),
        (layout.ValueScores, DEFS["values"]),
        (layout.Ungrounded, DEFS["ungrounded"]),
        (layout.LabelScores, DEFS["field"]["properties"]["labels"]["additionalProperties"]),
        (layout.Calibration, DEFS["system"]["properties"]["calibration"]),
    ],
)
def test_types_are_those_of_the_schema(of: Any, described: dict[str, Any]) -> None:
    assert of.__annotations__.keys() == described["properties"].keys()
    assert of.__required_keys__ == set(described["required"])


def test_a_system_has_every_measure_besides() -> None:
    measures = set(layout.WHOLE_MEASURES)
    assert layout.SystemScores.__annotations__.keys() - measures == DEFS["system"]["properties"].keys() - measures
    assert measures <= layout.SystemScores.__annotations__.keys()
    assert layout.SystemScores.__required_keys__ == set(DEFS["system"]["required"])
    assert set(layout.FIELD_MEASURES) < layout.FieldScores.__annotations__.keys()
    assert set(get_args(layout.Verdict)) == set(DEFS["comparison"]["properties"]["verdict"]["enum"])
    assert set(get_args(layout.Test)) == set(DEFS["comparison"]["properties"]["test"]["enum"])


def test_a_scorecard_of_another_version_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"no manifest\.json"):
        read_scorecard(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(sealed(scorecard_manifest())))
    with pytest.raises(AssayError, match="no scorecard"):
        read_scorecard(tmp_path)
    (tmp_path / "scorecard.json").write_text(json.dumps({"schema_version": 3}))
    with pytest.raises(AssayError, match="a scorecard of version 3, expected 4 or 5"):
        read_scorecard(tmp_path)


@pytest.mark.parametrize("number", READABLE)
def test_a_scorecard_is_what_its_manifest_says_that_was_scored(tmp_path: Path, number: int) -> None:
    """Also of one from before there was a SHA256SUMS; of that what a clock gave is known to scorecard.json only."""
    system = {"schema_valid": {"value": 0.5}, "tokens_per_second": 9.0, "latency_seconds": None}
    card = {"schema_version": number, "gate": None, "systems": {"base": system}}
    scores = {**card, "systems": {"base": {"schema_valid": {"value": 0.5}}}}
    (tmp_path / "scorecard.json").write_text(json.dumps(card))
    (tmp_path / "manifest.json").write_text(
        json.dumps(sealed(scorecard_manifest(scores=scores, schema_version=number)))
    )
    assert read_scorecard(tmp_path) == card
    for text, problem in (
        (json.dumps(card).replace("0.5", "0.7"), "not what manifest.json says that was scored"),
        (json.dumps(card)[:-1], "not readable as JSON"),
    ):
        (tmp_path / "scorecard.json").write_text(text)
        with pytest.raises(AssayError, match=rf"scorecard\.json: {problem}"):
            read_scorecard(tmp_path)
