"""Where a recipe is found: by its path, or by its name among the packaged ones."""

from importlib.resources import files
from pathlib import Path

from curate.errors import AssayError


def packaged_recipes() -> list[str]:
    """Names of the recipes that come with Assay."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files("recipes").iterdir() if entry.name.endswith(".yaml")
    )


def find_recipe(recipe: str) -> Path:
    """The file of a recipe.

    Args:
        recipe: path of a YAML file, or the name of a packaged recipe ("licences").

    Raises:
        AssayError: neither is there.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    packaged = Path(str(files("recipes") / f"{recipe}.yaml"))
    if packaged.is_file():
        return packaged
    raise AssayError(
        f"{recipe}: no such recipe.",
        remedy=f"Name a YAML file, or one of the packaged recipes: {', '.join(packaged_recipes())}.",
    )
