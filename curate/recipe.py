"""The recipe: one YAML file that says what is read, how it is curated, what is trained and how it is judged.

Here are the sections that curation reads. Those of training and evaluation stand in their own packages
(`train.settings`, `evaluation.settings`), each with the recipe that has them too; a recipe of curation passes over
them. A stage may come from outside: an entry point of the group `assay.stages` names its class.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, create_model, model_validator

from curate.contract import Contract
from curate.errors import AssayError
from curate.reach import Below, is_url, require_path, require_reachable
from curate.read.expressions import Name
from curate.read.files import Files
from curate.read.mapping import Lookup, RecordMapping
from curate.rows.clean import Clean
from curate.rows.decided import Decisions
from curate.rows.decontaminate import Decontaminate
from curate.rows.fit import Fit
from curate.rows.ground import Ground
from curate.rows.language import Language
from curate.rows.pii import Pii
from curate.rows.quality import Quality
from curate.rows.render import Render
from curate.rows.validate import Validate
from curate.sets.balance import Balance
from curate.sets.doubt import Doubt
from curate.sets.duplicates import Duplicates
from curate.sets.select import Select
from curate.sets.semantic import Semantic
from curate.sets.split import Split
from curate.sets.stage import SetStage
from curate.stage import ANYWHERE, BESIDE, Beside, Settings, Stage
from curate.strict_yaml import load_yaml
from curate.urls import masked, without_secrets

Model = TypeVar("Model", bound=BaseModel)

PRESETS = "presets"
"""Folder of presets, beside the packaged recipes."""
GROUP = "assay.stages"
"""Entry points that name stages from outside."""
RESERVED = frozenset({"read", "index", "gate", "publish"})
"""What else a run is told to do, and so no stage's name."""
ELSEWHERE = frozenset({"training", "tune", "evaluation", "monitor"})
"""Sections that other packages read."""


class Arrival(Settings):
    """When a drop that is being delivered is whole. Without marker and manifest: when its files have been still."""

    marker: str | None = Field(None, description="A file of it that its producer writes last.")
    manifest: str | None = Field(
        None,
        description="A file of it that lists the others: lines of sha256sum, or JSON with bytes and sha256 of each.",
    )
    still_seconds: int = Field(60, ge=0, description="For how long none of its files has changed.")

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.marker is not None and self.manifest is not None:
            raise ValueError("either `marker` or `manifest`: a manifest that is met needs no marker")
        return self


class Variant(Settings):
    """Overrides by section. Stages that an override does not touch are shared, so they come from the cache."""

    render: dict[str, Any] = Field({}, description="Keys of `render` that change.")
    training: dict[str, Any] = Field({}, description="Keys of `training` that change.")
    tune: dict[str, Any] = Field({}, description="Keys of `tune` that change.")
    evaluation: dict[str, Any] = Field({}, description="Keys of `evaluation` that change.")


class Preset(Settings):
    """What recipes of a kind have in common, by section: recipes/presets/NAME.yaml."""

    render: dict[str, Any] = Field({}, description="Keys of `render`.")
    fit: dict[str, Any] = Field({}, description="Keys of `fit`.")
    training: dict[str, Any] = Field({}, description="Keys of `training`.")
    evaluation: dict[str, Any] = Field({}, description="Keys of `evaluation`.")


