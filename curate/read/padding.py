"""Padding: the nulls that Arrow and `datasets` write into objects of several kinds in one column, in JSON lines too.

Tools, and the arguments of their calls, are such objects: each is given the keys of all. Of a tool's description a null
is never meant, but as a `default` or `const`. Of an argument it is where the row's tools say that it may be null.
"""

from typing import Any

from curate.read.json_value import text_value
from curate.read.raw_row import Row

ARGUMENTS = ("arguments", "parameters")
"""Keys of a call under which its arguments stand."""
MEANT = frozenset({"default", "const"})
"""Keys of a JSON schema of which null is a value."""


def unpadded(value: Any, meant: frozenset[str] = frozenset()) -> Any:
    """A value whose objects have no keys that are null, but those in `meant`."""
    if isinstance(value, dict):
        return {key: unpadded(each, meant) for key, each in value.items() if each is not None or key in meant}
    return [unpadded(each, meant) for each in value] if isinstance(value, list) else value


def unpadded_arguments(name: str, arguments: Row, tools: Any) -> Row:
    """The arguments of a call of the tool `name`, without nulls that `tools`, a list or its JSON, do not allow."""
    if isinstance(tools, str):
        try:
            tools = text_value(tools)
        except ValueError:
            tools = None
    nullable: set[str] = set()
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") or tool if isinstance(tool, dict) else {}
        parameters = function.get("parameters") if function.get("name") == name else None
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        if isinstance(properties, dict):
            nullable |= {key for key, schema in properties.items() if isinstance(schema, dict) and _takes_null(schema)}
    return {
        key: each if key in nullable else unpadded(each)
        for key, each in arguments.items()
        if each is not None or key in nullable
    }


def unpadded_calls(value: Any, tools: Any) -> Any:
    """An answer that is a call {name, arguments}, or a list of calls, without such nulls; any other one as it is."""
    if not are_calls(value):
        return value
    if isinstance(value, list):
        return [unpadded_calls(each, tools) for each in value]
    held = next(key for key in ARGUMENTS if key in value)
    return value | {held: unpadded_arguments(str(value["name"]), value[held], tools)}


def are_calls(value: Any) -> bool:
    """Whether a value is a call or a list of calls."""
    return bool(value) and all(map(_is_call, value if isinstance(value, list) else [value]))


def _is_call(value: Any) -> bool:
    """Whether a value is one call; a tool's own description has a schema for its parameters."""
    if not isinstance(value, dict) or not {"name"} < value.keys() <= {"name", "id", "type", *ARGUMENTS}:
        return False
    held = [value[key] for key in ARGUMENTS if key in value]
    return len(held) == 1 and isinstance(held[0], dict) and not isinstance(held[0].get("properties"), dict)


def _takes_null(schema: Row) -> bool:
    kinds = schema.get("type")
    others = [each for key in ("anyOf", "oneOf") for each in schema.get(key) or () if isinstance(each, dict)]
    return (
        schema.get("nullable") is True
        or kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or (isinstance(schema.get("enum"), list) and None in schema["enum"])
        or any(map(_takes_null, others))
    )
