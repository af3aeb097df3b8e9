"""What the report tells of grounding: by field, how many values their prompts hold, with passages."""

from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc

from curate.manifest import DatasetManifest
from curate.publish.shown_rows import EXAMPLES, Parts, matching
from curate.rows.ground import GROUNDED, UNGROUNDED, Ground

AROUND = 90
"""Characters shown before and after a passage."""


def grounded_fields(folder: Path, manifest: DatasetManifest) -> list[dict[str, Any]]:
    """By field of the answer: {"field", "how", "found", "missing", "said", "unsaid"}; none where `ground` did not run.

    found, missing: values that their prompts hold, and that they do not; said: examples of the first, each a value and
    its passage; unsaid: examples of the second, each with the row, its place, and the passage that is most like the
    value, in parts with what is around it.

    Args:
        folder: of the version.
        manifest: of it.
    """
    stage = next((stage for stage in manifest.stages if stage.name == Ground.name), None)
    if stage is None:
        return []
    counted = {name.partition(".")[2] for name in stage.counters if name.startswith((GROUNDED, UNGROUNDED))}
    hows: dict[str, str] = manifest.content().get("grounding", {})
    unsaid = _unsaid(folder, sorted(counted))
    return [
        {
            "field": field,
            "how": hows.get(field, ""),
            "found": stage.counters.get(f"{GROUNDED}{field}", 0),
            "missing": stage.counters.get(f"{UNGROUNDED}{field}", 0),
            "said": stage.examples.get(f"{GROUNDED}{field}", [])[:1],
            "unsaid": unsaid.get(field, []),
        }
        for field in sorted(counted)
    ]


def _unsaid(folder: Path, fields: list[str]) -> dict[str, list[dict[str, Any]]]:
    """By field, the first few values that their prompts do not hold: of rows that are published, else of others."""
    found: dict[str, list[dict[str, Any]]] = {}
    listed = folder / "ungrounded.parquet"
    for field in fields:
        chosen: list[dict[str, Any]] = []
        if listed.is_file():
            chosen = [*islice(matching(listed, pc.field("field") == field), EXAMPLES)]
        if chosen:
            found[field] = [each | {"row": _published(folder, each)} for each in chosen]
    mine = (pc.field("reason") == "ungrounded") & (pc.field("stage") == Ground.name)
    for row in matching(folder / "quarantine.parquet", mine):
        evidence = orjson.loads(row["evidence"])
        if len(found.setdefault(evidence["field"], [])) < EXAMPLES:
            found[evidence["field"]].append(evidence | {"became": "quarantine", "row": row})
        elif all(len(found.get(field, [])) >= EXAMPLES for field in fields):
            break
    return {
        field: [each | {"parts": _parts(each), "place": _place(each)} for each in chosen]
        for field, chosen in found.items()
    }


def _published(folder: Path, value: dict[str, Any]) -> dict[str, Any]:
    wanted = pc.field("id") == value["id"]
    (row,) = matching(folder / f"{value['split']}.parquet", wanted, ["turns", "source"])
    return row


def _place(value: dict[str, Any]) -> str:
    """Where the passage is, or the row."""
    source = value["row"]["source"]
    page = f", page {value['page']}" if value.get("page") is not None else ""
    return f"{source['file']}, row {source['row']}{page}"


def _parts(value: dict[str, Any]) -> Parts:
    """The passage with what is around it; nothing where there is none."""
    if value.get("begin") is None:
        return []
    text, begin, end = value["row"]["turns"][value["turn"]]["content"], value["begin"], value["end"]
    before, after = text[max(0, begin - AROUND) : begin], text[end : end + AROUND]
    cut = "…" if begin > AROUND else ""
    return [(False, cut + before), (True, text[begin:end]), (False, after + ("…" if end + AROUND < len(text) else ""))]