class Recipe(Settings):
    """A recipe as far as curation reads it. The stages run in the order of their keys here."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the data set in the store.")]
    preset: str | None = Field(
        None, description="Settings of a method or a model to begin with; each key that the recipe has goes before."
    )
    drop: str = Field(".", description="Folder of the raw files, relative to the recipe, or its URL.")
    drop_is: Literal["appended", "delivery", "all"] = Field(
        "appended",
        description="What a drop is: a folder that grows, of which a version holds all rows, compared with those that "
        "only earlier versions hold; a delivery, of which it holds the rows that no earlier version has; or all rows "
        "there are, in place of those before, of which only the splits stand.",
    )
    arrival: Arrival = Arrival()
    sources: list[Files] = Field(min_length=1, description="Which files are read, and how they are written.")
    lookups: dict[Name, Lookup] = Field({}, description="Side tables that expressions may ask by key.")
    record: RecordMapping = RecordMapping()
    decisions: Decisions = Field(Decisions(), description="Files of what people have decided of rows, or its keys.")
    clean: Clean = Clean()
    language: Language = Language()
    quality: Quality = Quality()
    pii: Pii = Pii()
    decontaminate: Decontaminate = Decontaminate()
    contract: Beside = Field(description="Contract: data_contracts/NAME, or a folder beside the recipe.")
    ground: Ground = Ground()
    render: Render
    fit: Fit
    duplicates: Duplicates = Duplicates()
    semantic: Semantic = Semantic()
    doubt: Doubt = Doubt()
    balance: Balance = Balance()
    select: Select = Field(Select(), description="How many rows to choose of those left (`select: 1000`), or its keys.")
    split: Split = Split()
    min_rows: int = Field(1, ge=1, description="The least rows of a version; with fewer nothing is published.")
    variants: dict[str, Variant] = Field({}, description="Changes to sections, by the names that `--variant` takes.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if hidden := sorted(self.lookups.keys() & self.record.let.keys()):
            raise ValueError(f"record.let.{hidden[0]} hides lookups.{hidden[0]}: give one of them another name")
        return self

    @model_validator(mode="after")
    def _grounded_as_trained(self) -> Self:
        if self.ground.runs and self.fit.policy == "truncate_input":
            raise ValueError(
                "ground and `fit.policy: truncate_input`: what is cut may be what the answer says; say `windows` there"
            )
        return self

    def stages(self) -> list[Stage]:
        """The stages in the order they run; what the contract says of a row is the stage `validate`."""
        values = {key: getattr(self, key) for key in type(self).model_fields}
        stages = {key: value for key, value in values.items() if isinstance(value, Stage)}
        outside = [type(stage) for key, stage in stages.items() if key not in Recipe.model_fields]
        return [stages.get(kind.name) or Validate() for kind in in_order(outside)]

    def settings(self) -> dict[str, Any]:
        """What the data depends on, as JSON: no path, nor training and evaluation."""
        dumped = self.model_dump(mode="json", exclude={"preset", "drop", "arrival", "contract", "variants", *ELSEWHERE})
        _name_alone(self, dumped)
        return dumped

    def held_to(self) -> Contract:
        """The contract, with the numbers that its rules take from here.

        Raises:
            AssayError: there is no such contract, or it is wrong.
        """
        return Contract.load(self.contract, self.fit.max_tokens)

    @classmethod
    def load(
        cls,
        path: Path,
        variant: str | None = None,
        drop: Path | str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a recipe.

        Args:
            path: the YAML file.
            variant: name of one of its `variants`, merged into its sections.
            drop: folder of the raw files, or its URL, instead of the recipe's own.
            changes: keys that are other than in the file, at any depth, see `changed`.

        Raises:
            AssayError: names the file, the key, what was expected and what to do.
        """
        raw = _with_preset(changed(_read(path), changes or {}), path)
        model = _with_outside(cls, raw)
        recipe = _validated(model, path, raw)
        if drop is None and is_url(recipe.drop):
            require_reachable(recipe.drop, f"{path}: drop", "the recipe's folder", "")
        elif drop is None:
            require_path(recipe.drop, f"{path}: drop", "Name the folder of the raw files.")
        beside = recipe.drop if is_url(recipe.drop) else str(path.parent / recipe.drop)
        raw["drop"] = str(drop) if drop is not None else beside
        variants = {
            name: _validated(model, path, raw | _merged(raw, changes), f"variants.{name}.")
            for name, changes in recipe.variants.items()
        }
        if variant is not None and variant not in variants:
            known = ", ".join(sorted(variants)) or "none"
            raise AssayError(f"{path}: no variant {variant!r}.", remedy=f"Variants of this recipe: {known}.")
        chosen = _validated(model, path, raw) if variant is None else variants[variant]

        return _beside(chosen, path)


