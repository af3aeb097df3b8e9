"""The manifest of an experiment: which adapters were asked which rows."""

from typing import Any, ClassVar, Literal

from curate.manifest import Manifest, Part
from evaluation.card.manifest import AskedParent
from train.manifest import AdapterParent, DatasetParent


class RunParents(Part):
    """What one arm was made of with one seed."""

    adapter: AdapterParent
    scorecard: str
    """NAME/VERSION."""


class ArmParents(Part):
    """What an arm was made of."""

    dataset: DatasetParent
    left_out: int
    """Rows of its train and validation splits that share something with the baseline's test split."""
    runs: dict[str, RunParents]
    """By seed."""


class ExperimentInputs(Part):
    """From what an experiment's result is made."""

    method: int
    """Version of the way to compare."""
    settings: dict[str, Any]
    """The experiment's file."""
    asked: AskedParent
    arms: dict[str, ArmParents]


class ExperimentManifest(Manifest):
    """The manifest of an experiment."""

    kind: ClassVar[str] = "an experiment"
    remedy: ClassVar[str] = "Name a folder below the store's experiments/. If it is one, run the experiment again."

    schema_version: Literal[1]
    """Of result.json."""
    inputs: ExperimentInputs
    result: dict[str, Any]
    """What result.json says, but for what a clock and the machine gave."""
