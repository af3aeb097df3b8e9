"""The recipe: one YAML file that says what is read, how it is curated, what is trained and how it is judged."""

import re
from collections.abc import Hashable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from curate.errors import AssayError
from curate.read.mapping import Lookup, Name, RecordMapping
from curate.read.raw import Files
from curate.rows.clean import Clean
from curate.rows.decontaminate import Decontaminate
from curate.rows.fit import Fit
from curate.rows.language import Language
from curate.rows.pii import Pii
from curate.rows.quality import Quality
from curate.sets.balance import Balance
from curate.sets.duplicates import Duplicates
from curate.sets.select import Select
from curate.sets.semantic import Semantic
from curate.sets.split import Split
from curate.stage import RowStage, Settings


class RenderSettings(Settings):
    task: str = Field(description="Task template: templates/tasks/NAME.jinja, or a path beside the recipe.")
    chat: str = Field(description="Chat template: chatml, llama2, guanaco, or a path beside the recipe.")
    answers: Literal["last", "all"] = Field("last", description="Which assistant turns are trained.")


class TrainingSettings(Settings):
    rows: int = Field(256, ge=1, description="How many rows of the train split are trained on.")
    max_tokens: int = Field(1024, ge=8, description="Only rows of at most this many tokens are chosen.")
    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(8, ge=1)
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    quantization: Literal["nf4", "none"] = "nf4"
    seed: int = 0


class FieldRule(Settings):
    """How a field of the answer is compared, in place of what its JSON Schema suggests."""

    kind: Literal["class", "number", "date", "text", "set", "list", "value"] = Field(
        alias="as", description="What the field is; `value` takes nothing but the very same JSON value."
    )
    tolerance: float = Field(0.0, ge=0, description="By how much a number may differ.")
    relative: float = Field(0.0, ge=0, description="By what share of the expected number it may differ.")
    order: list[str] = Field([], description="Labels of an ordered class, the lowest first.")


GATE = re.compile(
    r"(?P<measure>[\w.-]+?)(?P<bound>\.low|\.high)?\s*"
    r"(?:(?P<sign>>=|<=|>|<)\s*(?P<number>\d+(?:\.\d+)?)"
    r"|\s(?P<claim>better than|not worse than)\s+(?P<other>[\w-]+)\s*,\s*p\s*<\s*(?P<p>0?\.\d+))"
)
"""A rule of the gate: `schema_valid >= 0.98`, `schema_valid.low >= 0.95` (its interval's lower end),
`category.macro_f1 not worse than majority, p < 0.05`."""


def _gate_rule(text: str) -> str:
    if GATE.fullmatch(text.strip()) is None:
        raise ValueError(
            "expected `MEASURE >= NUMBER`, `MEASURE better than SYSTEM, p < NUMBER` or `MEASURE not worse than ...`"
        )
    return text.strip()


class Price(Settings):
    """What a hosted model costs, in whatever currency, per million tokens."""

    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)


def _server(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", url):
        raise ValueError(
            "expected http(s)://HOST/v1 with neither user nor query; a key stands in the environment (see `key`)"
        )
    return url.rstrip("/")


class Endpoint(Settings):
    """A server that speaks OpenAI's chat completions: vLLM, llama.cpp, `transformers serve`, or a hosted model."""

    url: Annotated[str, AfterValidator(_server)] = Field(
        description="Up to and with /v1, e.g. http://127.0.0.1:8000/v1."
    )
    model: str = Field(description="The model's name there.")
    key: str | None = Field(None, description="Environment variable that holds the API key.")
    concurrency: int = Field(8, ge=1, description="Requests under way at once.")
    requests_per_minute: int | None = Field(None, ge=1, description="The most requests that are begun in a minute.")
    timeout: float = Field(120.0, gt=0, description="Seconds until a request is given up and tried again.")
    retries: int = Field(5, ge=0, description="Further tries of a request that fails for a passing reason.")
    price: Price = Price()


class SystemSettings(Settings):
    """One system that is asked the test rows."""

    model: Annotated[
        Annotated[Literal["majority", "tfidf", "base", "adapter", "merged"], Tag("str")]
        | Annotated[Endpoint, Tag("Endpoint")],
        Discriminator(lambda value: "str" if isinstance(value, str) else "Endpoint"),
    ] = Field(description="Whose answer it is: a baseline's, a model's that runs here, or an endpoint's.")
    shots: int = Field(0, ge=0, description="Training rows shown before the question, with their answers.")
    choose: Literal["fixed", "nearest"] = Field(
        "fixed", description="Which: the same for every row, by the seed; or those most like the row (BM25)."
    )
    constrained: bool = Field(False, description="Only tokens that the answer's JSON Schema allows are generated.")
    quantization: Literal["nf4", "none"] | None = Field(
        None, description="Of the weights, if not as the adapter was trained (`merged`: if not none)."
    )

    @model_validator(mode="after")
    def _means_something(self) -> "SystemSettings":
        if self.model in ("majority", "tfidf") and (self.shots or self.constrained or self.quantization):
            raise ValueError(f"{self.model} takes no shots, no constraint and no quantization")
        if isinstance(self.model, Endpoint) and self.quantization:
            raise ValueError("an endpoint's weights are not here: it takes no quantization")
        if self.choose == "nearest" and not self.shots:
            raise ValueError("choose: nearest chooses shots; say how many (shots: 4)")
        return self


class EvaluationSettings(Settings):
    rows: int = Field(96, ge=1, description="How many rows of the test split are asked.")
    max_tokens: int = Field(1024, ge=8, description="Only rows of at most this many tokens are chosen.")
    max_new_tokens: int = Field(96, ge=1)
    batch_size: int = Field(32, ge=1)
    seed: int = 0
    systems: dict[Name, SystemSettings] = Field(
        {}, description="Who is asked; by default the majority class, the base model and the adapter (`tuned`)."
    )
    fields: dict[str, FieldRule] = Field({}, description="By path: how a field of the answer is compared.")
    resamples: int = Field(2000, ge=100, description="Resamples of a bootstrap interval or a randomisation test.")
    scorer: Literal["ljp_criminal"] | None = Field(None, description="A data set's official scorer, beside ours.")
    gate: list[Annotated[str, AfterValidator(_gate_rule)]] = Field(
        [], description="What the tuned system must satisfy to pass."
    )


class Variant(Settings):
    """Overrides by section. Stages that an override does not touch are shared, so they come from the cache."""

    render: dict[str, Any] = {}

    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}


