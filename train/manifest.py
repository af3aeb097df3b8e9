"""The manifest of an adapter: what it was trained on, how, and what came of it.

manifest.schema.json, beside this module, is its JSON Schema.
"""

from typing import Any, ClassVar, Literal, Self

from curate.hashing import digest
from curate.manifest import DatasetManifest, Manifest, Part


class DatasetParent(Part):
    """The data set version that something was made from."""

    name: str
    version: str
    manifest_sha256: str
    """Hash of all that its manifest says."""

    @classmethod
    def of(cls, manifest: DatasetManifest) -> Self:
        return cls(name=manifest.name, version=manifest.version, manifest_sha256=digest(manifest.content()))

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


class BaseParent(Part):
    """The base model and chat template that something was made with."""

    model: str
    weights_sha256: str | None = None
    """Hash of the weights; none where nothing was asked of them."""
    config_sha256: str | None = None
    """Hash of config.json; none where nothing was asked of the weights."""
    generation_config_sha256: str | None = None
    """Hash of generation_config.json, or of there being none."""
    tokenizer_sha256: str
    """Hash of tokenizer.json."""
    tokenizer_config_sha256: str | None = None
    """Hash of tokenizer_config.json."""
    chat_template_sha256: str


class AdapterParent(Part):
    """The adapter that something was made with."""

    name: str
    version: str


class PairsParent(Part):
    """The file of pairs that preferences were learned from."""

    sha256: str
    rows: int
    """Pairs in it."""
    scorecards: list[str]
    """Those that they were collected from, as NAME/VERSION."""


class LeftOut(Part):
    """Rows of the data set version that are neither trained nor validated on."""

    rows: int
    ids_sha256: str
    """Hash of their ids."""


class AdapterInputs(Part):
    """From what an adapter is trained: it is trained once with the same."""

    method: int
    """Version of the way to train."""
    dataset: DatasetParent
    base: BaseParent
    answers: str | None = None
    """Which answers of a conversation are trained, as `render.answers` of the recipe says."""
    reasoning: str | None = None
    """What becomes of what is thought before an answer, as `render.reasoning` of the recipe says."""
    published: bool | None = None
    """Whether the chat template is one that a model was published with."""
    settings: dict[str, Any]
    """`training` of the recipe, but for keys that change nothing in the adapter."""
    pairs: PairsParent | None = None
    """What it learned preferences from; none where it did not."""
    adapter: AdapterParent | None = None
    """The adapter that was trained further; none where it began with a fresh one."""
    score: dict[str, Any] | None = None
    """How the answers are made and judged that the checkpoint was chosen by; none where none are."""
    reward: dict[str, Any] | None = None
    """What answers were reinforced by: the parts with their weights, and how they are judged; none where none were."""
    left_out: LeftOut | None = None
    """Rows left out because an experiment asks others that they share something with; none where none are."""


class TrainedRows(Part):
    """How many rows it was trained on."""

    train: int
    """Or pairs."""
    train_ids_sha256: str
    """Hash of their ids."""
    validation: int
    """Rows that the validation loss is taken over."""
    audit: dict[str, int] = {}
    """Of both: rows with each problem that the audit of the mask looks for; empty where there was none."""


class TrainedTokens(Part):
    """Over all steps until the one that was kept."""

    seen: int
    trained: int
    """Those of answers, which the loss is taken over."""


class Loss(Part):
    """Mean loss of an answer's token; of preferences, while it was learning, of a pair; of reinforcement, trl's."""

    train: list[float]
    """Of each epoch, while it was learning; the last may have been stopped early."""
    validation: list[float]
    """Before training and at each validation; empty where the validation split has no rows."""


class Validated(Part):
    """The validation rows, asked between two steps."""

    step: int
    """Steps taken by then: 0 before training."""
    epoch: float
    """Epochs trained by then."""
    loss: float
    """Mean loss of an answer's token."""
    score: float | None
    """What `keep_best` names, of answers generated to these rows; none where the loss decides."""


class Run(Part):
    """The steps of the run, and which of its checkpoints this is."""

    steps: int
    """Steps taken: fewer than planned where it was stopped early."""
    planned: int
    kept: int
    """Steps after which these weights were taken: by `keep_best`, else the last."""
    validations: list[Validated]
    padding: float
    """Share of the tokens computed that were padding."""


class Compute(Part):
    """What it was computed on, and how."""

    device: str
    dtype: str
    rows: str | None = None
    """How closely the rows of a batch were put together, as `train.batches.Layout` says."""
    rows_reason: str | None = None
    """Why not closer; empty where they were as close as can be."""
    optim: str | None = None
    """What took the steps; none of adapters from before there was a choice: AdamW."""
    optim_reason: str | None = None
    """Why another optimizer than the recipe names; empty where it is that."""
    processes: int | None = None
    """How many took each step together; none of one by itself."""
    strategy: Literal["ddp", "fsdp"] | None = None
    """What each of them held: all weights, or its share; none of one by itself."""


class AdapterManifest(Manifest):
    """The manifest of an adapter."""

    kind: ClassVar[str] = "an adapter"
    remedy: ClassVar[str] = "Name a folder below the store's adapters/. If it is one, restore it, or train again."

    schema_version: Literal[1, 2]
    """Of the manifest's form: 2 says of the run's steps and validations, and has all settings that methods share."""
    inputs: AdapterInputs
    rows: TrainedRows
    tokens: TrainedTokens
    loss: Loss
    run: Run | None = None
    """None of adapters of the first form: these trained to the last step."""
    compute: Compute
    libraries: dict[str, str]
    """Versions of the packages that trained it."""
