"""The contract: what one record and a whole set must satisfy, written in the Open Data Contract Standard (ODCS) 3.1.

A contract is a folder with `contract.yaml` and, where the answer is structured, `target.schema.json`. Of the two
schema objects of contract.yaml, `record` documents the fields of a row and `set` those of the flattened whole. The JSON
Schema of a row and the Great Expectations suite of a set are derived from them, so neither can disagree with what is
documented.

What holds of every data set is written once, in data_contracts/common.yaml; a contract says what is particular to its
own, and is merged into that.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import yaml

from curate.errors import AssayError
from curate.expectations import about_a_column, compared, named_columns, wrong_with
from curate.hashing import digest, file_digest, files_digest
from curate.json_schema import validator_of
from curate.record import SCHEMA, SPLITS
from curate.service_levels import Stated, service_levels
from curate.strict_yaml import FAST_LOADER, load_yaml

FILE, TARGET_FILE, COMMON_FILE = "contract.yaml", "target.schema.json", "common.yaml"
RECORD_FIELDS = (*SCHEMA.names[:3], "roles", *SCHEMA.names[3:])
"""What `record` may constrain, in order: the record's columns and `roles`, the turns' roles joined by spaces."""
WITHOUT = "withoutRules"
"""Custom property of `set`: names of the common rules that the set is not held to."""


@dataclass(frozen=True)
class Field:
    """One documented field, for the data set card."""

    name: str
    """Dotted where nested, e.g. `target.category`."""
    type: str
    """ODCS logical type."""
    nullable: bool
    description: str
    derivation: str
    """How it is derived from the sources; empty where it is taken as it is."""
    logic: str
    """The derivation as a formula, where there is one."""


@dataclass(frozen=True)
class Contract:
    """A loaded contract; make one with `Contract.load`."""

    name: str
    version: str
    purpose: str
    limitations: str
    usage: str
    tags: tuple[str, ...]
    properties: dict[str, str]
    """ODCS `customProperties`, e.g. {"license": "cc-by-4.0", "attribution": "..."}."""
    fields: tuple[Field, ...]
    target_schema: dict[str, Any] | None
    """JSON Schema of the answer, or None where the answer is plain text."""
    row_schema: dict[str, Any]
    """JSON Schema (2020-12) of a record as JSON, its target parsed and its turns' roles joined in `roles`."""
    expectations: tuple[dict[str, Any], ...]
    """Great Expectations configurations: {"type", "kwargs", "meta": {"name", "dimension", "description"}}."""
    service_levels: dict[str, Stated]
    """What a drop is held to, by property; see `curate.service_levels`."""
    document: dict[str, Any]
    """contract.yaml, merged with what is common to all contracts: full ODCS."""
    sha256: str
    """Hash of what is said: the merged document, and target.schema.json as it stands."""

    @staticmethod
    def load(name_or_path: str | Path) -> "Contract":
        """Read a contract.

        Args:
            name_or_path: a folder that holds contract.yaml, or the name of a packaged contract, e.g. "licences".

        Raises:
            AssayError: there is no such contract, or it is wrong; names the file, the key and what was expected.
        """
        folder = Path(name_or_path)
        if not (folder / FILE).is_file():
            folder = Path(str(files("data_contracts"))) / name_or_path
        if not (folder / FILE).is_file():
            packaged = sorted(path.parent.name for path in Path(str(files("data_contracts"))).glob(f"*/{FILE}"))
            raise AssayError(
                f"{name_or_path}: no such contract: no {FILE} in that folder.",
                remedy=f"Name a folder that holds one, or one of: {', '.join(packaged)}.",
            )
        document = _read_document(folder / FILE)
        record, whole = (_schema_object(document, name) for name in ("record", "set"))
        _put_in_order(record, folder / FILE)
        _leave_out(whole, folder / FILE)
        target_schema = _target_schema(folder / TARGET_FILE, record)
        row_schema = _row_schema(document["name"], record, target_schema, folder / FILE)
        about = document.get("description", {})
        return Contract(
            name=document["name"],
            version=document["version"],
            purpose=about.get("purpose", ""),
            limitations=about.get("limitations", ""),
            usage=about.get("usage", ""),
            tags=tuple(document.get("tags", [])),
            properties={item["property"]: str(item["value"]) for item in document.get("customProperties", [])},
            fields=tuple(_fields(record["properties"])),
            target_schema=target_schema,
            row_schema=row_schema,
            expectations=tuple(_expectations(whole, folder / FILE)),
            service_levels=_service_levels(document, folder / FILE),
            document=document,
            sha256=_known_by(document, folder / TARGET_FILE),
        )

    def of_splits(self, held: Collection[str], shares: bool) -> "Contract":
        """The contract without the common rules about splits that hold no rows: whether they are to is the recipe's
        to say. A rule that the contract states itself stands.

        Args:
            held: the splits that hold rows.
            shares: whether the common rules say something about the shares of these.
        """
        if {*SPLITS} <= {*held} and shares:
            return self
        shared = {*held} if shares and len({*held}) > 1 else set()
        absent = {f"{split}_share" for split in {*SPLITS} - shared}
        absent |= {"splits_present"} if {*SPLITS} - {*held} else set()
        theirs = _common_rules()
        kept = (rule for rule in self.expectations if rule["meta"]["name"] not in absent or rule not in theirs)
        return replace(self, expectations=tuple(kept))

    def of_any_set(self) -> "Contract":
        """The contract without what it says of its own set, for one that is curated otherwise than it was written for:
        what is said of each row holds, and what holds of every set."""
        names = {rule["meta"]["name"] for rule in _common_rules()}
        kept = (rule for rule in self.expectations if rule["meta"]["name"] in names)
        return replace(self, expectations=tuple(kept))


