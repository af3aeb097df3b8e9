"""The recipe's section `evaluation`, and the whole recipe."""

import os
import re
from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from curate.errors import AssayError
from curate.read.expressions import Name
from curate.stage import Settings
from train.search import TuneSettings
from train.settings import TrainingRecipe

Split = Literal["test", "validation", "train"]


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

    input: float = Field(0.0, ge=0, description="Of a prompt's tokens.")
    output: float = Field(0.0, ge=0, description="Of an answer's tokens.")


def _server(url: str) -> str:
    if not re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?(/[^\s?#@]*)?", url):
        raise ValueError(
            "expected http(s)://HOST/v1 with neither user nor query; a key stands in the environment (see `key`)"
        )
    _ = urlsplit(url).port  # raises where it, or an address in brackets, is none
    return url.rstrip("/")


def _key_name(name: str) -> str:
    allowed = [each.strip() for each in os.environ.get(ALLOWED, "").split(",")]
    if not name or not (re.fullmatch(r"\w*(_API_KEY|_TOKEN)", name, re.ASCII) or name in allowed):
        raise ValueError(
            "expected an environment variable that ends in _API_KEY or _TOKEN, so that a recipe sends no other secret "
            f"away; allow another by `export {ALLOWED}=NAME,NAME`"
        )
    return name


ALLOWED = "ASSAY_KEYS"
"""Environment variable with the names, divided by commas, of others that may hold a key. It is the user's: a recipe may
come from elsewhere."""


class Endpoint(Settings):
    """A server that speaks OpenAI's chat completions: vLLM, llama.cpp, `transformers serve`, or a hosted model."""

    url: Annotated[str, AfterValidator(_server)] = Field(
        description="Up to and with /v1, e.g. http://127.0.0.1:8000/v1."
    )
    model: str = Field(description="The model's name there.")
    key: Annotated[str, AfterValidator(_key_name)] | None = Field(
        None, description="Environment variable that holds the API key: ends in _API_KEY or _TOKEN."
    )
    concurrency: int = Field(8, ge=1, description="Requests under way at once.")
    requests_per_minute: int | None = Field(None, ge=1, description="The most requests that are begun in a minute.")
    timeout: float = Field(120.0, gt=0, description="Seconds until a request is given up and tried again.")
    retries: int = Field(5, ge=0, description="Further tries of a request that fails for a passing reason.")
    price: Price = Price()

    @property
    def loopback(self) -> bool:
        """Whether the URL names this machine, by the host as it is written: nothing is looked up."""
        host = urlsplit(self.url).hostname or ""
        try:
            address = ip_address(host)
        except ValueError:
            return host == "localhost"
        return address == IPv6Address("::1") or address in IPv4Network("127.0.0.0/8")

    @model_validator(mode="after")
    def _sends_its_key_unseen(self) -> "Endpoint":
        if self.key and self.url.startswith("http:") and not self.loopback:
            raise ValueError(
                "a key is sent over https only; over plain http only to localhost, 127.0.0.0/8 or [::1], so written"
            )
        return self


BASELINES = ("majority", "tfidf", "nearest")
"""Systems that need no language model."""


def endpoint_of(**settings: str | None) -> Endpoint:
    """An endpoint that a command line names.

    Raises:
        AssayError: a value is not what is expected; names it.
    """
    try:
        return Endpoint.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = first["loc"][0] if first["loc"] else "url"
        raise AssayError(
            f"{where}: {first['msg'].removeprefix('Value error, ')}.",
            remedy="See `assay parity --help`.",
        ) from None


class SystemSettings(Settings):
    """One system that is asked the test rows."""

    model: Annotated[
        Annotated[Literal["majority", "tfidf", "nearest", "base", "adapter", "merged"], Tag("str")]
        | Annotated[Endpoint, Tag("Endpoint")],
        Discriminator(lambda value: "str" if isinstance(value, str) else "Endpoint"),
    ] = Field(description="Whose answer it is: a baseline's, a model's that runs here, or an endpoint's.")
    shots: int = Field(0, ge=0, description="Training rows shown before the question, with their answers.")
    choose: Literal["fixed", "nearest"] = Field(
        "fixed", description="Which: the same for every row, by the seed; or those most like the row (BM25)."
    )
    rows: Literal["all", "own"] = Field(
        "all",
        description="What a baseline learns from, and shots are chosen from: the train split, or of it only the "
        "adapter's own rows (without an adapter those that `training` chooses).",
    )
    constrained: bool = Field(False, description="Only tokens that the answer's JSON Schema allows are generated.")
    quantization: Literal["nf4", "none", "f16", "q8_0"] | None = Field(
        None,
        description="Of the weights, if not as the adapter was trained (`merged`: if not none); of `merged` also `f16` "
        "or `q8_0`, as `assay export` writes them.",
    )

    @model_validator(mode="after")
    def _means_something(self) -> "SystemSettings":
        baseline = self.model in BASELINES
        if baseline and (self.shots or self.constrained or self.quantization):
            raise ValueError(f"{self.model} takes no shots, no constraint and no quantization")
        if isinstance(self.model, Endpoint) and self.quantization:
            raise ValueError("an endpoint's weights are not here: it takes no quantization")
        if self.quantization in ("f16", "q8_0") and self.model != "merged":
            raise ValueError(f"quantization: {self.quantization} is of `merged`, which is what is exported")
        if self.choose == "nearest" and not self.shots:
            raise ValueError("choose: nearest chooses shots; say how many (shots: 4)")
        if self.rows == "own" and not (baseline or self.shots):
            raise ValueError("rows: own is for a baseline, or for shots; this one is given no rows")
        return self


class EvaluationSettings(Settings):
    """Who is asked the test rows, and how their answers are judged."""

    split: Split = Field(
        "test",
        description="Whose rows are asked. Those of train and validation are for looking at mistakes and for pairs: "
        "the gate asks for the test split.",
    )
    rows: int = Field(96, ge=1, description="How many rows of it are asked.")
    max_tokens: int = Field(1024, ge=8, description="Only rows of at most this many tokens are chosen.")
    max_new_tokens: int = Field(96, ge=1, description="Tokens at which an answer is cut off.")
    batch_size: int = Field(32, ge=1, description="Rows that are answered at once.")
    seed: int = Field(0, ge=0, description="Of the choice of rows and shots, and of resamples.")
    systems: dict[Name, SystemSettings] = Field(
        {},
        description="Who is asked; by default the majority class, the nearest row's answer (of all rows, and of the "
        "adapter's own), the base model and the adapter (`tuned`).",
    )
    fields: dict[str, FieldRule] = Field({}, description="By path: how a field of the answer is compared.")
    accepted: str | None = Field(
        None,
        description="Key of `meta` that holds, as JSON, what is right beside a row's target: by path a list of values.",
    )
    optional: str | None = Field(
        None, description="Key of `meta` that holds, as JSON, the paths of what an answer may leave out: a list."
    )
    resamples: int = Field(2000, ge=100, description="Resamples of a bootstrap interval or a randomisation test.")
    scorer: Literal["ljp_criminal"] | None = Field(None, description="A data set's official scorer, beside ours.")
    gate: list[Annotated[str, AfterValidator(_gate_rule)]] = Field(
        [], description="What the tuned system must satisfy to pass."
    )

    def deciding(self) -> dict[str, Any]:
        """What the scorecard depends on besides its systems, JSON-like; the test split goes without saying."""
        usual = {"split"} if self.split == "test" else set()
        return self.model_dump(mode="json", exclude={"systems"} | usual)


class MonitorSettings(Settings):
    """What is expected of the live adapter as new data comes."""

    max_drift: float = Field(
        0.25,
        gt=0,
        description="Largest population stability index of labels, languages, lengths and prompt words, between the "
        "newest version and the one that the live adapter was trained on.",
    )
    max_loss: float = Field(
        0.1,
        ge=0,
        le=1,
        description="How much smaller the share of right answers to fresh test rows may be than when it was scored.",
    )
    min_rows: int = Field(32, ge=1, description="Fresh test rows below which the adapter is not asked.")


class FullRecipe(TrainingRecipe):
    """Everything about one data set: from its raw files to the score of what is trained on it."""

    tune: TuneSettings | None = Field(None, description="What `assay tune` tries; nothing else depends on it.")
    evaluation: EvaluationSettings = EvaluationSettings()
    monitor: MonitorSettings = MonitorSettings()