def outside_stages() -> dict[str, type[Stage]]:
    """The stages that installed packages add, by their names.

    Raises:
        AssayError: an entry point names no stage, or one whose name or place is not possible.
    """
    found: dict[str, type[Stage]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        remedy = f"Mend the entry point {entry.name!r} ({entry.value}) of the group {GROUP}, or uninstall its package."
        if not re.fullmatch(r"[a-z][a-z0-9_]*", entry.name) or hasattr(Recipe, entry.name):
            raise AssayError(f"{entry.name!r} cannot be a stage's name: small letters, digits and _.", remedy=remedy)
        try:
            stage = entry.load()
        except Exception as error:  # whatever the foreign module does as it is imported
            raise AssayError(f"The stage {entry.name!r} cannot be loaded: {error!r}", remedy=remedy) from None
        if not (isinstance(stage, type) and issubclass(stage, Stage)):
            raise AssayError(f"{entry.value} is no stage: expected a RowStage or a SetStage.", remedy=remedy)
        if getattr(stage, "name", None) != entry.name:
            raise AssayError(f"{entry.value}: its `name` must be {entry.name!r}, as the entry point's is.", remedy)
        if entry.name in {*Recipe.model_fields, *ELSEWHERE, Validate.name, *RESERVED, *found}:
            raise AssayError(f"There is a stage or a section {entry.name!r} already.", remedy=remedy)
        if (place := getattr(stage, "place", None)) not in _places(issubclass(stage, SetStage)):
            raise AssayError(
                f"{entry.value}: there is no stage {place!r} to come before; one that judges each row by itself comes "
                f"before {', '.join(_places(False))}, one that judges all rows before {', '.join(_places(True))}.",
                remedy=remedy,
            )
        found[entry.name] = stage
    return found


def built_in_stages() -> tuple[list[type[Stage]], list[type[Stage]]]:
    """The kinds of stages that come with Assay, in the order they run: those over a row, and those over all rows."""
    kinds = [Validate if key == "contract" else field.annotation for key, field in Recipe.model_fields.items()]
    stages = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Stage)]
    first = next(at for at, kind in enumerate(stages) if issubclass(kind, SetStage))
    return stages[:first], stages[first:]


def in_order(outside: Iterable[type[Stage]]) -> list[type[Stage]]:
    """All kinds of stages in the order they run, those from outside before the ones that their `place` names."""
    over_a_row, over_all = built_in_stages()
    kinds = [*over_a_row, *over_all]
    for stage in outside:
        kinds.insert(next(at for at, kind in enumerate(kinds) if kind.name == stage.place), stage)
    return kinds


def _places(over_all: bool) -> list[str]:
    """The names of the stages that another may come before: one over all rows, or one over a row."""
    rows, sets = built_in_stages()
    return [kind.name for kind in (sets[1:] if over_all else [*rows, sets[0]])]


def _with_outside(model: type[Model], raw: Mapping[str, Any]) -> type[Model]:
    """The model of a recipe with the outside stages that it names: those that it does not name do not run."""
    unknown = {key for key in raw if key not in model.model_fields and key not in ELSEWHERE}
    named = {name: stage for name, stage in outside_stages().items() if name in unknown} if unknown else {}
    return create_model(model.__name__, __base__=model, **{name: (stage, ...) for name, stage in named.items()})  # type: ignore[call-overload, no-any-return]


def written_out(path: Path, variant: str | None = None) -> dict[str, Any]:
    """The keys and values of a recipe that `load` takes, those of its preset and of a variant in their places."""
    raw = _with_preset(_read(path), path)
    raw.pop("preset", None)
    if variant is not None:
        changes = raw["variants"].pop(variant)
        raw |= _merged(raw, Variant.model_validate(changes))
    return raw


