"""Shadows: other people's folders of the same names that Python would import in place of Assay's packages."""

import os
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("curate", "data_contracts", "evaluation", "flows", "recipes", "templates", "train")
"""Everything that is imported from where `assay` lies."""
HOME = Path(__file__).resolve().parent.parent


class ShadowedError(ImportError):
    """A package of Assay's would not be the one that is imported."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}\n{remedy}")
        self.message = message
        self.remedy = remedy


def require_own_packages() -> None:
    """Look where each package would be imported from, without importing any.

    Raises:
        ShadowedError: names those that would come from elsewhere, and what to do about it.
    """
    others = {name: place for name in PACKAGES if (place := _place(name)) != HOME / name}
    if not others:
        return
    first, place = next(iter(others.items()))
    found = "\n".join(f"  {name}: found at {place}, expected at {HOME / name}" for name, place in others.items())
    raise ShadowedError(
        f"Python would import something else in place of Assay's own package{'s' * (len(others) > 1)}:\n{found}",
        "Install Assay again: pip install --force-reinstall assay-curation."
        if place is None
        else f"{_way_out(place.parent)}, or give {first!r} there another name.",
    )


def _place(name: str) -> Path | None:
    """The folder, or the module's file, that `import name` would read; None if there is nothing."""
    spec = find_spec(name)
    if spec is None:
        return None
    found = spec.submodule_search_locations or [spec.origin or name]
    return Path(next(iter(found))).resolve()


def _way_out(folder: Path) -> str:
    """How to have Python not look for modules in a folder."""
    listed = os.environ.get("PYTHONPATH")
    if listed and folder in (Path(entry).resolve() for entry in listed.split(os.pathsep)):
        return f"Take {folder} out of PYTHONPATH"
    return f"Set PYTHONSAFEPATH=1 (or run `python -P`), or start from another folder than {folder}"
