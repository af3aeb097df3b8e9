"""The manifest of a published folder, and of a data set version: what it was made from, and what became of the rows.

manifest.schema.json, beside this module, is its JSON Schema.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.errors import AssayError
from curate.examples import Example
from curate.store import MANIFEST, manifest_bytes, read_manifest

SCHEMA_VERSION = 2
"""Of what is written; see `DatasetInputs.schema_version`."""


class Part(BaseModel):
    """A part of a manifest.

    Keys that it does not know are kept: stages from outside tell of themselves too, and hashes are over all there is.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", use_attribute_docstrings=True, validate_by_name=True, serialize_by_alias=True
    )

    def content(self) -> dict[str, Any]:
        """As it stands in the file: the keys that were given and no others."""
        return self.model_dump(exclude_unset=True)


class Manifest(Part):
    """What every manifest says."""

    kind: ClassVar[str]
    """What it is the manifest of."""
    remedy: ClassVar[str]
    """What to do about one that cannot be read."""

    name: str
    """Of the series: the recipe's."""
    schema_version: int
    """Of the manifest's form."""
    files: dict[str, str]
    """SHA-256 of each file that counts towards the version, by its path in the folder."""
    version: str
    """The first 16 hex digits of the SHA-256 of all the rest: the folder's name."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a published folder; what it says gives the version that it names.

        Raises:
            AssayError: there is none, it is of another form, a key of it is missing or wrong, or it has changed since
                it was published.
        """
        manifest = cls.unproven(folder)
        read_manifest(folder)
        return manifest

    @classmethod
    def unproven(cls, folder: Path) -> Self:
        """`read`, whatever version the content gives: for `curate.publish.check`, which tells that too."""
        content = manifest_bytes(folder)
        try:
            return cls.model_validate_json(content, strict=True)
        except ValidationError as error:
            raise AssayError(f"{folder / MANIFEST}: {cls._problem(error)}", remedy=cls.remedy) from None

    @classmethod
    def _problem(cls, error: ValidationError) -> str:
        """The first thing that is wrong, but another version before all that follows from it."""
        problems = error.errors(include_url=False)
        for each in problems:
            if each["loc"] == ("schema_version",) and each["type"] == "literal_error":
                return f"schema_version {each['input']}, expected {each['ctx']['expected']}."
        first = problems[0]
        if first["type"] == "json_invalid":
            return f"not readable: {first['msg']}."
        where = ".".join(map(str, first["loc"])) or "all of it"
        return f"not {cls.kind}'s manifest: `{where}`: {first['msg']}."


class DropInfo(Part):
    """The raw files."""

    sha256: str
    """Hash of the names and contents of all of them."""
    files: int
    """How many."""
    bytes: int
    """How many in all."""


class ContractInfo(Part):
    """The contract that the set was held to."""

    name: str
    version: str
    sha256: str
    """Hash of its files."""


class BaseInfo(Part):
    """What the rows were rendered and their tokens counted with."""

    model: str | None = None
    """The base model, without the folder it lies in."""
    tokenizer_sha256: str
    """Hash of tokenizer.json."""
    tokenizer_config_sha256: str | None = None
    """Hash of tokenizer_config.json."""
    chat_template_sha256: str
    task_template_sha256: str | None = None


class IndexInfo(Part):
    """What the rows were compared with."""

    parameters: dict[str, Any] = {}
    """Of the index: what rows are compared by."""
    compared_with: list[str] = []
    """The earlier versions of the data set whose rows count."""


class Distribution(Part):
    """How many rows have which value of a column, after a stage."""

    values: dict[str, int]
    """Rows of the most frequent values."""
    others: list[int]
    """[how many more values there are, their rows]."""


class StageAccount(Part):
    """What became of the rows in a stage; a stage may say more, as `fit` does with the quantiles of `tokens`."""

    name: str
    rows_in: int
    made: int = 0
    """Rows that were added by dividing others."""
    kept: int
    rejected: int
    """Rows that went to quarantine: rows_in + made = kept + rejected."""
    reasons: dict[str, int]
    """Rows rejected by reason."""
    counters: dict[str, int] = {}
    """What else the stage counts, such as the rows that each of its rules changed."""
    examples: dict[str, list[Example]] = {}
    """A few changes by each rule that made any: {"id", "before", "after"}."""
    warnings: list[str] = []
    """What somebody should look at before the version is used."""
    distributions: dict[str, Distribution] = {}
    """Of the rows kept: label, language, source (folder), and length (characters, in bins that double)."""


class Counts(Part):
    """Rows of the whole run: rows_in + made = kept + quarantined + forgotten."""

    rows_in: int = Field(alias="in")
    """Rows read from the drop."""
    made: int = 0
    """Rows that stages added by dividing others."""
    kept: int
    quarantined: int
    splits: dict[str, int]
    """Rows kept by split."""
    clusters: int
    """Clusters of near-duplicates among the rows kept, and rows alone."""
    conflicts: int
    """Groups of rows with equal prompts and different answers."""
    rows_in_conflict: int = 0
    missing: int = 0
    """Published rows of earlier versions that a drop that is to grow does not hold any more."""
    forgotten: int = 0
    """Rows that the version held and does not any more; the stages still count them."""


class SplitShare(Part):
    """What of the rows a split has."""

    rows: int
    share: float
    ratio: float
    """The share that the recipe asks for."""


class LabelShare(Part):
    """How the rows of a label are shared out."""

    label: str | None
    """None: of rows without one."""
    rows: int
    shares: dict[str, float]
    """By split."""


