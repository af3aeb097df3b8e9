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
from curate.rows.decisions import PAIR, Decision, append, last_words, lines_of, seen_hash
from curate.store import Store
from curate.text import strict_json
from evaluation.settings import FullRecipe

COLUMNS = ["id", "turns", "target", "label", "source", "meta"]
WHERE, PART_OF = pa.field("where", pa.string()), pa.field("part_of", pa.string())
TOLD = [pa.field(name, pa.string()) for name in ("stage", "reason", "evidence")]
PROBLEMS = 5
"""Broken rules of a schema that are told."""


@dataclass(frozen=True)
class Known:
    """What a row is to somebody who decides on it: as it was published, with what he has decided since."""

    id: str
    """Of a part of a row the row's, of which it was made."""
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
        lines = [line for line in lines_of([self.file]) if line.decision.who == self.who]
        told = self._outcomes()
        self.own = [line.decision for line in lines]
        came = [told.get(line.number) for line in lines]
        told_of = [place for place, outcome in enumerate(came, 1) if outcome is not None]
        self.earlier = max(told_of, default=0)  # the first so many were said before the version was made
        self.stale = {place for place, outcome in enumerate(came) if outcome in ("stale", "no_row")}
        self.apart = {place for place, outcome in enumerate(came) if outcome == "disagreement"}

    def _outcomes(self) -> dict[int, str]:
        """What came in the version of each line of the file that is added to; `stale` too where it was replaced."""
        path = self.folder / "decisions.parquet"
        if not path.is_file():
            return {}
        lines = pq.read_table(path, columns=["file", "line", "outcome", "because"]).to_pylist()
        mine = [each for each in lines if each["file"] == self.file.name]
        return {each["line"]: "stale" if each["because"] == "stale" else each["outcome"] for each in mine}

    @cached_property
    def rows(self) -> pa.Table:
        """All rows of the version: COLUMNS, where they are, what they are part of, and why they were quarantined."""
        tables = [_part(self.folder, name) for name in (*SPLITS, "quarantine")]
        return pa.concat_tables(tables).combine_chunks()

    @cached_property
    def place_of(self) -> dict[str, int]:
        """The number of each row in `rows`, by its id; of rows of one id the first, of one that was divided its first
        part's."""
        part_of, own = (
            {id_: place for place, id_ in reversed([*enumerate(self.rows[name].to_pylist())]) if id_ is not None}
            for name in ("part_of", "id")
        )
        return part_of | own

    @cached_property
    def whole_of(self) -> dict[str, str]:
        """By the id of each part of a row that was divided the row's: what is decided is decided of the row."""
        parts = self.rows.select(["id", "part_of"]).filter(pc.is_valid(self.rows["part_of"]))
        return dict(zip(parts["id"].to_pylist(), parts["part_of"].to_pylist(), strict=True))

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
        """What is decided here of rows as they are, by question."""
        return {question: self.own[place] for question, place in last_words(self.own, self.stale).standing.items()}

    def decided(self, *, since: bool = False) -> set[str]:
        """Ids of the rows on which a word stands that was said here, and that nobody has contradicted.

        Args:
            since: count only what was said since the version was made.
        """
        standing = last_words(self.own, self.stale).standing.values()
        counting = [place for place in standing if place >= self.earlier or not (since or place in self.apart)]
        return {id_ for place in counting for id_ in self.own[place].rows()}

    def known(self, id: str) -> Known:
        """What a row is now, see `Known`."""
        row, id = self.row(id), self.whole_of.get(id, id)
        mended = self._mended.get(id)
        target, label = row["target"], row["label"]
        standing = last_words(self.own, self.stale).standing
        words = {name: standing.get((name, id)) for name in ("target", "label")}
        said = {name: self.own[place] for name, place in words.items() if place is not None and place not in self.apart}
        if "target" in said:
            mended, target = said["target"].answer(), json.dumps(said["target"].value, ensure_ascii=False)
        if "label" in said:
            label = said["label"].value
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
        divided = {*self.whole_of, *self.whole_of.values()} & {id, str(value)} if action in PAIR else set()
        if divided or (action == "target" and id in self.whole_of):
            whole = self.whole_of.get(id, id)
            raise AssayError(
                f"Row {id} is, or is compared with, a part of a row that was divided: its answer cannot be mended "
                "alone, nor can it be the same as another.",
                remedy=f"Mend the answer of the whole row, {whole}; or keep, drop or relabel it, with all its parts.",
            )
        if action == "target":
            if known.target is None:
                raise AssayError(
                    f"Row {id} has no target to be mended.", remedy="Drop it, or mend it where it is from."
                )
            if problems := self.problems(str(value)):
                raise AssayError(f"This is no answer: {'; '.join(problems)}", remedy="Mend it, and decide again.")
            value = strict_json.loads(str(value))
        elif action in PAIR:
            self.row(str(value))
        said = {
            "id": known.id,
            "seen": known.seen(),
            "action": action,
            "value": value,
            "reason": reason,
            "who": self.who,
        }
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
    part_of = _part_of(table["meta"].combine_chunks())
    table = table.set_column(table.schema.get_field_index("meta"), PART_OF, part_of)
    for each in () if quarantined else TOLD:
        table = table.append_column(each, pa.nulls(table.num_rows, each.type))
    return table.append_column(WHERE, pa.array([name] * table.num_rows, pa.string()))


def _part_of(meta: pa.Array) -> pa.Array:
    """Of parts of rows the rows' ids; splits hold `meta` as lists, the quarantine as maps."""
    if not pa.types.is_map(meta.type):
        meta = pa.MapArray.from_arrays(meta.offsets, *(meta.values.field(name) for name in ("key", "value")))
    return pc.map_lookup(meta, "part_of", "first")


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
