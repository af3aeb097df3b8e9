"""What a run is called: its flow, the recipe, the drop, and the version once it is published."""

import re
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from curate.recipe import find_recipe
from curate.strict_yaml import load_yaml
from curate.urls import without_secrets

LONGEST = 60
"""Characters of a drop."""


def run_name() -> str:
    """ "curation licences march": of a flow that takes no drop, the data set version that was named, if one was."""
    parameters = flow_run.parameters
    recipe, drop = _told(parameters["recipe"])
    named = parameters.get("drop") or parameters.get("dataset")
    place = named or (drop if "drop" in parameters else "")
    return " ".join(part for part in (flow_run.flow_name, recipe, _last(place)) if part)


def add_version(folder: Path) -> None:
    """Have the name of the run at work end with the version that it has published.

    Args:
        folder: the version's.
    """
    with get_client(sync_client=True) as client:
        client.set_flow_run_name(flow_run.id, f"{flow_run.name} {folder.name}")


def _told(recipe: str) -> tuple[str, str]:
    """The name that a recipe's file gives, and the drop, package or data set that it reads; of one that cannot be read
    the file's name and nothing: the run itself says what is wrong."""
    try:
        path = find_recipe(recipe)
        raw: dict[str, Any] = load_yaml(path.read_text(encoding="utf-8"))
        name = raw["name"]
        first, *_ = raw["sources"]
        places = (raw.get("drop"), first.get("package"), first.get("dataset"), path.resolve().parent.name)
        drop = next(place for place in places if isinstance(place, str))
    except Exception:  # whatever a YAML file may hold
        return Path(recipe).stem, ""
    return (name, drop) if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", str(name)) else (Path(recipe).stem, drop)


def _last(place: str) -> str:
    """The last part of a folder's path, or of a URL, without secrets."""
    return without_secrets(place).rstrip("/").rpartition("/")[2][:LONGEST]
