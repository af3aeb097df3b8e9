"""The manifest of a scorecard: who was asked what, or whose replies were judged.

manifest.schema.json, beside this module, is its JSON Schema.
"""

from typing import Any, ClassVar, Literal

from curate.manifest import Manifest, Part
from train.manifest import AdapterParent, BaseParent, DatasetParent


class AskedParent(Part):
    """Rows of another version's test split, that were asked in place of the data set version's own."""

    dataset: DatasetParent
    rows_sha256: str
    """Hash of their ids and of their messages."""


class EvaluationInputs(Part):
    """From what a scorecard is made where systems are asked."""

    method: int
    """Version of the way to evaluate."""
    dataset: DatasetParent
    adapter: AdapterParent | None
    base: BaseParent
    contract_sha256: str
    settings: dict[str, Any]
    """`evaluation` of the recipe, but for its systems."""
    systems: dict[str, dict[str, Any]]
    """By name: the model, and how it is asked."""
    libraries: dict[str, str]
    """Versions of the packages that answers depend on."""
    asked: AskedParent | None = None
    """None where the version's own test rows were asked."""


class RepliesInputs(Part):
    """From what a scorecard is made where replies come from files."""

    method: int
    """Version of the way to score replies."""
    files: list[str]
    """SHA-256 of each file."""
    systems: dict[str, str]
    """By name: hash of the system's replies."""
    schema_sha256: str
    """Hash of the answer's JSON Schema."""
    settings: dict[str, Any]
    """How fields are compared, resamples, gate."""


class ScorecardManifest(Manifest):
    """The manifest of a scorecard."""

    kind: ClassVar[str] = "a scorecard"
    remedy: ClassVar[str] = (
        "Name a folder below the store's scorecards/. If it is one, evaluate again; answers come from the cache."
    )

    schema_version: Literal[4, 5]
    """Of scorecard.json."""
    inputs: EvaluationInputs | RepliesInputs
    scores: dict[str, Any]
    """What scorecard.json says, but for what a clock gave; scorecard.schema.json describes it."""
