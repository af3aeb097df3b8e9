"""Stages: sections of the recipe that judge rows. What they have in common, and the form of those over a row."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, field_validator

from curate.contract import Contract
from curate.examples import Example
from curate.progress import Progress, silent
from curate.record import QUARANTINE_SCHEMA, SCHEMA
from curate.store import Store


@dataclass(frozen=True)
class Outcome:
    """What a stage made of a table."""

    kept: pa.Table
    """Rows that go on; record columns plus whatever earlier stages added."""
    rejected: pa.Table
    """Rows that go to quarantine, in QUARANTINE_SCHEMA."""
    counters: dict[str, int] = field(default_factory=dict)
    """What the stage did to the rows it kept, e.g. {"whitespace": 12}: rows."""
    examples: dict[str, list[Example]] = field(default_factory=dict)
    """By counter: rows before and after, for people to look at. Those of the smallest ids are kept."""
    made: int = 0
    """How many rows more there are because some were divided: kept + rejected = rows in + made."""


@dataclass(frozen=True)
class Told:
    """What a stage tells when all stages have judged."""

    published: Mapping[str, pa.Table] = field(default_factory=dict)
    """Tables that are published with the version, as NAME.parquet."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of it: JSON-like, by key."""


DECIDED, KEEP = "decided", "keep"
"""Column of rows where people may decide: what they have changed of a row (`target`, `label`), that it is to stay
(`keep`), and which verdicts that has overruled (`quality/too_short`), separated by spaces; else null."""
OPINIONS = frozenset({"language", "quality", "ground", "duplicates", "semantic", "doubt", "balance", "select"})
"""Stages whose verdict on a row a person may overrule."""
FACTS = frozenset({"empty", "nothing_trained", "no_answer", "target_not_json", "exact_duplicate", "worker_died"})
"""Reasons of theirs that nobody can: there would be nothing to learn, or the same row twice."""
UNREAD_KEY = "message_key_not_read."
"""Counter of rows, by a key of their messages that holds something and of which no notice is taken."""
BESIDE = "beside"
WORKER_DIED = "worker_died"
"""Reason of every stage over a row; see `engine.narrowed`."""
Beside = Annotated[str, BESIDE]
"""A setting that is a name, or the path of a file or folder beside the recipe. Manifests tell its last part alone."""
ANYWHERE = "anywhere"
"""Of a setting of that kind: it may be any path."""


class Settings(BaseModel):
    """Base of every section of a recipe: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _of_64_bits(cls, value: Any) -> Any:
        if _beyond(value):
            raise ValueError("expected whole numbers of 64 bits: from -2^63 to 2^63 - 1")
        return value


def _beyond(value: Any) -> bool:
    """Whether a value, or one in it, is a whole number that 64 bits with a sign do not hold."""
    if isinstance(value, int):
        return not -(2**63) <= value < 2**63
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(map(_beyond, inner))


@dataclass(frozen=True)
class Context:
    """What a stage may prepare itself from, once the drop has been read and before a row is judged."""

    drop: str
    """Folder of the raw files, or its URL."""
    contract: Contract
    store: Store
    """Holds the published versions."""
    cache: Path
    """Where a stage may keep what it prepares, under a name that all it depends on gives (`cache.keyed_folder`),
    filled by `cache.cache_folder` and used where it is `cache.sound`."""
    tokenizer_folder: Path
    """Holds the base model's tokenizer.json and tokenizer_config.json."""
    stages: tuple["Stage", ...] = ()
    """All stages of the recipe, in their order, as it states them."""
    before: tuple["Stage", ...] = ()
    """The stages that come before, prepared."""
    labels: Callable[[], set[str]] = set
    """Gives the labels of the drop's rows and of those of earlier versions, as they are published."""
    rows: Callable[[Sequence[str]], Iterable[pa.Table]] = lambda columns: ()
    """Gives columns of the rows that were read, a table at a time."""
    progress: Progress = silent


class Stage(Settings):
    """A section of the recipe that judges rows. Its settings are its fields; all of them key the cache.

    It is a `RowStage` or a `sets.stage.SetStage`, or becomes one as it is prepared.
    """

    name: ClassVar[str]
    """What it is called in the recipe, the manifest and the quarantine."""
    version: ClassVar[int] = 1
    """Raised whenever the stage would judge the same rows in another way: it keys the cache."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions the judgement depends on: they key the cache too, and are in the manifest."""
    reasons: ClassVar[dict[str, str]] = {}
    """What the stage quarantines rows for: the reason's code, and what it means."""
    place: ClassVar[str]
    """Of a stage from outside the package: the stage that comes after it."""

    @property
    def told_as(self) -> str:
        """The name under which rows go to quarantine."""
        return self.name

    @property
    def runs(self) -> bool:
        """Whether the recipe asks for the stage at all."""
        return True

    def prepare(self, context: Context) -> "Stage":
        """The stage with all that it needs beside a row: called once a run, before any row is judged.

        What the judgement depends on becomes a field of what is given back, and so keys the cache; what only says where
        that lies on this machine is a field that is left out of dumps (`Field(exclude=True)`).

        Raises:
            AssayError: something is not there.
        """
        return self

    def key(self) -> Any:
        """All that the judgement of given rows depends on, JSON-like."""
        return [self.name, self.version, installed(self.libraries), self.model_dump(mode="json")]

    def prepared_from(self) -> dict[str, Any]:
        """What the manifest says of that the stage was prepared from: {section: {name: hash}}."""
        return {}

    def told_last(
        self,
        kept: Iterable[pa.Table],
        rejected: Iterable[pa.Table],
        beside: Mapping[str, Callable[[str], pa.Table]],
    ) -> Told:
        """What the stage tells when all stages have judged; called where there is the column DECIDED.

        Args:
            kept: id, `decided` and meta of the rows that stay.
            rejected: id, stage, reason and meta of those that do not; as the stages run.
            beside: by the name of each stage over all rows what gives the tables beside its verdict, by their names.
        """
        return Told()


