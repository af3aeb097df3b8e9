"""A contract's document: contract.yaml merged with what is common to all, full ODCS, of which nothing is passed over.

What holds of every data set is written once, in data_contracts/common.yaml; a contract says what is particular to its
own. A key of the standard that would promise something which nothing here keeps is refused by its name.
"""

import json
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from curate.errors import AssayError
from curate.expectations import engine_of
from curate.strict_yaml import FAST_LOADER, load_yaml

FILE, COMMON_FILE = "contract.yaml", "common.yaml"
REFUSED: dict[str, dict[str, str]] = {
    "contract": {
        "servers": "where the data lies is said by the recipe's `drop`",
        "slaDefaultElement": "the standard has given it up; name the `element` in each service level",
    },
    "object": {
        "physicalName": "the name is the one that there is",
        "physicalType": "there is one form, Arrow's, by `logicalType`",
        "relationships": "state a rule of the set, e.g. expect_column_pair_values_to_be_equal",
    },
    "property": {
        "primaryKey": "say `required: true` and `unique: true`",
        "primaryKeyPosition": "say it in a rule of the set: expect_compound_columns_to_be_unique",
        "partitioned": "rows are divided by splits alone",
        "partitionKeyPosition": "rows are divided by splits alone",
        "physicalType": "there is one form, Arrow's, by `logicalType`",
        "physicalName": "the name is the one that there is",
        "encryptedName": "personal data is replaced by the recipe's section `pii`",
        "relationships": "state a rule of the set, e.g. expect_column_pair_values_to_be_equal",
    },
    "rule": {
        "schedule": "rules are asked before every publication",
        "scheduler": "rules are asked before every publication",
        "method": "a rule is asked of the whole set",
        "unit": "its `kwargs` say what is compared",
    },
}
"""Keys of ODCS that nothing here keeps, by where they stand, with what to say instead."""
GROUNDING = "grounding"
"""The custom property of a field of the answer that says how its values are grounded in the prompt."""
FREE = ("enum", "none")
"""What it says of values that the prompt need not hold."""
HOWS = ("verbatim", "normalised", "date", "number", "enum", "none")
"""What it says, see `curate.grounding`."""


def wrong(file: Path, key: str, message: str) -> AssayError:
    """What is told of a contract that says something it cannot."""
    return AssayError(f"{file}: {key}: {message}.", remedy="data_contracts/README.md explains what a contract holds.")


def read_document(path: Path, base: dict[str, Any]) -> dict[str, Any]:
    """contract.yaml merged into `base`; it is valid against the standard's own JSON Schema.

    Raises:
        AssayError: it is not, or says something that would be passed over; names the file, the key and what to do.
    """
    try:
        own = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise wrong(path, "(whole file)", f"not readable as YAML: {error}") from None
    if not isinstance(own, dict):
        raise wrong(path, "(whole file)", f"expected keys and values, found {type(own).__name__}")
    _require_json(own, path)
    if "name" not in own:
        raise wrong(path, "name", "expected the contract's name")
    document = merged(base, {"id": f"urn:assay:contract:{own['name']}"} | own)
    if "schema" in document:
        document["schema"] = document.pop("schema")  # last, for who reads it
    _require_known(own, path)
    violations = list(_odcs().iter_errors(document))
    if violations:  # the deepest is the cause: what fails inside is then "unevaluated" further out
        cause = max(violations, key=lambda violation: len(violation.instance_path))
        raise wrong(path, _dotted(document, cause.instance_path), cause.message)
    _require_understood(document, path)
    return document


@cache
def _odcs() -> jsonschema_rs.Validator:
    """The standard's own JSON Schema, as its package carries it."""
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    return jsonschema_rs.validator_for(schema)