def _common_rules() -> list[dict[str, Any]]:
    return list(_expectations(_schema_object(common(), "set"), Path(COMMON_FILE)))


def _known_by(document: dict[str, Any], target: Path) -> str:
    said = {FILE: digest(document)}
    if target.is_file():  # by its bytes: prompts may list its keys in their order
        said[TARGET_FILE] = file_digest(target)
    return files_digest(said.items())


def _wrong(file: Path, key: str, message: str) -> AssayError:
    return AssayError(f"{file}: {key}: {message}.", remedy="data_contracts/README.md explains what a contract holds.")


@cache
def _odcs() -> jsonschema_rs.Validator:
    """The standard's own JSON Schema, as its package carries it."""
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    return jsonschema_rs.validator_for(schema)


def _read_document(path: Path) -> dict[str, Any]:
    """contract.yaml merged with what is common; that is valid against the standard's own JSON Schema."""
    try:
        own = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise _wrong(path, "(whole file)", f"not readable as YAML: {error}") from None
    if not isinstance(own, dict):
        raise _wrong(path, "(whole file)", f"expected keys and values, found {type(own).__name__}")
    _require_json(own, path)
    if "name" not in own:
        raise _wrong(path, "name", "expected the contract's name")
    document = merged(common(), {"id": f"urn:assay:contract:{own['name']}"} | own)
    document["schema"] = document.pop("schema")  # last, for who reads it
    _require_known(own, path)
    violations = list(_odcs().iter_errors(document))
    if violations:  # the deepest is the cause: what fails inside is then "unevaluated" further out
        cause = max(violations, key=lambda violation: len(violation.instance_path))
        raise _wrong(path, _dotted(document, cause.instance_path), cause.message)
    return document


