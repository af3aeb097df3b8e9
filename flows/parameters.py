"""What flows take, as the form of a deployment offers it and the server checks it before a run starts.

The server has the JSON Schema and nothing else, and the schema is what it says of a wrong value: where `not` forbids
one, the title says why. What only a worker can tell, such as whether a file is there, the run itself finds out.
"""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from curate.bucket import PACKAGES
from curate.engine import EngineName
from curate.mirror import PLACES
from curate.recipe import find_recipe, packaged_recipes
from curate.strict_yaml import load_yaml

SECRETS = r"://.*[?#]|://[^/]*:[^/]*@|^(?!(abfss?|wasbs?|az|adl):)[^/]*://[^/]*@"
"""Query, fragment, password, user; Azure's URLs have a container where others have a user."""

NO_STORE = rf"^(?!({'|'.join(PACKAGES)})://)[A-Za-z][A-Za-z0-9+.-]+:/"
"""URLs at which no store can lie."""


def _variants() -> list[str]:
    """The variants of the packaged recipes."""
    recipes = (load_yaml(find_recipe(name).read_text(encoding="utf-8")) for name in packaged_recipes())
    return sorted({variant for recipe in recipes for variant in recipe.get("variants", {})})


def _text(title: str, **rules: Any) -> dict[str, Any]:
    return {"title": title, "type": "string", "minLength": 1, **rules}


def _optional(*kinds: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*kinds, {"type": "null"}]})


def _never(pattern: str, why: str) -> dict[str, str]:
    return {"title": why, "pattern": pattern}


_PACKAGED = packaged_recipes()

Recipe = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [_text("packaged", enum=_PACKAGED), _text("YAML file")],
            "not": _never(
                rf"^(?!({'|'.join(_PACKAGED)})$)(?!.*\.ya?ml$)",
                f"neither a YAML file nor a packaged recipe: {', '.join(_PACKAGED)}",
            ),
        }
    ),
]
Variant = Annotated[
    str | None, _optional(_text("of a packaged recipe", enum=_variants()), _text("of a recipe of your own"))
]
Folder = Annotated[
    str,
    WithJsonSchema(_text("folder or URL", **{"not": _never(f"{NO_STORE}|{SECRETS}", f"{PLACES}, without keys in it")})),
]
Drop = Annotated[
    str | None,
    _optional(_text("folder or URL", **{"not": _never(SECRETS, "a URL with secrets, which Prefect would keep")})),
]
Digest = Annotated[str | None, _optional(_text("hex digits of its SHA-256"))]
Published = Annotated[str | None, _optional(_text("folder, NAME/VERSION or NAME"))]
Workers = Annotated[int, Field(ge=1)] | None
Engine = EngineName | None
