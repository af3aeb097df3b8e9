"""Public reports on what is taken from replies."""

import json
from pathlib import Path

from evaluation.judge.form import ABSENT, form_of, validator_of


def test_nothing_is_extracted_from_inside_a_broken_outer_value(shared_data: Path) -> None:
    folder = shared_data.parent / "cases/13-broken-nested-json/21-broken-nested"
    validator = validator_of(json.loads((folder / "contract/target.schema.json").read_bytes()))
    for line in (folder / "replies.jsonl").read_text(encoding="utf-8").splitlines():
        reply = json.loads(line)
        form = form_of(reply["output"], validator, reply["truncated"])
        assert form.kind in ("truncated", "syntax"), reply["id"]
        assert form.extracted is ABSENT