def names_beside(settings: BaseModel, within: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The path of every key that may name something beside the recipe, and whether that may lie anywhere else."""
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            yield from names_beside(value, (*within, key))
        elif BESIDE in field.metadata and value is not None:
            yield (*within, key), ANYWHERE in field.metadata


def _read(path: Path) -> dict[str, Any]:
    """What a recipe's file holds.

    Raises:
        AssayError: there is none, or it is no YAML of keys and values.
    """
    if not path.is_file():
        raise AssayError(f"{path}: no such recipe.", remedy="Name a recipe's YAML file, e.g. recipes/licences.yaml.")
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that there is not
        raise AssayError(f"{path}: not readable as YAML: {error}", remedy="Mend the line it names.") from None
    if not isinstance(raw, dict):
        raise AssayError(f"{path}: expected keys and values, found {type(raw).__name__}.", remedy="See README.md.")
    return raw


def _name_alone(settings: BaseModel, dumped: dict[str, Any]) -> None:
    """Of every path beside the recipe, at any depth of what is dumped, leave the last part; in place."""
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if key in dumped and isinstance(value, BaseModel):
            _name_alone(value, dumped[key])
        elif key in dumped and BESIDE in field.metadata and value is not None:
            dumped[key] = [Path(name).name for name in value] if isinstance(value, list) else Path(value).name


def _beside(settings: Model, recipe: Path, within: str = "") -> Model:
    """With the place of every setting that names something beside the recipe, at any depth."""
    changes: dict[str, Any] = {}
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            changes[key] = _beside(value, recipe, f"{within}{key}.")
        elif isinstance(value, str) and BESIDE in field.metadata:
            changes[key] = _placed(value, recipe, within + key, ANYWHERE in field.metadata)
        elif isinstance(value, list) and BESIDE in field.metadata:
            for name in value:
                _placed(name, recipe, within + key, False)
            changes[key] = [str(recipe.parent / name) for name in value]
    return settings.model_copy(update=changes)


def _placed(value: str, recipe: Path, key: str, anywhere: bool) -> str:
    """Where something lies that a recipe names, beside it if it is there.

    Raises:
        AssayError: it is a URL, or may not lie there.
    """
    remedy = "Name a folder, or what `assay stages` tells of the key."
    if is_url(value):
        raise AssayError(f"{recipe}: {key} {without_secrets(value)!r} is a URL.", remedy=remedy)
    if anywhere:
        require_path(value, f"{recipe}: {key}", remedy)
    else:
        _require_beside(value, recipe, key)
    return str(recipe.parent / value) if (recipe.parent / value).exists() else value


def _require_beside(name: str, recipe: Path, key: str) -> None:
    """See to it that a file or folder lies beside a recipe, and so does all in the folder.

    Raises:
        AssayError: it does not.
    """
    remedy = "Copy it beside the recipe, or name a packaged one."
    require_reachable(name, f"{recipe}: {key}", "the recipe's folder", remedy)
    place, below = recipe.parent / name, Below(recipe.parent)
    for path in [place, *(place.iterdir() if place.is_dir() else ())]:
        if below.way_out(path) is not None:
            raise AssayError(f"{recipe}: {key}: {path} is a link that leaves the recipe's folder.", remedy=remedy)


def presets() -> list[str]:
    """Names of the presets that a recipe may begin with."""
    return sorted(entry.name.removesuffix(".yaml") for entry in (files("recipes") / PRESETS).iterdir())


def _with_preset(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """A recipe with the keys of the preset that it names, where it has none of its own.

    Raises:
        AssayError: there is no such preset.
    """
    name = raw.get("preset")
    if name is None:
        return raw
    if name not in presets():
        raise AssayError(
            f"{path}: preset: there is none {name!r}.", remedy=f"Presets: {', '.join(presets())}; or leave the key out."
        )
    text = (files("recipes") / PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    known = Preset.model_validate(load_yaml(text)).model_dump(exclude_defaults=True)
    own = {section: raw.get(section) or {} for section in known}
    return raw | {section: known[section] | each for section, each in own.items() if isinstance(each, dict)}


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


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values with others in their place: what is a mapping in both is changed key by key, all else whole."""
    return {**values} | {
        key: changed(values[key], each) if isinstance(each, Mapping) and isinstance(values.get(key), Mapping) else each
        for key, each in changes.items()
    }


def _merged(raw: dict[str, Any], changes: Variant) -> dict[str, Any]:
    """The sections that a variant changes."""
    return {section: (raw.get(section) or {}) | each for section, each in changes.model_dump().items() if each}


def _validated(model: type[Model], path: Path, raw: dict[str, Any], within: str = "") -> Model:
    mine = {key: value for key, value in raw.items() if key in model.model_fields or key not in ELSEWHERE}
    try:
        return model.model_validate(mine)
    except ValidationError as error:
        raise AssayError(_explain(path, error, within), remedy=EXPLAINED) from None


EXPLAINED = "The README explains each key of a recipe; `assay stages` lists those of every stage, `assay schema` all."
UNION_BRANCH = re.compile(r"(str|Endpoint|(dict|list|function-\w+)\[.*)")
"""What pydantic adds to a key's path where a value may be of several types: no key of the recipe."""


def _explain(path: Path, error: ValidationError, within: str) -> str:
    """Every problem of a recipe, one a line: key, what is wrong, what was found."""
    lines = [f"{path}: {error.error_count()} problem(s):"]
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"] if not (isinstance(part, str) and UNION_BRANCH.fullmatch(part))]
        key = within + ".".join(parts) or "(whole file)"
        shown = parts and problem["type"] not in ("missing", "extra_forbidden")
        found = f" (found {masked(repr(problem['input'])):.80})" if shown else ""
        what = "no such key" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")
        lines.append(f"  {key}: {what}{found}")
    return "\n".join(lines)
