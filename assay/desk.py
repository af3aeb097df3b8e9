"""A desk: the rows of a version, published or not, and what somebody decides of them."""

import getpass
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from assay.door import Place, recipe_named, store_of
from curate.errors import AssayError
from curate.json_schema import Validator, validator_of
from curate.manifest import DatasetManifest
from curate.record import SPLITS, TURNS
from curate.rows.decisions import Decision, append, last_words, read, seen_hash
from curate.store import Store
from curate.text import strict_json
from evaluation.settings import FullRecipe

COLUMNS = ["id", "turns", "target", "label", "source"]
WHERE = pa.field("where", pa.string())
TOLD = [pa.field(name, pa.string()) for name in ("stage", "reason", "evidence")]
PROBLEMS = 5
"""Broken rules of a schema that are told."""


@dataclass(frozen=True)
class Known:
    """What a row is to somebody who decides on it: as it was published, with what he has decided since."""

    id: str
    target: str | None
    label: str | None
    mended: str | None
    """The target in canonical JSON, where a decision has mended it."""

    def seen(self) -> str:
        return seen_hash(self.id, self.label, self.mended)


class Desk:
    """Where somebody decides on the rows of a version.

    Args:
        recipe: its YAML file, or a packaged one's name; it names the files of decisions.
        version: of the data set; by default the recipe's latest.
        who: decides; by default the environment's ASSAY_WHO, else who is logged in.
        file: the name of the file to add to, where the recipe names several.

    Raises:
        AssayError: the recipe names no file of decisions, or several and not which; or there is no such version.
    """

    def __init__(
        self,
        recipe: Place,
        version: str | None = None,
        *,
        who: str | None = None,
        file: str | None = None,
        store: Place | None = None,
    ) -> None:
        self.recipe: FullRecipe = recipe_named(recipe)
        self.store: Store = store_of(store)
        self.folder = self.store.resolve("datasets", version or self.recipe.name)
        self.manifest = DatasetManifest.read(self.folder)
        self.who = who or os.environ.get("ASSAY_WHO") or getpass.getuser()
        self.file = _file_of(str(recipe), [Path(name) for name in self.recipe.decisions.files], self.who, file)
        self.file.touch()
        self.own = [each for each in read(self.file) if each.who == self.who]

    @cached_property
    def rows(self) -> pa.Table:
        """All rows of the version: COLUMNS, where they are, and why those that were quarantined are."""
        tables = [_part(self.folder, name) for name in (*SPLITS, "quarantine")]
        return pa.concat_tables(tables).combine_chunks()

    @cached_property
    def place_of(self) -> dict[str, int]:
        """The number of each row in `rows`, by its id; of rows of one id the first."""
        ids = self.rows["id"].to_pylist()
        return {id_: place for place, id_ in reversed([*enumerate(ids)]) if id_ is not None}

    @cached_property
    def validator(self) -> Validator | None:
        """What holds targets to their schema."""
        schema = self.recipe.held_to().target_schema
        return None if schema is None else validator_of(schema)

    @cached_property
    def _mended(self) -> dict[str, str]:
        """By id the targets that decisions have mended in the version."""
        path = self.folder / "decisions.parquet"
        if not path.is_file():
            return {}
        standing = {"applied", "overruled", "no_effect"}
        lines = pq.read_table(path, columns=["id", "action", "value", "outcome"]).to_pylist()
        return {
            each["id"]: each["value"] for each in lines if each["action"] == "target" and each["outcome"] in standing
        }

    def row(self, id: str) -> dict[str, Any]:
        """A row of `rows`.

        Raises:
            AssayError: there is none.
        """
        if id not in self.place_of:
            raise AssayError(
                f"{self.manifest.name}/{self.manifest.version} has no row {id[:40]!r}.",
                remedy="An id has 32 hex digits; the splits and quarantine.parquet have those of all rows.",
            )
        row: dict[str, Any] = self.rows.slice(self.place_of[id], 1).to_pylist()[0]
        return row

    def words(self) -> dict[tuple[str, ...], Decision]:
        """What is decided here, by question."""
        return last_words(self.own)

    def known(self, id: str) -> Known:
        """What a row is now, see `Known`."""
        row, words = self.row(id), self.words()
        mended = self._mended.get(id)
        target, label = row["target"], row["label"]
        if (said := words.get(("target", id))) is not None:
            mended, target = said.answer(), json.dumps(said.value, ensure_ascii=False)
        if (said := words.get(("label", id))) is not None:
            label = said.value
        return Known(id, target, label, mended)

    def problems(self, text: str) -> list[str]:
        """What is wrong with a target, as text: at most PROBLEMS; none where it may be one."""
        try:
            value = strict_json.loads(text)
            broken = self.validator.violations(value, PROBLEMS) if self.validator is not None else []
        except ValueError as error:
            return [f"no JSON: {error}"]
        return [f"{'.'.join(map(str, each.path)) or 'the answer'}: {each.message}" for each in broken]

    def decision(self, id: str, action: str, value: Any = None, reason: str = "") -> Decision:
        """A decision about a row as it is known here.

        Args:
            value: of `target` the JSON text, of `label` a text or None, of `same` and `different` the other row's id.

        Raises:
            AssayError: there is no such row or action, or the value is none for it.
        """
        known = self.known(id)
        if action == "target":
            if known.target is None:
                raise AssayError(
                    f"Row {id} has no target to be mended.", remedy="Drop it, or mend it where it is from."
                )
            if problems := self.problems(str(value)):
                raise AssayError(f"This is no answer: {'; '.join(problems)}", remedy="Mend it, and decide again.")
            value = strict_json.loads(str(value))
        elif action in ("same", "different"):
            self.row(str(value))
        said = {"id": id, "seen": known.seen(), "action": action, "value": value, "reason": reason, "who": self.who}
        try:
            return Decision.model_validate(said | {"when": datetime.now(UTC).replace(microsecond=0)})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"])) or "the decision"
            raise AssayError(
                f"{key}: {first['msg'].removeprefix('Value error, ')}", remedy="docs/review.md lists all actions."
            ) from None

    def decide(self, decisions: Iterable[Decision]) -> None:
        """Write decisions down."""
        made = [*decisions]
        append(self.file, made)
        self.own += made


