"""Checks of grounding: what published answers say stands in their published prompts, or is listed, or the contract says
why it does not (law 10)."""

import json
from pathlib import Path

from curate.grounding import Grounding, Prompt
from curate.manifest import DatasetManifest
from curate.publish.carried import carried
from curate.publish.check_result import Check
from curate.publish.check_text import asked_turns
from curate.publish.published import read_rows, row_name, split_rows
from curate.rows.ground import SHOWN, text_of

LISTED = "ungrounded.parquet"


def check_grounded(folder: Path, manifest: DatasetManifest) -> list[Check]:
    """One check of the values, where the recipe grounds them; none where it does not.

    The rows are those that are published, as later stages have left them.
    """
    policy = manifest.recipe.get("ground", {}).get("policy", "keep")
    contract = carried(folder)
    if policy == "keep" or contract is None:
        return []
    grounding = Grounding.of(contract)
    listed: dict[str, list[tuple[str, str]]] = {}
    if (folder / LISTED).is_file():
        for value in read_rows(folder / LISTED, ["id", "field", "value"]):
            listed.setdefault(value["id"], []).append((value["field"], value["value"]))
    claim = "every value of an answer stands in its prompt" + (" or is listed" if policy == "flag" else "")
    check = Check("grounded", f"{claim}, but for fields of which the contract says why", "10", what="values")
    for name, row in split_rows(folder, ["id", "turns", "target", "language", "source"]):
        if row["target"] is None:
            continue
        prompt = Prompt(asked_turns(row), row["language"])
        for said, place in grounding.looked_for(json.loads(row["target"]), prompt):
            check.compared += 1
            known = policy == "flag" and (said.path, text_of(said)[:SHOWN]) in listed.get(row["id"], ())
            if place is None and not known:
                check.fail(f"{row_name(name, row)}: {said.path}: {text_of(said)[:80]!r} is not in its prompt")
    return [check]