def _require_json(value: Any, path: Path, key: str = "") -> None:
    """See to it that JSON has words for all that a contract says.

    Raises:
        AssayError: it has none for a date, a key that is no text, or a number that large.
    """
    at = key or "(top)"
    if isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str):
                raise wrong(path, at, f"the key {name!r} is no text; put it in quotes")
            _require_json(each, path, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            name = each.get("name") if isinstance(each, dict) else None
            _require_json(each, path, f"{key}.{place if name is None else name}")
    elif isinstance(value, date):
        raise wrong(path, at, f"{value} is read as a date; put it in quotes")
    elif isinstance(value, (int, float)) and not -(2**63) <= value < 2**63:
        raise wrong(path, at, "expected a number between -2^63 and 2^63")


def _require_known(own: dict[str, Any], path: Path) -> None:
    """See to it that nothing of a contract is passed over: its objects are `record` and `set`, no name comes twice.

    Raises:
        AssayError: an object is neither, or something is named twice.
    """
    objects = own.get("schema") if isinstance(own.get("schema"), list) else []
    for item in objects or []:
        if isinstance(item, dict) and item.get("name") not in ("record", "set"):
            raise wrong(path, f"schema.{item.get('name')}", "expected the objects `record` and `set`, and no other")
    _require_once(objects, path, "schema")


def _require_once(items: Any, path: Path, key: str) -> None:
    """See to it that no two of some objects or properties, nor of those in them, have one name."""
    named = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    names = [item.get("name") for item in named if item.get("name") is not None]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise wrong(path, f"{key}.{twice}", "named twice")
    for item in named:
        _require_once(item.get("properties"), path, f"{key}.{item.get('name')}.properties")
        if isinstance(item.get("items"), dict):
            _require_once([{"name": "items"} | item["items"]], path, f"{key}.{item.get('name')}")


def _require_understood(document: dict[str, Any], path: Path) -> None:
    """See to it that a contract promises nothing that is kept nowhere.

    Raises:
        AssayError: it has a key of REFUSED that says something.
    """

    def look(part: dict[str, Any], kind: str, key: str) -> None:
        try:
            grounded = kind == "property" and grounding_said(part) is not None
        except ValueError as error:
            raise wrong(path, f"{key}.customProperties.{GROUNDING}", str(error)) from None
        if grounded and not f"{key}.".startswith("schema.record.target."):
            raise wrong(
                path, f"{key}.customProperties.{GROUNDING}", "only what is in the answer (`target`) is grounded"
            )
        for name, instead in REFUSED[kind].items():
            if part.get(name) not in (None, False, -1, []):
                raise wrong(path, f"{key}.{name}".lstrip("."), f"not understood, and so kept nowhere; {instead}")
        for rule in part.get("quality", []):
            look(rule, "rule", f"{key}.quality.{rule.get('name', '(unnamed)')}")
        for item in part.get("properties", []):
            look(item, "property", f"{key}.{item['name']}")
        if "items" in part:
            look(part["items"], "property", f"{key}.items")

    look(document, "contract", "")
    for item in document["schema"]:
        look(item, "object", f"schema.{item['name']}")


def common() -> dict[str, Any]:
    """What holds of every data set, as a contract without name and version."""
    text = (files("data_contracts") / COMMON_FILE).read_text(encoding="utf-8")
    return merged({}, yaml.load(text, Loader=FAST_LOADER))  # noqa: S506


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A part of a contract merged into the common one, neither of them changed.

    Objects, properties and rules are merged by name. They stand in the order of `own`, and each that it does not name
    after the one that it follows in `base`. Of any other key that `own` has, its whole value is taken. What a rule need
    not say is added: whose it is.
    """
    whole = base | own
    for key in ("schema", "properties", "quality"):
        if isinstance(own.get(key), list):  # else the standard's JSON Schema says what is wrong
            whole[key] = merged_by_name(base.get(key, []), own[key])
    if isinstance(own.get("items"), dict):
        whole["items"] = merged(base.get("items", {}), own["items"])
    if "implementation" in own:
        whole = {"type": "custom", "engine": engine_of(own["implementation"])} | base | own
        whole["engine"] = own.get("engine", engine_of(own["implementation"]))
    return whole


def merged_by_name(base: list[Any], own: list[Any]) -> list[Any]:
    """Objects, properties or rules merged into others by their names, see `merged`."""
    both = [merged({}, item) if isinstance(item, dict) else item for item in own]
    at = 0
    for item in base:
        names = [other.get("name") if isinstance(other, dict) else None for other in both]
        if item["name"] in names:
            at = names.index(item["name"])
            both[at] = merged(item, both[at])
        else:
            both.insert(at, item)
        at += 1
    return both


def schema_object(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The object `record` or `set` of a document."""
    found: dict[str, Any] = next(item for item in document["schema"] if item["name"] == name)
    return found


def grounding_said(prop: dict[str, Any]) -> tuple[str, str] | None:
    """What a property's custom property `grounding` says, and why; None where it has none.

    Raises:
        ValueError: it says what is none of HOWS, or `none` and not why; has what is wrong.
    """
    for item in prop.get("customProperties", []):
        if item["property"] == GROUNDING:
            said, why = item["value"], item.get("description", "")
            if said not in HOWS:
                raise ValueError(f"expected one of {', '.join(HOWS)}, found {said!r:.80}")
            if said == "none" and not why:
                raise ValueError("`none` needs a `description`: why the answer says what the prompt does not")
            return said, why
    return None


def stated_grounding(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """How a contract states that fields of the answer are grounded, and why, by path: `parties[]`, `clauses[].date`."""
    found: dict[str, tuple[str, str]] = {}

    def look(prop: dict[str, Any], path: str) -> None:
        if (said := grounding_said(prop)) is not None:
            found[path] = said
        for item in prop.get("properties", []):
            look(item, f"{path}.{item['name']}" if path else item["name"])
        if "items" in prop:
            look(prop["items"], f"{path}[]")

    for item in schema_object(document, "record")["properties"]:
        if item["name"] == "target":
            look(item, "")
    return found


def _dotted(document: Any, path: list[str | int]) -> str:
    """A path into a document, with list items called by their `name` where they have one."""
    parts: list[str] = []
    for step in path:
        document = document[step]
        name = document.get("name") if isinstance(document, dict) and isinstance(step, int) else None
        parts.append(str(name) if name is not None else str(step))
    return ".".join(parts) or "(top)"
