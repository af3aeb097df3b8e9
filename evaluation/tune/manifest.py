"""The manifest of a study: what was searched, on which data set, and what came of each trial."""

from typing import Any, ClassVar, Literal

from curate.manifest import Manifest, Part
from train.manifest import DatasetParent


class TrialParent(Part):
    """A trial that a study was made of."""

    settings: dict[str, Any] | None
    """`training` that it was of; none where `training` does not take its values together."""
    state: str
    adapter: str | None
    """NAME/VERSION."""


class StudyInputs(Part):
    """From what a study's result is made."""

    method: int
    """Version of the way to search."""
    dataset: DatasetParent
    tune: dict[str, Any]
    """`tune` of the recipe."""
    training: dict[str, Any]
    """`training` of the recipe, as far as it states it."""
    recipe_sha256: str | None = None
    """Hash of recipe.yaml, but for the line that names this study, and of what is copied beside it; none of older
    studies."""
    trials: list[TrialParent]
    libraries: dict[str, str]


class StudyManifest(Manifest):
    """The manifest of a study."""

    kind: ClassVar[str] = "a study"
    remedy: ClassVar[str] = "Name a folder below the store's studies/. If it is one, run `assay tune` again."

    schema_version: Literal[1]
    """Of result.json."""
    inputs: StudyInputs
    result: dict[str, Any]
    """What result.json says, but for what a clock and the machine gave."""