class Recipe(Settings):
    """Everything about one data set. The row-wise stages run in the order of their keys here."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Name of the data set in the store.")]
    contract: str = Field(description="Contract: data_contracts/NAME, or a folder beside the recipe.")
    drop: str = Field(".", description="Folder of the raw files, relative to the recipe, or its URL.")
    sources: list[Files] = Field(min_length=1)
    lookups: dict[Name, Lookup] = {}
    record: RecordMapping = RecordMapping()
    clean: Clean = Clean()
    language: Language = Language()
    quality: Quality = Quality()
    pii: Pii = Pii()
    duplicates: Duplicates = Duplicates()
    semantic: Semantic = Semantic()
    balance: Balance = Balance()
    select: Select = Select()
    decontaminate: Decontaminate = Decontaminate()
    split: Split = Split()
    render: RenderSettings
    fit: Fit
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    variants: dict[str, Variant] = {}

    @model_validator(mode="after")
    def _names_differ(self) -> "Recipe":
        if hidden := sorted(self.lookups.keys() & self.record.let.keys()):
            raise ValueError(f"record.let.{hidden[0]} hides lookups.{hidden[0]}: give one of them another name")
        return self

    def row_stages(self) -> dict[str, RowStage]:
        """The row-wise stages by name, in the order they run."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, RowStage)}

    @staticmethod
    def load(path: Path, variant: str | None = None, drop: Path | str | None = None) -> "Recipe":
        """Read a recipe.

        Args:
            path: the YAML file.
            variant: name of one of its `variants`, merged into training and evaluation.
            drop: folder of the raw files, or its URL, instead of the recipe's own.

        Raises:
            AssayError: names the file, the key, what was expected and what to do.
        """
        if not path.is_file():
            raise AssayError(
                f"{path}: no such recipe.", remedy="Name a recipe's YAML file, e.g. recipes/licences.yaml."
            )
        try:
            raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
        except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that there is not
            raise AssayError(f"{path}: not readable as YAML: {error}", remedy="Mend the line it names.") from None
        if not isinstance(raw, dict):
            raise AssayError(f"{path}: expected keys and values, found {type(raw).__name__}.", remedy="See README.md.")
        recipe = _validated(path, raw)
        beside = recipe.drop if "://" in recipe.drop else str(path.parent / recipe.drop)
        raw["drop"] = str(drop) if drop is not None else beside
        variants = {
            name: _validated(path, raw | _merged(raw, changes), f"variants.{name}.")
            for name, changes in recipe.variants.items()
        }
        if variant is None:
            return _validated(path, raw)._beside(path.parent)
        if variant not in variants:
            known = ", ".join(sorted(variants)) or "none"
            raise AssayError(f"{path}: no variant {variant!r}.", remedy=f"Variants of this recipe: {known}.")
        return variants[variant]._beside(path.parent)

    def _beside(self, folder: Path) -> "Recipe":
        """With the contract, templates and model that lie beside the recipe named by their paths."""

        def found(name: str) -> str:
            return str(folder / name) if (folder / name).exists() else name

        render = self.render.model_copy(update={"task": found(self.render.task), "chat": found(self.render.chat)})
        fit = self.fit.model_copy(update={"model": found(self.fit.model)})
        semantic, select = (
            each if each.model is None else each.model_copy(update={"model": found(each.model)})
            for each in (self.semantic, self.select)
        )
        pii = self.pii
        if pii.names is not None:
            names = pii.names.model_copy(update={"model": found(pii.names.model)})
            pii = pii.model_copy(update={"names": names})
        beside = {"render": render, "fit": fit, "semantic": semantic, "select": select, "pii": pii}
        return self.model_copy(update={"contract": found(self.contract), **beside})


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


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: by itself PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _merged(raw: dict[str, Any], changes: Variant) -> dict[str, Any]:
    """The sections that a variant changes."""
    return {section: raw.get(section, {}) | each for section, each in changes.model_dump().items() if each}


def _validated(path: Path, raw: dict[str, Any], within: str = "") -> Recipe:
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise AssayError(_explain(path, error, within), remedy="The README explains each key of a recipe.") from None


UNION_BRANCH = re.compile(r"(str|Endpoint|(dict|list|function-\w+)\[.*)")
"""What pydantic adds to a key's path where a value may be of several types: no key of the recipe."""


def _explain(path: Path, error: ValidationError, within: str) -> str:
    """Every problem of a recipe, one a line: key, what is wrong, what was found."""
    lines = [f"{path}: {error.error_count()} problem(s):"]
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"] if not (isinstance(part, str) and UNION_BRANCH.fullmatch(part))]
        key = within + ".".join(parts) or "(whole file)"
        shown = parts and problem["type"] not in ("missing", "extra_forbidden")
        found = f" (found {problem['input']!r:.80})" if shown else ""
        what = "no such key" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")
        lines.append(f"  {key}: {what}{found}")
    return "\n".join(lines)
