"""The JSON Schemas of a row and of its answer, and what contract.yaml says of them: one derived from the other.

An answer's keys are described once: in target.schema.json, from which contract.yaml takes the types that it documents,
or in contract.yaml alone, which then gives the schema. Where both say something of a key, they must say the same.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from curate.json_schema import validator_of
from curate.odcs import FILE, merged_by_name, wrong
from curate.record import SCHEMA

TARGET_FILE = "target.schema.json"
RECORD_FIELDS = (*SCHEMA.names[:3], "roles", *SCHEMA.names[3:])
"""What `record` may constrain, in order: the record's columns and `roles`, the turns' roles joined by spaces."""
JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object")
FORMATS = frozenset(
    {"date", "date-time", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri"}
    | {
        "uri-reference",
        "uri-template",
        "iri",
        "iri-reference",
        "uuid",
        "json-pointer",
        "relative-json-pointer",
        "regex",
    }
)
"""Formats of texts that are checked: those of JSON Schema."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def put_in_order(record: dict[str, Any], file: Path) -> None:
    """Let the record's fields stand in the order of RECORD_FIELDS."""
    for item in record["properties"]:
        if item["name"] not in RECORD_FIELDS:
            known = ", ".join(sorted(RECORD_FIELDS))
            raise wrong(file, f"schema.record.{item['name']}", f"no such field; expected some of {known}")
    record["properties"] = sorted(record["properties"], key=lambda item: RECORD_FIELDS.index(item["name"]))


