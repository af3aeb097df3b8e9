"""What people write: recipes, contracts and their schemas, templates. Each is taken as it is meant, or refused."""

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import yaml

from curate.contract import Contract
from curate.errors import AssayError
from curate.rows.chat_template import ChatTemplate, SpecialTokens
from curate.rows.task_template import TaskTemplate
from evaluation.settings import FullRecipe
from tests.fuzz.readers import YAML_WORDS
from tests.fuzz.target import Choices, Target, altered, told
from tests.project import CONTRACT, RECIPE, TARGET_SCHEMA

BETWEEN = b"\n=====\n"
"""Between the two files of a contract."""


def recipe(data: bytes) -> None:
    """A recipe says the same when what was understood of it is written down and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_bytes(data)
        try:
            read = FullRecipe.load(path)
        except AssayError as error:
            told(error)
            return
        read.stages()
        json.dumps(read.settings(), allow_nan=False).encode()
        path.write_text(yaml.safe_dump(json.loads(read.model_dump_json(by_alias=True))))
        assert FullRecipe.load(path).settings() == read.settings()


def recipe_values(data: bytes) -> None:
    """The same of recipes that are sound YAML."""
    choices = Choices(data)
    document = yaml.safe_load(choices.one_of([yaml.safe_dump(RECIPE).encode(), *packaged("recipes", ".yaml")]))
    recipe(yaml.safe_dump(altered(document, choices)).encode())


def contract(data: bytes) -> None:
    """A contract's schema holds for a row, as the schema says."""
    written, _, schema = data.partition(BETWEEN)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "contract.yaml").write_bytes(written)
        (Path(folder) / "target.schema.json").write_bytes(schema)
        try:
            read = Contract.load(folder)
        except AssayError as error:
            told(error)
            return
        jsonschema_rs.validator_for(read.row_schema).is_valid({"turns": []})
        json.dumps(read.document).encode()
        assert Contract.load(folder).sha256 == read.sha256


def contract_values(data: bytes) -> None:
    """The same of contracts that are sound YAML, and schemas that are sound JSON."""
    choices = Choices(data)
    document, schema = CONTRACT, TARGET_SCHEMA
    if choices.one_of((True, True, False)):
        document = altered(document, choices)
    else:
        schema = altered(schema, choices)
    contract(yaml.safe_dump(document).encode() + BETWEEN + json.dumps(schema).encode())


TURNS = [{"role": "user", "content": "a {{ b }}"}, {"role": "assistant", "content": "<|im_end|>", "reasoning": "r"}]
RECORD = {"id": "i", "turns": TURNS, "target": '{"a": 1}', "reasoning": None, "language": "en", "meta": {"k": "v"}}


def task_template(data: bytes) -> None:
    """A template of tasks gives messages, the same ones each time, or is refused."""
    try:
        template = TaskTemplate("fuzz", TARGET_SCHEMA, data.decode("utf-8", "replace"))
        messages = template.messages(RECORD)
    except AssayError as error:
        told(error)
        return
    assert all(isinstance(message["content"], str) for message in messages)
    assert template.messages(RECORD) == messages


def chat_template(data: bytes) -> None:
    """A chat template gives text, the same each time, or is refused."""
    tokens = SpecialTokens("<s>", "</s>")
    try:
        template = ChatTemplate("fuzz", data.decode("utf-8", "replace"))
        template.words(tokens)
        text = template.render(TURNS, tokens, True)
    except AssayError as error:
        told(error)
        return
    assert template.render(TURNS, tokens, True) == text


@cache
def packaged(kind: str, ending: str) -> Sequence[bytes]:
    return [
        file.read_bytes() for file in sorted(Path(str(files(kind.partition("/")[0]))).parent.glob(f"{kind}/*{ending}"))
    ]


JINJA_WORDS = (
    *(
        b"{{",
        b"}}",
        b"{%",
        b"%}",
        b"{#",
        b"{% for x in messages %}",
        b"{% endfor %}",
        b"{% if content %}",
        b"{% endif %}",
    ),
    *(b"{% block user %}", b"{% endblock %}", b"{% set x = ", b"{% macro m() %}", b"{{ m() }}", b"{% endmacro %}"),
    *(b"|tojson", b"|random", b"|center(99999999)", b"* 99999999", b"[", b"(", b".__class__", b"{% include 'a' %}"),
    *(
        b"namespace(a=1)",
        b"range(10**9)",
        b"loop(",
        b" recursive",
        b"{% call m() %}",
        b"self.user()",
        b"cycler",
        b"lipsum",
    ),
)

TARGETS = (
    Target("recipe", recipe, lambda: [yaml.safe_dump(RECIPE).encode(), *packaged("recipes", ".yaml")], YAML_WORDS),
    Target(
        "contract",
        contract,
        lambda: [yaml.safe_dump(CONTRACT).encode() + BETWEEN + json.dumps(TARGET_SCHEMA).encode()],
        (
            *YAML_WORDS,
            b'{"$ref": "http://127.0.0.1:9/a"}',
            b'{"$ref": "#"}',
            b'"pattern": "(a+)+$"',
            b"schema:",
            b"null",
            b"{}",
            b"true",
            b"1e999",
        ),
    ),
    Target("recipe_values", recipe_values, lambda: [bytes(9), bytes(range(9))], led=True),
    Target("contract_values", contract_values, lambda: [bytes(9), bytes(range(9))], led=True),
    Target("task_template", task_template, lambda: packaged("templates/tasks", ".jinja"), JINJA_WORDS),
    Target("chat_template", chat_template, lambda: packaged("templates/chat", ".jinja"), JINJA_WORDS),
)