def _require_json(value: Any, path: Path, key: str = "") -> None:
    """See to it that JSON has words for all that a contract says.

    Raises:
        AssayError: it has none for a date, a key that is no text, or a number that large.
    """
    at = key or "(top)"
    if isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str):
                raise _wrong(path, at, f"the key {name!r} is no text; put it in quotes")
            _require_json(each, path, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            name = each.get("name") if isinstance(each, dict) else None
            _require_json(each, path, f"{key}.{place if name is None else name}")
    elif isinstance(value, date):
        raise _wrong(path, at, f"{value} is read as a date; put it in quotes")
    elif isinstance(value, (int, float)) and not -(2**63) <= value < 2**63:
        raise _wrong(path, at, "expected a number between -2^63 and 2^63")


def _require_known(own: dict[str, Any], path: Path) -> None:
    """See to it that nothing of a contract is passed over: its objects are `record` and `set`, no name comes twice.

    Raises:
        AssayError: an object is neither, or something is named twice.
    """
    objects = own.get("schema") if isinstance(own.get("schema"), list) else []
    for item in objects or []:
        if isinstance(item, dict) and item.get("name") not in ("record", "set"):
            raise _wrong(path, f"schema.{item.get('name')}", "expected the objects `record` and `set`, and no other")
    _require_once(objects, path, "schema")


def _require_once(items: Any, path: Path, key: str) -> None:
    """See to it that no two of some objects or properties, nor of those in them, have one name."""
    named = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    names = [item.get("name") for item in named if item.get("name") is not None]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _wrong(path, f"{key}.{twice}", "named twice")
    for item in named:
        _require_once(item.get("properties"), path, f"{key}.{item.get('name')}.properties")
        if isinstance(item.get("items"), dict):
            _require_once([{"name": "items"} | item["items"]], path, f"{key}.{item.get('name')}")


def common() -> dict[str, Any]:
    """What holds of every data set, as a contract without name and version."""
    text = (files("data_contracts") / COMMON_FILE).read_text(encoding="utf-8")
    return merged({}, yaml.load(text, Loader=FAST_LOADER))  # noqa: S506


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A part of a contract merged into the common one, neither of them changed.

    Objects, properties and rules are merged by name. They stand in the order of `own`, and each that it does not name
    after the one that it follows in `base`. Of any other key that `own` has, its whole value is taken. What a rule need
    not say is added: it is one of Great Expectations.
    """
    whole = base | own
    for key in ("schema", "properties", "quality"):
        if isinstance(own.get(key), list):  # else the standard's JSON Schema says what is wrong
            whole[key] = _merged_by_name(base.get(key, []), own[key])
    if isinstance(own.get("items"), dict):
        whole["items"] = merged(base.get("items", {}), own["items"])
    if "implementation" in whole:
        whole.setdefault("type", "custom")
        whole.setdefault("engine", "greatExpectations")
    return whole


def _merged_by_name(base: list[Any], own: list[Any]) -> list[Any]:
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


def _dotted(document: Any, path: list[str | int]) -> str:
    """A path into a document, with list items called by their `name` where they have one."""
    parts: list[str] = []
    for step in path:
        document = document[step]
        name = document.get("name") if isinstance(document, dict) and isinstance(step, int) else None
        parts.append(str(name) if name is not None else str(step))
    return ".".join(parts) or "(top)"


def _schema_object(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in document["schema"] if item["name"] == name)
    return found


def _put_in_order(record: dict[str, Any], file: Path) -> None:
    """Let the record's fields stand in the order of RECORD_FIELDS."""
    for item in record["properties"]:
        if item["name"] not in RECORD_FIELDS:
            known = ", ".join(sorted(RECORD_FIELDS))
            raise _wrong(file, f"schema.record.{item['name']}", f"no such field; expected some of {known}")
    record["properties"] = sorted(record["properties"], key=lambda item: RECORD_FIELDS.index(item["name"]))


def _leave_out(whole: dict[str, Any], file: Path) -> None:
    """Take out the common rules that the contract says its set is not held to."""
    named = [item["value"] for item in whole.get("customProperties", []) if item["property"] == WITHOUT]
    owners = [whole, *whole["properties"]]
    known = [rule.get("name") for owner in owners for rule in owner.get("quality", [])]
    for without in named:
        if not isinstance(without, list) or [name for name in without if name not in known]:
            raise _wrong(file, f"schema.set.{WITHOUT}", f"expected a list of some of {', '.join(map(str, known))}")
        for owner in owners:
            if "quality" in owner:
                owner["quality"] = [rule for rule in owner["quality"] if rule.get("name") not in without]


def _target_schema(path: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """target.schema.json, with just the properties that contract.yaml documents; None if neither has any."""
    target: dict[str, Any] = next((item for item in record["properties"] if item["name"] == "target"), {})
    documented = {item["name"] for item in target.get("properties", [])}
    if not path.is_file():
        if documented:
            raise _wrong(
                path.with_name(FILE),
                "schema.record.target",
                f"its properties are documented, but there is no {path.name}",
            )
        return None
    try:
        schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        validator_of(schema)
        if not isinstance(schema, dict):
            raise ValueError(f"found {schema!r:.80}, which is not an object's")
    except (ValueError, RecursionError) as error:  # not JSON, or not a schema
        raise _wrong(path, "(whole file)", f"expected a JSON Schema: {error}") from None
    properties = set(schema.get("properties", {}))
    if properties != documented:
        raise _wrong(
            path.with_name(FILE),
            "schema.record.target.properties",
            f"expected the properties of {path.name}: undocumented {sorted(properties - documented)}, "
            f"documented but not there {sorted(documented - properties)}",
        )
    return schema


def _row_schema(name: str, record: dict[str, Any], target_schema: dict[str, Any] | None, file: Path) -> dict[str, Any]:
    schema = _json_schema(record, "schema.record", file)
    # Its own $id keeps the target schema's inner references (`#/$defs/...`) pointing into itself.
    inner = {"$id": f"urn:assay:target:{quote(name, safe='')}"}
    schema["properties"]["target"] = {"type": "null"} if target_schema is None else inner | target_schema
    row_schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"record of {name}"} | schema
    try:
        validator_of(row_schema)
    except ValueError as error:
        raise _wrong(file, "schema.record", f"expected what makes a JSON Schema: {error}") from None
    return row_schema


def _json_schema(prop: dict[str, Any], key: str, file: Path) -> dict[str, Any]:
    """JSON Schema of an ODCS property: its logicalTypeOptions are JSON Schema's keywords by the same names."""
    kind = prop.get("logicalType")
    if kind not in ("string", "integer", "number", "boolean", "array", "object"):
        raise _wrong(file, f"{key}.logicalType", f"expected a type that JSON has, found {kind}")
    if "quality" in prop:
        raise _wrong(file, f"{key}.quality", "rules for rows are logicalTypeOptions; expected no `quality`")
    nullable = not prop.get("required", False) and key != "schema.record"
    schema: dict[str, Any] = {"type": [kind, "null"] if nullable else kind} | prop.get("logicalTypeOptions", {})
    if kind == "array" and "items" in prop:
        schema["items"] = _json_schema(prop["items"], f"{key}.items", file)
    if kind == "object" and "properties" in prop:
        inner = {item["name"]: _json_schema(item, f"{key}.{item['name']}", file) for item in prop["properties"]}
        schema |= {"properties": inner, "required": list(inner), "additionalProperties": False}
    return schema


def _expectations(whole: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    columns = {item["name"]: item.get("logicalType") for item in whole["properties"]}
    found: list[dict[str, Any]] = []
    for column, owner in [(None, whole), *((item["name"], item) for item in whole["properties"])]:
        for rule in owner.get("quality", []):
            key = ".".join(["schema.set", *([column] if column else []), f"quality.{rule.get('name', '(unnamed)')}"])
            if rule.get("type", "library") != "custom" or rule["engine"] != "greatExpectations":
                raise _wrong(
                    file, key, "expected `type: custom` and `engine: greatExpectations`, the one engine that runs"
                )
            implementation = rule["implementation"]
            if not isinstance(implementation, dict) or set(implementation) != {"type", "kwargs"}:
                raise _wrong(file, f"{key}.implementation", "expected `type: expect_...` and `kwargs`")
            if "name" not in rule or rule["name"] in (other["meta"]["name"] for other in found):
                raise _wrong(file, f"{key}.name", "expected a name that no other rule has")
            type_, kwargs = implementation["type"], implementation["kwargs"]
            if column and isinstance(kwargs, dict):
                if not about_a_column(type_):
                    raise _wrong(file, f"{key}.implementation.type", f"{type_} is not about the one column {column!r}")
                if kwargs.get("column", column) != column:
                    raise _wrong(file, f"{key}.implementation.kwargs.column", f"expected the property's, {column!r}")
                kwargs = {"column": column} | kwargs
            if problem := wrong_with(type_, kwargs):
                raise _wrong(file, f"{key}.implementation", problem)
            for unknown in [name for name in named_columns(kwargs) if name not in columns]:
                raise _wrong(
                    file, f"{key}.implementation.kwargs", f"column {unknown!r} is none of {', '.join(columns)}"
                )
            for name, constant in compared(kwargs):  # else no row would be asked, and the rule hold
                if (columns[name] == "string") != (constant[0] in "\"'"):
                    raise _wrong(
                        file,
                        f"{key}.implementation.kwargs.row_condition",
                        f"{name!r} is of type {columns[name]}, and cannot be compared with {constant}",
                    )
            found.append(
                {
                    "type": type_,
                    "kwargs": kwargs,
                    "meta": {key: rule.get(key, "") for key in ("name", "dimension", "description")},
                }
            )
    return found


def _service_levels(document: dict[str, Any], file: Path) -> dict[str, Stated]:
    try:
        return service_levels(document.get("slaProperties", []))
    except ValueError as error:
        name, problem = error.args
        raise _wrong(file, f"slaProperties.{name}", problem) from None


def _fields(properties: list[dict[str, Any]], prefix: str = "") -> list[Field]:
    """The properties and those nested in them, outer before inner."""
    fields: list[Field] = []
    for item in properties:
        name = prefix + item["name"]
        about = [item.get(key, "") for key in ("description", "transformDescription", "transformLogic")]
        fields.append(Field(name, item["logicalType"], not item.get("required", False), *about))
        inner = item.get("properties") or item.get("items", {}).get("properties", [])
        fields += _fields(inner, f"{name}.")
    return fields