def _part(folder: Path, name: str) -> pa.Table:
    quarantined = name == "quarantine"
    table = pq.read_table(folder / f"{name}.parquet", columns=[*COLUMNS, *(f.name for f in TOLD if quarantined)])
    turns = table["turns"].cast(TURNS).combine_chunks()
    turns = pc.fill_null(turns, pa.scalar([], TURNS))  # of rows that could not be made into records
    table = table.set_column(table.schema.get_field_index("turns"), "turns", turns)
    for each in () if quarantined else TOLD:
        table = table.append_column(each, pa.nulls(table.num_rows, each.type))
    return table.append_column(WHERE, pa.array([name] * table.num_rows, pa.string()))


def _file_of(recipe: str, files: Sequence[Path], who: str, named: str | None) -> Path:
    """The file that somebody's decisions go to: the one that is named, the only one, or the one of his name."""
    if not files:
        raise AssayError(
            f"{recipe}: it names no file of decisions.",
            remedy="Add a line to it, such as `decisions: decisions.jsonl`; the file is begun where it is not there.",
        )
    by_name: Mapping[str, Path] = {path.name: path for path in files}
    found = by_name.get(named or (f"{who}.jsonl" if len(files) > 1 else files[0].name))
    if found is None:
        raise AssayError(
            f"{recipe}: `decisions` names no file {named}." if named else f"{recipe}: `decisions` names several files.",
            remedy=f"Name one of them with --file: {', '.join(by_name)}.",
        )
    return found