def target_schema_of(path: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema of the answer; what contract.yaml leaves to it of the answer's keys is put into `record`.

    Args:
        path: of target.schema.json; where it is not there, the schema is what contract.yaml says of the target's keys.
        record: of contract.yaml, merged.

    Returns:
        None where neither says anything of the answer: it is plain text.

    Raises:
        AssayError: it is no schema, or the two contradict one another.
    """
    file, key = path.with_name(FILE), "schema.record.target"
    target: dict[str, Any] = next((item for item in record["properties"] if item["name"] == "target"), {})
    if not path.is_file():
        if target.get("properties"):
            return {"$schema": DIALECT} | _json_schema({"required": True} | target, key, file)
        if target.get("required"):
            raise wrong(file, key, f"is required, but neither its `properties` nor a {path.name} says what it is")
        return None
    try:
        schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        validator_of(schema)
        if not isinstance(schema, dict):
            raise ValueError(f"found {schema!r:.80}, which is not an object's")
    except (ValueError, RecursionError) as error:  # not JSON, or not a schema
        raise wrong(path, "(whole file)", f"expected a JSON Schema: {error}") from None
    own = target.get("properties", [])
    alone = {item["name"] for item in own if "logicalType" in item}
    told = [_documented(name, inner, schema) for name, inner in _properties(schema).items() if name not in alone]
    if told or own:
        target["properties"] = merged_by_name(told, own)
    _require_agreement(target, schema, schema, key, file)
    return schema


def row_schema_of(
    name: str, record: dict[str, Any], target_schema: dict[str, Any] | None, file: Path
) -> dict[str, Any]:
    """JSON Schema (2020-12) of a record as JSON, its target parsed and its turns' roles joined in `roles`.

    Raises:
        AssayError: what is said of a field makes no schema.
    """
    fields = [item | {"properties": []} if item["name"] == "target" else item for item in record["properties"]]
    schema = _json_schema(record | {"properties": fields}, "schema.record", file)
    # Its own $id keeps the target schema's inner references (`#/$defs/...`) pointing into itself.
    inner = {"$id": f"urn:assay:target:{quote(name, safe='')}"}
    schema["properties"]["target"] = {"type": "null"} if target_schema is None else inner | target_schema
    row_schema = {"$schema": DIALECT, "title": f"record of {name}"} | schema
    try:
        validator_of(row_schema)
    except ValueError as error:
        raise wrong(file, "schema.record", f"expected what makes a JSON Schema: {error}") from None
    return row_schema


def values_of(row_schema: dict[str, Any], column: str) -> list[Any]:
    """The values that a column of the set may have, null left out, where its field lists them; else none.

    Args:
        row_schema: of the contract.
        column: as `curate.publish.flat.flatten` names it: a field of the record, or `target.KEY`.
    """
    first, _, key = column.partition(".")
    root = row_schema["properties"].get(first, {})
    schema = _properties(root).get(key, {}) if key else root
    return [value for value in followed(schema, root).get("enum", []) if value is not None]


def _json_schema(prop: dict[str, Any], key: str, file: Path) -> dict[str, Any]:
    """JSON Schema of an ODCS property: its logicalTypeOptions are JSON Schema's keywords by the same names."""
    kind = prop.get("logicalType")
    if kind not in JSON_TYPES:
        raise wrong(file, f"{key}.logicalType", f"expected a type that JSON has, found {kind}")
    options = prop.get("logicalTypeOptions", {})
    require_format(kind, options, f"{key}.logicalTypeOptions", file)
    nullable = not prop.get("required", False) and key != "schema.record"
    schema: dict[str, Any] = {"type": [kind, "null"] if nullable else kind} | options
    if "quality" in prop:
        schema["enum"] = [*_valid_values(prop["quality"], key, file), *([None] if nullable else [])]
    if kind == "array" and "items" in prop:
        schema["items"] = _json_schema(prop["items"], f"{key}.items", file)
    if kind == "object" and "properties" in prop:
        inner = {item["name"]: _json_schema(item, f"{key}.{item['name']}", file) for item in prop["properties"]}
        schema |= {"properties": inner, "required": list(inner), "additionalProperties": False}
    return schema


def require_format(kind: Any, options: dict[str, Any], key: str, file: Path) -> None:
    """See to it that a `format` is one that is checked.

    Raises:
        AssayError: it is not.
    """
    found = options.get("format")
    if found is not None and kind != "string":
        raise wrong(file, f"{key}.format", "of numbers none is checked; say `minimum` and `maximum`")
    if found is not None and found not in FORMATS:
        raise wrong(
            file, f"{key}.format", f"{found!r} is none that is checked; expected one of {', '.join(sorted(FORMATS))}"
        )


def _valid_values(rules: list[dict[str, Any]], key: str, file: Path) -> list[Any]:
    """The values that a field of a row may have, by the one rule that it can have: the standard's `invalidValues`."""
    said = {**rules[0], "mustBe": rules[0].get("mustBe", 0), "arguments": rules[0].get("arguments")} if rules else {}
    values = (said.get("arguments") or {}).get("validValues")
    known = {"name", "description", "dimension", "type", "metric", "arguments", "mustBe", "tags", "businessImpact"}
    exact = (
        said.get("metric") == "invalidValues"
        and said["mustBe"] == 0
        and set(said["arguments"] or ()) == {"validValues"}
    )
    if len(rules) != 1 or not exact or not isinstance(values, list) or not values or not set(said) <= known:
        raise wrong(
            file,
            f"{key}.quality",
            "rules for rows are logicalTypeOptions, and the list of the values there are: expected `metric: "
            "invalidValues`, `arguments: {validValues: [...]}`, `mustBe: 0`, or no `quality`",
        )
    return values


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties", {})
    return found if isinstance(found, dict) else {}


def followed(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """A subschema with what it refers to in its own file."""
    seen = set()
    while isinstance(schema, dict) and str(schema.get("$ref", "")).startswith("#/") and schema["$ref"] not in seen:
        seen.add(schema["$ref"])
        found: Any = root
        for step in schema["$ref"][2:].split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        schema = {**(found if isinstance(found, dict) else {}), **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema if isinstance(schema, dict) else {}


def types_of(schema: Any, root: dict[str, Any], depth: int = 8) -> set[str] | None:
    """The JSON types that a subschema allows; None where it does not say."""
    schema = followed(schema, root)
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    listed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if listed is not None:
        return {NAMES.get(type(value), "null") for value in listed}
    for key in ("anyOf", "oneOf", "allOf"):
        parts = [types_of(part, root, depth - 1) for part in schema.get(key, ())] if depth else []
        known = [part for part in parts if part is not None]
        if key == "allOf" and known:
            return set.intersection(*known)
        if parts and len(known) == len(parts):
            return set().union(*known)
    return None


def _documented(name: str | None, schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """What target.schema.json says of a key, as contract.yaml documents it: its one type, and whether null may be."""
    schema = followed(schema, root)
    types = types_of(schema, root) or set()
    plain = sorted(types - {"null"})
    about: dict[str, Any] = {} if name is None else {"name": name}
    about |= {"logicalType": plain[0]} if len(plain) == 1 else {}
    about |= {"required": True} if types and "null" not in types else {}
    about |= {"logicalTypeOptions": {"format": schema["format"]}} if plain == ["string"] and "format" in schema else {}
    about |= {"items": _documented(None, schema["items"], root)} if plain == ["array"] and "items" in schema else {}
    return about | ({"description": schema["description"]} if isinstance(schema.get("description"), str) else {})


def _require_agreement(prop: dict[str, Any], schema: Any, root: dict[str, Any], key: str, file: Path) -> None:
    """See to it that target.schema.json, which answers are held to, keeps what contract.yaml says of a key.

    Raises:
        AssayError: it says something else, or nothing.
    """
    schema = followed(schema, root)
    types = types_of(schema, root)

    def contradicted(what: str, said: str) -> None:
        raise wrong(file, f"{key}.{what}", f"{TARGET_FILE}, which answers are held to, {said}: say the same in both")

    kind = prop.get("logicalType")
    allowed = {kind, "integer"} if kind == "number" else {kind}
    if kind is not None and key != "schema.record.target" and (types is None or not types - {"null"} <= allowed):
        contradicted("logicalType", f"has {' or '.join(sorted(types - {'null'})) if types else 'no type'}, not {kind}")
    if prop.get("required") and types is not None and "null" in types:
        contradicted("required", "allows null")
    for option, value in prop.get("logicalTypeOptions", {}).items():
        if schema.get(option) != value:
            contradicted(f"logicalTypeOptions.{option}", f"has {schema.get(option, 'none')!r:.80}")
    if "quality" in prop:
        contradicted("quality", "lists the values in its own `enum`")
    if prop.get("unique") and key.count(".") != 3:
        raise wrong(file, f"{key}.unique", "only the keys of the answer itself can be unique in the set")
    if "items" in prop:
        if not isinstance(schema.get("items"), dict):
            contradicted("items", "says nothing of them")
        _require_agreement(prop["items"], schema["items"], root, f"{key}.items", file)
    inner = _properties(schema)
    missing = sorted(item["name"] for item in prop.get("properties", []) if item["name"] not in inner)
    if missing:
        raise wrong(
            file, f"{key}.properties", f"expected the properties of {TARGET_FILE}: documented but not there {missing}"
        )
    for item in prop.get("properties", []):
        _require_agreement(item, inner[item["name"]], root, f"{key}.{item['name']}", file)