class Deviation(Part):
    """Rows in a wrong split, as a share of all rows."""

    in_all: float
    """As many as would have to change their split for the ratios to hold."""
    by_label: float
    """The same, label by label."""
    sum: float
    """Of both: what the split makes small."""


class Balance(Part):
    """How well the split meets the ratios that the recipe asks for."""

    splits: dict[str, SplitShare]
    labels: list[LabelShare]
    """The most frequent first."""
    deviation: Deviation
    least_possible: Deviation
    """A bound that no assignment of these rows goes below."""
    train_rows_after_border: int | None = None
    """Of a split by time: rows of train that are newer than where the other splits begin."""


class LabelsLeft(Part):
    """Labels that are in too few groups of rows to be judged."""

    labels: int
    rows: int
    named: dict[str, int]
    """Rows of the most frequent of them."""


class DoubtInfo(Part):
    """What the stage `doubt` says of all rows."""

    of: str
    """Which label is doubted, as the recipe says it."""
    rows: int
    """Rows whose label was judged."""
    labels: int
    """How many labels they have."""
    doubted: int
    """Rows whose label is doubted."""
    pairs: list[list[Any]]
    """[label, likelier label, doubted rows], the most frequent first."""
    left: LabelsLeft


class Agreement(Part):
    """How far two people agree on questions of a kind that both have answered."""

    who: list[str]
    of: str
    """fate (whether a row stays), target, label or pair (whether two rows are the same)."""
    rows: int
    agreed: int
    kappa: float | None
    """Cohen's; None where there was no chance to disagree."""


class Decided(Part):
    """What came of people's decisions."""

    outcomes: dict[str, int]
    """Lines by what came of them, see decisions.parquet."""
    agreement: list[Agreement]


class ForgottenRows(Part):
    """Rows that the run published or quarantined, and that were forgotten since."""

    rows: int
    split: str | None = None
    """That they were in; None of quarantined ones."""
    stage: str | None = None
    """That had rejected them, for this reason; None of published ones."""
    reason: str | None = None


class GateRule(Part):
    """An expectation of the set contract, and what was seen."""

    name: str
    column: str | None
    success: bool
    observed: str
    expected: str


class GateInfo(Part):
    """What the set contract says of the set."""

    evaluated: int
    """Expectations."""
    failed: list[str]
    """Those that do not hold: none, of a version that is published."""
    warned: list[str] = []
    """Those of severity `warning` that do not hold."""
    rules: list[GateRule] = []

    def warnings(self) -> list[GateRule]:
        """The rules of severity `warning` that do not hold."""
        return [rule for rule in self.rules if rule.name in self.warned]


class DatasetInputs(Part):
    """From what a data set version is made: equal inputs and earlier rows give the same version."""

    name: str
    """The recipe's."""
    schema_version: Literal[1, 2]
    """1: `contract.sha256` is of the contract's own files; 2: of all that it says, the common part included."""
    drop: DropInfo
    lookups: dict[str, dict[str, str]] = {}
    """By lookup: SHA-256 of each of its files."""
    recipe: dict[str, Any]
    """The settings of all stages, as recipe.schema.json describes them."""
    contract: ContractInfo
    base: BaseInfo
    references: dict[str, str] = {}
    """SHA-256 of each file whose rows were kept out."""
    decisions: dict[str, str] = {}
    """Hash of what each file of decisions says, by its name."""
    grounding: dict[str, str] = {}
    """By field of the answer: how its values are looked for in their prompts; where the stage `ground` ran."""
    embedding_sha256: dict[str, str] = {}
    """By stage: hash of the embedding model's folder."""
    code: dict[str, int] = {}
    """By stage: the version of its way to judge."""
    libraries: dict[str, str]
    """Versions of the packages that the rows depend on."""
    index: IndexInfo = IndexInfo()


class DatasetManifest(DatasetInputs, Manifest):
    """The manifest of a data set version."""

    kind: ClassVar[str] = "a data set version"
    remedy: ClassVar[str] = (
        "Name a folder below the store's datasets/. If it is one, restore it from a copy, or curate its drop again."
    )

    splits_of: list[str] = []
    """Versions of the same drop whose splits stand."""
    stages: list[StageAccount] = Field(min_length=1)
    """In the order they ran; the first is `read`."""
    counts: Counts
    balance: Balance | None = None
    doubt: DoubtInfo | None = None
    """Where the recipe has labels doubted."""
    decided: Decided | None = None
    """Where the recipe names files of decisions."""
    gate: GateInfo
    forgotten: list[ForgottenRows] = []
    """Where `assay forget` has made the version of another."""


OWN = frozenset(
    {"name", "schema_version", "drop", "lookups", "recipe", "contract", "code", "libraries", "index"}
    | {"splits_of", "stages", "gate", "files", "version", "forgotten"}
)
"""Keys of the manifest of which stages tell nothing."""


def joined(told: Iterable[tuple[str, Mapping[str, Any]]], taken: Collection[str] = ()) -> dict[str, Any]:
    """What stages tell the manifest, as one: mappings under one key are joined.

    Args:
        told: the name of each stage, and what it tells.
        taken: keys of the manifest that are there already, beside its own.

    Raises:
        AssayError: a stage tells under a key that is taken.
    """
    whole: dict[str, Any] = {}
    for stage, part in told:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key, {}), Mapping)
            if key in OWN or key in taken or (key in whole and not both):
                raise AssayError(
                    f"Stage {stage}: the manifest has a key {key!r} already.",
                    remedy="This is a defect of the stage: what it tells needs a name of its own.",
                )
            whole[key] = {**whole.get(key, {}), **value} if both else value
    return whole