class RowStage(Stage, ABC):
    """A stage that judges each row by itself: its work is `run`."""

    place: ClassVar[str] = "decontaminate"
    protects: ClassVar[bool] = False
    """Whether it takes out what must not be shown: then examples and labels of earlier stages go through it too."""
    sums_up: ClassVar[tuple[str, ...] | None] = None
    """Columns of the rows kept that `summary` looks at; None: all."""

    @property
    def reads(self) -> tuple[str, ...] | None:
        """Columns that `run` is given beside `id` and `source`, of those that there are; None: all. The others stay as
        they are, so that a column of records which is written has to be read. A stage that divides rows, or gives them
        in another order, is given all."""
        return None

    @abstractmethod
    def run(self, table: pa.Table) -> Outcome:
        """Judge a shard's rows; must not depend on their order or on other rows."""

    def narrowed(self, ids: Callable[[], Collection[str]]) -> "RowStage":
        """The stage as far as it concerns the rows of one shard, so that their outcome depends on nothing else.

        Args:
            ids: gives those of the rows.
        """
        return self

    def rewriting(self) -> "RowStage | None":
        """The stage as far as it changes what rows say, keeping them all; None where it changes nothing."""
        return None

    def summary(self, kept: Iterable[pa.Table], rejected: Iterable[pa.Table]) -> dict[str, Any]:
        """What else the manifest says of the stage, by the outcomes of all shards; read as they are looked at.

        Args:
            kept: the columns `sums_up` of the rows kept.
            rejected: whole.
        """
        return {}


@dataclass(frozen=True)
class Reject:
    """Why one row goes to quarantine."""

    row: int
    """0-based position in the stage's table."""
    reason: str
    """Code, documented where the stage is."""
    evidence: dict[str, Any]
    """What was seen; JSON-like."""


def installed(libraries: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed, by its name."""
    return {name: version for name in sorted(libraries) if (version := _installed(name)) is not None}


@cache
def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def divide(table: pa.Table, stage: str, rejects: Sequence[Reject], counters: dict[str, int] | None = None) -> Outcome:
    """An outcome in which `rejects` are quarantined and all other rows are kept, in their order.

    Args:
        table: the stage's rows, of which each may be rejected once.
        stage: the stage's name.
        rejects: in any order.
        counters: see `Outcome`.
    """
    reason: list[str | None] = [None] * table.num_rows
    evidence: list[str | None] = [None] * table.num_rows
    for reject in rejects:
        reason[reject.row], evidence[reject.row] = reject.reason, evidence_json(reject.evidence)
    columns = pa.array(reason, pa.string()), pa.array(evidence, pa.string())
    return divide_by(table, stage, *columns, counters)


def divide_by(
    table: pa.Table, stage: str, reason: pa.Array, evidence: pa.Array, counters: dict[str, int] | None = None
) -> Outcome:
    """An outcome in which the rows that have a reason are quarantined.

    Args:
        table: the stage's rows; of a column that it was not given, the quarantine is told later.
        stage: the stage's name.
        reason, evidence: one for each row, the evidence as JSON; null where the row is kept.
        counters: see `Outcome`.
    """
    if DECIDED in table.column_names and stage in OPINIONS:
        table, reason, counters = _overruled(table, stage, reason, counters or {})
    keep = pc.is_null(reason)
    out = pc.invert(keep)
    there = [name for name in SCHEMA.names if name in table.column_names]
    taken = table.select(there).filter(out)
    rejected = pa.table(
        [
            *(taken[each.name] if each.name in there else pa.nulls(taken.num_rows, each.type) for each in SCHEMA),
            pa.repeat(pa.scalar(stage, pa.string()), taken.num_rows),
            reason.filter(out),
            evidence.filter(out),
            pa.nulls(taken.num_rows, pa.string()),
        ],
        schema=QUARANTINE_SCHEMA,
    )
    return Outcome(table.filter(keep) if taken.num_rows else table, rejected, counters or {})


def kept_by_decision(decided: pa.Array) -> pa.Array:
    """Whether each row is to stay, by what stands in the column DECIDED."""
    return pc.fill_null(pc.match_substring_regex(decided, rf"(^| ){KEEP}( |$)"), False)


def _overruled(
    table: pa.Table, stage: str, reason: pa.Array, counters: dict[str, int]
) -> tuple[pa.Table, pa.Array, dict[str, int]]:
    """Rows that somebody has decided to keep have no reason to go; which they had is told."""
    decided = table[DECIDED].combine_chunks()
    opinion = pc.and_(pc.is_valid(reason), pc.invert(pc.is_in(reason, value_set=pa.array([*FACTS]))))
    spared = pc.and_(kept_by_decision(decided), opinion)
    if not (count := pc.sum(spared).as_py()):
        return table, reason, counters
    words = pc.binary_join_element_wise(decided, pc.binary_join_element_wise(pa.scalar(stage), reason, "/"), " ")
    told = pc.if_else(spared, words, decided)
    table = table.set_column(table.schema.get_field_index(DECIDED), DECIDED, told)
    return table, pc.if_else(spared, pa.scalar(None, pa.string()), reason), counters | {"kept_by_decision": count}


def evidence_json(evidence: dict[str, Any]) -> str:
    """Evidence as canonical JSON text; a lone surrogate becomes its escape."""
    try:
        return orjson.dumps(evidence, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # a lone surrogate, or a number that orjson does not know
        text = json.dumps(evidence, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace").decode()
