"""Padding: the nulls that Arrow and `datasets` write into objects of several kinds in one column, in JSON lines too.

Tools, and the arguments of their calls, are such objects: each is given the keys of all. Of a tool's description a null
is never meant, but as a `default` or `const`. Of an argument it is where the row's tools say that it may be null.
"""

from typing import Any

from curate.read.json_value import text_value
from curate.read.raw_row import Row

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


def unpadded_call(call: Row, tools: Any) -> Row:
    """A call {name, arguments} whose arguments are without such nulls."""
    arguments = call["arguments"]
    if not isinstance(arguments, dict):
        return call
    return call | {"arguments": unpadded_arguments(str(call.get("name")), arguments, tools)}


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
